//! One source of a cluster: its shards, its progress and its health.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    audit::Audit,
    copies::Copies,
    ends::to_f64,
    event::{Applied, ShardKey},
    homes::{Homes, Layout, last_commit, newest},
    latest::Latest,
    samples::SamplesBoard,
    shard::{Hidden, Shard, ShardView},
    windows::{Replaced, Windows},
};
use crate::{
    clock::{Clock, Ticks},
    model::{Millis, Name, SourceId, SourceKind},
};

mod health;

pub use health::{Fault, Health};

/// How a source keeps its offsets, with what it needs for that.
#[derive(Clone, Debug)]
pub enum Kind {
    /// In a partitioned log, which may hold records of one group in several partitions.
    Log(Arc<dyn Homes>),
    /// As a table of present values, in one shard.
    Table,
}

impl Kind {
    /// The shard that is to hold a group, of so many.
    #[must_use]
    pub fn home(&self, group: &str, shards: usize) -> Option<i32> {
        match self {
            Self::Log(homes) => homes.home(group, i32::try_from(shards).ok()?),
            Self::Table => Some(0),
        }
    }

    /// Which copies in these shards readers see.
    #[must_use]
    pub fn layout(&self, shards: &[Arc<ShardView>]) -> Arc<Layout> {
        match self {
            Self::Log(homes) => homes.layout(shards),
            Self::Table => Arc::default(),
        }
    }
}

/// How a source is read now, what answers readers of the latest, and what was read in this way.
#[derive(Clone, Debug)]
struct Access {
    kind: Kind,
    latest: Arc<dyn Latest>,
    shards: BTreeMap<i32, Arc<Shard>>,
}

/// How the last complete look at a store went.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Offsets that the store held.
    pub entries: u64,
    /// Keys that the layout does not explain.
    pub unmatched: u64,
    /// Keys that say no offset.
    pub malformed: u64,
    /// Keys that the layout explains in several ways.
    pub ambiguous: u64,
    /// Keys that the store refuses to show.
    pub forbidden: u64,
    /// The last key that was no row, never its value.
    pub last_rejected: Option<String>,
    /// When it ended.
    pub read_at: Millis,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How often the store is read, if that does not take long.
    pub interval: Duration,
}

/// A source and everything known of it.
#[derive(Debug)]
pub struct Source {
    /// Which source.
    pub id: SourceId,
    /// What keeps the offsets, for people: the kind in the source's settings.
    pub store: Name,
    /// Readiness waits for it, however long it fails; of a cluster's own source, the cluster says so.
    pub required: bool,
    /// Samples of commits, for status and rates.
    pub windows: ArcSwap<Windows>,
    /// Samples of committed offsets and log ends over time.
    pub samples: SamplesBoard,
    /// What the audit found.
    pub audit: Audit,
    access: ArcSwap<Access>,
    /// Of a table.
    reading: ArcSwapOption<Reading>,
    health: watch::Sender<Arc<Health>>,
    pub(super) copies: Arc<Copies>,
    /// When the load began.
    started: AtomicU32,
    /// How often each part was started again, by its name.
    restarts: Mutex<BTreeMap<String, u64>>,
}

impl Source {
    /// A source of which nothing is known yet.
    #[must_use]
    pub fn new((id, store): (SourceId, Name), kind: Kind, latest: Arc<dyn Latest>, clock: &Clock) -> Self {
        let source = Self {
            id,
            store,
            required: false,
            windows: ArcSwap::default(),
            samples: SamplesBoard::default(),
            audit: Audit::default(),
            access: ArcSwap::from_pointee(Access { kind, latest, shards: BTreeMap::new() }),
            reading: ArcSwapOption::empty(),
            health: watch::Sender::default(),
            copies: Arc::default(),
            started: AtomicU32::new(clock.ticks()),
            restarts: Mutex::default(),
        };
        source.set_health(|health| *health = Health::unread("not connected yet".to_owned(), clock));
        source
    }

    /// The same, whether or not readiness waits for it.
    #[must_use]
    pub fn required(self, required: bool) -> Self {
        Self { required, ..self }
    }

    /// Notes that a part, as `east/listener`, ended and is started again.
    pub fn note_restart(&self, part: &str) {
        *self.restarts.lock().entry(part.to_owned()).or_default() += 1;
    }

    /// How often each part was started again.
    #[must_use]
    pub fn restarts(&self) -> BTreeMap<String, u64> {
        self.restarts.lock().clone()
    }

    /// Drops everything known of it: what follows is as after the start.
    pub(super) fn forget(&self, error: String, clock: &Clock) {
        self.set_health(|health| {
            let has_other_way = health.has_other_way;
            *health = Health { has_other_way, ..Health::unread(error, clock) };
        });
        self.change_shards(BTreeMap::clear);
        self.forget_samples();
        self.audit.clear();
        if let Kind::Log(homes) = &self.access.load().kind {
            homes.forget();
        }
        self.started.store(clock.ticks(), Ordering::Relaxed);
    }

    /// Drops the samples, since the log ends in them are of another cluster.
    pub(super) fn forget_samples(&self) {
        self.windows.store(Arc::default());
        self.samples.publish(self.samples.current().cleared());
    }

    /// How it keeps its offsets.
    #[must_use]
    pub fn kind(&self) -> SourceKind {
        match self.access.load().kind {
            Kind::Log(_) => SourceKind::Log,
            Kind::Table => SourceKind::Table,
        }
    }

    /// The key of a shard.
    #[must_use]
    pub fn key(&self, number: i32) -> ShardKey {
        ShardKey { source: self.id.clone(), kind: self.kind(), number }
    }

    /// What answers callers that want the latest.
    #[must_use]
    pub fn latest(&self) -> Arc<dyn Latest> {
        Arc::clone(&self.access.load().latest)
    }

    /// Sets what answers callers that want the latest.
    pub fn set_latest(&self, latest: Arc<dyn Latest>) {
        self.access.rcu(|access| Access { latest: Arc::clone(&latest), ..Access::clone(access) });
    }

    /// Goes on to be read in another way: what was read before is dropped, and what follows is as after the start.
    pub fn read_anew(&self, kind: Kind, latest: Arc<dyn Latest>, reason: String, clock: &Clock) {
        self.forget(reason, clock);
        self.access.store(Arc::new(Access { kind, latest, shards: BTreeMap::new() }));
    }

    /// A source of the same name that is read in another way, aside: no reader sees it until [`Source::adopt`].
    pub(super) fn aside(&self, kind: Kind, latest: Arc<dyn Latest>, clock: &Clock) -> Self {
        let mut aside = Self::new((self.id.clone(), Name::clone(&self.store)), kind, latest, clock);
        aside.copies = Arc::clone(&self.copies);
        aside
    }

    /// Shows what was read aside, in the place of what is shown, in one step. This is a replay: nothing is told as a commit
    /// or a deletion, since what happened meanwhile, and when, is not known.
    pub(super) fn adopt(&self, (aside, replaced): (&Self, Replaced), reason: String, clock: &Clock) {
        let (read, health) = (aside.access.load_full(), aside.health());
        self.access.store(read);
        self.reading.store(aside.reading.load_full());
        self.audit.clear();
        // Windows know rows by their places, which are others now.
        self.windows.store(Arc::new(Windows { groups: HashMap::new(), replaced: Some(replaced) }));
        self.set_health(|own| own.adopt(&health, reason, clock));
    }

    /// How the last look at the store went, where it is looked at as a whole.
    #[must_use]
    pub fn reading(&self) -> Option<Arc<Reading>> {
        self.reading.load_full()
    }

    pub(super) fn set_reading(&self, reading: Reading) {
        self.reading.store(Some(Arc::new(reading)));
    }

    /// How it does now.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health.borrow())
    }

    /// Wakes whenever [`Source::health`] or the set of shards changes.
    #[must_use]
    pub fn watch_health(&self) -> watch::Receiver<Arc<Health>> {
        self.health.subscribe()
    }

    /// Notes a change of health.
    pub fn set_health(&self, change: impl FnOnce(&mut Health)) {
        self.health.send_if_modified(|health| {
            let mut changed = Health::clone(health);
            change(&mut changed);
            changed.describe_faults(&self.id.name);
            let is_news = changed != **health;
            *health = Arc::new(changed);
            is_news
        });
    }

    /// Wakes those that watch the health: something beside it is new.
    pub(super) fn wake(&self) {
        self.health.send_modify(|_| ());
    }

    /// The shards, by number.
    #[must_use]
    pub fn shards(&self) -> Vec<Arc<Shard>> {
        self.access.load().shards.values().map(Arc::clone).collect()
    }

    /// The shards as they are now, by number.
    #[must_use]
    pub fn pin_shards(&self) -> Vec<Arc<ShardView>> {
        self.pin().1
    }

    /// How the source is read, and the shards as they are now: both of one moment.
    #[must_use]
    pub fn pin(&self) -> (Kind, Vec<Arc<ShardView>>) {
        let access = self.access.load();
        (access.kind.clone(), access.shards.values().map(|shard| shard.pin()).collect())
    }

    /// A shard by its number.
    #[must_use]
    pub fn shard(&self, number: i32) -> Option<Arc<Shard>> {
        self.access.load().shards.get(&number).map(Arc::clone)
    }

    /// The shard that readers are shown a group from. `None` when no copy of the group counts.
    #[must_use]
    pub fn shard_of_group(&self, group: &str) -> Option<Arc<Shard>> {
        let access = self.access.load();
        let shards = &access.shards;
        let Kind::Log(homes) = &access.kind else { return shards.values().next().map(Arc::clone) };
        let copies = self.copies.of(group);
        let count = i32::try_from(shards.len()).ok()?;
        let home = homes.home(group, count).and_then(|home| shards.get(&home));
        let home = home.filter(|home| copies.contains(home.epoch));
        if let Some(home) = home
            && homes.home_is_enough()
        {
            return Some(Arc::clone(home));
        }
        let home = home.map(|home| home.key.number);
        let others = shards.iter().filter(|(at, shard)| Some(**at) != home && copies.contains(shard.epoch));
        let strays: Vec<i32> = others.map(|(at, _)| *at).collect();
        let shown = match &*homes.candidates(group, &strays, home, count) {
            [] => return None,
            [only] => *only,
            several => newest(several.iter().copied(), |at| last_commit(&*shards.get(&at)?.group(group)?))?,
        };
        shards.get(&shown).map(Arc::clone)
    }

    /// The home of a group, and the shards with copies of it.
    #[must_use]
    pub fn shards_with_group(&self, group: &str) -> Vec<Arc<Shard>> {
        let (access, copies) = (self.access.load(), self.copies.of(group));
        let shards = &access.shards;
        let home = access.kind.home(group, shards.len());
        let has = |(at, shard): &(&i32, &Arc<Shard>)| Some(**at) == home || copies.contains(shard.epoch);
        shards.iter().filter(has).map(|(_, shard)| Arc::clone(shard)).collect()
    }

    /// The shards that a commit of a group may be written to: all, while that is not settled.
    #[must_use]
    pub fn shards_written_by(&self, group: &str) -> Vec<Arc<Shard>> {
        let access = self.access.load();
        let shards = &access.shards;
        let is_settled = match &access.kind {
            Kind::Log(homes) => !homes.is_unsettled(),
            Kind::Table => true,
        };
        match access.kind.home(group, shards.len()).and_then(|home| shards.get(&home)) {
            Some(home) if is_settled && self.copies.of(group).contains(home.epoch) => vec![Arc::clone(home)],
            _ => shards.values().map(Arc::clone).collect(),
        }
    }

    /// Tells the shards which copies are not shown; watchers are woken where that changed.
    pub fn set_hidden(&self, hidden: &BTreeMap<i32, Hidden>) {
        let mut changed = false;
        for (at, shard) in &self.access.load().shards {
            changed |= shard.set_hidden(hidden.get(at));
        }
        if changed {
            self.wake();
        }
    }

    /// How far each shard is applied.
    pub fn applied(&self) -> Applied {
        self.access.load().shards.values().map(|shard| (shard.key.clone(), shard.applied())).collect()
    }

    /// Takes a shard away that is no more.
    pub(super) fn remove(&self, number: i32) {
        self.change_shards(|shards| drop(shards.remove(&number)));
    }

    /// Adds a shard, or puts a rebuilt one in the place of the old.
    pub(super) fn put(&self, shard: Arc<Shard>) {
        self.change_shards(|shards| drop(shards.insert(shard.key.number, Arc::clone(&shard))));
    }

    fn change_shards(&self, change: impl Fn(&mut BTreeMap<i32, Arc<Shard>>)) {
        self.access.rcu(|access| {
            let mut access = Access::clone(access);
            change(&mut access.shards);
            access
        });
        self.wake();
    }

    /// Time of the newest fact.
    #[must_use]
    pub fn newest_record_at(&self) -> Option<Millis> {
        self.access.load().shards.values().filter_map(|shard| shard.progress.last_record_at()).max()
    }

    /// Of the initial load, 0 to 1. 1 when there is nothing to load.
    #[must_use]
    pub fn progress(&self) -> f64 {
        let (mut done, mut all) = (0, 0);
        for shard in self.shards() {
            let (Some(first), Some(target)) = (shard.progress.first(), shard.progress.target()) else { continue };
            all += target - first;
            done += (shard.applied().0.min(target) - first).max(0);
        }
        let health = self.health.borrow();
        match (health.ready, health.shards) {
            (true, _) => 1.0,
            (false, None) => 0.0,
            (false, Some(_)) if all == 0 => 1.0,
            (false, Some(_)) => to_f64(done) / to_f64(all),
        }
    }

    /// Estimated time to the end of the load, from its pace so far. `None` when done or unknown.
    #[must_use]
    pub fn remaining(&self, now: Ticks) -> Option<Duration> {
        let progress = self.progress();
        let spent = f64::from(now.saturating_sub(self.started.load(Ordering::Relaxed))) / 10.0;
        (progress > 0.0 && !self.health.borrow().ready)
            .then(|| Duration::try_from_secs_f64(spent * (1.0 - progress) / progress).ok())
            .flatten()
    }
}
