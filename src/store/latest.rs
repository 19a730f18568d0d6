//! What only a source itself can tell: how far the store must be to show what the source holds now.

use std::fmt;

use futures::future::BoxFuture;

use crate::model::{Name, Revision};

/// Answers callers that want the latest.
pub trait Latest: Send + Sync + fmt::Debug {
    /// Finds out what the source holds now, and returns what must be applied so that readers see it: by number of the
    /// shard, the revision up to which. A shard that is gone meanwhile is left out.
    ///
    /// # Errors
    /// Why the source does not tell.
    fn reach<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, Result<Vec<(i32, Revision)>, SourceError>>;

    /// Returns what holds up readers that want the latest, in words for them.
    fn held_up(&self, _scope: &Scope) -> Option<String> {
        None
    }

    /// Returns counters of the source's own.
    fn counters(&self) -> Vec<Count> {
        vec![]
    }
}

/// What must be the latest.
#[derive(Clone, Debug)]
pub enum Scope {
    /// One committed offset: (group, topic, partition).
    Key(Name, Name, i32),
    /// Everything in the source.
    All,
}

/// A counter of a source, for metrics.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// Name of the metric.
    pub name: &'static str,
    /// Its help text.
    pub help: &'static str,
    /// The sum.
    pub value: u64,
}

/// Why a source cannot be read, in words for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It does not answer now; it is tried again.
    #[error("{reason}")]
    Unreachable {
        /// Why.
        reason: String,
    },
    /// It cannot tell in time, for there is too much to ask for.
    #[error("{reason}")]
    Busy {
        /// What, and what to do.
        reason: String,
    },
    /// It refuses to be read; it is tried again seldom.
    #[error("{reason}")]
    Forbidden {
        /// Why.
        reason: String,
    },
}
