//! Requests of callers to the reader of a source: up to which revision the store must be applied to show what the source
//! holds now, and offsets that a caller writes.

use std::fmt;

use futures::future::BoxFuture;

use crate::model::{Name, Revision};

/// Reports how far the store must be applied to show the latest offsets.
pub trait LatestOffsets: Send + Sync + fmt::Debug {
    /// Queries the source and returns, by shard number, the revision up to which the shard must be applied. Shards that
    /// have been removed meanwhile are left out.
    ///
    /// # Errors
    /// [`SourceError`], if the source does not answer.
    fn required_revisions<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, Result<Vec<(i32, Revision)>, SourceError>>;

    /// Returns what delays readers of the latest offsets, as a text for them.
    fn delay_reason(&self, _scope: &Scope) -> Option<String> {
        None
    }

    /// Applies offsets that a caller wrote as lines of JSON. Returns `None` if the source takes none.
    fn import(&self, lines: Vec<u8>) -> Option<BoxFuture<'_, Result<ImportOutcome, SourceError>>> {
        let _ = lines;
        None
    }

    /// Returns the source's own counters.
    fn counters(&self) -> Vec<SourceCounter> {
        vec![]
    }
}

/// Which offsets must be the latest.
#[derive(Clone, Debug)]
pub enum Scope {
    /// One committed offset: (group, topic, partition).
    Key(Name, Name, i32),
    /// All offsets of the source.
    All,
}

/// Outcome of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOutcome {
    /// Number of lines that were applied.
    pub accepted: u64,
    /// Number of lines that are not valid.
    pub malformed: u64,
    /// The number of the last line that is not valid, and the reason.
    pub last_rejected: Option<String>,
}

/// A counter of a source, for metrics.
#[derive(Clone, Copy, Debug)]
pub struct SourceCounter {
    /// Name of the metric.
    pub name: &'static str,
    /// Help text of the metric.
    pub help: &'static str,
    /// Current value.
    pub value: u64,
}

/// Why a source cannot be read. The texts are for operators.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The source does not answer now; the request is retried.
    #[error("{reason}")]
    Unreachable {
        /// The cause.
        reason: String,
    },
    /// The source cannot answer in time, because too many requests are needed.
    #[error("{reason}")]
    Busy {
        /// The cause, and what to do.
        reason: String,
    },
    /// The source refuses to be read. The request is retried rarely.
    #[error("{reason}")]
    Forbidden {
        /// The cause.
        reason: String,
    },
}
