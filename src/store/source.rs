//! A source of a cluster: one place where offsets are kept, with its shards, load progress and health.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    audit::Audit,
    copies::Copies,
    event::{AppliedRevisions, ShardKey},
    homes::{Homes, Layout, last_commit, newest},
    latest::LatestOffsets,
    samples::SamplesBoard,
    shard::{HiddenGroups, Shard, ShardView},
    windows::{Replaced, Windows},
};
use crate::{
    clock::Clock,
    model::{Millis, Name, SourceId, SourceKind},
};

mod health;
mod load;

use load::Load;

pub use health::{Fault, Health};
pub use load::LoadPhase;

/// How a source keeps its offsets.
#[derive(Clone, Debug)]
pub enum Kind {
    /// In a partitioned log, which may hold records of one group in several partitions.
    Log(Arc<dyn Homes>),
    /// As a table of current values, in one shard.
    Table,
}

impl Kind {
    /// Returns the home shard of a group, given the number of shards.
    #[must_use]
    pub fn home(&self, group: &str, shards: usize) -> Option<i32> {
        match self {
            Self::Log(homes) => homes.home(group, i32::try_from(shards).ok()?),
            Self::Table => Some(0),
        }
    }

    /// Returns which copies of groups in these shards readers see.
    #[must_use]
    pub fn layout(&self, shards: &[Arc<ShardView>]) -> Arc<Layout> {
        match self {
            Self::Log(homes) => homes.layout(shards),
            Self::Table => Arc::default(),
        }
    }
}

/// How a source is read now, and the shards that were read in this mode.
#[derive(Clone, Debug)]
struct Access {
    kind: Kind,
    latest: Arc<dyn LatestOffsets>,
    shards: BTreeMap<i32, Arc<Shard>>,
}

/// Outcome of the last complete read of an offset store.
#[derive(Clone, Debug)]
pub struct ReadOutcome {
    /// Number of offsets in the store.
    pub entries: u64,
    /// Number of keys that do not match the layout.
    pub unmatched: u64,
    /// Number of keys without a valid offset.
    pub malformed: u64,
    /// Number of keys that match the layout in several ways.
    pub ambiguous: u64,
    /// Number of keys that the store does not permit to read.
    pub forbidden: u64,
    /// The last key that was rejected; never its value.
    pub last_rejected: Option<String>,
    /// Time at which the read ended.
    pub read_at: Millis,
    /// Duration of the read, in seconds.
    pub seconds: f64,
    /// Interval between reads, unless a read takes longer.
    pub interval: Duration,
}

/// A source with all its state.
#[derive(Debug)]
pub struct Source {
    /// The source's id.
    pub id: SourceId,
    /// The kind of the offset store, as in the settings of the source.
    pub store: Name,
    /// The place in the store that is read, such as the path of a znode.
    pub location: Option<Name>,
    /// Whether readiness waits for the source, however long it fails. For a cluster's own source, the setting of the
    /// cluster decides.
    pub required: bool,
    /// Windows of recent commits, for status and rates.
    pub windows: ArcSwap<Windows>,
    /// Samples of committed offsets and log ends over time.
    pub samples: SamplesBoard,
    /// Differences that the audit found.
    pub audit: Audit,
    access: ArcSwap<Access>,
    /// Outcome of the last complete read; only of a table.
    last_read: ArcSwapOption<ReadOutcome>,
    health: watch::Sender<Arc<Health>>,
    pub(super) copies: Arc<Copies>,
    load: Load,
    /// Number of restarts of each task, by its name.
    restarts: Mutex<BTreeMap<String, u64>>,
}

impl Source {
    /// Creates a source without data.
    #[must_use]
    pub fn new((id, store): (SourceId, Name), kind: Kind, latest: Arc<dyn LatestOffsets>, clock: &Clock) -> Self {
        let source = Self {
            id,
            store,
            location: None,
            required: false,
            windows: ArcSwap::default(),
            samples: SamplesBoard::default(),
            audit: Audit::default(),
            access: ArcSwap::from_pointee(Access { kind, latest, shards: BTreeMap::new() }),
            last_read: ArcSwapOption::empty(),
            health: watch::Sender::default(),
            copies: Arc::default(),
            load: Load::new(clock),
            restarts: Mutex::default(),
        };
        source.set_health(|health| *health = Health::unread("not connected yet".to_owned(), clock));
        source
    }

    /// Sets the place in the store that is read.
    #[must_use]
    pub fn at(self, location: Option<Name>) -> Self {
        Self { location, ..self }
    }

    /// Sets whether readiness waits for the source.
    #[must_use]
    pub fn required(self, required: bool) -> Self {
        Self { required, ..self }
    }

    /// Counts a restart of a task, as `east/listener`.
    pub fn count_restart(&self, part: &str) {
        *self.restarts.lock().entry(part.to_owned()).or_default() += 1;
    }

    /// Returns the number of restarts of each task.
    #[must_use]
    pub fn restarts(&self) -> BTreeMap<String, u64> {
        self.restarts.lock().clone()
    }

    /// Drops all data of the source, which then loads as after the start.
    pub(super) fn forget(&self, error: String, clock: &Clock) {
        self.set_health(|health| {
            let has_other_mode = health.has_other_mode;
            *health = Health { has_other_mode, ..Health::unread(error, clock) };
        });
        self.change_shards(BTreeMap::clear);
        self.forget_samples();
        self.audit.clear();
        if let Kind::Log(homes) = &self.access.load().kind {
            homes.forget();
        }
        self.load.restart(clock);
    }

    /// Drops the samples, because their log ends belong to another Kafka cluster.
    pub(super) fn forget_samples(&self) {
        self.windows.store(Arc::default());
        self.samples.publish(self.samples.current().cleared());
    }

    /// Returns how the source keeps its offsets.
    #[must_use]
    pub fn kind(&self) -> SourceKind {
        match self.access.load().kind {
            Kind::Log(_) => SourceKind::Log,
            Kind::Table => SourceKind::Table,
        }
    }

    /// Returns the key of a shard.
    #[must_use]
    pub fn key(&self, number: i32) -> ShardKey {
        ShardKey { source: self.id.clone(), kind: self.kind(), number }
    }

    /// Returns the implementation of reads of the latest offsets.
    #[must_use]
    pub fn latest(&self) -> Arc<dyn LatestOffsets> {
        Arc::clone(&self.access.load().latest)
    }

    /// Sets the implementation of reads of the latest offsets.
    pub fn set_latest(&self, latest: Arc<dyn LatestOffsets>) {
        self.access.rcu(|access| Access { latest: Arc::clone(&latest), ..Access::clone(access) });
    }

    /// Switches to another read mode. All data is dropped, and the source loads as after the start.
    pub fn switch_mode(&self, kind: Kind, latest: Arc<dyn LatestOffsets>, reason: String, clock: &Clock) {
        self.forget(reason, clock);
        self.access.store(Arc::new(Access { kind, latest, shards: BTreeMap::new() }));
    }

    /// Creates a source of the same name that is read in another mode. No reader sees it until [`Source::adopt`].
    pub(super) fn aside(&self, kind: Kind, latest: Arc<dyn LatestOffsets>, clock: &Clock) -> Self {
        let mut aside = Self::new((self.id.clone(), Name::clone(&self.store)), kind, latest, clock);
        aside.copies = Arc::clone(&self.copies);
        aside
    }

    /// Replaces the visible data with data that was loaded aside, in one step. The new data counts as replayed: no
    /// commits or deletions are reported, because it is not known what happened meanwhile, and when.
    pub(super) fn adopt(&self, (aside, replaced): (&Self, Replaced), reason: String, clock: &Clock) {
        let (read, health) = (aside.access.load_full(), aside.health());
        self.access.store(read);
        self.last_read.store(aside.last_read.load_full());
        self.audit.clear();
        // Windows refer to rows by position, and the positions have changed.
        self.windows.store(Arc::new(Windows { groups: HashMap::new(), replaced: Some(replaced) }));
        self.set_health(|own| own.adopt(&health, reason, clock));
    }

    /// Returns the outcome of the last complete read, of a source that is read as a whole.
    #[must_use]
    pub fn last_read(&self) -> Option<Arc<ReadOutcome>> {
        self.last_read.load_full()
    }

    pub(super) fn set_last_read(&self, last_read: ReadOutcome) {
        self.last_read.store(Some(Arc::new(last_read)));
    }

    /// Returns the current health.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health.borrow())
    }

    /// Returns a receiver that is notified when [`Source::health`] or the set of shards changes.
    #[must_use]
    pub fn watch_health(&self) -> watch::Receiver<Arc<Health>> {
        self.health.subscribe()
    }

    /// Changes the health.
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

    /// Notifies the receivers of the health without a change of it.
    pub(super) fn notify(&self) {
        self.health.send_modify(|_| ());
    }

    /// Returns the shards, by number.
    #[must_use]
    pub fn shards(&self) -> Vec<Arc<Shard>> {
        self.access.load().shards.values().map(Arc::clone).collect()
    }

    /// Returns views of the current shards, by number.
    #[must_use]
    pub fn pin_shards(&self) -> Vec<Arc<ShardView>> {
        self.pin().1
    }

    /// Returns how the source is read and views of the current shards, both from the same moment.
    #[must_use]
    pub fn pin(&self) -> (Kind, Vec<Arc<ShardView>>) {
        let access = self.access.load();
        (access.kind.clone(), access.shards.values().map(|shard| shard.pin()).collect())
    }

    /// Returns a shard by its number.
    #[must_use]
    pub fn shard(&self, number: i32) -> Option<Arc<Shard>> {
        self.access.load().shards.get(&number).map(Arc::clone)
    }

    /// Returns the shard from which readers see a group, or `None` if no copy of the group is visible.
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
        let misplaced: Vec<i32> = others.map(|(at, _)| *at).collect();
        let shown = match &*homes.candidates(group, &misplaced, home, count) {
            [] => return None,
            [only] => *only,
            several => newest(several.iter().copied(), |at| last_commit(&*shards.get(&at)?.group(group)?))?,
        };
        shards.get(&shown).map(Arc::clone)
    }

    /// Returns the shards that hold records of a group, and its home shard.
    #[must_use]
    pub fn shards_with_group(&self, group: &str) -> Vec<Arc<Shard>> {
        let (access, copies) = (self.access.load(), self.copies.of(group));
        let shards = &access.shards;
        let home = access.kind.home(group, shards.len());
        let has = |(at, shard): &(&i32, &Arc<Shard>)| Some(**at) == home || copies.contains(shard.epoch);
        shards.iter().filter(has).map(|(_, shard)| Arc::clone(shard)).collect()
    }

    /// Returns the shards to which a commit of the group may be written: all shards, while the layout is unsettled.
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

    /// Sets which copies of groups are hidden, by shard. Receivers of the health are notified of a change.
    pub fn set_hidden(&self, hidden: &BTreeMap<i32, HiddenGroups>) {
        let mut changed = false;
        for (at, shard) in &self.access.load().shards {
            changed |= shard.set_hidden(hidden.get(at));
        }
        if changed {
            self.notify();
        }
    }

    /// Returns how far each shard is applied.
    pub fn applied(&self) -> AppliedRevisions {
        self.access.load().shards.values().map(|shard| (shard.key.clone(), shard.applied())).collect()
    }

    /// Removes a shard.
    pub(super) fn remove(&self, number: i32) {
        self.change_shards(|shards| drop(shards.remove(&number)));
    }

    /// Adds a shard, or replaces it with a rebuilt one.
    pub(super) fn put(&self, shard: Arc<Shard>) {
        self.change_shards(|shards| drop(shards.insert(shard.key.number, Arc::clone(&shard))));
    }

    fn change_shards(&self, change: impl Fn(&mut BTreeMap<i32, Arc<Shard>>)) {
        self.access.rcu(|access| {
            let mut access = Access::clone(access);
            change(&mut access.shards);
            access
        });
        self.notify();
    }

    /// Returns the time of the newest record.
    #[must_use]
    pub fn newest_record_at(&self) -> Option<Millis> {
        self.access.load().shards.values().filter_map(|shard| shard.progress.last_record_at()).max()
    }
}
