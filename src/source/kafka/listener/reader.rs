//! A poll thread: fetches its slice of the log partitions and applies it, in log order.
//!
//! The thread that fetched a batch decodes it from borrowed bytes and applies it to its own shards:
//! no channel, no second queue.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use rdkafka::types::RDKafkaRespErr;
use tokio_util::sync::CancellationToken;

use super::super::{
    client::Client,
    ffi::{Batch, Content, Fetcher, Message, describe},
    identity::Identity,
    now, rights,
};
use crate::{
    decode::{
        self, Record,
        schema::{OffsetCommitKey, OffsetCommitValue},
    },
    model::{Name, OFFSETS_TOPIC},
    store::{
        Store,
        cluster::Cluster,
        event::{Event, EventKind},
        group::Commit,
        membership,
        shard::Shard,
    },
};

/// Messages of one fetch: few enough to stay in a core's cache from one look at them to the next.
const BATCH: usize = 1024;
/// Records applied under one hold of a shard's lock.
const RUN: usize = 256;
/// Longest wait for messages before looking at commands.
const WAIT: Duration = Duration::from_millis(50);
/// How soon a partition is tried again that may not be read.
const RETRY: Duration = Duration::from_secs(2);
/// How often a kind of bad record is logged at most.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// A partition to read from its first offset.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// An empty shard.
    pub(super) shard: Arc<Shard>,
    /// The end captured at the start: records from there on are news.
    pub(super) live_from: i64,
    /// Readers keep the shard before until this one is loaded.
    pub(super) aside: bool,
}

/// What a poll thread is told.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Start(Load),
    /// The partition is no more.
    Stop(i32),
}

/// A poll thread's state.
#[derive(Debug)]
pub(super) struct Reader {
    store: Arc<Store>,
    cluster: Arc<Cluster>,
    client: Client,
    identity: Arc<Identity>,
    fetcher: Fetcher,
    commands: mpsc::Receiver<Command>,
    moved: mpsc::Sender<i32>,
    partitions: HashMap<i32, Load>,
    /// Partitions that may not be read, and when that is tried again.
    refused: HashMap<i32, Instant>,
    logged: Logged,
}

impl Reader {
    pub(super) fn new(
        store: &Arc<Store>,
        cluster: &Arc<Cluster>,
        (client, identity): (Client, Arc<Identity>),
        commands: mpsc::Receiver<Command>,
        moved: mpsc::Sender<i32>,
    ) -> Result<Self, String> {
        let fetcher = Fetcher::new(&client, OFFSETS_TOPIC, BATCH).ok_or("librdkafka refuses the topic")?;
        Ok(Self {
            store: Arc::clone(store),
            cluster: Arc::clone(cluster),
            client,
            identity,
            fetcher,
            commands,
            moved,
            partitions: HashMap::new(),
            refused: HashMap::new(),
            logged: Logged::default(),
        })
    }

    pub(super) fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            loop {
                match self.commands.try_recv() {
                    Ok(Command::Start(load)) => self.start(load),
                    Ok(Command::Stop(partition)) => {
                        self.fetcher.stop(partition);
                        self.partitions.remove(&partition);
                    }
                    Err(mpsc::TryRecvError::Empty) => break,
                    // Another reader takes over.
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
            self.retry_refused();
            self.fetcher.serve();
            let batch = self.fetcher.fetch(WAIT);
            // Fetched by topic id, so the metadata that names the topic came before.
            if !self.identity.holds(&self.client) {
                return;
            }
            let mut applier = Applier {
                store: &self.store,
                cluster: &self.cluster,
                partitions: &mut self.partitions,
                logged: &mut self.logged,
                refused: &mut self.refused,
                moved: vec![],
            };
            applier.apply_batch(&batch);
            let moved = applier.moved;
            drop(batch);
            for partition in moved {
                self.fetcher.stop(partition);
                self.partitions.remove(&partition);
                // The listener outlives its readers.
                let _ = self.moved.send(partition);
            }
        }
    }

    /// librdkafka tells once that a partition may not be read, and nothing when it may be again and has not moved.
    fn retry_refused(&mut self) {
        let due: Vec<i32> = self.refused.iter().filter(|(_, at)| now() >= **at).map(|(number, _)| *number).collect();
        for partition in due {
            self.refused.remove(&partition);
            let refused = self.partitions.get(&partition).filter(|load| load.shard.progress.is_refused()).cloned();
            if let Some(load) = refused {
                self.start(load);
                self.refused.insert(partition, now() + RETRY);
            }
        }
    }

    fn start(&mut self, load: Load) {
        let partition = load.shard.key.log_partition;
        self.fetcher.stop(partition);
        // What was applied need not be read again.
        let applied = load.shard.applied();
        let started =
            if applied < 0 { self.fetcher.start(partition) } else { self.fetcher.start_at(partition, applied) };
        if let Err(error) = started {
            load.shard.progress.set_error(Some(error));
        }
        self.partitions.insert(partition, load);
    }
}

/// What applying a batch needs, beside the fetcher that owns the batch.
struct Applier<'a> {
    store: &'a Store,
    cluster: &'a Cluster,
    partitions: &'a mut HashMap<i32, Load>,
    logged: &'a mut Logged,
    refused: &'a mut HashMap<i32, Instant>,
    moved: Vec<i32>,
}

/// Counts of a run.
#[derive(Default)]
struct Seen {
    records: u64,
    tombstones: u64,
    applied: i64,
}

impl Applier<'_> {
    fn apply_batch(&mut self, batch: &Batch<'_>) {
        for run in batch.messages().chunk_by(|left, right| left.partition() == right.partition()) {
            run.chunks(RUN).for_each(|run| self.apply_run(run));
        }
    }

    /// Applies messages of one partition.
    fn apply_run(&mut self, run: &[Message]) {
        let Some(load) = run.first().and_then(|first| self.partitions.get(&first.partition())).cloned() else { return };
        let mut events = Vec::with_capacity(run.len());
        let mut seen = Seen { applied: -1, ..Seen::default() };
        for message in run {
            match message.content() {
                Content::Record { key, value } => {
                    seen.records += 1;
                    seen.tombstones += u64::from(value.is_none());
                    seen.applied = message.offset() + 1;
                    events.extend(self.event(&load.shard, message, key, value));
                }
                // Control records and compacted tails lie before it, and yield no record.
                Content::End => seen.applied = seen.applied.max(message.offset()),
                Content::Reset => self.moved.push(message.partition()),
                Content::Failure(error) => self.note_failure(message.partition(), &load.shard, error),
            }
        }
        load.shard.apply(&events, load.live_from);
        let last_record_at = (seen.records > 0).then(|| run.iter().rev().find_map(Message::timestamp)).flatten();
        load.shard.progress.count(seen.records, seen.tombstones, last_record_at);
        if seen.applied >= 0 {
            load.shard.progress.set_error(None);
            load.shard.set_applied(seen.applied);
        }
        if load.aside && load.shard.applied() >= load.live_from {
            self.store.publish(&load.shard);
            self.partitions.insert(load.shard.key.log_partition, Load { aside: false, ..load });
        }
    }

    fn note_failure(&mut self, partition: i32, shard: &Shard, error: RDKafkaRespErr) {
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED {
            shard.progress.refuse(rights::cannot_read(&self.cluster.config));
            self.refused.entry(partition).or_insert_with(|| now() + RETRY);
        } else {
            shard.progress.set_error(Some(describe(error)));
        }
    }

    /// What a record says; `None` when it is bad, of an unknown type, or of a group left out.
    fn event<'m>(
        &mut self,
        shard: &Shard,
        message: &Message,
        key: Option<&'m [u8]>,
        value: Option<&'m [u8]>,
    ) -> Option<Event<'m>> {
        let log_offset = message.offset();
        let decoded = decode::decode_counted(key, value).inspect(|(_, left)| {
            if *left > 0 {
                shard.progress.left_over();
            }
        });
        let (group, kind) = match decoded.map(|(record, _)| record) {
            Ok(Record::OffsetCommit { key, value, .. }) => {
                (key.group, offset_event(&key, value.as_ref().map(|value| &value.value)))
            }
            Ok(Record::GroupMetadata { key, value }) => {
                let intern = |text: &str| self.store.names().intern(text);
                let members =
                    value.map(|value| Arc::new(membership::classic::membership(&value.value, log_offset, &intern)));
                (key.group, EventKind::Classic(members))
            }
            Ok(Record::Unknown { kind }) => {
                shard.progress.unknown_type(kind);
                return None;
            }
            Ok(record) => {
                let intern = |text: &str| self.store.names().intern(text);
                let (group, kind, piece) = membership::decoded::piece(&record, &intern)?;
                (group, EventKind::Piece(kind, Box::new(piece)))
            }
            Err(error) => {
                shard.progress.decode_error(error.fault());
                let partition = shard.key.log_partition;
                self.logged.bad_record(&self.cluster.name, partition, log_offset, &error);
                return None;
            }
        };
        // Only deletions show the record's time; asking for it is a call into C.
        let is_deletion = value.is_none() || matches!(kind, EventKind::Delete { .. });
        let at = if is_deletion { message.timestamp().unwrap_or(0) } else { 0 };
        let config = &self.cluster.config;
        let wanted = config.groups.accepts(group)
            && match &kind {
                EventKind::Commit { topic, .. } | EventKind::Delete { topic, .. } => config.topics.accepts(topic),
                EventKind::Classic(_) | EventKind::Piece(..) => true,
            };
        wanted.then_some(Event { log_offset, at, group, kind })
    }
}

/// Returns the event of an offset record: a commit, or the removal of the offset. A committed offset below 0 removes the
/// offset too, because Kafka's clients and tools take it for none (`ListConsumerGroupOffsetsHandler`).
pub(in super::super) fn offset_event<'m>(
    key: &OffsetCommitKey<'m>,
    value: Option<&OffsetCommitValue<'m>>,
) -> EventKind<'m> {
    let (topic, partition) = (key.topic, key.partition);
    let Some(value) = value.filter(|value| value.offset >= 0) else { return EventKind::Delete { topic, partition } };
    let commit = Commit {
        committed_offset: value.offset,
        committed_at: value.commit_timestamp,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata,
        expires_at: (value.expire_timestamp >= 0).then_some(value.expire_timestamp),
        topic_id: value.topic_id.known(),
    };
    EventKind::Commit { topic, partition, commit }
}

/// When each kind of bad record was last logged, and how many were not since.
#[derive(Debug, Default)]
struct Logged(HashMap<&'static str, (Instant, u64)>);

impl Logged {
    #[expect(clippy::disallowed_methods, reason = "a rate limit of the log, part of no answer")]
    fn bad_record(&mut self, cluster: &Name, log_partition: i32, log_offset: i64, error: &decode::DecodeError) {
        let now = Instant::now();
        let (last, silent) = self.0.entry(error.fault().name()).or_insert((now, 0));
        if *last != now && now.duration_since(*last) < LOG_EVERY {
            *silent += 1;
            return;
        }
        let more = std::mem::take(silent);
        *last = now;
        tracing::warn!(cluster = &**cluster, log_partition, log_offset, %error, more, "skipped a record that does not decode");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Uuid;

    #[test]
    fn a_committed_offset_below_zero_removes_the_offset() {
        let key = OffsetCommitKey { group: "g", topic: "t", partition: 3 };
        let value = |offset| OffsetCommitValue {
            offset,
            leader_epoch: 4,
            metadata: "m",
            commit_timestamp: 5,
            expire_timestamp: -1,
            topic_id: Uuid::ZERO,
        };
        let is_deletion = |value: Option<&OffsetCommitValue<'_>>| match offset_event(&key, value) {
            EventKind::Delete { topic, partition } => (topic, partition) == ("t", 3),
            _ => false,
        };
        for offset in [-1, -2, i64::MIN] {
            assert!(is_deletion(Some(&value(offset))), "{offset}");
        }
        assert!(is_deletion(None));
        let EventKind::Commit { commit, .. } = offset_event(&key, Some(&value(0))) else { panic!("no commit") };
        assert_eq!((commit.committed_offset, commit.committed_at), (0, 5));
    }
}
