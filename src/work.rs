//! Admission of work that walks many rows: SQL statements, scrapes, and calls that give pages.
//!
//! All of it passes one [`Admission`], which bounds for each [`Kind`] how much runs and how much waits. Clients take turns,
//! so that one with many requests delays only itself. Each piece of work runs on threads of its own, which give way to point
//! queries, probes and the threads that read Kafka. It ends with its [`Cancel`] handle: at its deadline, when
//! its client disconnects, or when it retains too much. While it waits for its client to read, it gives up its turn.
//!
//! Work that does not look at its handle, for instance a long regular expression, cannot be ended. Two seconds after it
//! should have, its threads are abandoned: they get the lowest priority, others take their place, and operators are told.

use std::{fmt, io, sync::Arc};

mod admission;
mod cancel;
mod job;
mod outbox;
mod place;
mod queue;
mod turns;
mod unread;

#[cfg(test)]
mod tests;

pub use admission::{Admission, Board};
pub use cancel::{Cancel, Ended};
pub use job::{Job, Task};
pub use outbox::{Inbox, Outbox, Patience, outbox};
pub use queue::Client;
pub use unread::{Unread, UnreadAnswer};

/// Pieces of work that may keep their threads although they were ended; with so many, nothing new is admitted.
pub const MOST_ABANDONED: usize = 4;

/// What is admitted together. Kinds do not take each other's turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A SQL statement.
    Statement,
    /// A call that gives a page: GetOffset, GetConsumer, GetActiveConsumer.
    Page,
    /// GetHistory, which may wait for a store of samples.
    History,
    /// A scrape of `/metrics`.
    Scrape,
}

impl Kind {
    /// All, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Statement, Self::Page, Self::History, Self::Scrape];

    /// As metrics and errors name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Page => "page",
            Self::History => "history",
            Self::Scrape => "scrape",
        }
    }

    /// The setting that bounds how much of it waits.
    fn setting(self) -> &'static str {
        match self {
            Self::Statement => "sql.queue",
            Self::Page | Self::History | Self::Scrape => "server.call_queue",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much work of a kind is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pieces that run at a time.
    pub running: usize,
    /// Pieces that wait for their turn.
    pub waiting: usize,
}

/// How much work of a kind there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Its kind.
    pub kind: Kind,
    /// Pieces that run.
    pub running: usize,
    /// Pieces that wait for their turn.
    pub waiting: usize,
    /// Pieces that wait for their client to read.
    pub unread: usize,
    /// Pieces that were refused since the start.
    pub refused: u64,
}

/// How the server's own work does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Threads that run work or wait for some.
    pub threads: usize,
    /// By kind.
    pub load: Vec<Load>,
    /// What does not end, each with the time since it should have.
    pub abandoned: Vec<String>,
    /// How much did not end in time since the start.
    pub abandoned_total: u64,
}

impl Status {
    /// Whether nothing new is admitted.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.abandoned.len() >= MOST_ABANDONED
    }
}

/// Why work was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// Too much of its kind runs and waits already.
    #[error("{limit} {kind}s are running or waiting already (setting `{setting}`)")]
    Full {
        /// Its kind.
        kind: Kind,
        /// Pieces of work that may run or wait.
        limit: usize,
        /// Key in the configuration.
        setting: &'static str,
    },
    /// Too much work does not end.
    #[error("no threads are left for new work: {} do not end: {}", .0.len(), .0.join("; "))]
    Abandoned(Vec<String>),
    /// It was ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// It panicked.
    #[error("the work panicked")]
    Panicked,
    /// No threads could be started for it.
    #[error("cannot start threads: {0}")]
    Threads(Arc<io::Error>),
}
