//! Reads the raw records of `__consumer_offsets` one by one, for commands that show or test the log itself.

use std::{collections::BTreeMap, fmt::Display, ops::ControlFlow, time::Duration};

use rdkafka::consumer::Consumer as _;
use tokio_util::sync::CancellationToken;

use super::{
    client::Client,
    ffi::{Content, Fetcher, Message, Spec, describe},
    live::log_ends,
    oauth,
};
use crate::{
    config,
    model::{Millis, OFFSETS_TOPIC, log_partition_for},
    source::kafka::live_source::{PartitionEnds, RequestError},
};

/// Timeout of each request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of messages per fetch.
const BATCH: usize = 1000;
/// Longest wait for messages in one fetch.
const WAIT: Duration = Duration::from_millis(100);
/// Number of consecutive empty fetches (30 s in total) after which reading fails.
const MAX_EMPTY_FETCHES: u32 = 300;

/// A raw record with its position in the log.
#[derive(Clone, Copy, Debug)]
pub struct LogRecord<'a> {
    /// Partition of `__consumer_offsets`.
    pub log_partition: i32,
    /// Offset of the record in the log partition.
    pub log_offset: i64,
    /// Timestamp of the record, if it has one.
    pub at: Option<Millis>,
    /// Bytes of the key.
    pub key: Option<&'a [u8]>,
    /// Bytes of the value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
}

/// The part of the log to read.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogScope<'a> {
    /// Restricts reading to the log partition of this group, which other groups may share.
    pub group: Option<&'a str>,
    /// Whether to wait for new records at the current end.
    pub follow: bool,
}

/// Reads the log from its start to its current end, or beyond it if `scope.follow` is set. Records of one log partition
/// come in order; records of aborted transactions are skipped. Joins no group, writes nothing, and creates no topic.
/// Blocks the thread.
///
/// Calls `each` with each batch of records, which is empty if there are no new records. Stops if `each` returns
/// [`ControlFlow::Break`].
///
/// # Errors
/// The cluster is not reachable, the topic does not exist or is not readable, or its log was replaced while it was
/// read.
pub fn read(
    cluster: &config::Cluster,
    scope: LogScope<'_>,
    mut each: impl FnMut(&mut dyn Iterator<Item = LogRecord<'_>>) -> ControlFlow<()>,
) -> Result<(), RequestError> {
    let client = oauth::connector(cluster, CancellationToken::new()).connect()?;
    let partitions = partitions(&client, scope.group)?;
    let mut open = ranges(&client, &partitions)?;
    if !scope.follow {
        open.retain(|_, (start, end)| start < end);
    }
    let mut fetcher = Fetcher::new(&client, OFFSETS_TOPIC, BATCH)?;
    for partition in open.keys() {
        fetcher.start(*partition)?;
    }
    let mut empty_fetches = 0;
    while !open.is_empty() {
        fetcher.serve();
        let batch = fetcher.fetch(WAIT);
        if each(&mut batch.messages().iter().filter_map(|message| to_record(message, &open, scope.follow))).is_break() {
            return Ok(());
        }
        empty_fetches = if batch.messages().is_empty() { empty_fetches + 1 } else { 0 };
        for message in batch.messages() {
            let next = match message.content() {
                Content::Record { .. } => message.offset() + 1,
                Content::End => message.offset(),
                Content::Reset => return Err(failed(message, "the log was truncated or replaced while it was read")),
                Content::Failure(error) => return Err(failed(message, describe(error))),
            };
            if !scope.follow && open.get(&message.partition()).is_some_and(|(_, end)| next >= *end) {
                open.remove(&message.partition());
            }
        }
        if empty_fetches >= MAX_EMPTY_FETCHES && !scope.follow {
            let reason = client.context().last_error();
            return Err(RequestError::broker(
                reason.as_deref().unwrap_or("the cluster returned no more records for 30 s"),
            ));
        }
    }
    Ok(())
}

fn failed(message: &Message, reason: impl Display) -> RequestError {
    RequestError::broker(reason).in_log_partition(message.partition())
}

/// Converts a message to a record. Returns `None` for other events and for records beyond the end to read to.
fn to_record<'m>(message: &'m Message, open: &BTreeMap<i32, (i64, i64)>, follow: bool) -> Option<LogRecord<'m>> {
    let Content::Record { key, value } = message.content() else { return None };
    let (_, end) = open.get(&message.partition())?;
    (follow || message.offset() < *end).then(|| LogRecord {
        log_partition: message.partition(),
        log_offset: message.offset(),
        at: message.timestamp(),
        key,
        value,
    })
}

/// Returns the numbers of the log partitions to read.
fn partitions(client: &Client, group: Option<&str>) -> Result<Vec<i32>, RequestError> {
    // Request the metadata of all topics, because a request for one topic by name may create it.
    let metadata = client.metadata(None, TIMEOUT)?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == OFFSETS_TOPIC);
    let count = topic.map_or(0, |topic| topic.partitions().len());
    let count = i32::try_from(count).ok().filter(|count| *count > 0).ok_or_else(|| {
        RequestError::broker(format_args!(
            "topic {OFFSETS_TOPIC} not found: no group has committed yet, or the user may not describe the topic"
        ))
    })?;
    match group {
        None => Ok((0..count).collect()),
        Some(group) => Ok(log_partition_for(group, count).into_iter().collect()),
    }
}

/// Returns the first offset and the current end of each log partition.
fn ranges(client: &Client, partitions: &[i32]) -> Result<BTreeMap<i32, (i64, i64)>, RequestError> {
    let first = log_ends(client, Spec::Earliest, partitions, TIMEOUT)?;
    let last = log_ends(client, Spec::LatestCommitted, partitions, TIMEOUT)?;
    let range = |partition: &i32| {
        let of = |ends: &PartitionEnds| {
            let end = ends.get(partition).cloned().unwrap_or(Err(RequestError::UnexpectedResponse));
            end.map_err(|error| error.in_log_partition(*partition))
        };
        Ok((*partition, (of(&first)?, of(&last)?)))
    };
    partitions.iter().map(range).collect()
}
