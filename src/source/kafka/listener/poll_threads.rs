//! Starts and stops the poll threads of a listener, and replaces their clients if a load makes no progress.
//!
//! A librdkafka client caches the state of a topic's partitions, and may not recover if the topic was created again or
//! its log was lost. A new client has no such state.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{self, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    super::{
        client::Client,
        threads::{self, TaskFault, Thread},
    },
    Command, Fault, Listener, Load, Shard, now,
    reader::PollReader,
};
use crate::model::Revision;

/// Capacity of the command queue of a poll thread. The listener blocks while the queue is full; a poll thread empties
/// it every 50 ms.
const COMMANDS: usize = 256;

/// The listener's handle of a poll thread.
#[derive(Debug)]
pub(super) struct PollThread {
    pub(super) client: Client,
    /// Command queue. Dropping it ends the thread.
    commands: SyncSender<Command>,
    pub(super) thread: Thread,
}

/// Time without progress after which a load counts as stalled.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// The loads in progress, by log partition and epoch: the applied offset of each, and the time since it is unchanged.
#[derive(Debug, Default)]
pub(super) struct LoadProgress(BTreeMap<(i32, u64), (i64, Instant)>);

impl LoadProgress {
    /// Records the positions of all loads. Returns the stalled ones, each at most once per [`STALLED_AFTER`].
    fn update(&mut self, loads: &[Arc<Shard>], now: Instant) -> Vec<Arc<Shard>> {
        let mut stalled = vec![];
        let mut next = BTreeMap::new();
        for shard in loads {
            let (key, applied) = ((shard.key.number, shard.epoch), shard.applied().0);
            let since = self.0.get(&key).filter(|(before, _)| *before == applied).map_or(now, |(_, since)| *since);
            let is_stalled = now.duration_since(since) >= STALLED_AFTER;
            if is_stalled {
                stalled.push(Arc::clone(shard));
            }
            next.insert(key, (applied, if is_stalled { now } else { since }));
        }
        self.0 = next;
        stalled
    }
}

impl Listener {
    /// Reports stalled loads as faults, and requests new clients for the poll threads.
    pub(super) fn find_stalled_loads(&mut self) {
        let health = self.source.health();
        let is_loading = |shard: &Arc<Shard>| shard.progress.target().is_some_and(|target| shard.applied().0 < target);
        let mut loads: Vec<Arc<Shard>> = vec![];
        if health.reachable && !health.is_refused() {
            loads.extend(self.source.shards().into_iter().filter(is_loading));
            loads.extend(self.reloading.values().flatten().map(Arc::clone));
        }
        if loads.is_empty() {
            self.writer.failed(Fault::Stalled, None);
        }
        let stalled = self.loads.update(&loads, now());
        for shard in &stalled {
            let (number, applied) = (shard.key.number, shard.applied().0);
            let reason = format!(
                "loading log partition {number} makes no progress: offset {applied} of {} for {} s; reconnecting",
                shard.progress.target().unwrap_or(applied),
                STALLED_AFTER.as_secs()
            );
            // If readers still see the previous shard, the error must be set on that one.
            if let Some(shown) = self.source.shard(number) {
                shown.progress.set_error(Some(reason.clone()));
            }
            self.writer.failed(Fault::Stalled, Some(reason));
        }
        self.renew_clients |= !stalled.is_empty();
    }

    /// Starts the poll threads, each with its own client.
    pub(super) fn spawn_poll_threads(&mut self, stop: &CancellationToken) -> Result<(), TaskFault> {
        let count = match self.cluster.config.poll_threads {
            0 => thread::available_parallelism().map_or(2, usize::from).min(4),
            threads => threads,
        };
        for number in 0..count {
            let client = self.connector.connect()?;
            let (sender, commands) = mpsc::sync_channel(COMMANDS);
            let clients = (client.clone(), Arc::clone(&self.identity));
            let reader = PollReader::new(self.writer.clone(), clients, commands, Arc::clone(&self.replaced))?;
            let name = format!("{}/poll-{number}", self.cluster.name);
            // The poll thread has a token of its own, because it ends alone when its client is replaced.
            let thread = threads::spawn(name, &stop.child_token(), move |stop| {
                reader.run(stop);
                Ok(())
            })?;
            self.poll_threads.push(PollThread { client, commands: sender, thread });
        }
        Ok(())
    }

    /// Ends the poll threads and waits for them.
    pub(super) fn end_poll_threads(&mut self) -> Result<(), TaskFault> {
        let end = |PollThread { commands, thread, .. }| {
            drop(commands);
            thread
        };
        let ending: Vec<Thread> = self.poll_threads.drain(..).map(end).collect();
        // Join all threads, even if the first one failed.
        ending.into_iter().map(threads::join).collect::<Vec<_>>().into_iter().collect()
    }

    /// Sends a command to the poll thread that owns the partition.
    pub(super) fn send(&self, log_partition: i32, command: Command) {
        let partition = usize::try_from(log_partition).unwrap_or(0);
        let reader = partition.checked_rem(self.poll_threads.len()).and_then(|index| self.poll_threads.get(index));
        if let Some(reader) = reader {
            // `run` notices a poll thread that has ended.
            let _ = reader.commands.send(command);
        }
    }

    /// Assigns the partitions to new poll threads. Published shards continue at their positions; other loads start
    /// again.
    pub(super) fn resume(&mut self) {
        for number in 0..self.started {
            match (self.reloading.get_mut(&number), self.writer.shard(number)) {
                (Some(replacement), _) => *replacement = None,
                (None, Some(shard)) => {
                    let live_from = shard.progress.target().map_or(shard.applied(), Revision);
                    self.send(number, Command::Start(Load { shard, live_from, is_replacement: false }));
                }
                (None, None) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
