//! The consumer that reads behind transactions, and what it found.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    super::{
        client::{Client, Connector},
        ffi::{Content, Fetcher, Message},
        records::offset_event,
    },
    range::{Budget, Range},
};
use crate::{
    decode::{
        self, Record,
        wire::{Context, Reader, Wire as _},
    },
    model::{Millis, OFFSETS_TOPIC, Revision},
    source::kafka::Log,
    source::kafka::ask::AskError,
    store::{cluster::Cluster, event::Event, shard::Shard, writer::SourceWriter},
};

/// Messages of one fetch.
const BATCH: usize = 1000;
/// Memory for records behind transactions, of one cluster.
const BYTES: usize = 64 << 20;
/// How long a partition is looked behind that is not frozen any more: the next transaction may be open already.
const THAWED: Duration = Duration::from_secs(5);

/// The shards, by log partition.
pub(super) type Shards = BTreeMap<i32, Arc<Shard>>;

/// One consumer for all partitions that are frozen.
#[derive(Debug)]
pub(super) struct Look {
    cluster: Arc<Cluster>,
    log: Arc<Log>,
    writer: SourceWriter,
    pub(super) client: Client,
    fetcher: Fetcher,
    pub(super) ranges: BTreeMap<i32, Looked>,
    budget: Budget,
    idle_since: Instant,
}

/// A log partition that is looked behind.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) range: Range,
    epoch: u64,
    applied: i64,
    wanted_at: Instant,
}

impl Look {
    pub(super) fn new(
        (writer, log): (&SourceWriter, &Arc<Log>),
        connector: &Connector,
        now: Instant,
    ) -> Result<Self, AskError> {
        let client = connector.connect_uncommitted()?;
        Ok(Self {
            cluster: Arc::clone(writer.cluster()),
            log: Arc::clone(log),
            writer: writer.clone(),
            fetcher: Fetcher::new(&client, OFFSETS_TOPIC, BATCH)?,
            client,
            ranges: BTreeMap::new(),
            budget: Budget { left: BYTES },
            idle_since: now,
        })
    }

    /// Starts the partitions that are wanted, and lets go of those that are done with.
    pub(super) fn choose(&mut self, shards: &Shards, wanted: &BTreeSet<i32>, now: Instant) {
        self.client.serve();
        for number in wanted {
            let Some(shard) = shards.get(number) else { continue };
            if let Some(looked) = self.ranges.get_mut(number) {
                looked.wanted_at = now;
                continue;
            }
            let from = shard.applied().0;
            if from < 0 {
                continue;
            }
            match self.fetcher.start_at(*number, from) {
                Ok(()) => {
                    let looked = Looked { range: Range::new(from), epoch: shard.epoch, applied: from, wanted_at: now };
                    self.ranges.insert(*number, looked);
                }
                Err(error) => {
                    tracing::warn!(cluster = &*self.cluster.name, %error, "cannot look behind a transaction");
                }
            }
        }
        let mut done = vec![];
        for (number, looked) in &mut self.ranges {
            let Some(shard) = shards.get(number).filter(|shard| shard.epoch == looked.epoch) else {
                done.push(*number);
                continue;
            };
            let applied = shard.applied().0;
            if applied > looked.applied {
                looked.applied = applied;
                looked.range.prune(applied, &mut self.budget);
            }
            let thawed = now.duration_since(looked.wanted_at) >= THAWED || applied >= looked.range.read;
            if !wanted.contains(number) && thawed {
                done.push(*number);
            }
        }
        done.into_iter().for_each(|number| self.drop_range(number));
        if !self.ranges.is_empty() {
            self.idle_since = now;
        }
    }

    fn drop_range(&mut self, number: i32) {
        self.fetcher.stop(number);
        if let Some(looked) = self.ranges.remove(&number) {
            looked.range.release(&mut self.budget);
        }
    }

    pub(super) fn is_idle_for(&self, time: Duration, now: Instant) -> bool {
        now.duration_since(self.idle_since) >= time
    }

    /// Time of the first record behind the last stable offset.
    pub(super) fn first_at(&self, number: i32) -> Option<Millis> {
        self.ranges.get(&number)?.range.first_at()
    }

    /// Reads on, waiting at most so long for records.
    pub(super) fn read(&mut self, wait: Duration) {
        let batch = self.fetcher.fetch(wait);
        let mut moved = vec![];
        for message in batch.messages() {
            let number = message.partition();
            let Some(looked) = self.ranges.get_mut(&number) else { continue };
            match message.content() {
                Content::Record { key, value } => {
                    let at = message.timestamp().unwrap_or(0);
                    looked.range.saw(message.offset(), at);
                    let into =
                        Into { writer: &self.writer, log: &self.log, cluster: &self.cluster, budget: &mut self.budget };
                    take(into, looked, message, key, value, at);
                }
                Content::End => looked.range.read = looked.range.read.max(message.offset()),
                Content::Reset => moved.push(number),
                Content::Failure(_) => {}
            }
        }
        drop(batch);
        moved.into_iter().for_each(|number| self.drop_range(number));
    }
}

struct Into<'a> {
    writer: &'a SourceWriter,
    log: &'a Log,
    cluster: &'a Cluster,
    budget: &'a mut Budget,
}

/// Keeps a commit, or marks members as not known. A record that does not decode is the reader's to count.
fn take(
    into: Into<'_>,
    looked: &mut Looked,
    message: &Message,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    at: Millis,
) -> Option<()> {
    let config = &into.cluster.config;
    let revision = Revision(message.offset());
    if decode::kind(key).ok()? > 1 {
        // Every key starts with the group, whatever the type.
        let mut reader = Reader::new(key?.get(2..)?);
        let group = <&str>::read(&mut reader, Context::default()).ok()?;
        let shard = into.cluster.own.shard(message.partition())?;
        if config.groups.accepts(group) {
            shard.mark_members_stale(group, revision, at);
        }
        return Some(());
    }
    let Ok(Record::OffsetCommit { key, value, .. }) = decode::decode(key, value) else { return None };
    let kind = offset_event(&key, value.as_ref().map(|value| &value.value));
    if config.groups.accepts(key.group) && config.topics.accepts(key.topic) {
        let event = Event { revision, at, group: key.group, kind };
        let before = looked.range.overflowed;
        let dropped = looked.range.keep(&event, into.writer.names(), into.budget);
        if looked.range.overflowed && !before {
            let log_partition = message.partition();
            tracing::warn!(
                cluster = &*into.cluster.name,
                log_partition,
                "more commits behind an open transaction than fit into memory: the rest shows when it ends"
            );
        }
        into.log.counters.dropped.add(dropped);
    }
    Some(())
}
