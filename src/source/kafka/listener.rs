//! Reads `__consumer_offsets` into the shards.
//!
//! [`Listener`] waits for the topic, captures where its partitions end, makes a shard for each, and
//! hands them to poll threads (`reader`). Then it watches: partitions added later are started;
//! a partition whose log moved under its reader is loaded again, aside.

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
    threads::PartFault,
};
use crate::{
    clock::{Ticks, ticks},
    model::{OFFSETS_TOPIC, Revision, Uuid},
    source::kafka::Log,
    source::kafka::ask::AskError,
    store::{
        cluster::Cluster,
        ends::DELETED_AFTER,
        shard::Shard,
        source::{Fault, Source},
        writer::SourceWriter,
    },
};

mod reader;
mod renew;

use reader::{Command, Load};
use renew::{Loads, PollThread};

/// How often the listener looks whether something changed.
const TICK: Duration = Duration::from_millis(20);
/// Bound of one question for log ends.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How soon a failed attempt is repeated.
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
    readers: Vec<PollThread>,
    /// Partitions whose log moved under their reader.
    moved: Moved,
    /// Shards that are loaded aside, by partition; `None` before the end was captured.
    rebuilding: BTreeMap<i32, Option<Arc<Shard>>>,
    loads: Loads,
    /// The poll threads are to get new clients.
    renew: bool,
    started: i32,
    /// Fewer partitions than were started, and the refresh that first said so.
    fewer: Option<(i32, Ticks)>,
    topic_id: Option<Uuid>,
    away_since: Option<Ticks>,
    last_look: Ticks,
    next_try: Instant,
    /// The request to ask coordinators that must be answered before the cluster is loaded.
    homes_asked: Option<u64>,
}

/// What becomes of shards that were read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shards {
    /// They are loaded again, aside: what read them failed, or there are none.
    LoadAgain,
    /// They are read on from where they are.
    GoOn,
}

/// Numbers of log partitions: each once, so that there are never more than partitions.
type Moved = Arc<Mutex<BTreeSet<i32>>>;

impl Listener {
    /// Makes a listener, and checks the client configuration.
    pub(super) fn new(
        (writer, log): (SourceWriter, Arc<Log>),
        connector: Connector,
        identity: Arc<Identity>,
        shards: Shards,
    ) -> Result<Self, AskError> {
        let client = connector.connect()?;
        let (cluster, source) = (Arc::clone(writer.cluster()), Arc::clone(writer.source()));
        let last_look = writer.clock().ticks();
        let (known, goes_on) = (source.shards(), shards == Shards::GoOn);
        Ok(Self {
            writer,
            log,
            cluster,
            source,
            connector,
            client,
            identity,
            readers: vec![],
            moved: Moved::default(),
            rebuilding: known.iter().filter(|_| !goes_on).map(|shard| (shard.key.number, None)).collect(),
            loads: Loads::default(),
            // The first poll threads begin where the shards are.
            renew: goes_on,
            started: known.last().map_or(0, |shard| shard.key.number + 1),
            fewer: None,
            topic_id: None,
            away_since: None,
            last_look,
            next_try: now(),
            homes_asked: None,
        })
    }

    /// Reads until the token is cancelled. Blocks: give it a thread. Ends after its poll threads.
    pub(super) fn run(mut self, stop: &CancellationToken) -> Result<(), PartFault> {
        while !stop.is_cancelled() {
            if now() >= self.next_try {
                let failure = self.start_what_is_new(stop)?.err();
                if failure.is_some() {
                    self.next_try = now() + RETRY;
                }
                self.writer.failed(Fault::Start, failure.map(|error| error.to_string()));
            }
            self.judge_rights();
            self.judge();
            self.look_for_moved_logs();
            self.look_for_lost_partitions();
            self.look_for_stalled_loads();
            if self.readers.iter().any(|reader| reader.thread.is_finished()) && !stop.is_cancelled() {
                break;
            }
            thread::park_timeout(TICK);
        }
        stop.cancel();
        self.end_readers()
    }

    /// Starts partitions that appeared, and those whose log moved. The inner error is of the cluster, and tried again.
    fn start_what_is_new(&mut self, stop: &CancellationToken) -> Result<Result<(), AskError>, PartFault> {
        if self.renew && !self.readers.is_empty() {
            self.end_readers()?;
            self.client = self.connector.connect()?;
        }
        let known = self.source.health().shards.unwrap_or(0);
        if self.readers.is_empty() && known.max(self.started) > 0 {
            self.spawn_readers(stop)?;
        }
        if std::mem::take(&mut self.renew) {
            self.resume();
        }
        if known > self.started
            && let Err(error) = self.start(known)
        {
            return Ok(Err(error));
        }
        Ok(self.rebuild())
    }

    /// Starts the partitions from `self.started` on.
    fn start(&mut self, count: i32) -> Result<(), AskError> {
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
            threads = self.readers.len(),
            "reading {OFFSETS_TOPIC}"
        );
        self.started = count;
        Ok(())
    }

    /// Tells every client that reads or asks for ends how many log partitions there are: by itself, librdkafka would
    /// find out after more than a minute, and meanwhile answer that a new partition does not exist.
    fn refresh_metadata(&self) -> Result<(), AskError> {
        for client in std::iter::once(&self.client).chain(self.readers.iter().map(|reader| &reader.client)) {
            client.refresh_log_metadata(TIMEOUT)?;
        }
        Ok(())
    }

    /// Asks where partitions start and end, once, and makes an empty shard for each that is told; the error is of
    /// another.
    fn capture(&self, partitions: &[i32]) -> Result<(Vec<Load>, Option<AskError>), AskError> {
        let asked = self.writer.clock().ticks();
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
            shard.target(Revision(start), Revision(end), asked);
            if start >= end {
                // Nothing to read, whatever the number.
                shard.reached(Revision(end));
            }
            loads.push(Load { shard, live_from: Revision(end), aside: false });
        }
        Ok((loads, error))
    }

    /// Declares the cluster loaded once every partition reached its target and log ends are known.
    fn judge(&mut self) {
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
            // Which copies of groups count is known before the first answer.
            let asked = *self.homes_asked.get_or_insert_with(|| self.log.homes.want());
            if !self.log.homes.is_done(asked) {
                return;
            }
            self.writer.loaded();
        }
    }

    /// Notes whether some partition may not be read.
    fn judge_rights(&self) {
        let current = self.source.shards();
        let aside = self.rebuilding.values().flatten();
        let refused = current.iter().chain(aside).any(|shard| shard.progress.is_refused());
        let reason = refused.then(|| rights::cannot_read(&self.cluster.config));
        self.writer.failed(Fault::Read, reason);
    }

    /// Whether nothing was read for so long, since the cluster was out of reach or this process stood
    /// still, that a value and then its tombstone may have come and gone. `None` while out of reach.
    fn was_away(&mut self) -> Option<bool> {
        let health = self.source.health();
        let now = self.writer.clock().ticks();
        let still_since = std::mem::replace(&mut self.last_look, now);
        if !health.reachable || health.is_refused() {
            self.away_since = self.away_since.or(health.failing_since).or(Some(still_since));
            return None;
        }
        let since = self.away_since.take().unwrap_or(still_since).min(still_since);
        Some(now.saturating_sub(since) > ticks(self.cluster.config.reload_after))
    }

    /// A log end below what was applied means that the log was truncated or made anew. A reader that
    /// was away for too long starts again, too.
    fn look_for_moved_logs(&mut self) {
        let Some(away) = self.was_away() else { return };
        let ends = self.cluster.ends.current();
        let Some(topic) = ends.topic(OFFSETS_TOPIC) else { return };
        for (partition, number) in topic.partitions.iter().zip(0..) {
            let Some(shard) = self.source.shard(number) else { continue };
            let value = ends.value(*partition);
            let moved = value.log_end >= 0 && value.log_end < shard.applied().0;
            let is_beyond =
                |shard: &Shard| value.log_end >= 0 && shard.progress.is_beyond(value.log_end, value.observed);
            // What was applied after the end was asked for may lie beyond it.
            if away || is_beyond(&shard) || (moved && shard.applied_before(value.observed)) {
                self.note_moved(number);
            }
            // The load aside was of a log that moved again.
            if let Some(aside @ Some(_)) = self.rebuilding.get_mut(&number)
                && aside.as_deref().is_some_and(is_beyond)
            {
                *aside = None;
            }
        }
        if topic.id.is_some() && self.topic_id.is_some() && topic.id != self.topic_id {
            (0..self.started).for_each(|number| self.note_moved(number));
            self.renew = true;
        }
        self.topic_id = topic.id.or(self.topic_id);
    }

    /// Partitions that two metadata refreshes do not show, far enough apart, are no more, and neither is what lay in
    /// them: the topic was deleted, or made anew with fewer.
    fn look_for_lost_partitions(&mut self) {
        let health = self.source.health();
        let (Some(count), Some(refreshed)) = (health.shards, self.cluster.ends.current().refreshed()) else {
            return;
        };
        if !health.reachable || count >= self.started {
            self.fewer = None;
            return;
        }
        match self.fewer {
            Some((fewer, since)) if fewer == count => {
                if refreshed.saturating_sub(since) < DELETED_AFTER {
                    return;
                }
            }
            _ => {
                self.fewer = Some((count, refreshed));
                return;
            }
        }
        tracing::warn!(
            cluster = &*self.cluster.name,
            partitions = count,
            before = self.started,
            "{OFFSETS_TOPIC} has fewer partitions: the groups in the others are gone"
        );
        for number in count..self.started {
            self.send(number, Command::Stop(number));
            self.rebuilding.remove(&number);
            self.writer.retire(number);
        }
        (self.started, self.fewer) = (count, None);
    }

    fn note_moved(&mut self, log_partition: i32) {
        self.rebuilding.entry(log_partition).or_insert_with(|| {
            tracing::warn!(
                cluster = &*self.cluster.name,
                log_partition,
                "the log moved under its reader; loading it again"
            );
            None
        });
    }

    /// Loads partitions whose log moved into new shards, aside. Their readers swap them in.
    fn rebuild(&mut self) -> Result<(), AskError> {
        let moved = std::mem::take(&mut *self.moved.lock());
        for partition in moved {
            self.note_moved(partition);
            // Also when a load aside was under way: its log moved again.
            self.rebuilding.insert(partition, None);
        }
        let swapped = |partition: &i32, shard: &mut Option<Arc<Shard>>| {
            let current = self.source.shard(*partition);
            shard.is_none() || current.map(|shard| shard.epoch) != shard.as_ref().map(|shard| shard.epoch)
        };
        self.rebuilding.retain(swapped);
        let waiting: Vec<i32> =
            self.rebuilding.iter().filter(|(_, shard)| shard.is_none()).map(|(number, _)| *number).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let (loads, error) = self.capture(&waiting)?;
        for load in loads {
            let number = load.shard.key.number;
            self.rebuilding.insert(number, Some(Arc::clone(load.shard.shard())));
            self.send(number, Command::Start(Load { aside: true, ..load }));
        }
        // Those that were told go on.
        error.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests;
