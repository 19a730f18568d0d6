//! The interface that requests the current state of a cluster, and its errors.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use crate::{
    model::Name,
    store::{
        group::{Extras, Row},
        latest::SourceError,
    },
};

/// Requests the current state of a cluster. Methods block, so async code must not call them.
pub(crate) trait LiveSource: Send + Sync + fmt::Debug {
    /// Returns the high watermark of each log partition, within `timeout`.
    ///
    /// # Errors
    /// The cluster does not respond, or returns an error.
    fn log_ends(&self, log_partitions: &[i32], timeout: Duration) -> Result<PartitionEnds, RequestError>;

    /// Returns the number of log partitions, or `None` if the implementation does not know it.
    ///
    /// # Errors
    /// The cluster does not respond, or returns an error.
    fn log_partitions(&self, _timeout: Duration) -> Result<Option<i32>, RequestError> {
        Ok(None)
    }

    /// Returns all committed offsets of a group from its coordinator.
    ///
    /// # Errors
    /// The coordinator returns no offsets.
    fn committed(&self, _group: &str) -> Result<Vec<CommittedKey>, RequestError> {
        Err(RequestError::UnexpectedResponse)
    }

    /// Closes the connections to coordinators. The next request opens them again.
    fn disconnect(&self) {}
}

/// The end of each log partition, or the error of its request.
pub(crate) type PartitionEnds = BTreeMap<i32, Result<i64, RequestError>>;

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
    /// Returns whether this equals the commit of a row. Brokers before 2.1 return no epoch.
    #[must_use]
    pub(crate) fn equals_row(&self, row: &Row, extras: Option<&Extras>) -> bool {
        row.has_values(extras, self.offset, self.leader_epoch, &self.metadata)
    }
}

/// Error of a request to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No task reads the cluster.
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
    /// The client cannot be created, or refuses the request.
    #[error("{reason}")]
    Client {
        /// The error text of the client.
        reason: String,
    },
    /// A broker did not respond, or returned an error.
    #[error("{reason}")]
    Broker {
        /// The error text of the broker.
        reason: String,
    },
    /// No response arrived before the timeout.
    #[error("no response from the cluster within {after:?}")]
    Timeout {
        /// The timeout.
        after: Duration,
    },
    /// The response has another type, or does not contain the requested object.
    #[error("the response does not contain the requested value")]
    UnexpectedResponse,
    /// The request about a log partition failed.
    #[error("log partition {log_partition}: {cause}")]
    LogPartition {
        /// Partition of `__consumer_offsets`.
        log_partition: i32,
        /// The error of the request.
        cause: Arc<RequestError>,
    },
    /// The coordinator of a group returns no offsets.
    #[error("the coordinator of group {group:?} returned no committed offsets: {cause}")]
    Coordinator {
        /// Id of the group.
        group: Name,
        /// The error of the request.
        cause: Arc<RequestError>,
    },
}

impl RequestError {
    /// Returns the error of a broker with the given text.
    #[must_use]
    pub fn broker(error: impl fmt::Display) -> Self {
        Self::Broker { reason: error.to_string() }
    }

    /// Returns this error as the error of a group's coordinator, for readers.
    #[must_use]
    pub fn of_group(&self, group: &Name) -> SourceError {
        Self::Coordinator { group: Name::clone(group), cause: Arc::new(self.clone()) }.into()
    }

    /// Returns this error as the error of one log partition.
    #[must_use]
    pub fn in_log_partition(self, log_partition: i32) -> Self {
        Self::LogPartition { log_partition, cause: Arc::new(self) }
    }
}

impl From<RequestError> for SourceError {
    fn from(error: RequestError) -> Self {
        Self::Unreachable { reason: error.to_string() }
    }
}
