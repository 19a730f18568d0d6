//! One cluster: its topics and log ends, and the sources of offsets on them.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use tokio::sync::watch;

use super::{
    ends::EndsBoard, event::Applied, older::OlderSamples, placement::Placement, silent::Tails, source::Source,
};
use crate::{clock::Clock, config, model::Name};

pub use super::source::{Fault, Health};

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
    /// Short tails that nobody reads: of markers, perhaps.
    pub tails: Tails,
    /// The offsets that the cluster itself keeps. The cluster is as healthy as this source.
    pub own: Arc<Source>,
    /// Sources of offsets that are kept elsewhere, by name.
    others: ArcSwap<Vec<Arc<Source>>>,
    older: OnceLock<Box<dyn OlderSamples>>,
    incarnation: RwLock<u64>,
    /// How often each part was started again, by its name.
    restarts: Mutex<BTreeMap<String, u64>>,
}

impl Cluster {
    /// A cluster of which nothing is known yet.
    #[must_use]
    pub fn new(config: config::Cluster, own: Source) -> Self {
        Self {
            name: Name::clone(&own.id.cluster),
            config,
            ends: EndsBoard::default(),
            placement: ArcSwap::default(),
            tails: Tails::default(),
            own: Arc::new(own),
            others: ArcSwap::default(),
            older: OnceLock::new(),
            incarnation: RwLock::new(0),
            restarts: Mutex::default(),
        }
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

    /// The Kafka cluster that is read: a number that rises when another one takes its place. While the guard is held,
    /// none does. Not for code that waits.
    pub fn incarnation(&self) -> RwLockReadGuard<'_, u64> {
        self.incarnation.read()
    }

    /// Drops everything known of the cluster that was read, since another one answers at its addresses: what follows is
    /// as after the start.
    pub(super) fn forget(&self, error: String, clock: &Clock) {
        let mut incarnation = self.incarnation.write();
        self.own.forget(error, clock);
        self.others.load().iter().for_each(|source| source.forget_samples());
        self.ends.clear();
        self.placement.store(Arc::default());
        self.tails.clear();
        *incarnation += 1;
    }

    /// Adds a source of offsets that are kept elsewhere, in the place of one of the same name.
    pub fn add_source(&self, source: &Arc<Source>) {
        self.others.rcu(|others| {
            let mut others = Vec::clone(others);
            others.retain(|other| other.id != source.id);
            others.push(Arc::clone(source));
            others.sort_by(|left, right| left.id.cmp(&right.id));
            others
        });
        self.own.wake();
    }

    /// The sources: the cluster's own first.
    #[must_use]
    pub fn sources(&self) -> Vec<Arc<Source>> {
        std::iter::once(&self.own).chain(&**self.others.load()).map(Arc::clone).collect()
    }

    /// A source by its name.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<Arc<Source>> {
        if *self.own.id.name == *name {
            return Some(Arc::clone(&self.own));
        }
        self.others.load().iter().find(|source| *source.id.name == *name).map(Arc::clone)
    }

    /// How it does now.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        self.own.health()
    }

    /// Wakes whenever [`Cluster::health`] or the set of its own shards changes.
    #[must_use]
    pub fn watch_health(&self) -> watch::Receiver<Arc<Health>> {
        self.own.watch_health()
    }

    /// Notes a change of health.
    pub fn set_health(&self, change: impl FnOnce(&mut Health)) {
        self.own.set_health(change);
    }

    /// Notes that a broker answered.
    pub fn succeeded(&self, clock: &Clock) {
        self.own.succeeded(clock);
    }

    /// Notes that no broker could be reached: the data goes stale from the first failure on.
    pub fn failed(&self, error: String, clock: &Clock) {
        self.own.failed(error, clock);
    }

    /// Notes that something fails, or with `None` that it does no longer.
    pub fn set_fault(&self, fault: Fault, reason: Option<String>, clock: &Clock) {
        self.own.set_fault(fault, reason, clock);
    }

    /// How far the shards of all sources are applied.
    #[must_use]
    pub fn applied(&self) -> Applied {
        self.sources().iter().flat_map(|source| source.applied()).collect()
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
}
