//! One cluster: its shards, log ends, and health.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::watch;

use super::{
    audit::Audit,
    copies::Copies,
    ends::{EndsBoard, to_f64},
    homes::{Homes, Verdicts, last_commit, newest},
    live::LiveSource,
    older::OlderSamples,
    overlay::Counters,
    placement::Placement,
    samples::SamplesBoard,
    shard::{Hidden, Shard, ShardView},
    silent::Tails,
    windows::Windows,
};
use crate::{
    clock::{Clock, Ticks},
    config,
    model::{Millis, Name, log_partition_for},
};

mod health;
mod present;

pub use health::{Fault, Health};
use present::Lanes;

/// A cluster and everything known of it.
#[derive(Debug)]
pub struct Cluster {
    /// The name that the operator gave it.
    pub name: Name,
    /// Its settings.
    pub config: config::Cluster,
    /// Topics and log ends.
    pub ends: EndsBoard,
    /// Brokers, and replicas of partitions.
    pub placement: ArcSwap<Placement>,
    /// Samples of commits, for status and rates.
    pub windows: ArcSwap<Windows>,
    /// Samples of committed offsets and log ends over time.
    pub samples: SamplesBoard,
    /// Short tails that nobody reads: of markers, perhaps.
    pub tails: Tails,
    /// Which log partition holds the present records of each group.
    pub homes: Homes,
    shards: ArcSwap<BTreeMap<i32, Arc<Shard>>>,
    health: watch::Sender<Arc<Health>>,
    source: RwLock<Option<Arc<dyn LiveSource>>>,
    lanes: Lanes,
    pub(super) copies: Arc<Copies>,
    older: OnceLock<Box<dyn OlderSamples>>,
    /// What the audit found.
    pub audit: Audit,
    /// What looking behind transactions cost.
    pub overlay_counters: Counters,
    /// When the load began.
    started: AtomicU32,
    incarnation: RwLock<u64>,
}

impl Cluster {
    /// A cluster of which nothing is known yet.
    #[must_use]
    pub fn new(config: config::Cluster, clock: &Clock) -> Self {
        let cluster = Self {
            name: Name::from(config.name.as_str()),
            config,
            ends: EndsBoard::default(),
            placement: ArcSwap::default(),
            windows: ArcSwap::default(),
            samples: SamplesBoard::default(),
            tails: Tails::default(),
            homes: Homes::default(),
            shards: ArcSwap::default(),
            health: watch::Sender::default(),
            source: RwLock::default(),
            lanes: Lanes::default(),
            copies: Arc::default(),
            older: OnceLock::new(),
            audit: Audit::default(),
            overlay_counters: Counters::default(),
            started: AtomicU32::new(clock.ticks()),
            incarnation: RwLock::new(0),
        };
        cluster.set_health(|health| *health = Health::unread("not connected yet".to_owned(), clock));
        cluster
    }

    /// The Kafka cluster that is read: a number that rises when another one takes its place. While the guard is held,
    /// none does. Not for code that waits.
    pub fn incarnation(&self) -> RwLockReadGuard<'_, u64> {
        self.incarnation.read()
    }

    /// Drops everything known of the Kafka cluster that was read, since another one answers at its addresses: what
    /// follows is as after the start.
    pub(super) fn forget(&self, error: String, clock: &Clock) {
        let mut incarnation = self.incarnation.write();
        self.set_health(|health| *health = Health::unread(error, clock));
        self.change_shards(BTreeMap::clear);
        self.ends.clear();
        self.placement.store(Arc::default());
        self.windows.store(Arc::default());
        self.samples.publish(self.samples.current().cleared());
        self.tails.set(std::iter::empty());
        self.audit.clear();
        self.homes.set(Verdicts::default());
        self.started.store(clock.ticks(), Ordering::Relaxed);
        *incarnation += 1;
    }

    /// How it does now.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health.borrow())
    }

    /// Wakes whenever [`Cluster::health`] or the set of shards changes.
    #[must_use]
    pub fn watch_health(&self) -> watch::Receiver<Arc<Health>> {
        self.health.subscribe()
    }

    /// Notes a change of health.
    pub fn set_health(&self, change: impl FnOnce(&mut Health)) {
        self.health.send_if_modified(|health| {
            let mut changed = Health::clone(health);
            change(&mut changed);
            changed.describe_faults();
            let is_news = changed != **health;
            *health = Arc::new(changed);
            is_news
        });
    }

    /// Sets the source that answers questions about the cluster's present state.
    pub fn set_source(&self, source: Arc<dyn LiveSource>) {
        *self.source.write() = Some(source);
    }

    /// Returns the source that answers questions about the cluster's present state.
    #[must_use]
    pub fn source(&self) -> Option<Arc<dyn LiveSource>> {
        self.source.read().clone()
    }

    /// Says where older samples are kept.
    pub fn set_older(&self, older: Box<dyn OlderSamples>) {
        // Set once, when the server is built.
        let _ = self.older.set(older);
    }

    /// Where older samples are kept, if anywhere.
    #[must_use]
    pub fn older(&self) -> Option<&dyn OlderSamples> {
        self.older.get().map(|older| &**older)
    }

    /// The shards, by log partition.
    #[must_use]
    pub fn shards(&self) -> Vec<Arc<Shard>> {
        self.shards.load().values().map(Arc::clone).collect()
    }

    /// The shards as they are now, by log partition.
    #[must_use]
    pub fn pin_shards(&self) -> Vec<Arc<ShardView>> {
        self.shards.load().values().map(|shard| shard.pin()).collect()
    }

    /// The shard that readers are shown a group from. `None` when no copy of the group counts.
    #[must_use]
    pub fn shard_of_group(&self, group: &str) -> Option<Arc<Shard>> {
        let (shards, copies) = (self.shards.load(), self.copies.of(group));
        let count = i32::try_from(shards.len()).ok()?;
        let home = log_partition_for(group, count).and_then(|home| shards.get(&home));
        let home = home.filter(|home| copies.contains(home.epoch));
        if self.homes.home_is_enough()
            && let Some(home) = home
        {
            return Some(Arc::clone(home));
        }
        let home = home.map(|home| home.key.log_partition);
        let others = shards.iter().filter(|(at, shard)| Some(**at) != home && copies.contains(shard.epoch));
        let strays: Vec<i32> = others.map(|(at, _)| *at).collect();
        let shown = match &*self.homes.verdicts().candidates(group, &strays, home, count) {
            [] => return None,
            [only] => *only,
            several => newest(several.iter().copied(), |at| last_commit(&*shards.get(&at)?.group(group)?))?,
        };
        shards.get(&shown).map(Arc::clone)
    }

    /// The shard that the present number of log partitions gives for a group, and those with copies of it.
    #[must_use]
    pub fn shards_with_group(&self, group: &str) -> Vec<Arc<Shard>> {
        let (shards, copies) = (self.shards.load(), self.copies.of(group));
        let home = i32::try_from(shards.len()).ok().and_then(|count| log_partition_for(group, count));
        let has = |(at, shard): &(&i32, &Arc<Shard>)| Some(**at) == home || copies.contains(shard.epoch);
        shards.iter().filter(has).map(|(_, shard)| Arc::clone(shard)).collect()
    }

    /// The shards that a commit of a group may be written to: all, while brokers may use an earlier number of log
    /// partitions.
    #[must_use]
    pub fn shards_written_by(&self, group: &str) -> Vec<Arc<Shard>> {
        let shards = self.shards.load();
        let home = i32::try_from(shards.len()).ok().and_then(|count| log_partition_for(group, count));
        match home.and_then(|home| shards.get(&home)) {
            Some(home) if !self.homes.verdicts().unsettled && self.copies.of(group).contains(home.epoch) => {
                vec![Arc::clone(home)]
            }
            _ => shards.values().map(Arc::clone).collect(),
        }
    }

    /// Tells the shards which copies are not shown; watchers are woken where that changed.
    pub fn set_hidden(&self, hidden: &BTreeMap<i32, Hidden>) {
        let mut changed = false;
        for (at, shard) in &**self.shards.load() {
            changed |= shard.set_hidden(hidden.get(at));
        }
        if changed {
            self.health.send_modify(|_| ());
        }
    }

    /// A shard by its log partition.
    #[must_use]
    pub fn shard(&self, log_partition: i32) -> Option<Arc<Shard>> {
        self.shards.load().get(&log_partition).map(Arc::clone)
    }

    /// How far each log partition is applied.
    #[must_use]
    pub fn applied(&self) -> BTreeMap<i32, i64> {
        self.shards.load().iter().map(|(number, shard)| (*number, shard.applied())).collect()
    }

    /// Takes a shard away whose log partition is no more.
    pub(super) fn remove(&self, log_partition: i32) {
        self.change_shards(|shards| drop(shards.remove(&log_partition)));
    }

    /// Adds a shard, or puts a rebuilt one in the place of the old.
    pub(super) fn put(&self, shard: Arc<Shard>) {
        self.change_shards(|shards| drop(shards.insert(shard.key.log_partition, Arc::clone(&shard))));
    }

    fn change_shards(&self, change: impl Fn(&mut BTreeMap<i32, Arc<Shard>>)) {
        self.shards.rcu(|shards| {
            let mut shards = BTreeMap::clone(shards);
            change(&mut shards);
            shards
        });
        self.health.send_modify(|_| ());
    }

    /// Time of the newest record of the log.
    #[must_use]
    pub fn newest_record_at(&self) -> Option<Millis> {
        self.shards.load().values().filter_map(|shard| shard.progress.last_record_at()).max()
    }

    /// Of the initial load, 0 to 1. 1 when there is nothing to load.
    #[must_use]
    pub fn progress(&self) -> f64 {
        let (mut done, mut all) = (0, 0);
        for shard in self.shards() {
            let (Some(first), Some(target)) = (shard.progress.first(), shard.progress.target()) else { continue };
            all += target - first;
            done += (shard.applied().min(target) - first).max(0);
        }
        let health = self.health.borrow();
        match (health.ready, health.log_partitions) {
            (true, _) => 1.0,
            (false, None) => 0.0,
            (false, Some(_)) if all == 0 => 1.0,
            (false, Some(_)) => to_f64(done) / to_f64(all),
        }
    }

    /// Estimated time to the end of the load, from its pace so far. `None` when done or unknown.
    #[must_use]
    pub fn remaining(&self, now: Ticks) -> Option<std::time::Duration> {
        let progress = self.progress();
        let spent = f64::from(now.saturating_sub(self.started.load(Ordering::Relaxed))) / 10.0;
        (progress > 0.0 && !self.health.borrow().ready)
            .then(|| std::time::Duration::try_from_secs_f64(spent * (1.0 - progress) / progress).ok())
            .flatten()
    }
}
