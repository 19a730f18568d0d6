//! Questions about the present state of a log, and why they have no answer.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use crate::{
    model::Name,
    store::{
        group::{Extras, Row},
        latest::SourceError,
    },
};

/// Answers questions about the present state of a cluster. All but [`LiveSource::settle`] block: not for async code.
pub(crate) trait LiveSource: Send + Sync + fmt::Debug {
    /// Returns the high watermark of each log partition, within `timeout`.
    ///
    /// # Errors
    /// Why the cluster does not answer.
    fn log_ends(&self, log_partitions: &[i32], timeout: Duration) -> Result<LogEnds, AskError>;

    /// Returns how many log partitions there are, or `None` where the source does not tell.
    ///
    /// # Errors
    /// Why the cluster does not answer.
    fn log_partitions(&self, _timeout: Duration) -> Result<Option<i32>, AskError> {
        Ok(None)
    }

    /// Returns everything that a group has committed, as its coordinator tells it.
    ///
    /// # Errors
    /// Why the coordinator does not tell.
    fn committed(&self, group: &str, _timeout: Duration) -> Result<Vec<CommittedKey>, AskError> {
        Err(AskError::NotAsked { group: Name::from(group) })
    }

    /// Closes connections to coordinators: none is asked for a while.
    fn rest(&self) {}

    /// Takes a request to show what lies behind an open transaction. The request's sender is dropped when the log
    /// partition is gone.
    fn settle(&self, _request: Settle) {}
}

/// The end of each log partition, or why it is not known.
pub(crate) type LogEnds = BTreeMap<i32, Result<i64, AskError>>;

/// A topic, a partition, and the committed offset.
pub(crate) type CommittedKey = (String, i32, Committed);

/// A committed offset as the group's coordinator tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The offset.
    pub(crate) offset: i64,
    /// Epoch of the last consumed record; -1 is unknown.
    pub(crate) leader_epoch: i32,
    /// Text of the client.
    pub(crate) metadata: String,
}

impl Committed {
    /// Whether this is the commit of a row. Brokers before 2.1 tell no epoch.
    #[must_use]
    pub(crate) fn is(&self, row: &Row, extras: Option<&Extras>) -> bool {
        row.has_values(extras, self.offset, self.leader_epoch, &self.metadata)
    }
}

/// A request to show what a log partition holds below an offset, whatever transaction is open.
#[derive(Debug)]
pub(crate) struct Settle {
    /// Partition of `__consumer_offsets`.
    pub(crate) log_partition: i32,
    /// High watermark up to which records are shown.
    pub(crate) target: i64,
    /// Only this (group, topic, partition).
    pub(crate) key: Option<(Name, Name, i32)>,
    /// Told when the shard shows it. A transaction that is not decided is waited for.
    pub(crate) done: oneshot::Sender<Result<(), AskError>>,
}

/// Why a source does not answer a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Nothing reads the cluster.
    #[error("cluster {cluster} is not connected")]
    NotConnected {
        /// Name of the cluster.
        cluster: Name,
    },
    /// No broker of the cluster can be reached.
    #[error("cluster {cluster} cannot be reached: {reason}")]
    Unreachable {
        /// Name of the cluster.
        cluster: Name,
        /// The last failure.
        reason: String,
    },
    /// The source does not ask coordinators.
    #[error("the coordinator of group {group:?} is not asked")]
    NotAsked {
        /// Id of the group.
        group: Name,
    },
    /// The client cannot be made, or does not take the request.
    #[error("{reason}")]
    Client {
        /// The client's words.
        reason: String,
    },
    /// A broker did not answer, or answered with an error.
    #[error("{reason}")]
    Broker {
        /// The error's words.
        reason: String,
    },
    /// There was no answer in time.
    #[error("no answer from the cluster within {after:?}")]
    Timeout {
        /// The time that was allowed.
        after: Duration,
    },
    /// The answer is not of the kind that was asked for, or not about what was asked for.
    #[error("the answer does not say it")]
    NoAnswer,
    /// More commits than fit into memory lie behind an open transaction.
    #[error("too many commits behind an open transaction to keep them all")]
    TooManyCommits,
    /// Too many callers wait for what lies behind open transactions.
    #[error("{waiting} requests wait already for commits behind open transactions; try again later")]
    Busy {
        /// How many requests wait.
        waiting: usize,
    },
    /// A log partition could not be asked about.
    #[error("log partition {log_partition}: {cause}")]
    LogPartition {
        /// Partition of `__consumer_offsets`.
        log_partition: i32,
        /// Why.
        cause: Arc<AskError>,
    },
    /// The coordinator of a group does not tell.
    #[error("the coordinator of group {group:?} refuses to tell: {cause}")]
    Coordinator {
        /// Id of the group.
        group: Name,
        /// Why.
        cause: Arc<AskError>,
    },
}

impl AskError {
    /// A broker's error, in its words.
    #[must_use]
    pub fn broker(error: impl fmt::Display) -> Self {
        Self::Broker { reason: error.to_string() }
    }

    /// The error of one log partition.
    #[must_use]
    pub fn in_log_partition(self, log_partition: i32) -> Self {
        Self::LogPartition { log_partition, cause: Arc::new(self) }
    }
}

impl From<AskError> for SourceError {
    fn from(error: AskError) -> Self {
        Self::Unreachable { reason: error.to_string() }
    }
}
