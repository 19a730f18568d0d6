//! Answers callers that want to know the present state of the cluster.

use std::{ffi::CStr, thread, time::Duration};

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode;

use super::{
    client::{Client, Connector},
    coordinator::Coordinators,
    ffi::{Admin, ListedOffset, ReplyContent, Spec},
    now,
};
use crate::source::kafka::ask::{AskError, CommittedKey, LiveSource, LogEnds};

/// How long a failed request to a broker is waited for beyond its timeout.
const GRACE: Duration = Duration::from_secs(1);
/// The pause before partitions without a leader are asked for again.
const AGAIN: Duration = Duration::from_millis(100);
/// Longest wait for librdkafka's events.
const TICK: Duration = Duration::from_millis(50);

/// What is asked on behalf of callers that wait.
#[derive(Debug)]
pub(super) struct Live {
    client: Client,
    coordinators: Mutex<Coordinators<()>>,
}

impl Live {
    /// Asks for log ends through `client`.
    pub(super) fn new(client: Client, connector: Connector) -> Self {
        Self { client, coordinators: Mutex::new(Coordinators::new(connector, usize::MAX)) }
    }
}

impl LiveSource for Live {
    fn log_ends(&self, log_partitions: &[i32], timeout: Duration) -> Result<LogEnds, AskError> {
        log_ends(&self.client, Spec::Latest, log_partitions, timeout)
    }

    fn log_partitions(&self, timeout: Duration) -> Result<Option<i32>, AskError> {
        self.client.refresh_log_metadata(timeout).map(|count| i32::try_from(count).ok())
    }

    fn committed(&self, group: &str) -> Result<Vec<CommittedKey>, AskError> {
        self.coordinators.lock().committed(group)
    }

    fn rest(&self) {
        // Nor should the client go on looking for its coordinator, which makes `__consumer_offsets` where it was deleted.
        self.coordinators.lock().disconnect();
    }
}

/// Asks for offsets of partitions of `__consumer_offsets`, and waits. After a broker was restarted, the client asks the
/// former leader, or there is none: it is asked again until there is.
pub(super) fn log_ends(
    client: &Client,
    spec: Spec,
    log_partitions: &[i32],
    timeout: Duration,
) -> Result<LogEnds, AskError> {
    let deadline = now() + timeout;
    loop {
        let listed = list_offsets(client, spec, log_partitions, deadline.duration_since(now()))?;
        let is_passing = |of: &ListedOffset| of.result.is_err_and(is_passing);
        if !listed.iter().any(is_passing) || now() + AGAIN >= deadline {
            let end = |of: ListedOffset| (of.partition, of.result.map(|(end, _)| end).map_err(AskError::broker));
            return Ok(listed.into_iter().map(end).collect());
        }
        thread::sleep(AGAIN);
    }
}

/// Whether the partition is about to have another leader.
fn is_passing(error: RDKafkaErrorCode) -> bool {
    matches!(error, RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable)
}

fn list_offsets(
    client: &Client,
    spec: Spec,
    log_partitions: &[i32],
    timeout: Duration,
) -> Result<Vec<ListedOffset>, AskError> {
    let admin = Admin::new(client);
    let partitions: Vec<(&CStr, i32)> = log_partitions.iter().map(|number| (c"__consumer_offsets", *number)).collect();
    admin.list_offsets(0, spec, &partitions, timeout);
    let deadline = now() + timeout + GRACE;
    loop {
        match admin.poll(TICK).map(|reply| reply.content) {
            Some(Ok(ReplyContent::Offsets(listed))) => return Ok(listed),
            Some(Ok(_)) => return Err(AskError::NoAnswer),
            Some(Err(error)) => return Err(error),
            None if now() > deadline => return Err(AskError::Timeout { after: timeout }),
            None => {}
        }
    }
}
