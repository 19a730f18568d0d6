//! The one door through which a source writes.

use std::{ops::Deref, sync::Arc};

use hashbrown::HashMap;

use super::{
    Store,
    cluster::Cluster,
    event::{Applied, Event},
    group::GroupView,
    latest::Latest,
    names::Names,
    pin,
    shard::Shard,
    source::{Fault, Kind, Reading, Source},
    windows::Replaced,
};
use crate::{
    clock::{Clock, Ticks},
    model::{Name, Revision},
};

/// Writes for one source: all that a source gets of the store.
#[derive(Clone, Debug)]
pub struct SourceWriter {
    store: Arc<Store>,
    cluster: Arc<Cluster>,
    source: Arc<Source>,
}

/// Writes one shard. Clones write the same one: only one thread may apply facts.
#[derive(Clone, Debug)]
pub struct ShardWriter(Arc<Shard>);

impl SourceWriter {
    /// For a source of a cluster of the store.
    #[must_use]
    pub fn new(store: &Arc<Store>, cluster: &Arc<Cluster>, source: &Arc<Source>) -> Self {
        Self { store: Arc::clone(store), cluster: Arc::clone(cluster), source: Arc::clone(source) }
    }

    /// For a cluster's own source.
    #[must_use]
    pub fn own(store: &Arc<Store>, cluster: &Arc<Cluster>) -> Self {
        Self::new(store, cluster, &cluster.own)
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The cluster whose topics the offsets are about.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.store.clock
    }

    /// The names in use.
    #[must_use]
    pub fn names(&self) -> &Arc<Names> {
        self.store.names()
    }

    /// How far all shards of the cluster are applied.
    #[must_use]
    pub fn applied(&self) -> Applied {
        self.cluster.applied()
    }

    /// Makes an empty shard that no reader sees until [`SourceWriter::publish`]: to load, or to rebuild aside.
    #[must_use]
    pub fn new_shard(&self, number: i32) -> ShardWriter {
        ShardWriter(self.store.new_shard(&self.source, number))
    }

    /// Goes on writing a shard that readers see.
    #[must_use]
    pub fn shard(&self, number: i32) -> Option<ShardWriter> {
        self.source.shard(number).map(ShardWriter)
    }

    /// Shows a shard to readers, in the place of the one before.
    pub fn publish(&self, shard: &ShardWriter) {
        self.source.put(Arc::clone(&shard.0));
    }

    /// Makes a writer of the same source, read in another way, that no reader sees until [`SourceWriter::adopt`].
    #[must_use]
    pub fn aside(&self, kind: Kind, latest: Arc<dyn Latest>) -> Self {
        let source = Arc::new(self.source.aside(kind, latest, &self.store.clock));
        Self { source, ..self.clone() }
    }

    /// Shows everything that was read aside, in the place of all that is shown, in one step.
    pub fn adopt(&self, aside: &Self, reason: String) {
        let groups = |source| -> HashMap<Name, Arc<GroupView>> {
            let cut = pin(&self.cluster, source);
            cut.groups().map(|group| (Name::clone(&group.group.id), Arc::clone(group.group))).collect()
        };
        let replaced = Replaced::between(&groups(&self.source), &groups(&aside.source));
        self.cluster.adopt((&aside.source, replaced), reason, &self.store.clock);
    }

    /// Takes a shard away that is no more, with its groups: no deletions are told.
    pub fn retire(&self, number: i32) {
        self.source.remove(number);
    }

    /// Notes that something fails, or with `None` that it does no longer. What was read before is stale meanwhile.
    pub fn failed(&self, fault: Fault, reason: Option<String>) {
        self.source.set_fault(fault, reason, &self.store.clock);
    }

    /// Notes that the store was read, and how that went.
    pub fn succeeded(&self, reading: Reading) {
        self.set_reading(reading);
        self.source.succeeded(&self.store.clock);
    }

    /// Notes how the last complete look at the store went.
    pub fn set_reading(&self, reading: Reading) {
        self.source.set_reading(reading);
    }

    /// Notes that the store could not be read: its rows go stale from the first failure on.
    pub fn unreachable(&self, error: String) {
        self.source.failed(Fault::Store, error, &self.store.clock);
    }

    /// Drops everything known of the Kafka cluster, since another one answers at its addresses.
    pub fn forget_cluster(&self, error: String) {
        self.store.forget(&self.cluster, error);
    }

    /// Notes that everything that there was at the start is applied: readers are answered from now on.
    pub fn loaded(&self) {
        self.source.shards().iter().for_each(|shard| shard.shrink());
        tracing::info!(cluster = &*self.source.id.cluster, source = &*self.source.id.name, "loaded");
        self.source.set_health(|health| health.ready = true);
    }
}

/// The shard, to be read.
impl Deref for ShardWriter {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        &self.0
    }
}

impl ShardWriter {
    /// The shard, to be kept.
    #[must_use]
    pub fn shard(&self) -> &Arc<Shard> {
        &self.0
    }

    /// Applies facts in the order of revisions, at most a few hundred at a time. Those below `live_from` are replayed: no
    /// news. A fact below one that was applied is dropped.
    pub fn apply(&self, events: &[Event<'_>], live_from: Revision) {
        self.0.apply(events, live_from);
    }

    /// Declares everything below `revision` applied. Moves only forward.
    pub fn reached(&self, revision: Revision) {
        self.0.set_applied(revision);
    }

    /// Sets the range of the initial load, asked for at `asked`: the shard is loaded once it reached the target.
    pub fn target(&self, first: Revision, target: Revision, asked: Ticks) {
        self.0.progress.set_load(first.0, target.0, asked);
    }
}
