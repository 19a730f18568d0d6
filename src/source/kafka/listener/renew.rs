//! New clients for the poll threads, and loads that make no progress.
//!
//! A client of librdkafka keeps what it knows of a topic's partitions, and may not get over a topic that was made anew,
//! or a log that was lost. A new client knows nothing.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{Command, Listener, Load, Shard, Threads, client, now};
use crate::store::impediment::Impediment;

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
            let (key, applied) = ((shard.key.log_partition, shard.epoch), shard.applied());
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
        let health = self.cluster.health();
        let is_loading = |shard: &Arc<Shard>| shard.progress.target().is_some_and(|target| shard.applied() < target);
        let mut loads: Vec<Arc<Shard>> = vec![];
        if health.reachable && !health.is_refused() {
            loads.extend(self.cluster.shards().into_iter().filter(is_loading));
            loads.extend(self.rebuilding.values().flatten().map(Arc::clone));
        }
        if loads.is_empty() {
            self.cluster.impede(Impediment::Stalled, None, &self.store.clock);
        }
        let stalled = self.loads.note(&loads, now());
        for shard in &stalled {
            let (number, applied) = (shard.key.log_partition, shard.applied());
            let reason = format!(
                "loading log partition {number} makes no progress: offset {applied} of {} for {} s; connecting anew",
                shard.progress.target().unwrap_or(applied),
                STALLED_AFTER.as_secs()
            );
            // Readers see the shard before it, if it is loaded aside.
            if let Some(shown) = self.cluster.shard(number) {
                shown.progress.set_error(Some(reason.clone()));
            }
            self.cluster.impede(Impediment::Stalled, Some(reason), &self.store.clock);
        }
        self.renew |= !stalled.is_empty();
    }

    /// Replaces the poll threads and all clients. Partitions go on where they are; loads aside begin again.
    pub(super) fn renew_readers(&mut self, stop: &CancellationToken, threads: &mut Threads) -> Result<(), String> {
        // A reader ends when it can be told no more.
        self.readers.clear();
        for thread in threads.drain(..) {
            thread::JoinHandle::join(thread).map_err(|_| "a poll thread panicked".to_owned())?;
        }
        self.client = client::connect(&self.cluster.config)?;
        self.spawn_readers(stop, threads)?;
        for number in 0..self.started {
            match (self.rebuilding.get_mut(&number), self.cluster.shard(number)) {
                (Some(aside), _) => *aside = None,
                (None, Some(shard)) => {
                    let live_from = shard.progress.target().unwrap_or(shard.applied());
                    self.send(number, Command::Start(Load { shard, live_from, aside: false }));
                }
                (None, None) => {}
            }
        }
        self.renew = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        store::{event::ShardKey, shard::Limits},
    };

    fn shard(log_partition: i32) -> Arc<Shard> {
        let key = ShardKey { cluster: "c".into(), source: "kafka".into(), log_partition };
        let limits = Limits { commits_kept: 1, watch_queue: 1 };
        Arc::new(Shard::new(key, 1, Arc::default(), Arc::default(), Clock::manual(0), limits))
    }

    #[test]
    fn a_load_that_does_not_move_for_half_a_minute_is_told_and_one_that_moves_is_not() {
        let (still, moving) = (shard(0), shard(1));
        let both = [Arc::clone(&still), Arc::clone(&moving)];
        let (start, mut loads) = (now(), Loads::default());
        let mut told = |seconds| {
            moving.set_applied(i64::try_from(seconds).unwrap());
            let stalled = loads.note(&both, start + Duration::from_secs(seconds));
            stalled.iter().map(|shard| shard.key.log_partition).collect::<Vec<_>>()
        };
        assert_eq!((told(0), told(29)), (vec![], vec![]));
        assert_eq!(told(30), [0]);
        assert_eq!(told(59), [0_i32; 0], "not again at once");
        assert_eq!(told(60), [0]);
        still.set_applied(7);
        assert_eq!((told(91), told(120)), (vec![], vec![]), "it moved");
    }
}
