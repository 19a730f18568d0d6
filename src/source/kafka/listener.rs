//! Reads `__consumer_offsets` into the shards.
//!
//! [`Listener`] waits for the topic, captures where its partitions end, makes a shard for each, and
//! hands them to poll threads (`reader`). Then it watches: partitions added later are started;
//! a partition whose log moved under its reader is loaded again, aside.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    client::{self, Client},
    ends,
    ffi::Spec,
    homes::Asker,
    identity::Identity,
    now, rights,
};
use crate::{
    clock::{Ticks, ticks},
    model::{Name, OFFSETS_TOPIC, SOURCE_KAFKA, Uuid},
    store::{Store, cluster::Cluster, ends::DELETED_AFTER, event::ShardKey, impediment::Impediment, shard::Shard},
};

mod reader;
mod renew;

pub(super) use reader::offset_event;
use reader::{Command, Load, Reader};
use renew::Loads;

/// How often the listener looks whether something changed.
const TICK: Duration = Duration::from_millis(20);
/// Bound of one question for log ends.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How soon a failed attempt is repeated.
const RETRY: Duration = Duration::from_secs(1);

type Threads = Vec<thread::JoinHandle<()>>;

/// The listener of one cluster.
#[derive(Debug)]
pub struct Listener {
    store: Arc<Store>,
    cluster: Arc<Cluster>,
    client: Client,
    identity: Arc<Identity>,
    readers: Vec<(Client, mpsc::Sender<Command>)>,
    /// Partitions whose log moved under their reader.
    moved: (mpsc::Sender<i32>, mpsc::Receiver<i32>),
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

impl Listener {
    /// A listener, and the client configuration checked.
    ///
    /// # Errors
    /// What librdkafka says of the configuration.
    pub(super) fn new(store: Arc<Store>, cluster: Arc<Cluster>, identity: Arc<Identity>) -> Result<Self, String> {
        let client = client::connect(&cluster.config)?;
        let last_look = store.clock.ticks();
        Ok(Self {
            store,
            cluster,
            client,
            identity,
            readers: vec![],
            moved: mpsc::channel(),
            rebuilding: BTreeMap::new(),
            loads: Loads::default(),
            renew: false,
            started: 0,
            fewer: None,
            topic_id: None,
            away_since: None,
            last_look,
            next_try: now(),
            homes_asked: None,
        })
    }

    /// Reads until the token is cancelled. Blocks: give it a thread. Ends after its poll threads.
    ///
    /// # Errors
    /// A poll thread that died.
    pub fn run(mut self, stop: &CancellationToken) -> Result<(), String> {
        let asker = Asker::new(Arc::clone(&self.cluster)).spawn(stop.clone())?;
        let mut threads = vec![];
        while !stop.is_cancelled() {
            if now() >= self.next_try
                && let Err(error) = self.start_what_is_new(stop, &mut threads)
            {
                self.next_try = now() + RETRY;
                tracing::warn!(cluster = &*self.cluster.name, error, "cannot start reading; trying again");
                self.cluster.set_health(|health| health.last_error = Some(error));
            }
            self.judge_rights();
            self.judge();
            self.look_for_moved_logs();
            self.look_for_lost_partitions();
            self.look_for_stalled_loads();
            let mut all = threads.iter().chain([&asker]);
            if all.any(thread::JoinHandle::is_finished) && !stop.is_cancelled() {
                break;
            }
            thread::park_timeout(TICK);
        }
        stop.cancel();
        self.readers.clear();
        for thread in threads.into_iter().chain([asker]) {
            thread.join().map_err(|_| "a poll thread panicked".to_owned())?;
        }
        Ok(())
    }

    /// Starts partitions that appeared, and those whose log moved.
    fn start_what_is_new(&mut self, stop: &CancellationToken, threads: &mut Threads) -> Result<(), String> {
        let known = self.cluster.health().log_partitions.unwrap_or(0);
        if known > self.started {
            self.start(known, stop, threads)?;
        }
        if self.renew && !self.readers.is_empty() {
            self.renew_readers(stop, threads)?;
        }
        self.rebuild()
    }

    /// Starts the partitions from `self.started` on.
    fn start(&mut self, count: i32, stop: &CancellationToken, threads: &mut Threads) -> Result<(), String> {
        let partitions: Vec<i32> = (self.started..count).collect();
        self.refresh_metadata()?;
        let (loads, error) = self.capture(&partitions)?;
        if let Some(error) = error {
            return Err(error);
        }
        if self.readers.is_empty() {
            self.spawn_readers(stop, threads)?;
        }
        for load in &loads {
            self.store.publish(&load.shard);
        }
        for load in loads {
            self.send(load.shard.key.log_partition, Command::Start(load));
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
    fn refresh_metadata(&self) -> Result<(), String> {
        for client in std::iter::once(&self.client).chain(self.readers.iter().map(|(client, _)| client)) {
            client::refresh_log_metadata(client, TIMEOUT)?;
        }
        Ok(())
    }

    /// Asks where partitions start and end, once, and makes an empty shard for each that is told; the error is of
    /// another.
    fn capture(&self, partitions: &[i32]) -> Result<(Vec<Load>, Option<String>), String> {
        let asked = self.store.clock.ticks();
        let first = ends::log_ends(&self.client, Spec::Earliest, partitions, TIMEOUT)?;
        let last = ends::log_ends(&self.client, Spec::LatestCommitted, partitions, TIMEOUT)?;
        let (mut loads, mut error) = (vec![], None);
        for (partition, end) in last {
            let (start, end) = match (first.get(&partition), &end) {
                (Some(Ok(start)), Ok(end)) => (*start, *end),
                (Some(Err(reason)), _) | (_, Err(reason)) => {
                    error = Some(format!("log partition {partition}: {reason}"));
                    continue;
                }
                (None, Ok(_)) => continue,
            };
            let shard = self.store.new_shard(self.key(partition));
            shard.progress.set_load(start, end, asked);
            if start >= end {
                // Nothing to read, whatever the number.
                shard.set_applied(end);
            }
            loads.push(Load { shard, live_from: end, aside: false });
        }
        Ok((loads, error))
    }

    fn key(&self, log_partition: i32) -> ShardKey {
        ShardKey { cluster: Name::clone(&self.cluster.name), source: SOURCE_KAFKA.into(), log_partition }
    }

    fn spawn_readers(&mut self, stop: &CancellationToken, threads: &mut Threads) -> Result<(), String> {
        let wanted = match self.cluster.config.poll_threads {
            0 => thread::available_parallelism().map_or(2, usize::from).min(4),
            threads => threads,
        };
        for number in 0..wanted {
            let client = client::connect(&self.cluster.config)?;
            let (sender, commands) = mpsc::channel();
            let clients = (client.clone(), Arc::clone(&self.identity));
            let reader = Reader::new(&self.store, &self.cluster, clients, commands, self.moved.0.clone())?;
            let stop = stop.clone();
            let thread = thread::Builder::new()
                .name(format!("poll-{}-{number}", self.cluster.name))
                .spawn(move || reader.run(&stop))
                .map_err(|error| format!("cannot start a thread: {error}"))?;
            threads.push(thread);
            self.readers.push((client, sender));
        }
        Ok(())
    }

    /// To the reader that owns the partition.
    fn send(&self, log_partition: i32, command: Command) {
        let partition = usize::try_from(log_partition).unwrap_or(0);
        let reader = partition.checked_rem(self.readers.len()).and_then(|index| self.readers.get(index));
        if let Some((_, reader)) = reader {
            // A reader that is gone is noticed by its thread.
            let _ = reader.send(command);
        }
    }

    /// Declares the cluster loaded once every partition reached its target and log ends are known.
    fn judge(&mut self) {
        let health = self.cluster.health();
        if health.ready
            || health.is_refused()
            || health.log_partitions != Some(self.started)
            || !self.cluster.ends.current().loaded
        {
            return;
        }
        let reached = |shard: &Arc<Shard>| shard.progress.target().is_some_and(|target| shard.applied() >= target);
        if self.cluster.shards().iter().all(reached) {
            // Which copies of groups count is known before the first answer.
            let asked = *self.homes_asked.get_or_insert_with(|| self.cluster.homes.want());
            if !self.cluster.homes.is_done(asked) {
                return;
            }
            self.cluster.shards().iter().for_each(|shard| shard.shrink());
            tracing::info!(cluster = &*self.cluster.name, "loaded");
            self.cluster.set_health(|health| health.ready = true);
        }
    }

    /// Notes whether some partition may not be read.
    fn judge_rights(&self) {
        let current = self.cluster.shards();
        let aside = self.rebuilding.values().flatten();
        let refused = current.iter().chain(aside).any(|shard| shard.progress.is_refused());
        let reason = refused.then(|| rights::cannot_read(&self.cluster.config));
        self.cluster.impede(Impediment::Read, reason, &self.store.clock);
    }

    /// Whether nothing was read for so long, since the cluster was out of reach or this process stood
    /// still, that a value and then its tombstone may have come and gone. `None` while out of reach.
    fn was_away(&mut self) -> Option<bool> {
        let health = self.cluster.health();
        let now = self.store.clock.ticks();
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
            let Some(shard) = self.cluster.shard(number) else { continue };
            let value = ends.value(*partition);
            let moved = value.log_end >= 0 && value.log_end < shard.applied();
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
        let health = self.cluster.health();
        let (Some(count), Some(refreshed)) = (health.log_partitions, self.cluster.ends.current().refreshed()) else {
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
            self.store.retire(&self.key(number));
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
    fn rebuild(&mut self) -> Result<(), String> {
        while let Ok(partition) = self.moved.1.try_recv() {
            self.note_moved(partition);
            // Also when a load aside was under way: its log moved again.
            self.rebuilding.insert(partition, None);
        }
        let swapped = |partition: &i32, shard: &mut Option<Arc<Shard>>| {
            let current = self.cluster.shard(*partition);
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
            let number = load.shard.key.log_partition;
            self.rebuilding.insert(number, Some(Arc::clone(&load.shard)));
            self.send(number, Command::Start(Load { aside: true, ..load }));
        }
        // Those that were told go on.
        error.map_or(Ok(()), Err)
    }
}
