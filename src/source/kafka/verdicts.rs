//! Decides which log partition holds the current records of a group.
//!
//! A broker counts the partitions of `__consumer_offsets` when it starts, and hashes group ids over that number until
//! it stops. After the topic has grown, each broker therefore uses the earlier number until it restarts, and records of
//! one group may be in two partitions. A *misplaced copy* is in a partition other than the home, which is the partition
//! that the current number gives for the group. The log does not say which copy is current. Therefore the offsets of a
//! few groups of each [`Class`] of copies are requested from coordinators, and [`Verdicts`] stores the results. Until
//! there is a result, a misplaced copy is shown, unless the group has a copy at its home.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    model::{Name, java_hash, log_partition_for, log_partition_of},
    store::{
        homes::{Homes, Layout, group_in},
        shard::{GroupSet, ShardView},
    },
};

/// Maximum number of earlier partition counts of `__consumer_offsets` that are distinguished.
const MAX_EARLIER_COUNTS: usize = 8;

/// A class of misplaced copies for which the same brokers give the same verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Class {
    /// Leader of the log partition with the copy.
    pub(crate) leader: i32,
    /// Leader of the home log partition.
    pub(crate) home_leader: i32,
    /// Earlier number of log partitions under which the copy was in its home; 0 if there is none.
    pub(crate) earlier_count: i32,
    /// Restricts the class to one group, which also has a copy at its home.
    pub(crate) group: Option<Name>,
}

/// The verdict of coordinators about a class of copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Coordinators return the offsets of the misplaced copies.
    Current,
    /// Coordinators return the offsets of the home log partition, or none if it has no copy.
    Outdated,
}

/// The verdicts of coordinators, and the numbers of log partitions that brokers use according to them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Verdicts {
    /// Current number of log partitions.
    log_partitions: i32,
    /// Earlier numbers of log partitions, the newest first.
    earlier_counts: Vec<i32>,
    /// The last known leader of each log partition.
    leaders: Vec<i32>,
    /// Verdicts of coordinators by class.
    by_class: HashMap<Class, Verdict>,
    /// Minimum number of log partitions that each broker uses.
    min_partitions: HashMap<i32, i32>,
    /// Whether there are misplaced copies that may be current.
    pub(crate) unsettled: bool,
}

impl Verdicts {
    /// Sets the number of log partitions and their leaders. A new number invalidates the verdicts.
    pub(crate) fn set_log_partitions(&mut self, count: i32, leaders: &[Option<i32>]) {
        if count < self.log_partitions {
            // The topic was deleted and created again.
            *self = Self::default();
        }
        if count != self.log_partitions {
            self.by_class.clear();
            let before = std::mem::replace(&mut self.log_partitions, count);
            self.add_earlier_count(before);
        }
        self.leaders.resize(leaders.len(), -1);
        for (known, leader) in self.leaders.iter_mut().zip(leaders) {
            *known = leader.unwrap_or(*known);
        }
    }

    /// Adds an earlier number of log partitions, unless it is known or there are too many.
    fn add_earlier_count(&mut self, count: i32) {
        if count > 0 && !self.earlier_counts.contains(&count) && self.earlier_counts.len() < MAX_EARLIER_COUNTS {
            self.earlier_counts.push(count);
            self.earlier_counts.sort_unstable_by(|left, right| right.cmp(left));
        }
    }

    /// Finds earlier numbers of log partitions under which the given copies, as (hash, log partition), were in their
    /// homes. Numbers that explain the most copies are found first.
    pub(crate) fn derive_earlier_counts(&mut self, copies: &[(i32, i32)]) {
        let mut unexplained: Vec<(i32, i32)> = copies.to_vec();
        unexplained.retain(|(hash, at)| self.earlier_count_of(*hash, *at) == 0);
        while !unexplained.is_empty() && self.earlier_counts.len() < MAX_EARLIER_COUNTS {
            let explains = |count: i32| unexplained.iter().filter(|copy| assigns(copy.0, count, copy.1)).count();
            let best = (1..self.log_partitions).map(|count| (explains(count), count)).max();
            let Some((_, count)) = best.filter(|(explained, _)| *explained > 0) else { return };
            self.add_earlier_count(count);
            unexplained.retain(|(hash, at)| !assigns(*hash, count, *at));
        }
    }

    /// Returns the newest earlier number of log partitions that explains a copy; 0 if there is none.
    fn earlier_count_of(&self, hash: i32, at: i32) -> i32 {
        self.earlier_counts.iter().copied().find(|count| assigns(hash, *count, at)).unwrap_or(0)
    }

    /// Returns the last known leader of a log partition; -1 is unknown.
    fn leader(&self, log_partition: i32) -> i32 {
        usize::try_from(log_partition).ok().and_then(|at| self.leaders.get(at)).copied().unwrap_or(-1)
    }

    /// Returns the class of a copy, or `None` if `log_partitions` is not the number that the verdicts are for.
    #[must_use]
    pub(crate) fn class(&self, hash: i32, at: i32, log_partitions: i32, group: Option<Name>) -> Option<Class> {
        let home = log_partition_of(hash, self.log_partitions).filter(|_| log_partitions == self.log_partitions)?;
        let (leader, home_leader) = (self.leader(at), self.leader(home));
        Some(Class { leader, home_leader, earlier_count: self.earlier_count_of(hash, at), group })
    }

    /// Returns the verdict about a class, including verdicts that follow from other classes.
    #[must_use]
    pub(crate) fn verdict(&self, class: &Class) -> Option<Verdict> {
        let verdict = self.by_class.get(class).copied();
        verdict.or_else(|| (class.group.is_none() && self.is_abandoned(class)).then_some(Verdict::Outdated))
    }

    /// Returns whether coordinators gave a verdict about this class itself.
    #[must_use]
    pub(crate) fn has_direct_verdict(&self, class: &Class) -> bool {
        self.by_class.contains_key(class)
    }

    /// Returns whether verdicts about other classes prove that the brokers no longer use the partition count of this
    /// class.
    fn is_abandoned(&self, class: &Class) -> bool {
        let min_partitions = |broker: i32| self.min_partitions.get(&broker).copied().unwrap_or(0);
        let newest = self.earlier_counts.first() == Some(&class.earlier_count);
        min_partitions(class.home_leader) == self.log_partitions
            || (class.earlier_count > 0 && !newest && min_partitions(class.leader) > class.earlier_count)
    }

    /// Stores a verdict of coordinators.
    pub(crate) fn insert(&mut self, class: Class, verdict: Verdict) {
        if verdict == Verdict::Outdated && class.group.is_none() {
            self.min_partitions.insert(class.home_leader, self.log_partitions);
        }
        self.by_class.insert(class, verdict);
    }

    /// Drops the verdicts about classes that no longer exist.
    pub(crate) fn retain(&mut self, exists: impl Fn(&Class) -> bool) {
        self.by_class.retain(|class, _| exists(class));
    }

    /// Returns the log partitions of the copies of a group that may be shown: none, one, or several of which the newest
    /// is shown. `misplaced` are the log partitions of misplaced copies. The home comes first if it has a copy.
    #[must_use]
    pub(crate) fn candidates(&self, id: &str, misplaced: &[i32], home: Option<i32>, log_partitions: i32) -> Vec<i32> {
        let hash = java_hash(id);
        let verdict = |at: &i32| self.class(hash, *at, log_partitions, None).and_then(|class| self.verdict(&class));
        let here: Vec<i32> = misplaced.iter().copied().filter(|at| verdict(at) == Some(Verdict::Current)).collect();
        let Some(home) = home else {
            let maybe = misplaced.iter().copied().filter(|at| verdict(at) != Some(Verdict::Outdated));
            return if here.is_empty() { maybe.collect() } else { here };
        };
        let of_group = |at: &i32| {
            let class = self.class(hash, *at, log_partitions, Some(Name::from(id)))?;
            self.by_class.get(&class).copied()
        };
        if let Some(current) = here.iter().find(|at| of_group(at) == Some(Verdict::Current)) {
            return vec![*current];
        }
        let open = here.into_iter().filter(|at| of_group(at).is_none());
        std::iter::once(home).chain(open).collect()
    }

    /// Returns whether any misplaced copies are current.
    fn has_current_copies(&self) -> bool {
        self.by_class.values().any(|verdict| *verdict == Verdict::Current)
    }
}

/// Returns whether a group with this hash belongs to log partition `at` of `count`.
fn assigns(hash: i32, count: i32, at: i32) -> bool {
    log_partition_of(hash, count) == Some(at)
}

/// Computes which copies of groups in these shards readers see.
fn layout(shards: &[Arc<ShardView>], verdicts: &Verdicts) -> Layout {
    let count = i32::try_from(shards.len()).unwrap_or(i32::MAX);
    let mut misplaced: HashMap<Name, Vec<i32>> = HashMap::new();
    let mut layout = Layout::default();
    for shard in shards {
        let here = shard.key.number;
        let ids = misplaced_groups_of(shard, count);
        layout.shards_with_misplaced.extend((!ids.is_empty()).then_some(here));
        ids.iter().for_each(|id| misplaced.entry(Name::clone(id)).or_default().push(here));
    }
    let mut hidden: BTreeMap<i32, HashSet<Name>> = BTreeMap::new();
    for (id, misplaced) in misplaced {
        let home = log_partition_for(&id, count);
        let home = home.filter(|home| group_in(shards, *home, &id).is_some());
        let candidates = verdicts.candidates(&id, &misplaced, home, count);
        for at in misplaced.into_iter().chain(home).filter(|at| !candidates.contains(at)) {
            hidden.entry(at).or_default().insert(Name::clone(&id));
        }
        if candidates.len() > 1 {
            layout.contested.push((id, candidates));
        }
    }
    layout.hidden = hidden.into_iter().map(|(at, ids)| (at, Arc::new(ids))).collect();
    layout
}

/// Returns the ids of the misplaced groups in a shard, given the number of log partitions. There are some after
/// `__consumer_offsets` grew, and in copied topics.
pub(super) fn misplaced_groups_of(shard: &ShardView, count: i32) -> Arc<[Name]> {
    shard.groups.misplaced(count, |hash| log_partition_of(hash, count) == Some(shard.key.number))
}

/// The cached layout of one set of groups, valid until groups are added or removed or a verdict changes.
#[derive(Debug)]
struct CachedLayout {
    groups: Vec<GroupSet>,
    verdicts: Arc<Verdicts>,
    layout: Arc<Layout>,
}

/// The homes of groups in one log, and the requests of readers to poll coordinators.
#[derive(Debug, Default)]
pub(crate) struct LogHomes {
    verdicts: ArcSwap<Verdicts>,
    cached: Mutex<Option<CachedLayout>>,
    /// Number of the last request to poll the coordinators.
    requested: watch::Sender<u64>,
    /// Number of the last request that was answered.
    answered: watch::Sender<u64>,
}

impl Homes for LogHomes {
    fn home(&self, group: &str, shards: i32) -> Option<i32> {
        log_partition_for(group, shards)
    }

    fn home_is_enough(&self) -> bool {
        !self.verdicts.load().has_current_copies()
    }

    fn is_unsettled(&self) -> bool {
        self.verdicts.load().unsettled
    }

    fn candidates(&self, group: &str, misplaced: &[i32], home: Option<i32>, shards: i32) -> Vec<i32> {
        self.verdicts.load().candidates(group, misplaced, home, shards)
    }

    fn layout(&self, shards: &[Arc<ShardView>]) -> Arc<Layout> {
        let verdicts = self.verdicts();
        let groups: Vec<GroupSet> = shards.iter().map(|shard| shard.groups.set()).collect();
        if let Some(cached) = &*self.cached.lock()
            && Arc::ptr_eq(&cached.verdicts, &verdicts)
            && cached.groups == groups
        {
            return Arc::clone(&cached.layout);
        }
        let layout = Arc::new(layout(shards, &verdicts));
        *self.cached.lock() = Some(CachedLayout { groups, verdicts, layout: Arc::clone(&layout) });
        layout
    }

    fn forget(&self) {
        self.set(Verdicts::default());
    }
}

impl LogHomes {
    /// Returns the current verdicts.
    #[must_use]
    pub(crate) fn verdicts(&self) -> Arc<Verdicts> {
        self.verdicts.load_full()
    }

    /// Publishes new verdicts.
    pub(crate) fn set(&self, verdicts: Verdicts) {
        if **self.verdicts.load() != verdicts {
            self.verdicts.store(Arc::new(verdicts));
        }
    }

    /// Requests a poll of the coordinators. Returns the number of the request.
    pub(crate) fn request_poll(&self) -> u64 {
        let mut number = 0;
        self.requested.send_modify(|requested| {
            *requested += 1;
            number = *requested;
        });
        number
    }

    /// Returns the number of the last request.
    #[must_use]
    pub(crate) fn last_request(&self) -> u64 {
        *self.requested.borrow()
    }

    /// Returns whether a request was answered.
    #[must_use]
    pub(crate) fn is_answered(&self, number: u64) -> bool {
        *self.answered.borrow() >= number
    }

    /// Marks a request and all earlier ones as answered.
    pub(crate) fn set_answered(&self, number: u64) {
        self.answered.send_if_modified(|answered| {
            let forward = number > *answered;
            *answered = number.max(*answered);
            forward
        });
    }

    /// Waits until coordinators were polled about all misplaced copies that may be current, if there are any.
    ///
    /// # Cancel safety
    /// Dropping the future leaves no state behind.
    pub(crate) async fn refresh(&self) {
        if self.verdicts.load().unsettled {
            let number = self.request_poll();
            // This cannot fail, because the sender lives as long as self.
            let _ = self.answered.subscribe().wait_for(|answered| *answered >= number).await;
        }
    }
}

#[cfg(test)]
mod tests;
