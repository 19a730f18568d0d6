//! A poll thread: fetches records of its log partitions and applies them to the shards in log order.
//!
//! The thread that fetched a batch also decodes it, from borrowed bytes, and applies it to its own shards. There is no
//! channel or second queue in between.

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
    now,
    records::offset_event,
    rights,
};
use super::ReplacedLogs;
use crate::{
    decode::{self, Record},
    model::{Name, OFFSETS_TOPIC, Revision},
    source::kafka::live_source::RequestError,
    store::{
        cluster::Cluster,
        event::{Event, EventKind},
        membership,
        shard::Shard,
        writer::{ShardWriter, SourceWriter},
    },
};

/// Maximum number of messages per fetch. They are few enough to stay in a core's cache while they are processed.
const BATCH: usize = 1024;
/// Maximum number of records that are applied while a shard's lock is held once.
const RUN: usize = 256;
/// Longest wait for messages before the next check for commands.
const WAIT: Duration = Duration::from_millis(50);
/// Time until the next attempt to start a partition that could not be started or may not be read.
const RETRY: Duration = Duration::from_secs(2);
/// Shortest time between two log lines about the same kind of bad record.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// A partition to load from its first offset, or to continue.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// The shard: empty for a new load.
    pub(super) shard: ShardWriter,
    /// End of the partition, captured before the load. Records from there on count as live commits and deletions.
    pub(super) live_from: Revision,
    /// Whether readers see the previous shard until this one is loaded.
    pub(super) is_replacement: bool,
}

/// A command to a poll thread.
#[derive(Clone, Debug)]
pub(super) enum Command {
    /// Start to read a partition.
    Start(Load),
    /// Stop to read a partition that no longer exists.
    Stop(i32),
}

/// The state of a poll thread.
#[derive(Debug)]
pub(super) struct PollReader {
    writer: SourceWriter,
    cluster: Arc<Cluster>,
    client: Client,
    identity: Arc<Identity>,
    fetcher: Fetcher,
    commands: mpsc::Receiver<Command>,
    replaced: ReplacedLogs,
    partitions: HashMap<i32, Load>,
    /// Partitions that could not be started or may not be read, and the time of the next attempt.
    failed: HashMap<i32, Instant>,
    log_limiter: LogLimiter,
}

impl PollReader {
    pub(super) fn new(
        writer: SourceWriter,
        (client, identity): (Client, Arc<Identity>),
        commands: mpsc::Receiver<Command>,
        replaced: ReplacedLogs,
    ) -> Result<Self, RequestError> {
        let fetcher = Fetcher::new(&client, OFFSETS_TOPIC, BATCH)?;
        let cluster = Arc::clone(writer.cluster());
        Ok(Self {
            writer,
            cluster,
            client,
            identity,
            fetcher,
            commands,
            replaced,
            partitions: HashMap::new(),
            failed: HashMap::new(),
            log_limiter: LogLimiter::default(),
        })
    }

    pub(super) fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            loop {
                match self.commands.try_recv() {
                    Ok(Command::Start(load)) => self.start(load, now()),
                    Ok(Command::Stop(partition)) => {
                        self.fetcher.stop(partition);
                        self.partitions.remove(&partition);
                    }
                    Err(mpsc::TryRecvError::Empty) => break,
                    // The listener replaces this poll thread.
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
            self.retry_failed(now());
            self.fetcher.serve();
            let batch = self.fetcher.fetch(WAIT);
            // A fetch by topic id needs metadata, so the cluster id is known by now.
            if !self.identity.is_same_cluster(&self.client) {
                return;
            }
            let mut applier = Applier {
                writer: &self.writer,
                cluster: &self.cluster,
                partitions: &mut self.partitions,
                log_limiter: &mut self.log_limiter,
                failed: &mut self.failed,
                replaced: vec![],
            };
            applier.apply_batch(&batch);
            let replaced = applier.replaced;
            drop(batch);
            for partition in replaced {
                self.fetcher.stop(partition);
                self.partitions.remove(&partition);
                self.replaced.lock().insert(partition);
            }
        }
    }

    /// Retries partitions that could not be started or may not be read. librdkafka reports a denied read only once, and
    /// it reports nothing when a partition without new records becomes readable again.
    fn retry_failed(&mut self, now: Instant) {
        let due: Vec<i32> = self.failed.iter().filter(|(_, at)| now >= **at).map(|(number, _)| *number).collect();
        for partition in due {
            self.failed.remove(&partition);
            let Some(load) = self.partitions.get(&partition).cloned() else { continue };
            if load.shard.progress.is_refused() {
                self.start(load, now);
                self.failed.insert(partition, now + RETRY);
            } else if !self.fetcher.is_started(partition) {
                self.start(load, now);
            }
        }
    }

    fn start(&mut self, load: Load, now: Instant) {
        let partition = load.shard.key.number;
        self.fetcher.stop(partition);
        // Continue after the records that are already applied.
        let applied = load.shard.applied().0;
        let started =
            if applied < 0 { self.fetcher.start(partition) } else { self.fetcher.start_at(partition, applied) };
        if let Err(error) = started {
            load.shard.progress.set_error(Some(error.to_string()));
            self.failed.insert(partition, now + RETRY);
        }
        self.partitions.insert(partition, load);
    }
}

/// The parts of a [`PollReader`] that are needed to apply a batch, without the fetcher, which owns the batch.
struct Applier<'a> {
    writer: &'a SourceWriter,
    cluster: &'a Cluster,
    partitions: &'a mut HashMap<i32, Load>,
    log_limiter: &'a mut LogLimiter,
    failed: &'a mut HashMap<i32, Instant>,
    replaced: Vec<i32>,
}

/// Counters of one run of messages.
#[derive(Default)]
struct RunCounts {
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

    /// Applies consecutive messages of one partition.
    fn apply_run(&mut self, run: &[Message]) {
        let Some(load) = run.first().and_then(|first| self.partitions.get(&first.partition())).cloned() else { return };
        let mut events = Vec::with_capacity(run.len());
        let mut counts = RunCounts { applied: -1, ..RunCounts::default() };
        for message in run {
            match message.content() {
                Content::Record { key, value } => {
                    counts.records += 1;
                    counts.tombstones += u64::from(value.is_none());
                    counts.applied = message.offset() + 1;
                    events.extend(self.event(&load.shard, message, key, value));
                }
                // Control records and compacted records before this offset yield no messages.
                Content::End => counts.applied = counts.applied.max(message.offset()),
                Content::Reset => self.replaced.push(message.partition()),
                Content::Failure(error) => self.record_failure(message.partition(), &load.shard, error),
            }
        }
        load.shard.apply(&events, load.live_from);
        let last_record_at = (counts.records > 0).then(|| run.iter().rev().find_map(Message::timestamp)).flatten();
        load.shard.progress.count(counts.records, counts.tombstones, last_record_at);
        if counts.applied >= 0 {
            load.shard.progress.set_error(None);
            load.shard.reached(Revision(counts.applied));
        }
        if load.is_replacement && load.shard.applied() >= load.live_from {
            self.writer.publish(&load.shard);
            self.partitions.insert(load.shard.key.number, Load { is_replacement: false, ..load });
        }
    }

    fn record_failure(&mut self, partition: i32, shard: &Shard, error: RDKafkaRespErr) {
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED {
            shard.progress.refuse(rights::cannot_read(&self.cluster.config));
            self.failed.entry(partition).or_insert_with(|| now() + RETRY);
        } else {
            shard.progress.set_error(Some(describe(error)));
        }
    }

    /// Converts a record to an event. Returns `None` if it is malformed, has an unknown type, or belongs to an excluded
    /// group or topic.
    fn event<'m>(
        &mut self,
        shard: &Shard,
        message: &Message,
        key: Option<&'m [u8]>,
        value: Option<&'m [u8]>,
    ) -> Option<Event<'m>> {
        let revision = Revision(message.offset());
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
                let intern = |text: &str| self.writer.names().intern(text);
                let members =
                    value.map(|value| Arc::new(membership::classic::membership(&value.value, revision, &intern)));
                (key.group, EventKind::Classic(members))
            }
            Ok(Record::Unknown { kind }) => {
                shard.progress.unknown_type(kind);
                return None;
            }
            Ok(record) => {
                let intern = |text: &str| self.writer.names().intern(text);
                let (group, kind, piece) = membership::decoded::group_record(&record, &intern)?;
                (group, EventKind::GroupRecord(kind, Box::new(piece)))
            }
            Err(error) => {
                shard.progress.decode_error(error.fault());
                let partition = shard.key.number;
                self.log_limiter.bad_record(&self.cluster.name, partition, message.offset(), &error);
                return None;
            }
        };
        // Reading the timestamp is a call into C, and only deletions need it.
        let is_deletion = value.is_none() || matches!(kind, EventKind::Delete { .. });
        let at = if is_deletion { message.timestamp().unwrap_or(0) } else { 0 };
        let config = &self.cluster.config;
        let is_included = config.groups.accepts(group)
            && match &kind {
                EventKind::Commit { topic, .. } | EventKind::Delete { topic, .. } => config.topics.accepts(topic),
                EventKind::Classic(_) | EventKind::GroupRecord(..) => true,
            };
        is_included.then_some(Event { revision, at, group, kind })
    }
}

/// For each kind of bad record, the time of the last log line and the number of records that were not logged since.
#[derive(Debug, Default)]
struct LogLimiter(HashMap<&'static str, (Instant, u64)>);

impl LogLimiter {
    fn bad_record(&mut self, cluster: &Name, log_partition: i32, log_offset: i64, error: &decode::DecodeError) {
        let now = now();
        let (last, suppressed) = self.0.entry(error.fault().name()).or_insert((now, 0));
        if *last != now && now.duration_since(*last) < LOG_EVERY {
            *suppressed += 1;
            return;
        }
        let more = std::mem::take(suppressed);
        *last = now;
        tracing::warn!(cluster = &**cluster, log_partition, log_offset, %error, more, "skipped a malformed record");
    }
}

#[cfg(test)]
mod tests;
