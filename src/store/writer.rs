//! The writer of a source: the only interface through which a source writes to the store.

use std::{ops::Deref, sync::Arc};

use hashbrown::HashMap;

use super::{
    Store,
    cluster::Cluster,
    event::{AppliedRevisions, Event},
    group::GroupView,
    latest::LatestOffsets,
    names::NameInterner,
    pin,
    shard::Shard,
    source::{Fault, Kind, ReadOutcome, Source},
    windows::Replaced,
};
use crate::{
    clock::{Clock, Ticks},
    model::{Name, Revision},
};

/// Writer of one source.
#[derive(Clone, Debug)]
pub struct SourceWriter {
    store: Arc<Store>,
    cluster: Arc<Cluster>,
    source: Arc<Source>,
}

/// Writer of one shard. Clones write the same shard, and only one thread may apply facts.
#[derive(Clone, Debug)]
pub struct ShardWriter(Arc<Shard>);

impl SourceWriter {
    /// Creates the writer of a source.
    #[must_use]
    pub fn new(store: &Arc<Store>, cluster: &Arc<Cluster>, source: &Arc<Source>) -> Self {
        Self { store: Arc::clone(store), cluster: Arc::clone(cluster), source: Arc::clone(source) }
    }

    /// Creates the writer of a cluster's own source.
    #[must_use]
    pub fn own(store: &Arc<Store>, cluster: &Arc<Cluster>) -> Self {
        Self::new(store, cluster, &cluster.own)
    }

    /// Returns the source.
    #[must_use]
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Returns the cluster that has the topics of the offsets.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Returns the clock of the server.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.store.clock
    }

    /// Returns the interned names.
    #[must_use]
    pub fn names(&self) -> &Arc<NameInterner> {
        self.store.names()
    }

    /// Returns how far all shards of the cluster are applied.
    #[must_use]
    pub fn applied(&self) -> AppliedRevisions {
        self.cluster.applied()
    }

    /// Creates an empty shard that no reader sees until [`SourceWriter::publish`], for a load or a rebuild.
    #[must_use]
    pub fn new_shard(&self, number: i32) -> ShardWriter {
        ShardWriter(self.store.new_shard(&self.source, number))
    }

    /// Returns the writer of a visible shard.
    #[must_use]
    pub fn shard(&self, number: i32) -> Option<ShardWriter> {
        self.source.shard(number).map(ShardWriter)
    }

    /// Makes a shard visible and replaces the previous one.
    pub fn publish(&self, shard: &ShardWriter) {
        self.source.put(Arc::clone(&shard.0));
    }

    /// Returns a writer of the same source in another read mode. No reader sees its data until [`SourceWriter::adopt`].
    #[must_use]
    pub fn aside(&self, kind: Kind, latest: Arc<dyn LatestOffsets>) -> Self {
        let source = Arc::new(self.source.aside(kind, latest, &self.store.clock));
        Self { source, ..self.clone() }
    }

    /// Replaces all visible data with data that was loaded aside, in one step.
    pub fn adopt(&self, aside: &Self, reason: String) {
        let groups = |source| -> HashMap<Name, Arc<GroupView>> {
            let cut = pin(&self.cluster, source);
            cut.groups().map(|group| (Name::clone(&group.group.id), Arc::clone(group.group))).collect()
        };
        let replaced = Replaced::between(&groups(&self.source), &groups(&aside.source));
        self.cluster.adopt((&aside.source, replaced), reason, &self.store.clock);
    }

    /// Removes a shard with its groups, without deletion events.
    pub fn retire(&self, number: i32) {
        self.source.remove(number);
    }

    /// Sets a fault, or clears it with `None`. The data is stale meanwhile.
    pub fn failed(&self, fault: Fault, reason: Option<String>) {
        self.source.set_fault(fault, reason, &self.store.clock);
    }

    /// Records a complete read of the store, with its outcome.
    pub fn succeeded(&self, outcome: ReadOutcome) {
        self.set_last_read(outcome);
        self.source.succeeded(&self.store.clock);
    }

    /// Records the outcome of the last complete read of the store.
    pub fn set_last_read(&self, outcome: ReadOutcome) {
        self.source.set_last_read(outcome);
    }

    /// Records that the store could not be read. Its rows are stale from the first failure on.
    pub fn unreachable(&self, error: String) {
        self.source.failed(Fault::Store, error, &self.store.clock);
    }

    /// Drops all data of the Kafka cluster, because another one answers at its addresses.
    pub fn forget_cluster(&self, error: String) {
        self.store.forget(&self.cluster, error);
    }

    /// Records that the initial load is complete. From now on the source answers readers.
    pub fn loaded(&self) {
        self.source.shards().iter().for_each(|shard| shard.shrink());
        tracing::info!(cluster = &*self.source.id.cluster, source = &*self.source.id.name, "loaded");
        self.source.set_health(|health| health.ready = true);
    }
}

/// Read access to the shard.
impl Deref for ShardWriter {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        &self.0
    }
}

impl ShardWriter {
    /// Returns the shard.
    #[must_use]
    pub fn shard(&self) -> &Arc<Shard> {
        &self.0
    }

    /// Applies facts in the order of revisions, at most a few hundred at a time. Facts below `live_from` are replayed:
    /// they are not reported as new commits. A fact below one that was applied is dropped.
    pub fn apply(&self, events: &[Event<'_>], live_from: Revision) {
        self.0.apply(events, live_from);
    }

    /// Sets the revision up to which (exclusive) everything is applied. It never moves back.
    pub fn reached(&self, revision: Revision) {
        self.0.set_applied(revision);
    }

    /// Sets the range of the initial load, which was requested at `asked`. The shard is loaded once it has reached the
    /// target.
    pub fn target(&self, first: Revision, target: Revision, asked: Ticks) {
        self.0.progress.set_load(first.0, target.0, asked);
    }
}
