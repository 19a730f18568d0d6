//! Queries of the present state of a log, and their errors.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use crate::{
    model::Name,
    store::{
        group::{Extras, Row},
        latest::SourceError,
    },
};

/// Queries the present state of a cluster. Methods block, so async code must not call them.
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

    /// Returns all committed offsets of a group from its coordinator.
    ///
    /// # Errors
    /// The coordinator returns no offsets.
    fn committed(&self, _group: &str) -> Result<Vec<CommittedKey>, AskError> {
        Err(AskError::NoAnswer)
    }

    /// Closes the connections to coordinators until the next request.
    fn rest(&self) {}
}

/// The end of each log partition, or why it is not known.
pub(crate) type LogEnds = BTreeMap<i32, Result<i64, AskError>>;

/// A topic, a partition, and the committed offset.
pub(crate) type CommittedKey = (String, i32, Committed);

/// A committed offset as the group's coordinator returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The offset.
    pub(crate) offset: i64,
    /// Epoch of the last consumed record; -1 is unknown.
    pub(crate) leader_epoch: i32,
    /// Metadata string of the client.
    pub(crate) metadata: String,
}

impl Committed {
    /// Whether this is the commit of a row. Brokers before 2.1 return no epoch.
    #[must_use]
    pub(crate) fn is(&self, row: &Row, rare: Option<&Extras>) -> bool {
        row.has_values(rare, self.offset, self.leader_epoch, &self.metadata)
    }
}

/// Error of a query.
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
    /// The response is of another kind, or about something else.
    #[error("the answer does not say it")]
    NoAnswer,
    /// A log partition could not be asked about.
    #[error("log partition {log_partition}: {cause}")]
    LogPartition {
        /// Partition of `__consumer_offsets`.
        log_partition: i32,
        /// Why.
        cause: Arc<AskError>,
    },
    /// The coordinator of a group returns no offsets.
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

    /// The error of the coordinator of a group, for readers.
    #[must_use]
    pub fn of_group(&self, group: &Name) -> SourceError {
        Self::Coordinator { group: Name::clone(group), cause: Arc::new(self.clone()) }.into()
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
