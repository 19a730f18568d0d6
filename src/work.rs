//! Admission control for work that reads many rows: SQL statements, scrapes, and calls that return pages.
//!
//! One [`Admission`] limits, for each [`WorkKind`], how many jobs run and how many wait. Jobs are queued by client, and
//! clients are served round robin, so that a client with many requests delays only itself. Each job runs on its own
//! threads, with a lower priority than point queries, probes and the threads that read Kafka. Its [`CancelHandle`]
//! handle ends it: at the deadline, when the client disconnects, or when it retains too much memory. While a job waits
//! for its client to read, another job may run.
//!
//! A job that does not check its handle, for instance in a slow regular expression, cannot be ended. Two seconds after
//! the cancellation its threads are abandoned: they get the lowest priority, new threads replace them, and the status
//! and a log line name the job.

use std::{fmt, io, sync::Arc};

mod admission;
mod cancel;
mod fair_queue;
mod job;
mod outbox;
mod scheduler;
mod threads;
mod unread;

#[cfg(test)]
mod tests;

pub use admission::{Admission, StatusBoard};
pub use cancel::{CancelHandle, EndReason};
pub use fair_queue::ClientOrigin;
pub use job::{Job, Task};
pub use outbox::{Inbox, Outbox, StallTimeout, outbox};
pub use unread::{Unread, UnreadAnswer};

/// Number of abandoned jobs at which no new work is admitted, scrapes excepted.
pub const MAX_ABANDONED: usize = 4;

/// The kinds of work. Each kind has its own limits and queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkKind {
    /// A SQL statement.
    Statement,
    /// A call that returns one page: GetOffset, GetConsumer, GetActiveConsumer.
    Page,
    /// A GetHistory call, which may wait for the history store.
    History,
    /// A scrape of `/metrics`.
    Scrape,
}

impl WorkKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Statement, Self::Page, Self::History, Self::Scrape];

    /// Returns the name that metrics and errors use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Page => "page",
            Self::History => "history",
            Self::Scrape => "scrape",
        }
    }

    /// Returns the setting that limits how many jobs of this kind wait.
    fn setting(self) -> &'static str {
        match self {
            Self::Statement => "sql.queue",
            Self::Page | Self::History | Self::Scrape => "server.call_queue",
        }
    }
}

impl fmt::Display for WorkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Limits of one kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindLimits {
    /// Maximum number of running jobs.
    pub running: usize,
    /// Maximum number of jobs that wait to run.
    pub waiting: usize,
}

/// Current load of one kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindLoad {
    /// The kind of the work.
    pub kind: WorkKind,
    /// Jobs that are running.
    pub running: usize,
    /// Jobs that wait to run.
    pub waiting: usize,
    /// Jobs that wait for their client to read.
    pub unread: usize,
    /// Jobs refused since the server started.
    pub refused: u64,
}

/// State of the admission, for metrics and status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkStatus {
    /// Threads of jobs, idle ones included.
    pub threads: usize,
    /// Load by kind, in the order of [`WorkKind::ALL`].
    pub load: Vec<KindLoad>,
    /// Abandoned jobs that are still running, each with the seconds since its cancellation.
    pub abandoned: Vec<String>,
    /// Jobs abandoned since the server started.
    pub abandoned_total: u64,
}

impl WorkStatus {
    /// Returns whether new work is refused because too many jobs are abandoned.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.abandoned.len() >= MAX_ABANDONED
    }
}

/// The reason why a job was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WorkError {
    /// The limits of the kind are reached.
    #[error("{limit} requests of kind \"{kind}\" are already running or waiting; retry later, or raise `{setting}`")]
    Full {
        /// The kind of the job.
        kind: WorkKind,
        /// Maximum number of jobs that may run or wait.
        limit: usize,
        /// The setting that limits the waiting jobs.
        setting: &'static str,
    },
    /// Too many abandoned jobs are still running.
    #[error("no new work is admitted: {} cancelled jobs are still running: {}", .0.len(), .0.join("; "))]
    Abandoned(Vec<String>),
    /// The job was ended.
    #[error(transparent)]
    Ended(#[from] EndReason),
    /// The job panicked.
    #[error("the job panicked")]
    Panicked,
    /// The threads of the job cannot be started.
    #[error("cannot start threads for the job: {0}")]
    Threads(Arc<io::Error>),
}
