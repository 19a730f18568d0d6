//! A Kafka cluster: its topics, its log ends, and the sources of offsets on them.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::watch;

use super::{
    ends::LogEndsBoard, event::AppliedRevisions, history_store::HistoryStore, placement::Placement, source::Source,
    trailing::UncheckedGaps, windows::Replaced,
};
use crate::{clock::Clock, config, model::Name};

pub use super::source::{Fault, Health};

/// A cluster with all its state.
#[derive(Debug)]
pub struct Cluster {
    /// The name in the configuration.
    pub name: Name,
    /// The settings of the cluster.
    pub config: config::Cluster,
    /// Topics and log ends.
    pub ends: LogEndsBoard,
    /// The cluster id, the brokers, and the replicas of partitions.
    pub placement: ArcSwap<Placement>,
    /// Short gaps before log ends that may be transaction markers.
    pub unchecked_gaps: UncheckedGaps,
    /// The source of the offsets that the cluster itself keeps. The health of the cluster is that of this source.
    pub own: Arc<Source>,
    /// The sources of offsets in other stores, by name.
    others: ArcSwap<Vec<Arc<Source>>>,
    history_store: OnceLock<Box<dyn HistoryStore>>,
    incarnation: RwLock<u64>,
}

impl Cluster {
    /// Creates a cluster without data.
    #[must_use]
    pub fn new(config: config::Cluster, own: Source) -> Self {
        Self {
            name: Name::clone(&own.id.cluster),
            config,
            ends: LogEndsBoard::default(),
            placement: ArcSwap::default(),
            unchecked_gaps: UncheckedGaps::default(),
            own: Arc::new(own),
            others: ArcSwap::default(),
            history_store: OnceLock::new(),
            incarnation: RwLock::new(0),
        }
    }

    /// Returns the number of Kafka clusters that were read under this name before the current one. It does not change
    /// while the guard is held. The guard must not be held across an `.await`.
    pub fn incarnation(&self) -> RwLockReadGuard<'_, u64> {
        self.incarnation.read()
    }

    /// Drops all data, because another Kafka cluster answers at the addresses. Everything loads as after the start.
    pub(super) fn forget(&self, error: String, clock: &Clock) {
        let mut incarnation = self.incarnation.write();
        self.own.forget(error, clock);
        self.others.load().iter().for_each(|source| source.forget_samples());
        self.ends.clear();
        self.placement.store(Arc::default());
        self.unchecked_gaps.clear();
        *incarnation += 1;
    }

    /// Makes data that was loaded aside visible as the cluster's own source. No cut contains parts of the old and the
    /// new data.
    pub(super) fn adopt(&self, aside: (&Source, Replaced), reason: String, clock: &Clock) {
        let _none_is_pinned = self.incarnation.write();
        self.own.adopt(aside, reason, clock);
    }

    /// Adds a source of offsets in another store and replaces a source of the same name.
    pub(super) fn add_source(&self, source: &Arc<Source>) {
        self.others.rcu(|others| {
            let mut others = Vec::clone(others);
            others.retain(|other| other.id != source.id);
            others.push(Arc::clone(source));
            others.sort_by(|left, right| left.id.cmp(&right.id));
            others
        });
    }

    /// Removes a source with all its groups, without deletion events.
    pub(super) fn remove_source(&self, source: &Arc<Source>) {
        self.others.rcu(|others| {
            let mut others = Vec::clone(others);
            others.retain(|other| !Arc::ptr_eq(other, source));
            others
        });
    }

    /// Returns the sources, the cluster's own first.
    #[must_use]
    pub fn sources(&self) -> Vec<Arc<Source>> {
        std::iter::once(&self.own).chain(&**self.others.load()).map(Arc::clone).collect()
    }

    /// Returns a source by its name.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<Arc<Source>> {
        if *self.own.id.name == *name {
            return Some(Arc::clone(&self.own));
        }
        self.others.load().iter().find(|source| *source.id.name == *name).map(Arc::clone)
    }

    /// Returns the current health of the cluster's own source.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        self.own.health()
    }

    /// Returns a receiver that is notified when [`Cluster::health`] or the set of the own source's shards changes.
    #[must_use]
    pub fn watch_health(&self) -> watch::Receiver<Arc<Health>> {
        self.own.watch_health()
    }

    /// Changes the health of the cluster's own source.
    pub fn set_health(&self, change: impl FnOnce(&mut Health)) {
        self.own.set_health(change);
    }

    /// Records that a broker answered.
    pub fn succeeded(&self, clock: &Clock) {
        self.own.succeeded(clock);
    }

    /// Records that no broker could be reached. The data is stale from the first failure on.
    pub fn failed(&self, error: String, clock: &Clock) {
        self.own.failed(Fault::Unreachable, error, clock);
    }

    /// Sets a fault of the cluster's own source, or clears it with `None`.
    pub fn set_fault(&self, fault: Fault, reason: Option<String>, clock: &Clock) {
        self.own.set_fault(fault, reason, clock);
    }

    /// Returns how far the shards of all sources are applied.
    #[must_use]
    pub fn applied(&self) -> AppliedRevisions {
        self.sources().iter().flat_map(|source| source.applied()).collect()
    }

    /// Sets the history store of the cluster.
    pub fn set_history_store(&self, history_store: Box<dyn HistoryStore>) {
        // The history store is set once, when the server is built.
        let _ = self.history_store.set(history_store);
    }

    /// Returns the history store, if one is configured.
    #[must_use]
    pub fn history_store(&self) -> Option<&dyn HistoryStore> {
        self.history_store.get().map(|history_store| &**history_store)
    }
}
