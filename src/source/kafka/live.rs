//! The client that requests the current state of a cluster on behalf of waiting callers.

use std::{ffi::CStr, thread, time::Duration};

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode;

use super::{
    client::{Client, Connector},
    coordinator::Coordinators,
    ffi::{Admin, ListedOffset, ReplyContent, Spec},
    now,
};
use crate::source::kafka::live_source::{CommittedKey, LiveSource, PartitionEnds, RequestError};

/// Time beyond the timeout of a request during which its response or error is still awaited.
const GRACE: Duration = Duration::from_secs(1);
/// Pause before a request is repeated because a partition has no leader.
const LEADER_RETRY: Duration = Duration::from_millis(100);
/// Longest wait for librdkafka's events.
const TICK: Duration = Duration::from_millis(50);

/// The client for requests of waiting callers.
#[derive(Debug)]
pub(super) struct LiveClient {
    client: Client,
    coordinators: Mutex<Coordinators<()>>,
}

impl LiveClient {
    /// Creates a client that requests log ends through `client`.
    pub(super) fn new(client: Client, connector: Connector) -> Self {
        Self { client, coordinators: Mutex::new(Coordinators::new(connector, usize::MAX)) }
    }
}

impl LiveSource for LiveClient {
    fn log_ends(&self, log_partitions: &[i32], timeout: Duration) -> Result<PartitionEnds, RequestError> {
        log_ends(&self.client, Spec::Latest, log_partitions, timeout)
    }

    fn log_partitions(&self, timeout: Duration) -> Result<Option<i32>, RequestError> {
        self.client.refresh_log_metadata(timeout).map(|count| i32::try_from(count).ok())
    }

    fn committed(&self, group: &str) -> Result<Vec<CommittedKey>, RequestError> {
        self.coordinators.lock().committed(group)
    }

    fn disconnect(&self) {
        // A connected client would search for its coordinator again, which creates `__consumer_offsets` if it was
        // deleted.
        self.coordinators.lock().disconnect();
    }
}

/// Requests offsets of partitions of `__consumer_offsets`, and waits for them. After a restart of a broker, a partition
/// may have no leader, or another one than the client knows; then the request is repeated until the deadline.
pub(super) fn log_ends(
    client: &Client,
    spec: Spec,
    log_partitions: &[i32],
    timeout: Duration,
) -> Result<PartitionEnds, RequestError> {
    let deadline = now() + timeout;
    loop {
        let listed = list_offsets(client, spec, log_partitions, deadline.duration_since(now()))?;
        let is_leader_change = |of: &ListedOffset| of.result.is_err_and(is_leader_change);
        if !listed.iter().any(is_leader_change) || now() + LEADER_RETRY >= deadline {
            let end = |of: ListedOffset| (of.partition, of.result.map(|(end, _)| end).map_err(RequestError::broker));
            return Ok(listed.into_iter().map(end).collect());
        }
        thread::sleep(LEADER_RETRY);
    }
}

/// Returns whether the error is temporary because the partition gets another leader.
fn is_leader_change(error: RDKafkaErrorCode) -> bool {
    matches!(error, RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable)
}

/// Sends one ListOffsets request, and waits for the response.
fn list_offsets(
    client: &Client,
    spec: Spec,
    log_partitions: &[i32],
    timeout: Duration,
) -> Result<Vec<ListedOffset>, RequestError> {
    let admin = Admin::new(client);
    let partitions: Vec<(&CStr, i32)> = log_partitions.iter().map(|number| (c"__consumer_offsets", *number)).collect();
    admin.list_offsets(0, spec, &partitions, timeout);
    let deadline = now() + timeout + GRACE;
    loop {
        match admin.poll(TICK).map(|reply| reply.content) {
            Some(Ok(ReplyContent::Offsets(listed))) => return Ok(listed),
            Some(Ok(_)) => return Err(RequestError::UnexpectedResponse),
            Some(Err(error)) => return Err(error),
            None if now() > deadline => return Err(RequestError::Timeout { after: timeout }),
            None => {}
        }
    }
}
