//! Which shard of a source readers are shown a group from, where several may have records of it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{
    group::GroupView,
    shard::{Hidden, ShardView},
};
use crate::model::{Millis, Name};

/// Says where the groups of a source with several shards are. A *stray copy* of a group lies in a shard that is not the
/// group's home.
pub trait Homes: Send + Sync + fmt::Debug {
    /// Returns the shard that is to hold a group, of so many.
    fn home(&self, group: &str, shards: i32) -> Option<i32>;

    /// Whether a group that has a copy at its home is shown there without a look at other shards.
    fn home_is_enough(&self) -> bool;

    /// Whether a commit of any group may be written to another shard than its home.
    fn is_unsettled(&self) -> bool;

    /// Of the copies of a group, those that may be shown: none, one, or several of which the newest is. `strays` are the
    /// shards of stray copies; the home's copy, if it is there, comes first.
    fn candidates(&self, group: &str, strays: &[i32], home: Option<i32>, shards: i32) -> Vec<i32>;

    /// Which copies in these shards readers see.
    fn layout(&self, shards: &[Arc<ShardView>]) -> Arc<Layout>;

    /// Drops what is known: another log takes the place of the one before.
    fn forget(&self);
}

/// Which copies readers see, of one set of groups.
#[derive(Debug, Default)]
pub struct Layout {
    /// Shards with stray copies.
    pub astray: Vec<i32>,
    /// Copies that are not shown, by shard.
    pub hidden: BTreeMap<i32, Hidden>,
    /// Groups of whose copies the one with the newest commit is shown; the home's comes first.
    pub contested: Vec<(Name, Vec<i32>)>,
}

impl Layout {
    /// Copies that are older than another of their group, as (shard, id).
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

    /// Everything that is hidden in these shards, by shard.
    #[must_use]
    pub fn hidden_in(&self, shards: &[Arc<ShardView>]) -> BTreeMap<i32, Hidden> {
        let mut hidden = self.hidden.clone();
        for (at, id) in self.older_copies(shards) {
            Arc::make_mut(hidden.entry(at).or_default()).insert(id);
        }
        hidden
    }
}

/// Time of the last commit of a group.
#[must_use]
pub fn last_commit(group: &GroupView) -> Option<Millis> {
    group.entries().map(|entry| entry.row.committed_at).max()
}

/// A group in a shard.
#[must_use]
pub fn group_in<'a>(shards: &'a [Arc<ShardView>], at: i32, id: &str) -> Option<&'a Arc<GroupView>> {
    shards.iter().find(|shard| shard.key.number == at)?.groups.get(id)
}

/// The first of the copies with the newest commit.
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
