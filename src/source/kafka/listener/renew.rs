//! The poll threads of a listener, new clients for them, and loads that make no progress.
//!
//! A client of librdkafka keeps what it knows of a topic's partitions, and may not get over a topic that was made anew,
//! or a log that was lost. A new client knows nothing.

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
        threads::{self, PartFault, Thread},
    },
    Command, Fault, Listener, Load, Shard, now,
    reader::Reader,
};
use crate::model::Revision;

/// Commands that a poll thread has not taken yet. Beyond, the listener waits: a poll thread takes them every 50 ms.
const COMMANDS: usize = 256;

/// A poll thread, as the listener sees it.
#[derive(Debug)]
pub(super) struct PollThread {
    pub(super) client: Client,
    /// Dropped to end the thread.
    commands: SyncSender<Command>,
    pub(super) thread: Thread,
}

/// A load that has not moved for so long makes no progress.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// The loads under way, by log partition and epoch: where each is, and since when.
#[derive(Debug, Default)]
pub(super) struct Loads(BTreeMap<(i32, u64), (i64, Instant)>);

impl Loads {
    /// Takes over where the loads are. Returns those that make no progress, each once in [`STALLED_AFTER`].
    fn note(&mut self, loads: &[Arc<Shard>], now: Instant) -> Vec<Arc<Shard>> {
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
    /// Shows loads that make no progress as failing, and has them tried with new clients.
    pub(super) fn look_for_stalled_loads(&mut self) {
        let health = self.source.health();
        let is_loading = |shard: &Arc<Shard>| shard.progress.target().is_some_and(|target| shard.applied().0 < target);
        let mut loads: Vec<Arc<Shard>> = vec![];
        if health.reachable && !health.is_refused() {
            loads.extend(self.source.shards().into_iter().filter(is_loading));
            loads.extend(self.rebuilding.values().flatten().map(Arc::clone));
        }
        if loads.is_empty() {
            self.writer.failed(Fault::Stalled, None);
        }
        let stalled = self.loads.note(&loads, now());
        for shard in &stalled {
            let (number, applied) = (shard.key.number, shard.applied().0);
            let reason = format!(
                "loading log partition {number} makes no progress: offset {applied} of {} for {} s; connecting anew",
                shard.progress.target().unwrap_or(applied),
                STALLED_AFTER.as_secs()
            );
            // Readers see the shard before it, if it is loaded aside.
            if let Some(shown) = self.source.shard(number) {
                shown.progress.set_error(Some(reason.clone()));
            }
            self.writer.failed(Fault::Stalled, Some(reason));
        }
        self.renew |= !stalled.is_empty();
    }

    /// Starts the poll threads, each with a client.
    pub(super) fn spawn_readers(&mut self, stop: &CancellationToken) -> Result<(), PartFault> {
        let wanted = match self.cluster.config.poll_threads {
            0 => thread::available_parallelism().map_or(2, usize::from).min(4),
            threads => threads,
        };
        for number in 0..wanted {
            let client = self.connector.connect()?;
            let (sender, commands) = mpsc::sync_channel(COMMANDS);
            let clients = (client.clone(), Arc::clone(&self.identity));
            let reader = Reader::new(self.writer.clone(), clients, commands, Arc::clone(&self.moved))?;
            let name = format!("{}/poll-{number}", self.cluster.name);
            // A poll thread ends alone when its client is renewed.
            let thread = threads::spawn(name, &stop.child_token(), move |stop| {
                reader.run(stop);
                Ok(())
            })?;
            self.readers.push(PollThread { client, commands: sender, thread });
        }
        Ok(())
    }

    /// Ends the poll threads and waits for them.
    pub(super) fn end_readers(&mut self) -> Result<(), PartFault> {
        let end = |PollThread { commands, thread, .. }| {
            drop(commands);
            thread
        };
        let ending: Vec<Thread> = self.readers.drain(..).map(end).collect();
        // All are joined, whatever the first says.
        ending.into_iter().map(threads::join).collect::<Vec<_>>().into_iter().collect()
    }

    /// To the reader that owns the partition.
    pub(super) fn send(&self, log_partition: i32, command: Command) {
        let partition = usize::try_from(log_partition).unwrap_or(0);
        let reader = partition.checked_rem(self.readers.len()).and_then(|index| self.readers.get(index));
        if let Some(reader) = reader {
            // A reader that is gone is noticed by its thread.
            let _ = reader.commands.send(command);
        }
    }

    /// Goes on with new poll threads: partitions where they are; loads aside begin again.
    pub(super) fn resume(&mut self) {
        for number in 0..self.started {
            match (self.rebuilding.get_mut(&number), self.writer.shard(number)) {
                (Some(aside), _) => *aside = None,
                (None, Some(shard)) => {
                    let live_from = shard.progress.target().map_or(shard.applied(), Revision);
                    self.send(number, Command::Start(Load { shard, live_from, aside: false }));
                }
                (None, None) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
