//! `__consumer_offsets` as it stands, record by record: for those who want to see the log itself.

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
    source::kafka::ask::{AskError, LogEnds},
};

/// Bound of each question.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Messages of one fetch.
const BATCH: usize = 1000;
/// Longest wait for messages.
const WAIT: Duration = Duration::from_millis(100);
/// So many waits in vain, and the cluster is taken to be gone.
const PATIENCE: u32 = 300;

/// A record where it stands.
#[derive(Clone, Copy, Debug)]
pub struct LogRecord<'a> {
    /// Partition of `__consumer_offsets`.
    pub log_partition: i32,
    /// Its offset there.
    pub log_offset: i64,
    /// When the broker wrote it, if it says.
    pub at: Option<Millis>,
    /// Bytes of the key.
    pub key: Option<&'a [u8]>,
    /// Bytes of the value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// What to read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    /// Only the log partition of this group; others may have records there too.
    pub group: Option<&'a str>,
    /// Go on at the present end.
    pub follow: bool,
}

/// Reads the log from its start to its present end, or on. In order within a log partition; records
/// of aborted transactions are left out. Joins no group, writes nothing, creates no topic. Blocks.
///
/// `each` gets a batch of records at a time, none while nothing comes, and says when to stop.
///
/// # Errors
/// What keeps it from reading on.
pub fn read(
    cluster: &config::Cluster,
    scope: Scope<'_>,
    mut each: impl FnMut(&mut dyn Iterator<Item = LogRecord<'_>>) -> ControlFlow<()>,
) -> Result<(), AskError> {
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
    let mut in_vain = 0;
    while !open.is_empty() {
        fetcher.serve();
        let batch = fetcher.fetch(WAIT);
        if each(&mut batch.messages().iter().filter_map(|message| wanted(message, &open, scope.follow))).is_break() {
            return Ok(());
        }
        in_vain = if batch.messages().is_empty() { in_vain + 1 } else { 0 };
        for message in batch.messages() {
            let next = match message.content() {
                Content::Record { .. } => message.offset() + 1,
                Content::End => message.offset(),
                Content::Reset => return Err(failed(message, "it moved while it was read")),
                Content::Failure(error) => return Err(failed(message, describe(error))),
            };
            if !scope.follow && open.get(&message.partition()).is_some_and(|(_, end)| next >= *end) {
                open.remove(&message.partition());
            }
        }
        if in_vain >= PATIENCE && !scope.follow {
            let reason = client.context().last_error();
            return Err(AskError::broker(reason.as_deref().unwrap_or("nothing more comes from the cluster")));
        }
    }
    Ok(())
}

fn failed(message: &Message, reason: impl Display) -> AskError {
    AskError::broker(reason).in_log_partition(message.partition())
}

/// The message as a record, unless it lies beyond the end of what was asked for.
fn wanted<'m>(message: &'m Message, open: &BTreeMap<i32, (i64, i64)>, follow: bool) -> Option<LogRecord<'m>> {
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

/// The log partitions to read.
fn partitions(client: &Client, group: Option<&str>) -> Result<Vec<i32>, AskError> {
    // Of all topics: to ask for one by name may create it.
    let metadata = client.metadata(None, TIMEOUT)?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == OFFSETS_TOPIC);
    let count = topic.map_or(0, |topic| topic.partitions().len());
    let count = i32::try_from(count).ok().filter(|count| *count > 0).ok_or_else(|| {
        AskError::broker(format_args!(
            "the cluster shows no topic {OFFSETS_TOPIC}: no group has committed yet, or the user may not describe it"
        ))
    })?;
    match group {
        None => Ok((0..count).collect()),
        Some(group) => Ok(log_partition_for(group, count).into_iter().collect()),
    }
}

/// Where each log partition starts, and ends at present.
fn ranges(client: &Client, partitions: &[i32]) -> Result<BTreeMap<i32, (i64, i64)>, AskError> {
    let first = log_ends(client, Spec::Earliest, partitions, TIMEOUT)?;
    let last = log_ends(client, Spec::LatestCommitted, partitions, TIMEOUT)?;
    let range = |partition: &i32| {
        let of = |ends: &LogEnds| {
            let end = ends.get(partition).cloned().unwrap_or(Err(AskError::NoAnswer));
            end.map_err(|error| error.in_log_partition(*partition))
        };
        Ok((*partition, (of(&first)?, of(&last)?)))
    };
    partitions.iter().map(range).collect()
}
