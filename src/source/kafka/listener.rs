//! Reads `__consumer_offsets` into shards.
//!
//! The [`Listener`] waits until the topic exists, captures the current end of each partition, makes a shard for each,
//! and assigns them to poll threads (`reader`). Afterwards it starts partitions that are added, and loads a partition
//! again into a new shard if its log was truncated or replaced. Readers see the old shard until the new one is loaded.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use tokio_util::sync::CancellationToken;

use super::{
    client::{Client, Connector},
    ffi::Spec,
    identity::Identity,
    live::log_ends,
    now, rights,
    threads::TaskFault,
};
use crate::{
    clock::{Ticks, ticks},
    model::{OFFSETS_TOPIC, Revision, Uuid},
    source::kafka::Log,
    source::kafka::live_source::RequestError,
    store::{
        cluster::Cluster,
        ends::DELETED_AFTER,
        shard::Shard,
        source::{Fault, Source},
        writer::SourceWriter,
    },
};

mod reader;
mod poll_threads;

use poll_threads::{LoadProgress, PollThread};
use reader::{Command, Load};

/// Interval at which the listener checks for changes.
const TICK: Duration = Duration::from_millis(20);
/// Timeout of a ListOffsets or Metadata request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Time until a failed attempt is repeated.
const RETRY: Duration = Duration::from_secs(1);

/// The listener of one cluster.
#[derive(Debug)]
pub(super) struct Listener {
    writer: SourceWriter,
    log: Arc<Log>,
    cluster: Arc<Cluster>,
    source: Arc<Source>,
    connector: Connector,
    client: Client,
    identity: Arc<Identity>,
    poll_threads: Vec<PollThread>,
    /// Partitions that readers reported because their log was truncated or replaced.
    replaced: ReplacedLogs,
    /// Shards that are loaded while readers see the previous ones, by partition; `None` until the end is captured.
    reloading: BTreeMap<i32, Option<Arc<Shard>>>,
    loads: LoadProgress,
    /// Whether the poll threads must be restarted with new clients.
    renew_clients: bool,
    /// Number of started partitions.
    started: i32,
    /// Number of partitions in the metadata if it is smaller than `started`, and the time of the first such refresh.
    shrunk: Option<(i32, Ticks)>,
    topic_id: Option<Uuid>,
    /// Time since which the cluster has been unreachable or unreadable.
    interrupted_since: Option<Ticks>,
    /// Time of the last check.
    last_check: Ticks,
    next_attempt: Instant,
    /// Number of the request to poll coordinators that must be answered before the cluster counts as loaded.
    homes_request: Option<u64>,
}

/// How a new listener treats existing shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExistingShards {
    /// Loads all partitions again into new shards, because the previous listener failed or there are no shards.
    Reload,
    /// Continues each shard at its current position.
    Continue,
}

/// A set of log partition numbers. Its size is bounded by the number of partitions.
type ReplacedLogs = Arc<Mutex<BTreeSet<i32>>>;

impl Listener {
    /// Makes a listener, and validates the client configuration.
    pub(super) fn new(
        (writer, log): (SourceWriter, Arc<Log>),
        connector: Connector,
        identity: Arc<Identity>,
        shards: ExistingShards,
    ) -> Result<Self, RequestError> {
        let client = connector.connect()?;
        let (cluster, source) = (Arc::clone(writer.cluster()), Arc::clone(writer.source()));
        let last_check = writer.clock().ticks();
        let (known, is_continued) = (source.shards(), shards == ExistingShards::Continue);
        Ok(Self {
            writer,
            log,
            cluster,
            source,
            connector,
            client,
            identity,
            poll_threads: vec![],
            replaced: ReplacedLogs::default(),
            reloading: known.iter().filter(|_| !is_continued).map(|shard| (shard.key.number, None)).collect(),
            loads: LoadProgress::default(),
            // `resume` then starts the first poll threads at the positions of the shards.
            renew_clients: is_continued,
            started: known.last().map_or(0, |shard| shard.key.number + 1),
            shrunk: None,
            topic_id: None,
            interrupted_since: None,
            last_check,
            next_attempt: now(),
            homes_request: None,
        })
    }

    /// Reads until the token is cancelled or a poll thread ends. Blocks; run it on its own thread. Returns after all
    /// its poll threads have ended.
    pub(super) fn run(mut self, stop: &CancellationToken) -> Result<(), TaskFault> {
        while !stop.is_cancelled() {
            if now() >= self.next_attempt {
                let failure = self.start_new_partitions(stop)?.err();
                if failure.is_some() {
                    self.next_attempt = now() + RETRY;
                }
                self.writer.failed(Fault::Start, failure.map(|error| error.to_string()));
            }
            self.check_permissions();
            self.check_loaded();
            self.find_replaced_logs();
            self.find_removed_partitions();
            self.find_stalled_loads();
            if self.poll_threads.iter().any(|reader| reader.thread.is_finished()) && !stop.is_cancelled() {
                break;
            }
            thread::park_timeout(TICK);
        }
        stop.cancel();
        self.end_poll_threads()
    }

    /// Starts new partitions and partitions with a truncated or replaced log. The inner error comes from the cluster;
    /// the caller retries then.
    fn start_new_partitions(&mut self, stop: &CancellationToken) -> Result<Result<(), RequestError>, TaskFault> {
        if self.renew_clients && !self.poll_threads.is_empty() {
            self.end_poll_threads()?;
            self.client = self.connector.connect()?;
        }
        let known = self.source.health().shards.unwrap_or(0);
        if self.poll_threads.is_empty() && known.max(self.started) > 0 {
            self.spawn_poll_threads(stop)?;
        }
        if std::mem::take(&mut self.renew_clients) {
            self.resume();
        }
        if known > self.started
            && let Err(error) = self.start(known)
        {
            return Ok(Err(error));
        }
        Ok(self.reload())
    }

    /// Starts the partitions from `self.started` up to `count`.
    fn start(&mut self, count: i32) -> Result<(), RequestError> {
        let partitions: Vec<i32> = (self.started..count).collect();
        self.refresh_metadata()?;
        let (loads, error) = self.capture(&partitions)?;
        if let Some(error) = error {
            return Err(error);
        }
        for load in &loads {
            self.writer.publish(&load.shard);
        }
        for load in loads {
            self.send(load.shard.key.number, Command::Start(load));
        }
        tracing::info!(
            cluster = &*self.cluster.name,
            partitions = partitions.len(),
            threads = self.poll_threads.len(),
            "reading {OFFSETS_TOPIC}"
        );
        self.started = count;
        Ok(())
    }

    /// Refreshes the metadata of all clients, so that they know the new partitions. Otherwise librdkafka would learn of
    /// them after more than a minute, and report until then that a new partition does not exist.
    fn refresh_metadata(&self) -> Result<(), RequestError> {
        for client in std::iter::once(&self.client).chain(self.poll_threads.iter().map(|reader| &reader.client)) {
            client.refresh_log_metadata(TIMEOUT)?;
        }
        Ok(())
    }

    /// Requests the start and the end of partitions once, and makes an empty shard for each partition with a result.
    /// The returned error, if any, concerns one of the other partitions.
    fn capture(&self, partitions: &[i32]) -> Result<(Vec<Load>, Option<RequestError>), RequestError> {
        let requested_at = self.writer.clock().ticks();
        let first = log_ends(&self.client, Spec::Earliest, partitions, TIMEOUT)?;
        let last = log_ends(&self.client, Spec::LatestCommitted, partitions, TIMEOUT)?;
        let (mut loads, mut error) = (vec![], None);
        for (partition, end) in last {
            let (start, end) = match (first.get(&partition), end) {
                (Some(Ok(start)), Ok(end)) => (*start, end),
                (Some(Err(reason)), _) => {
                    error = Some(reason.clone().in_log_partition(partition));
                    continue;
                }
                (_, Err(reason)) => {
                    error = Some(reason.in_log_partition(partition));
                    continue;
                }
                (None, Ok(_)) => continue,
            };
            let shard = self.writer.new_shard(partition);
            shard.target(Revision(start), Revision(end), requested_at);
            if start >= end {
                // The partition is empty, so it is loaded at once, at any offset.
                shard.reached(Revision(end));
            }
            loads.push(Load { shard, live_from: Revision(end), is_replacement: false });
        }
        Ok((loads, error))
    }

    /// Marks the cluster as loaded once every partition reached its target and log ends are known.
    fn check_loaded(&mut self) {
        let health = self.source.health();
        if health.ready
            || health.is_refused()
            || health.shards != Some(self.started)
            || !self.cluster.ends.current().loaded
        {
            return;
        }
        let reached = |shard: &Arc<Shard>| shard.progress.target().is_some_and(|target| shard.applied().0 >= target);
        if self.source.shards().iter().all(reached) {
            // Readers get answers only after coordinators reported which copies of misplaced groups are current.
            let request = *self.homes_request.get_or_insert_with(|| self.log.homes.request_poll());
            if !self.log.homes.is_answered(request) {
                return;
            }
            self.writer.loaded();
        }
    }

    /// Reports or clears the fault that some partition may not be read.
    fn check_permissions(&self) {
        let current = self.source.shards();
        let replacement = self.reloading.values().flatten();
        let refused = current.iter().chain(replacement).any(|shard| shard.progress.is_refused());
        let reason = refused.then(|| rights::cannot_read(&self.cluster.config));
        self.writer.failed(Fault::Read, reason);
    }

    /// Returns whether reading was interrupted for longer than `reload_after`, because the cluster was unreachable or
    /// this process was suspended. Compaction may meanwhile have removed both a record and its tombstone. Returns
    /// `None` while the cluster is unreachable or unreadable.
    fn was_interrupted(&mut self) -> Option<bool> {
        let health = self.source.health();
        let now = self.writer.clock().ticks();
        let still_since = std::mem::replace(&mut self.last_check, now);
        if !health.reachable || health.is_refused() {
            self.interrupted_since = self.interrupted_since.or(health.failing_since).or(Some(still_since));
            return None;
        }
        let since = self.interrupted_since.take().unwrap_or(still_since).min(still_since);
        Some(now.saturating_sub(since) > ticks(self.cluster.config.reload_after))
    }

    /// Finds partitions that must be loaded again: a log end below the applied offset means that the log was truncated
    /// or replaced. After a long interruption, all partitions are loaded again.
    fn find_replaced_logs(&mut self) {
        let Some(was_interrupted) = self.was_interrupted() else { return };
        let ends = self.cluster.ends.current();
        let Some(topic) = ends.topic(OFFSETS_TOPIC) else { return };
        for (partition, number) in topic.partitions.iter().zip(0..) {
            let Some(shard) = self.source.shard(number) else { continue };
            let value = ends.value(*partition);
            let is_truncated = value.log_end >= 0 && value.log_end < shard.applied().0;
            let is_beyond =
                |shard: &Shard| value.log_end >= 0 && shard.progress.is_beyond(value.log_end, value.observed);
            // Records that were applied after the end was requested may lie beyond it.
            if was_interrupted || is_beyond(&shard) || (is_truncated && shard.applied_before(value.observed)) {
                self.mark_replaced(number);
            }
            // The log was replaced again during the load: start the load again.
            if let Some(replacement @ Some(_)) = self.reloading.get_mut(&number)
                && replacement.as_deref().is_some_and(is_beyond)
            {
                *replacement = None;
            }
        }
        if topic.id.is_some() && self.topic_id.is_some() && topic.id != self.topic_id {
            (0..self.started).for_each(|number| self.mark_replaced(number));
            self.renew_clients = true;
        }
        self.topic_id = topic.id.or(self.topic_id);
    }

    /// Removes partitions that two metadata refreshes, at least [`DELETED_AFTER`] apart, do not contain, and the groups
    /// in them: the topic was deleted, or created again with fewer partitions.
    fn find_removed_partitions(&mut self) {
        let health = self.source.health();
        let (Some(count), Some(refreshed)) = (health.shards, self.cluster.ends.current().refreshed()) else {
            return;
        };
        if !health.reachable || count >= self.started {
            self.shrunk = None;
            return;
        }
        match self.shrunk {
            Some((shrunk, since)) if shrunk == count => {
                if refreshed.saturating_sub(since) < DELETED_AFTER {
                    return;
                }
            }
            _ => {
                self.shrunk = Some((count, refreshed));
                return;
            }
        }
        tracing::warn!(
            cluster = &*self.cluster.name,
            partitions = count,
            before = self.started,
            "{OFFSETS_TOPIC} has fewer partitions than before; removed the groups in the missing partitions"
        );
        for number in count..self.started {
            self.send(number, Command::Stop(number));
            self.reloading.remove(&number);
            self.writer.retire(number);
        }
        (self.started, self.shrunk) = (count, None);
    }

    fn mark_replaced(&mut self, log_partition: i32) {
        self.reloading.entry(log_partition).or_insert_with(|| {
            tracing::warn!(
                cluster = &*self.cluster.name,
                log_partition,
                "a log partition was truncated, replaced or not read for too long; loading it again"
            );
            None
        });
    }

    /// Loads partitions with a truncated or replaced log into new shards. The poll threads publish each new shard once
    /// it is loaded.
    fn reload(&mut self) -> Result<(), RequestError> {
        let replaced = std::mem::take(&mut *self.replaced.lock());
        for partition in replaced {
            self.mark_replaced(partition);
            // This also restarts a load in progress, because its log was replaced again.
            self.reloading.insert(partition, None);
        }
        let swapped = |partition: &i32, shard: &mut Option<Arc<Shard>>| {
            let current = self.source.shard(*partition);
            shard.is_none() || current.map(|shard| shard.epoch) != shard.as_ref().map(|shard| shard.epoch)
        };
        self.reloading.retain(swapped);
        let waiting: Vec<i32> =
            self.reloading.iter().filter(|(_, shard)| shard.is_none()).map(|(number, _)| *number).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let (loads, error) = self.capture(&waiting)?;
        for load in loads {
            let number = load.shard.key.number;
            self.reloading.insert(number, Some(Arc::clone(load.shard.shard())));
            self.send(number, Command::Start(Load { is_replacement: true, ..load }));
        }
        // The partitions with a result are loaded even if there is an error.
        error.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests;
