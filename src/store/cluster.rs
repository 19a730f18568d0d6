//! One cluster: its shards, log ends, and how it does.

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
    LogEnds,
    audit::{Audit, Coordinator},
    ends::EndsBoard,
    homes::{Hidden, Homes, Verdicts, last_commit, newest},
    impediment::Impediment,
    older::OlderSamples,
    overlay::{Counters, Overlay},
    placement::Placement,
    present::Lanes,
    samples::SamplesBoard,
    shard::{Shard, ShardView},
    silent::Tails,
    windows::Windows,
};
use crate::{
    clock::{Clock, Ticks},
    config,
    model::{Millis, Name, log_partition_for},
};

/// How a cluster does. Copied into every cut.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Kafka's own id of the cluster.
    pub cluster_id: Option<String>,
    /// Brokers in the last metadata.
    pub brokers: Option<i32>,
    /// Broker id of the controller.
    pub controller: Option<i32>,
    /// The last attempt to reach it succeeded.
    pub reachable: bool,
    /// Loaded once: every log partition reached its target, and log ends were fetched. Not while a right is missing.
    pub ready: bool,
    /// What the last failure said; `None` after a success.
    pub last_error: Option<String>,
    /// Since when the cluster cannot be reached, and its data is the last known.
    pub stale_since: Option<Millis>,
    /// Since when it fails, on the steady clock.
    pub failing_since: Option<Ticks>,
    /// Partitions of `__consumer_offsets`; `None` before the first metadata.
    pub log_partitions: Option<i32>,
    /// What keeps the log from being read although brokers answer.
    pub impediments: BTreeMap<Impediment, String>,
}

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
    log_ends: RwLock<Option<Arc<dyn LogEnds>>>,
    pub(super) lanes: Lanes,
    overlay: RwLock<Option<Arc<dyn Overlay>>>,
    coordinator: RwLock<Option<Arc<dyn Coordinator>>>,
    older: OnceLock<Box<dyn OlderSamples>>,
    /// What the audit found.
    pub audit: Audit,
    /// What looking behind transactions cost.
    pub overlay_counters: Counters,
    /// When the load began.
    started: AtomicU32,
    incarnation: RwLock<u64>,
}

impl Health {
    /// Brokers answer: what is wrong is what impedes, or nothing.
    pub(super) fn settle(&mut self) {
        self.last_error = self.impediment().map(str::to_owned);
        if self.last_error.is_none() {
            (self.stale_since, self.failing_since) = (None, None);
        }
    }
}

impl Cluster {
    /// A cluster of which nothing is known yet.
    #[must_use]
    pub fn new(config: config::Cluster, clock: &Clock) -> Self {
        let health = Health {
            last_error: Some("not connected yet".to_owned()),
            failing_since: Some(clock.ticks()),
            ..Health::default()
        };
        Self {
            name: Name::from(config.name.as_str()),
            config,
            ends: EndsBoard::default(),
            placement: ArcSwap::default(),
            windows: ArcSwap::default(),
            samples: SamplesBoard::default(),
            tails: Tails::default(),
            homes: Homes::default(),
            shards: ArcSwap::default(),
            health: watch::Sender::new(Arc::new(health)),
            log_ends: RwLock::default(),
            lanes: Lanes::default(),
            overlay: RwLock::default(),
            coordinator: RwLock::default(),
            older: OnceLock::new(),
            audit: Audit::default(),
            overlay_counters: Counters::default(),
            started: AtomicU32::new(clock.ticks()),
            incarnation: RwLock::new(0),
        }
    }

    /// The Kafka cluster that is read: a number that rises when another one takes its place. While the guard is held,
    /// none does. Not for code that waits.
    pub fn incarnation(&self) -> RwLockReadGuard<'_, u64> {
        self.incarnation.read()
    }

    /// Drops everything known of the Kafka cluster that was read, since another one answers at its addresses: what
    /// follows is as after the start. `drop_shards` drops the shards.
    pub(super) fn forget(&self, error: String, clock: &Clock, drop_shards: impl FnOnce()) {
        let mut incarnation = self.incarnation.write();
        self.set_health(|health| {
            *health = Health { last_error: Some(error), failing_since: Some(clock.ticks()), ..Health::default() };
        });
        drop_shards();
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
            let is_news = changed != **health;
            *health = Arc::new(changed);
            is_news
        });
    }

    /// The last attempt to reach the cluster succeeded.
    pub fn succeeded(&self) {
        self.set_health(|health| {
            health.reachable = true;
            health.settle();
        });
    }

    /// The last attempt to reach the cluster failed: its data goes stale from the first failure on.
    pub fn failed(&self, error: String, clock: &Clock) {
        self.set_health(|health| {
            health.reachable = false;
            health.last_error = Some(error);
            health.stale_since = health.stale_since.or(Some(clock.now()));
            health.failing_since = health.failing_since.or(Some(clock.ticks()));
        });
    }

    /// Says how to ask the cluster for the present ends of its log partitions.
    pub fn set_log_ends(&self, log_ends: Box<dyn LogEnds>) {
        *self.log_ends.write() = Some(Arc::from(log_ends));
    }

    /// How to ask the cluster for the present ends of its log partitions.
    #[must_use]
    pub fn log_ends(&self) -> Option<Arc<dyn LogEnds>> {
        self.log_ends.read().clone()
    }

    /// Says who looks behind open transactions.
    pub fn set_overlay(&self, overlay: Box<dyn Overlay>) {
        *self.overlay.write() = Some(Arc::from(overlay));
    }

    /// Who looks behind open transactions.
    #[must_use]
    pub fn overlay(&self) -> Option<Arc<dyn Overlay>> {
        self.overlay.read().clone()
    }

    /// Says how to ask coordinators.
    pub fn set_coordinator(&self, coordinator: Box<dyn Coordinator>) {
        *self.coordinator.write() = Some(Arc::from(coordinator));
    }

    /// How to ask coordinators.
    #[must_use]
    pub fn coordinator(&self) -> Option<Arc<dyn Coordinator>> {
        self.coordinator.read().clone()
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
        let shards = self.shards.load();
        let count = i32::try_from(shards.len()).ok()?;
        let home = log_partition_for(group, count).filter(|home| holds(&shards, *home, group));
        if self.homes.home_is_enough()
            && let Some(home) = home
        {
            return shards.get(&home).map(Arc::clone);
        }
        let others = shards.values().filter(|shard| Some(shard.key.log_partition) != home && shard.holds(group));
        let strays: Vec<i32> = others.map(|shard| shard.key.log_partition).collect();
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
        let shards = self.shards.load();
        let home = i32::try_from(shards.len()).ok().and_then(|count| log_partition_for(group, count));
        let has = |shard: &&Arc<Shard>| Some(shard.key.log_partition) == home || shard.holds(group);
        shards.values().filter(has).map(Arc::clone).collect()
    }

    /// The shards that a commit of a group may be written to: all, while brokers may use an earlier number of log
    /// partitions.
    #[must_use]
    pub fn shards_written_by(&self, group: &str) -> Vec<Arc<Shard>> {
        let shards = self.shards.load();
        let home = i32::try_from(shards.len()).ok().and_then(|count| log_partition_for(group, count));
        match home.and_then(|home| shards.get(&home)) {
            Some(home) if !self.homes.verdicts().unsettled && home.holds(group) => vec![Arc::clone(home)],
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
        self.health.send_modify(|_| ());
    }

    /// Adds a shard, or puts a rebuilt one in the place of the old.
    pub(super) fn put(&self, shard: Arc<Shard>) {
        self.change_shards(|shards| drop(shards.insert(shard.key.log_partition, Arc::clone(&shard))));
        self.health.send_modify(|_| ());
    }

    fn change_shards(&self, change: impl Fn(&mut BTreeMap<i32, Arc<Shard>>)) {
        self.shards.rcu(|shards| {
            let mut shards = BTreeMap::clone(shards);
            change(&mut shards);
            shards
        });
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
            (false, Some(_)) => super::ends::to_f64(done) / super::ends::to_f64(all),
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

fn holds(shards: &BTreeMap<i32, Arc<Shard>>, at: i32, group: &str) -> bool {
    shards.get(&at).is_some_and(|shard| shard.holds(group))
}
