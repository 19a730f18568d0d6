//! Placement of groups in shards: which copy of a group readers see if several shards have records of it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{
    group::GroupView,
    shard::{HiddenGroups, ShardView},
};
use crate::model::{Millis, Name};

/// Decides where the groups of a source with several shards belong. A *misplaced copy* of a group is in a shard that is
/// not the home of the group.
pub trait Homes: Send + Sync + fmt::Debug {
    /// Returns the home shard of a group, given the number of shards.
    fn home(&self, group: &str, shards: i32) -> Option<i32>;

    /// Returns whether a copy in the home shard is shown without a check of other shards.
    fn home_is_enough(&self) -> bool;

    /// Returns whether commits of a group may currently be written to another shard than its home.
    fn is_unsettled(&self) -> bool;

    /// Returns the shards of which the copy of a group may be shown: none, one, or several of which the newest copy is
    /// shown. `misplaced` are the shards with misplaced copies. The home shard comes first if it has a copy.
    fn candidates(&self, group: &str, misplaced: &[i32], home: Option<i32>, shards: i32) -> Vec<i32>;

    /// Returns which copies in these shards readers see.
    fn layout(&self, shards: &[Arc<ShardView>]) -> Arc<Layout>;

    /// Drops all knowledge, because another log has replaced the previous one.
    fn forget(&self);
}

/// Which copies readers see, for one set of groups.
#[derive(Debug, Default)]
pub struct Layout {
    /// Shards with misplaced copies.
    pub shards_with_misplaced: Vec<i32>,
    /// Copies that are not shown, by shard.
    pub hidden: BTreeMap<i32, HiddenGroups>,
    /// Groups with several candidates, of which the copy with the newest commit is shown. The home shard comes first.
    pub contested: Vec<(Name, Vec<i32>)>,
}

impl Layout {
    /// Returns the candidates that are not shown because another copy is newer, as (shard, group id).
    #[must_use]
    pub fn older_copies(&self, shards: &[Arc<ShardView>]) -> Vec<(i32, Name)> {
        let mut older = vec![];
        for (id, candidates) in &self.contested {
            let shown = newest(candidates.iter().copied(), |at| last_commit(group_in(shards, at, id)?));
            let others = candidates.iter().filter(|at| Some(**at) != shown);
            older.extend(others.map(|at| (*at, Name::clone(id))));
        }
        older
    }

    /// Returns all hidden copies in these shards, by shard.
    #[must_use]
    pub fn hidden_in(&self, shards: &[Arc<ShardView>]) -> BTreeMap<i32, HiddenGroups> {
        let mut hidden = self.hidden.clone();
        for (at, id) in self.older_copies(shards) {
            Arc::make_mut(hidden.entry(at).or_default()).insert(id);
        }
        hidden
    }
}

/// Returns the time of the last commit of a group.
#[must_use]
pub fn last_commit(group: &GroupView) -> Option<Millis> {
    group.entries().map(|entry| entry.row.committed_at).max()
}

/// Returns a group in a shard.
#[must_use]
pub fn group_in<'a>(shards: &'a [Arc<ShardView>], at: i32, id: &str) -> Option<&'a Arc<GroupView>> {
    shards.iter().find(|shard| shard.key.number == at)?.groups.get(id)
}

/// Returns the first of the copies with the newest commit.
pub(super) fn newest(copies: impl Iterator<Item = i32>, last_commit: impl Fn(i32) -> Option<Millis>) -> Option<i32> {
    let mut newest: Option<(Option<Millis>, i32)> = None;
    for at in copies {
        let last = last_commit(at);
        if newest.is_none_or(|(before, _)| last > before) {
            newest = Some((last, at));
        }
    }
    newest.map(|(_, at)| at)
}
