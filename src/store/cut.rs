//! A cut: the consistent, immutable view of the store that one statement or call reads.
//!
//! A cut holds one prefix of the order of each shard, and one version of the log ends of each cluster. It does not
//! order facts across shards, because Kafka does not order records across partitions.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use hashbrown::HashSet;
use itertools::Itertools as _;

use super::{
    ConfigState, Store, Unready,
    cluster::{Cluster, Health},
    ends::LogEnds,
    group::{GroupView, ReadAhead},
    homes::Layout,
    membership::{Assigned, GroupKind, Member, TopicRef},
    pins::Retains,
    placement::Placement,
    samples::Samples,
    shard::ShardView,
    source::{Kind, Source},
    windows::Windows,
};
use crate::{
    clock::Ticks,
    model::{Millis, Name},
    work::WorkStatus,
};

/// One source's part of a cut, with the log ends of its cluster.
#[derive(Debug)]
pub struct SourceCut {
    /// The live cluster, for its name, settings and counters.
    pub cluster: Arc<Cluster>,
    /// The live source.
    pub source: Arc<Source>,
    /// Health of the source when the cut was made.
    pub health: Arc<Health>,
    /// How the source was read then.
    kind: Kind,
    /// Views of the shards, by number.
    pub shards: Vec<Arc<ShardView>>,
    /// Log ends of the cluster.
    pub ends: Arc<LogEnds>,
    /// Brokers of the cluster, and replicas of partitions.
    pub placement: Arc<Placement>,
    /// Windows of recent commits, for status and rates.
    pub windows: Arc<Windows>,
    /// Samples over time.
    pub samples: Arc<Samples>,
    /// Which copies of groups are visible. Computed on first use, because it walks all groups.
    shown: OnceLock<Shown>,
}

/// Which copies of groups are visible.
#[derive(Debug)]
struct Shown {
    layout: Arc<Layout>,
    /// Hidden copies that have an older last commit than another copy of the group, as (shard, group id).
    older: HashSet<(i32, Name)>,
}

/// A group in a cut.
#[derive(Clone, Copy, Debug)]
pub struct GroupCut<'a> {
    /// The part of the cut.
    pub source: &'a SourceCut,
    /// The shard that holds the group.
    pub shard: &'a ShardView,
    /// The group.
    pub group: &'a Arc<GroupView>,
}

impl<'a> GroupCut<'a> {
    /// Returns the name of a topic that a record may name by id: from metadata, else from records of the group, else
    /// the id itself as Kafka prints it.
    #[must_use]
    pub fn topic_name(&self, topic: &TopicRef) -> Name {
        let id = match topic {
            TopicRef::Name(name) => return Name::clone(name),
            TopicRef::Id(id) => *id,
        };
        let own = || self.group.membership().and_then(|membership| membership.topic_name(id));
        let name = self.source.ends.topic_name(id).or_else(own).or_else(|| self.group.topic_with_id(id));
        name.map_or_else(|| Name::from(id.to_string()), Name::clone)
    }

    /// Returns topic names and partitions of an assignment.
    pub fn assigned(&self, assigned: &'a [Assigned]) -> impl Iterator<Item = (Name, Vec<i32>)> + use<'a> {
        let this = *self;
        let is_streams = self.group.membership().is_some_and(|membership| membership.kind == GroupKind::Streams);
        assigned.iter().map(move |each| {
            let name = this.topic_name(&each.topic);
            let mut partitions = each.partitions.to_vec();
            // A subtopology has as many tasks as its topic with the most partitions.
            if let Some(topic) = this.source.ends.topic(&name).filter(|_| is_streams) {
                partitions.retain(|partition| usize::try_from(*partition).is_ok_and(|at| at < topic.partitions.len()));
            }
            (name, partitions)
        })
    }

    /// Returns the member that owns a partition of a topic, if known.
    #[must_use]
    pub fn owner(&self, topic: &Name, partition: i32) -> Option<&'a Member> {
        let id = self.source.ends.topic(topic).and_then(|topic| topic.id);
        self.group.membership()?.owner(topic, id, partition)
    }
}

impl SourceCut {
    /// Creates a part of a cut.
    #[must_use]
    pub fn new(
        (cluster, source): (Arc<Cluster>, Arc<Source>),
        health: Arc<Health>,
        (kind, shards): (Kind, Vec<Arc<ShardView>>),
        (ends, placement): (Arc<LogEnds>, Arc<Placement>),
        windows: Arc<Windows>,
        samples: Arc<Samples>,
    ) -> Self {
        let shown = OnceLock::new();
        Self { cluster, source, health, kind, shards, ends, placement, windows, samples, shown }
    }

    fn copies(&self) -> &Shown {
        self.shown.get_or_init(|| {
            let layout = self.kind.layout(&self.shards);
            let older = layout.older_copies(&self.shards).into_iter().collect();
            Shown { layout, older }
        })
    }

    /// Returns the bytes that only readers retain of the shards.
    #[must_use]
    pub fn retained(&self) -> usize {
        self.shards.iter().map(|shard| shard.groups.retained()).sum()
    }

    /// Returns the visible groups of a shard, ordered by id.
    pub fn groups_of<'a>(&'a self, shard: &'a ShardView) -> impl Iterator<Item = GroupCut<'a>> {
        self.shown(shard, shard.groups.iter())
    }

    /// Returns the visible groups of a shard, unordered: several times faster for many groups.
    pub fn unordered_groups_of<'a>(
        &'a self,
        shard: &'a ShardView,
        what: ReadAhead,
    ) -> impl Iterator<Item = GroupCut<'a>> + use<'a> {
        self.shown(shard, shard.groups.unordered(what))
    }

    /// Returns all visible groups, unordered.
    pub fn unordered_groups(&self, what: ReadAhead) -> impl Iterator<Item = GroupCut<'_>> {
        self.shards.iter().flat_map(move |shard| self.unordered_groups_of(shard, what))
    }

    /// Returns the number of visible groups.
    #[must_use]
    pub fn group_count(&self) -> usize {
        let Shown { layout, older } = self.copies();
        let hidden = layout.hidden.values().map(|ids| ids.len()).sum::<usize>() + older.len();
        self.shards.iter().map(|shard| shard.groups.len()).sum::<usize>().saturating_sub(hidden)
    }

    /// Returns the visible groups from an id on, ordered by id.
    pub fn groups_from(&self, id: &str) -> Box<dyn Iterator<Item = GroupCut<'_>> + '_> {
        let shards = self.shards.iter().map(|shard| self.shown(shard, shard.groups.starting_at(id)));
        Box::new(shards.kmerge_by(|left, right| left.group.id < right.group.id))
    }

    /// Returns the visible groups of a shard that have ids with a prefix, ordered by id.
    pub fn groups_with_prefix<'a>(
        &'a self,
        shard: &'a ShardView,
        prefix: &str,
    ) -> impl Iterator<Item = GroupCut<'a>> + use<'a> {
        self.shown(shard, shard.groups.with_prefix(prefix))
    }

    fn shown<'a>(
        &'a self,
        shard: &'a ShardView,
        groups: impl Iterator<Item = &'a Arc<GroupView>>,
    ) -> impl Iterator<Item = GroupCut<'a>> {
        let all = self.shows_all();
        let shown = groups.filter(move |group| all || !self.is_hidden(shard, &group.id));
        shown.map(move |group| GroupCut { source: self, shard, group })
    }

    /// Returns a group by its id, if this shard is the one that shows it.
    #[must_use]
    pub fn group_of<'a>(&'a self, shard: &'a ShardView, id: &str) -> Option<GroupCut<'a>> {
        self.group_at(shard, id, self.home_of(id))
    }

    /// Returns whether the source is the cluster's own. Facts about the cluster are reported only with this source.
    #[must_use]
    pub fn is_own(&self) -> bool {
        Arc::ptr_eq(&self.source, &self.cluster.own)
    }

    /// Returns the home shard of a group.
    #[must_use]
    pub fn home_of(&self, id: &str) -> Option<i32> {
        self.kind.home(id, self.shards.len())
    }

    /// Returns whether a shard may hold groups with these home shards. Shards without misplaced copies can be skipped.
    #[must_use]
    pub fn may_hold(&self, shard: &ShardView, homes: &BTreeSet<i32>) -> bool {
        let here = shard.key.number;
        homes.contains(&here) || self.copies().layout.shards_with_misplaced.contains(&here)
    }

    /// Returns a group by its id and home shard, if this shard is the one that shows it.
    fn group_at<'a>(&'a self, shard: &'a ShardView, id: &str, home: Option<i32>) -> Option<GroupCut<'a>> {
        let here = shard.key.number;
        // Only the home shard and shards with misplaced copies can hold the group.
        if home != Some(here) && !self.copies().layout.shards_with_misplaced.contains(&here) {
            return None;
        }
        let group = shard.groups.get(id)?;
        (!self.is_hidden(shard, &group.id)).then_some(GroupCut { source: self, shard, group })
    }

    /// Returns all visible groups, shard by shard.
    pub fn groups(&self) -> impl Iterator<Item = GroupCut<'_>> {
        self.shards.iter().flat_map(|shard| self.groups_of(shard))
    }

    /// Returns a group by its id.
    #[must_use]
    pub fn group(&self, id: &str) -> Option<GroupCut<'_>> {
        let home = self.home_of(id);
        self.shards.iter().find_map(|shard| self.group_at(shard, id, home))
    }

    /// Returns the number of visible offsets of a shard, or `None` if that needs a walk over its groups.
    #[must_use]
    pub fn offsets_of(&self, shard: &ShardView) -> Option<usize> {
        self.shows_all().then(|| shard.groups.offsets())
    }

    fn shows_all(&self) -> bool {
        let Shown { layout, older } = self.copies();
        layout.hidden.is_empty() && older.is_empty()
    }

    fn is_hidden(&self, shard: &ShardView, id: &Name) -> bool {
        let here = shard.key.number;
        let Shown { layout, older } = self.copies();
        layout.hidden.get(&here).is_some_and(|ids| ids.contains(id))
            || (!older.is_empty() && older.contains(&(here, Name::clone(id))))
    }
}

/// Settings of the store.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Length of the window of samples from which a status is derived, in ticks.
    pub window: Ticks,
    /// Time since the last commit within which a group is active, in milliseconds.
    pub active_within: Millis,
    /// Maximum number of commits in the rings of all shards together.
    pub commits_kept: usize,
    /// Maximum number of changes of a shard that a watcher may lag behind.
    pub watch_queue: usize,
}

/// The view of the store that one statement or call reads.
#[derive(Debug)]
pub struct Cut {
    /// The snapshot id of the cut.
    pub id: String,
    /// Time at which the cut was made: `now()` in a statement.
    pub taken_at: Millis,
    /// The same time on the steady clock.
    pub taken: Ticks,
    /// Settings of the store.
    pub settings: Settings,
    /// The configuration that was in effect.
    pub config: Arc<ConfigState>,
    /// Time at which the store was created.
    pub started_at: Millis,
    /// Bytes that only readers retained.
    pub retained_bytes: usize,
    /// Status of the server's own work.
    pub work: WorkStatus,
    /// The loaded sources, by cluster; the cluster's own source comes first.
    pub sources: Vec<SourceCut>,
    /// The sources that are not loaded. Only tables about the server itself read them.
    pub unloaded: Vec<SourceCut>,
    /// Why no cluster is loaded, if so.
    pub unready: Option<Unready>,
}

/// Identity of a cut, for answers.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The snapshot id. Answers with the same id were read from the same data.
    pub id: String,
    /// Time at which the cut was made.
    pub taken_at: Millis,
    /// State of each cluster in the cut.
    pub clusters: Vec<ClusterSnapshot>,
    /// Clusters that are left out because they are not loaded.
    pub incomplete: Vec<Name>,
}

/// State of a cluster in a [`Snapshot`].
#[derive(Clone, Debug)]
pub struct ClusterSnapshot {
    /// Name of the cluster.
    pub cluster: Name,
    /// Whether the initial load is complete.
    pub complete: bool,
    /// Time of the newest record of the cluster's own source.
    pub newest_record_at: Option<Millis>,
    /// Time since which the data may be outdated.
    pub stale_since: Option<Millis>,
}

impl Retains for Cut {
    fn retained(&self) -> usize {
        self.sources.iter().chain(&self.unloaded).map(SourceCut::retained).sum()
    }
}

impl Cut {
    /// Returns a cut without clusters.
    #[must_use]
    pub fn empty(store: &Store) -> Self {
        Self {
            id: String::new(),
            taken_at: store.clock.now(),
            taken: store.clock.ticks(),
            settings: *store.settings(),
            config: store.config(),
            started_at: store.started_at(),
            retained_bytes: store.pins().bytes(),
            work: store.work().status(),
            sources: vec![],
            unloaded: vec![],
            unready: None,
        }
    }

    /// Returns the identity of this cut.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let cluster = |cut: &SourceCut| ClusterSnapshot {
            cluster: Name::clone(&cut.cluster.name),
            complete: cut.health.ready,
            newest_record_at: cut.source.newest_record_at(),
            stale_since: cut.health.stale_since,
        };
        Snapshot {
            id: self.id.clone(),
            taken_at: self.taken_at,
            clusters: self.sources.iter().filter(|cut| cut.is_own()).map(cluster).collect(),
            incomplete: self
                .unloaded
                .iter()
                .filter(|cut| cut.is_own())
                .map(|cut| Name::clone(&cut.cluster.name))
                .collect(),
        }
    }

    /// Fails if no cluster of the cut is loaded.
    ///
    /// # Errors
    /// The reason for the named cluster, or else for the first one.
    pub fn require_loaded(&self) -> Result<(), Unready> {
        self.unready.clone().map_or(Ok(()), Err)
    }

    /// Returns the part of each cluster's own source.
    pub fn own(&self) -> impl Iterator<Item = &SourceCut> {
        self.sources.iter().filter(|cluster| cluster.is_own())
    }

    /// Returns one part per cluster, of any source.
    pub fn each_cluster(&self) -> impl Iterator<Item = &SourceCut> {
        // The sources of a cluster are adjacent.
        self.sources.iter().dedup_by(|left, right| Arc::ptr_eq(&left.cluster, &right.cluster))
    }

    /// Returns a source by the names of its cluster and itself.
    #[must_use]
    pub fn source(&self, cluster: &str, source: &str) -> Option<&SourceCut> {
        self.sources.iter().find(|cut| *cut.cluster.name == *cluster && *cut.source.id.name == *source)
    }

    /// Returns the group with the members that consume for this group. This is the group itself if its source knows
    /// members. Otherwise it is the group of the same id that the Kafka cluster keeps, if that has members; for a group
    /// of the Kafka cluster, it is the group of the same id in another source that has only members.
    #[must_use]
    pub fn consuming_group_of<'a>(&'a self, group: GroupCut<'a>) -> GroupCut<'a> {
        let is_known = match group.source.is_own() {
            true => group.group.has_members(),
            false => group.group.membership().is_some(),
        };
        if is_known {
            return group;
        }
        let same = self.same_group_in_other_sources(group).find(|same| {
            let lends = if group.source.is_own() { same.group.is_empty() } else { same.source.is_own() };
            lends && same.group.has_members()
        });
        same.unwrap_or(group)
    }

    /// Returns the names of the sources that keep the offsets of a group of which its own source has only members.
    pub fn sources_with_offsets_of<'a>(&'a self, group: GroupCut<'a>) -> impl Iterator<Item = &'a Name> {
        let is_half = group.group.is_empty() && group.group.has_members();
        let others = self.same_group_in_other_sources(group).filter(move |same| is_half && !same.group.is_empty());
        others.map(|same| &same.source.source.id.name)
    }

    fn same_group_in_other_sources<'a>(&'a self, group: GroupCut<'a>) -> impl Iterator<Item = GroupCut<'a>> {
        let is_other = move |cut: &&SourceCut| {
            Arc::ptr_eq(&cut.cluster, &group.source.cluster) && !Arc::ptr_eq(&cut.source, &group.source.source)
        };
        self.sources.iter().filter(is_other).filter_map(move |cut| cut.group(&group.group.id))
    }

    /// Returns whether some cluster has several sources, so that two groups of a cluster may have the same id.
    #[must_use]
    pub fn has_several_sources(&self) -> bool {
        self.each_cluster().count() < self.sources.len()
    }
}
