//! The read_uncommitted consumer of the frozen log partitions.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    super::{
        admin::Schedule,
        client::{Client, Connector},
        counters::Counters,
        ffi::{Content, Fetcher},
        live_source::RequestError,
        records::offset_event,
    },
    blocked_range::BlockedRange,
};
use crate::{
    decode::{self, Record},
    model::{OFFSETS_TOPIC, Revision},
    store::{event::Event, source::Source, writer::SourceWriter},
};

/// Maximum number of messages of a fetch.
const MAX_BATCH: usize = 1000;
/// Memory for the records of one cluster.
const MAX_BYTES: usize = 64 << 20;
/// Time for which a partition is read after it was needed: the next transaction may be open already.
const PARTITION_LINGER: Duration = Duration::from_secs(5);

/// One consumer for all frozen partitions.
#[derive(Debug)]
pub(super) struct TransactionReader {
    pub(super) client: Client,
    fetcher: Fetcher,
    pub(super) ranges: BTreeMap<i32, BlockedRange>,
    /// Free memory for records, in bytes.
    free_bytes: usize,
    /// Time at which a partition was last read.
    pub(super) idle_since: Instant,
}

impl TransactionReader {
    /// Connects a read_uncommitted consumer that reads no partition yet.
    ///
    /// # Errors
    /// The client cannot be created.
    pub(super) fn new(connector: &Connector, now: Instant) -> Result<Self, RequestError> {
        let client = connector.connect_uncommitted()?;
        Ok(Self {
            fetcher: Fetcher::new(&client, OFFSETS_TOPIC, MAX_BATCH)?,
            client,
            ranges: BTreeMap::new(),
            free_bytes: MAX_BYTES,
            idle_since: now,
        })
    }

    /// Starts the partitions that are needed, drops records that the poll threads have applied, and stops other
    /// partitions.
    pub(super) fn select(&mut self, source: &Source, needed: &BTreeSet<i32>, now: Instant) {
        self.client.serve();
        let Self { fetcher, ranges, free_bytes, .. } = self;
        ranges.retain(|number, range| {
            let shard = source.shard(*number).filter(|shard| range.epoch == Some(shard.epoch));
            let is_needed = shard.is_some_and(|shard| {
                let applied = shard.applied().0;
                range.prune(applied, free_bytes);
                let is_unused = now.duration_since(range.needed_at) >= PARTITION_LINGER || applied >= range.next_offset;
                needed.contains(number) || !is_unused
            });
            if !is_needed {
                fetcher.stop(*number);
                *free_bytes += range.bytes;
            }
            is_needed
        });
        for shard in needed.iter().filter_map(|number| source.shard(*number)) {
            let (number, from) = (shard.key.number, shard.applied().0);
            if let Some(range) = ranges.get_mut(&number) {
                range.needed_at = now;
            } else if from >= 0 {
                match fetcher.start_at(number, from) {
                    Ok(()) => drop(ranges.insert(number, BlockedRange::new(from, shard.epoch, now))),
                    Err(error) => {
                        tracing::warn!(
                            cluster = &*source.id.cluster,
                            %error,
                            "cannot read the records behind an open transaction; retrying"
                        );
                    }
                }
            }
        }
        if !self.ranges.is_empty() {
            self.idle_since = now;
        }
    }

    /// Fetches records, waiting at most `wait`. Adds groups with new records to `groups`.
    pub(super) fn read(
        &mut self,
        wait: Duration,
        (writer, counters): (&SourceWriter, &Counters),
        groups: &mut Schedule,
        now: Instant,
    ) {
        let cluster = writer.cluster();
        let config = &cluster.config;
        for message in self.fetcher.fetch(wait).messages() {
            let number = message.partition();
            let Some(range) = self.ranges.get_mut(&number) else { continue };
            let (key, value) = match message.content() {
                Content::Record { key, value } => (key, value),
                Content::End => {
                    range.next_offset = range.next_offset.max(message.offset());
                    continue;
                }
                Content::Reset => {
                    range.epoch = None;
                    continue;
                }
                Content::Failure(_) => continue,
            };
            let (revision, at) = (Revision(message.offset()), message.timestamp().unwrap_or(0));
            range.next_offset = range.next_offset.max(message.offset() + 1);
            if decode::kind(key).is_ok_and(|kind| kind > 1) {
                let group = decode::group(key).filter(|group| config.groups.accepts(group));
                if let Some((group, shard)) = group.zip(cluster.own.shard(number)) {
                    shard.mark_members_stale(group, revision, at);
                }
                continue;
            }
            // The poll thread counts records that do not decode.
            let Ok(Record::OffsetCommit { key, value, .. }) = decode::decode(key, value) else { continue };
            if !config.groups.accepts(key.group) || !config.topics.accepts(key.topic) {
                continue;
            }
            let kind = offset_event(&key, value.as_ref().map(|value| &value.value));
            let (event, had_overflowed) = (Event { revision, at, group: key.group, kind }, range.overflowed);
            counters.dropped.add(range.add(&event, writer.names(), &mut self.free_bytes));
            groups.add(&writer.names().intern(key.group), now);
            if range.overflowed && !had_overflowed {
                tracing::warn!(
                    cluster = &*cluster.name,
                    log_partition = number,
                    "too many commits behind an open transaction for the memory limit; the rest appears when it ends"
                );
            }
        }
    }
}
