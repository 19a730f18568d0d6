//! One cut: what a query sees. Per shard one prefix of its order, and per cluster one version of the log ends. Between
//! shards nothing is promised, as Kafka promises nothing.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use hashbrown::HashSet;
use itertools::Itertools as _;

use super::{
    ConfigState, Store, Unready,
    cluster::{Cluster, Health},
    ends::Ends,
    group::{GroupView, ReadAhead},
    held::Retains,
    homes::Layout,
    membership::{Assigned, GroupKind, Member, TopicRef},
    placement::Placement,
    samples::Samples,
    shard::ShardView,
    source::{Kind, Source},
    windows::Windows,
};
use crate::{
    clock::Ticks,
    model::{Millis, Name},
    work::Status,
};

/// A part of a cut: one source of a cluster, with the log ends of the cluster.
#[derive(Debug)]
pub struct SourceCut {
    /// The live cluster: its name, settings and counters.
    pub cluster: Arc<Cluster>,
    /// The source.
    pub source: Arc<Source>,
    /// How the source was when the cut was made.
    pub health: Arc<Health>,
    /// How the source was read then.
    kind: Kind,
    /// The shards, by number.
    pub shards: Vec<Arc<ShardView>>,
    /// Log ends.
    pub ends: Arc<Ends>,
    /// Brokers of the cluster, and replicas of partitions.
    pub placement: Arc<Placement>,
    /// Samples of commits, for status and rates.
    pub windows: Arc<Windows>,
    /// Samples over time.
    pub samples: Arc<Samples>,
    /// Which copies of groups are shown: found by the first reader that asks, since it looks at every group.
    shown: OnceLock<Shown>,
}

/// Which copies of groups are shown.
#[derive(Debug)]
struct Shown {
    layout: Arc<Layout>,
    /// Copies that are older than another of their group, as (shard, id).
    older: HashSet<(i32, Name)>,
}

/// A group where it stands.
#[derive(Clone, Copy, Debug)]
pub struct GroupCut<'a> {
    /// The cluster.
    pub cluster: &'a SourceCut,
    /// The shard.
    pub shard: &'a ShardView,
    /// The group.
    pub group: &'a Arc<GroupView>,
}

impl<'a> GroupCut<'a> {
    /// Name of a topic that the log may tell by id: from metadata, else from what the group's own
    /// records tell, else the id itself, as Kafka prints it.
    #[must_use]
    pub fn topic_name(&self, topic: &TopicRef) -> Name {
        let id = match topic {
            TopicRef::Name(name) => return Name::clone(name),
            TopicRef::Id(id) => *id,
        };
        let own = || self.group.membership().and_then(|membership| membership.topic_name(id));
        let name = self.cluster.ends.topic_name(id).or_else(own).or_else(|| self.group.topic_with_id(id));
        name.map_or_else(|| Name::from(id.to_string()), Name::clone)
    }

    /// Topic names and partitions of what a member has.
    pub fn assigned(&self, assigned: &'a [Assigned]) -> impl Iterator<Item = (Name, Vec<i32>)> + use<'a> {
        let this = *self;
        let is_streams = self.group.membership().is_some_and(|membership| membership.kind == GroupKind::Streams);
        assigned.iter().map(move |each| {
            let name = this.topic_name(&each.topic);
            let mut partitions = each.partitions.to_vec();
            // A subtopology has as many tasks as its widest topic has partitions.
            if let Some(topic) = this.cluster.ends.topic(&name).filter(|_| is_streams) {
                partitions.retain(|partition| usize::try_from(*partition).is_ok_and(|at| at < topic.partitions.len()));
            }
            (name, partitions)
        })
    }

    /// The member that owns a partition of a topic, if known.
    #[must_use]
    pub fn owner(&self, topic: &Name, partition: i32) -> Option<&'a Member> {
        let id = self.cluster.ends.topic(topic).and_then(|topic| topic.id);
        self.group.membership()?.owner(topic, id, partition)
    }
}

impl SourceCut {
    /// Joins the parts.
    #[must_use]
    pub fn new(
        (cluster, source): (Arc<Cluster>, Arc<Source>),
        health: Arc<Health>,
        (kind, shards): (Kind, Vec<Arc<ShardView>>),
        (ends, placement): (Arc<Ends>, Arc<Placement>),
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

    /// Bytes that only readers keep of it.
    #[must_use]
    pub fn retained(&self) -> usize {
        self.shards.iter().map(|shard| shard.groups.retained()).sum()
    }

    /// Groups of a shard, ordered by id, each once in the cluster.
    pub fn groups_of<'a>(&'a self, shard: &'a ShardView) -> impl Iterator<Item = GroupCut<'a>> {
        self.shown(shard, shard.groups.iter())
    }

    /// The same, in no order: several times as fast where there are many.
    pub fn unordered_groups_of<'a>(
        &'a self,
        shard: &'a ShardView,
        what: ReadAhead,
    ) -> impl Iterator<Item = GroupCut<'a>> + use<'a> {
        self.shown(shard, shard.groups.unordered(what))
    }

    /// All groups, each once, in no order.
    pub fn unordered_groups(&self, what: ReadAhead) -> impl Iterator<Item = GroupCut<'_>> {
        self.shards.iter().flat_map(move |shard| self.unordered_groups_of(shard, what))
    }

    /// How many groups there are.
    #[must_use]
    pub fn group_count(&self) -> usize {
        let Shown { layout, older } = self.copies();
        let hidden = layout.hidden.values().map(|ids| ids.len()).sum::<usize>() + older.len();
        self.shards.iter().map(|shard| shard.groups.len()).sum::<usize>().saturating_sub(hidden)
    }

    /// All groups from an id on, ordered by id.
    pub fn groups_from(&self, id: &str) -> Box<dyn Iterator<Item = GroupCut<'_>> + '_> {
        let shards = self.shards.iter().map(|shard| self.shown(shard, shard.groups.starting_at(id)));
        Box::new(shards.kmerge_by(|left, right| left.group.id < right.group.id))
    }

    /// Of a shard's groups whose ids start with a prefix, those that it shows, in order.
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
        shown.map(move |group| GroupCut { cluster: self, shard, group })
    }

    /// A group by its id, if it is this shard that shows it.
    #[must_use]
    pub fn group_of<'a>(&'a self, shard: &'a ShardView, id: &str) -> Option<GroupCut<'a>> {
        self.group_at(shard, id, self.home_of(id))
    }

    /// Whether the source is the cluster's own: what is told of a cluster once is told with it.
    #[must_use]
    pub fn is_own(&self) -> bool {
        Arc::ptr_eq(&self.source, &self.cluster.own)
    }

    /// The shard that is to hold a group.
    #[must_use]
    pub fn home_of(&self, id: &str) -> Option<i32> {
        self.kind.home(id, self.shards.len())
    }

    /// Whether a shard may have groups whose homes are these; most need not be looked through.
    #[must_use]
    pub fn may_hold(&self, shard: &ShardView, homes: &BTreeSet<i32>) -> bool {
        let here = shard.key.number;
        homes.contains(&here) || self.copies().layout.astray.contains(&here)
    }

    /// The same, with the home of the group.
    fn group_at<'a>(&'a self, shard: &'a ShardView, id: &str, home: Option<i32>) -> Option<GroupCut<'a>> {
        let here = shard.key.number;
        // Most shards need not be looked through.
        if home != Some(here) && !self.copies().layout.astray.contains(&here) {
            return None;
        }
        let group = shard.groups.get(id)?;
        (!self.is_hidden(shard, &group.id)).then_some(GroupCut { cluster: self, shard, group })
    }

    /// All groups, each once, shard by shard.
    pub fn groups(&self) -> impl Iterator<Item = GroupCut<'_>> {
        self.shards.iter().flat_map(|shard| self.groups_of(shard))
    }

    /// A group by its id.
    #[must_use]
    pub fn group(&self, id: &str) -> Option<GroupCut<'_>> {
        let home = self.home_of(id);
        self.shards.iter().find_map(|shard| self.group_at(shard, id, home))
    }

    /// Committed offsets of a shard, if that is known without looking at its groups.
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

/// What the operator set that decides what is kept, and what a cut says.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Length of the window of samples behind a status.
    pub window: Ticks,
    /// A group that committed within so many milliseconds is active.
    pub active_within: Millis,
    /// Commits that the rings keep, of all shards together.
    pub commits_kept: usize,
    /// Changes of a shard that a watcher may lag behind.
    pub watch_queue: usize,
}

/// What one statement or call sees.
#[derive(Debug)]
pub struct Cut {
    /// Names the cut.
    pub id: String,
    /// When it was made: `now()` of a statement.
    pub taken_at: Millis,
    /// The same, on the steady clock.
    pub taken: Ticks,
    /// What counts as active, and how long a window is.
    pub settings: Settings,
    /// Which configuration was in force.
    pub config: Arc<ConfigState>,
    /// When the store was made.
    pub started_at: Millis,
    /// What only readers kept alive.
    pub held_bytes: usize,
    /// How the server's own work did.
    pub work: Status,
    /// Sources in the answer, by cluster: the cluster's own first.
    pub clusters: Vec<SourceCut>,
    /// Sources that are not loaded yet: not to be read but by tables about the server itself.
    pub unloaded: Vec<SourceCut>,
    /// Why there is no cluster to read, if there is none.
    pub unready: Option<Unready>,
}

/// Names a cut, for answers.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The same id means the same data.
    pub id: String,
    /// When the cut was made.
    pub taken_at: Millis,
    /// What it says of each cluster.
    pub clusters: Vec<ClusterSnapshot>,
    /// Clusters left out, since they are not loaded yet.
    pub incomplete: Vec<Name>,
}

/// A cluster in a [`Snapshot`].
#[derive(Clone, Debug)]
pub struct ClusterSnapshot {
    /// Its name.
    pub cluster: Name,
    /// The initial load is done.
    pub complete: bool,
    /// Time of the newest record of its own source.
    pub newest_record_at: Option<Millis>,
    /// Since when its data is the last known.
    pub stale_since: Option<Millis>,
}

impl Retains for Cut {
    fn retained(&self) -> usize {
        self.clusters.iter().chain(&self.unloaded).map(SourceCut::retained).sum()
    }
}

impl Cut {
    /// A cut without clusters.
    #[must_use]
    pub fn empty(store: &Store) -> Self {
        Self {
            id: String::new(),
            taken_at: store.clock.now(),
            taken: store.clock.ticks(),
            settings: *store.settings(),
            config: store.config(),
            started_at: store.started_at(),
            held_bytes: store.held().bytes(),
            work: store.work().status(),
            clusters: vec![],
            unloaded: vec![],
            unready: None,
        }
    }

    /// What answers say of this cut.
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
            clusters: self.clusters.iter().filter(|cut| cut.is_own()).map(cluster).collect(),
            incomplete: self
                .unloaded
                .iter()
                .filter(|cut| cut.is_own())
                .map(|cut| Name::clone(&cut.cluster.name))
                .collect(),
        }
    }

    /// Refuses a cut without any loaded cluster.
    ///
    /// # Errors
    /// Why the cluster that was named, or the first of them, is not loaded.
    pub fn require_loaded(&self) -> Result<(), Unready> {
        self.unready.clone().map_or(Ok(()), Err)
    }

    /// One part for each cluster: that of its own source.
    pub fn own(&self) -> impl Iterator<Item = &SourceCut> {
        self.clusters.iter().filter(|cluster| cluster.is_own())
    }

    /// One part for each cluster, of whichever source.
    pub fn each_cluster(&self) -> impl Iterator<Item = &SourceCut> {
        // The sources of a cluster stand together.
        self.clusters.iter().dedup_by(|left, right| Arc::ptr_eq(&left.cluster, &right.cluster))
    }

    /// A source of a cluster, by their names.
    #[must_use]
    pub fn source(&self, cluster: &str, source: &str) -> Option<&SourceCut> {
        self.clusters.iter().find(|cut| *cut.cluster.name == *cluster && *cut.source.id.name == *source)
    }

    /// The group whose members read what a group commits: itself, or, where its source does not know who reads, the group
    /// of the same id that the cluster itself keeps, if that has members.
    #[must_use]
    pub fn readers_of<'a>(&'a self, group: GroupCut<'a>) -> &'a GroupView {
        if group.cluster.is_own() || group.group.membership().is_some() {
            return group.group;
        }
        let is_own = |cut: &&SourceCut| cut.is_own() && Arc::ptr_eq(&cut.cluster, &group.cluster.cluster);
        let same = self.clusters.iter().find(is_own).and_then(|own| own.group(&group.group.id));
        same.map_or(group.group, |same| if same.group.has_members() { same.group } else { group.group })
    }

    /// The sources that keep the offsets of a group which the cluster itself knows only by its members, by name.
    pub fn keepers_of<'a>(&'a self, group: GroupCut<'a>) -> impl Iterator<Item = &'a Name> {
        let is_half = group.cluster.is_own() && group.group.is_empty() && group.group.has_members();
        let others = self.clusters.iter().filter(move |cut| is_half && !cut.is_own());
        let others = others.filter(move |cut| Arc::ptr_eq(&cut.cluster, &group.cluster.cluster));
        others
            .filter(move |cut| cut.group(&group.group.id).is_some_and(|same| !same.group.is_empty()))
            .map(|cut| &cut.source.id.name)
    }

    /// Whether some cluster has several sources: groups of the same id may then lie side by side.
    #[must_use]
    pub fn has_several_sources(&self) -> bool {
        self.each_cluster().count() < self.clusters.len()
    }
}
