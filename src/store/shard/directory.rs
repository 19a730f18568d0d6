//! The groups of a shard. They are stored in blocks that readers share, unordered. The order by id is computed on
//! demand and kept until a group is added or removed.

use std::{
    hash::BuildHasher as _,
    hint::black_box,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwapOption;
use hashbrown::HashTable;

use super::super::{
    group::{Entry, Group, GroupView, ReadAhead, RowIndex, ShardContext, retain_group},
    pins::{RetainedMark, Version, make_mut},
};
use crate::model::Name;

/// Groups per block. A write after a pin copies the list of one block.
const BLOCK: usize = 64;

#[derive(Clone, Debug, Default)]
struct Block {
    groups: Vec<Arc<GroupView>>,
    retained_mark: RetainedMark,
}

impl Version for Block {
    fn heap(&self) -> usize {
        self.groups.capacity() * size_of::<Arc<GroupView>>()
    }

    fn retained_mark(&self) -> &RetainedMark {
        &self.retained_mark
    }
}

/// The order of groups by id. The first reader that needs it sorts, never under the lock of the shard.
#[derive(Debug, Default)]
struct GroupOrder {
    sorted: OnceLock<Vec<u32>>,
    /// Misplaced groups, given a number of shards; computed on demand.
    misplaced: ArcSwapOption<MisplacedGroups>,
}

#[derive(Debug)]
struct MisplacedGroups {
    shards: i32,
    ids: Arc<[Name]>,
}

/// Identity of the set of groups in a shard. Equal until a group is added or removed.
#[derive(Clone, Debug)]
pub struct GroupSet(Arc<GroupOrder>);

impl PartialEq for GroupSet {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The groups with the writer's indexes.
#[derive(Debug, Default)]
pub(super) struct Directory {
    blocks: Vec<Arc<Block>>,
    indexes: Vec<RowIndex>,
    by_id: HashTable<u32>,
    /// Shared with the readers of the same set of groups.
    order: Arc<GroupOrder>,
    /// The last group that was looked up. Commits of a group usually arrive together.
    last: u32,
    /// Number of committed offsets of all groups.
    offsets: usize,
}

/// The groups of a shard at one moment.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    blocks: Vec<Arc<Block>>,
    order: Arc<GroupOrder>,
    len: usize,
    offsets: usize,
}

fn view(blocks: &[Arc<Block>], at: u32) -> Option<&Arc<GroupView>> {
    let at = at as usize;
    blocks.get(at / BLOCK)?.groups.get(at % BLOCK)
}

/// Returns a group in a block, which is made writable.
fn slot<'a>(blocks: &'a mut [Arc<Block>], context: &ShardContext, at: u32) -> Option<&'a mut Arc<GroupView>> {
    let at = at as usize;
    make_mut(blocks.get_mut(at / BLOCK)?, &context.pins).groups.get_mut(at % BLOCK)
}

impl Directory {
    pub(super) fn len(&self) -> usize {
        self.indexes.len()
    }

    /// Returns the number of committed offsets of all groups.
    pub(super) fn offsets(&self) -> usize {
        self.offsets
    }

    /// Adds new committed offsets to the count.
    pub(super) fn count_new(&mut self, new: usize) {
        self.offsets += new;
    }

    /// Subtracts a committed offset from the count.
    pub(super) fn count_deleted(&mut self) {
        self.offsets = self.offsets.saturating_sub(1);
    }

    /// Returns the groups, unordered.
    pub(super) fn views(&self) -> impl Iterator<Item = &Arc<GroupView>> {
        self.blocks.iter().flat_map(|block| &block.groups)
    }

    /// Returns the index of a group.
    pub(super) fn find(&self, context: &ShardContext, id: &str) -> Option<u32> {
        let is = |at: &u32| view(&self.blocks, *at).is_some_and(|group| &*group.id == id);
        if is(&self.last) {
            return Some(self.last);
        }
        self.by_id.find(context.hasher.hash_one(id), is).copied()
    }

    pub(super) fn view(&self, at: u32) -> Option<&Arc<GroupView>> {
        view(&self.blocks, at)
    }

    /// Returns the committed offset of a key, and its position in the group.
    pub(super) fn get(
        &self,
        context: &ShardContext,
        at: u32,
        topic: &str,
        partition: i32,
    ) -> Option<(usize, Entry<'_>)> {
        let (view, index) = (self.view(at)?, self.indexes.get(at as usize)?);
        let row = index.find(view, &context.hasher, topic, partition)?;
        Some((row as usize, view.entry(row)?))
    }

    /// Returns a group to be changed.
    pub(super) fn group_mut<'a>(&'a mut self, context: &'a ShardContext, at: u32) -> Option<Group<'a>> {
        let view = make_mut(slot(&mut self.blocks, context, at)?, &context.pins);
        Some(Group { view, index: self.indexes.get_mut(at as usize)?, context })
    }

    /// Returns the index of a group; adds the group if it is new.
    pub(super) fn get_or_add(&mut self, context: &ShardContext, id: &str, intern: impl FnOnce(&str) -> Name) -> u32 {
        let at = self.find(context, id).unwrap_or_else(|| self.add(context, intern(id)));
        self.last = at;
        at
    }

    fn add(&mut self, context: &ShardContext, id: Name) -> u32 {
        let at = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let hash = context.hasher.hash_one(&*id);
        if self.len().is_multiple_of(BLOCK) {
            self.blocks.push(Arc::default());
        }
        context.copies.add(&id, context.epoch);
        if let Some(block) = self.blocks.last_mut() {
            make_mut(block, &context.pins).groups.push(Arc::new(GroupView::new(id)));
        }
        self.indexes.push(RowIndex::default());
        self.forget_order();
        let blocks = &self.blocks;
        self.by_id.insert_unique(hash, at, |at| id_hash(context, blocks, *at));
        at
    }

    /// Removes the group if it has neither offsets nor members.
    pub(super) fn drop_if_gone(&mut self, context: &ShardContext, id: &str) {
        let Some(at) = self.find(context, id) else { return };
        if !self.view(at).is_some_and(|group| group.is_gone()) {
            return;
        }
        let Some(last) = self.len().checked_sub(1).and_then(|last| u32::try_from(last).ok()) else { return };
        context.copies.remove(id, context.epoch);
        if let Some(group) = self.view(at) {
            retain_group(group, context);
        }
        self.unlink(context, at);
        if at != last {
            self.unlink(context, last);
        }
        self.indexes.swap_remove(at as usize);
        let moved = self.blocks.last_mut().and_then(|block| make_mut(block, &context.pins).groups.pop());
        self.blocks.pop_if(|block| block.groups.is_empty());
        if at != last {
            if let (Some(slot), Some(moved)) = (slot(&mut self.blocks, context, at), moved) {
                *slot = moved;
            }
            let blocks = &self.blocks;
            self.by_id.insert_unique(id_hash(context, blocks, at), at, |at| id_hash(context, blocks, *at));
        }
        self.forget_order();
        self.last = 0;
    }

    /// Counts all groups that readers still pin as retained, and removes them from the index of copies.
    pub(super) fn release(&self, context: &ShardContext) {
        for group in self.views() {
            context.copies.remove(&group.id, context.epoch);
            retain_group(group, context);
        }
    }

    fn unlink(&mut self, context: &ShardContext, at: u32) {
        if let Ok(entry) = self.by_id.find_entry(id_hash(context, &self.blocks, at), |&other| other == at) {
            entry.remove();
        }
    }

    /// Starts a new order, because a group was added or removed.
    fn forget_order(&mut self) {
        if self.order.sorted.get().is_some() || Arc::strong_count(&self.order) > 1 {
            self.order = Arc::default();
        }
    }

    /// Returns a view of the groups.
    pub(super) fn groups(&self) -> Groups {
        Groups { blocks: self.blocks.clone(), order: Arc::clone(&self.order), len: self.len(), offsets: self.offsets }
    }

    /// Frees unused capacity in the parts that no reader pins.
    pub(super) fn shrink(&mut self) {
        self.blocks.iter_mut().filter_map(Arc::get_mut).for_each(|block| {
            block.groups.iter_mut().filter_map(Arc::get_mut).for_each(GroupView::shrink);
        });
        self.indexes.shrink_to_fit();
    }
}

fn id_hash(context: &ShardContext, blocks: &[Arc<Block>], at: u32) -> u64 {
    view(blocks, at).map_or(0, |group| context.hasher.hash_one(&*group.id))
}

impl Groups {
    /// Returns the number of groups.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of committed offsets of all groups.
    #[must_use]
    pub fn offsets(&self) -> usize {
        self.offsets
    }

    /// Returns whether there are no groups.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the bytes that only readers retain.
    #[must_use]
    pub fn retained(&self) -> usize {
        let block = |block: &Arc<Block>| {
            block.retained_mark.bytes() + block.groups.iter().map(|group| group.retained()).sum::<usize>()
        };
        self.blocks.iter().map(block).sum()
    }

    /// Returns whether the order has been computed.
    #[cfg(test)]
    pub(super) fn is_sorted(&self) -> bool {
        self.order.sorted.get().is_some()
    }

    /// Returns the indexes of the groups in the order of their ids.
    fn sorted(&self) -> &[u32] {
        self.order.sorted.get_or_init(|| {
            let mut named: Vec<(&str, u32)> =
                self.blocks.iter().flat_map(|block| &block.groups).map(|group| &*group.id).zip(0..).collect();
            named.sort_unstable();
            named.into_iter().map(|(_, at)| at).collect()
        })
    }

    fn at(&self, at: u32) -> Option<&Arc<GroupView>> {
        view(&self.blocks, at)
    }

    /// Returns all groups, ordered by id in byte order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<GroupView>> {
        self.sorted().iter().filter_map(|at| self.at(*at))
    }

    /// Returns all groups, unordered. Groups are scattered in memory, so those of a block are prefetched together,
    /// which is much faster than one cache miss after another.
    pub fn unordered(&self, what: ReadAhead) -> impl Iterator<Item = &Arc<GroupView>> {
        self.blocks.iter().flat_map(move |block| {
            black_box(block.groups.iter().fold(0, |seen, group| seen ^ group.prefetch(what)));
            &block.groups
        })
    }

    /// Returns the groups from an id on, ordered by id.
    pub fn starting_at(&self, id: &str) -> impl Iterator<Item = &Arc<GroupView>> + use<'_> {
        let from = self.sorted().partition_point(|at| self.at(*at).is_some_and(|group| &*group.id < id));
        self.sorted().get(from..).unwrap_or_default().iter().filter_map(|at| self.at(*at))
    }

    /// Returns the identity of the set of groups.
    #[must_use]
    pub fn set(&self) -> GroupSet {
        GroupSet(Arc::clone(&self.order))
    }

    /// Returns the groups that have ids with a prefix, ordered by id.
    pub fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = &Arc<GroupView>> + use<'_> {
        let id = |at: &u32| self.at(*at).map_or("", |group| &*group.id);
        let from = self.sorted().partition_point(|at| id(at) < prefix);
        let rest = self.sorted().get(from..).unwrap_or_default();
        let length = rest.partition_point(|at| id(at).starts_with(prefix));
        rest.iter().take(length).filter_map(|at| self.at(*at))
    }

    /// Returns a group by its id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<GroupView>> {
        let order = |at: &u32| self.at(*at).map_or("", |group| &*group.id).cmp(id);
        let sorted = self.sorted();
        let at = sorted.binary_search_by(order).ok()?;
        self.at(*sorted.get(at)?)
    }

    /// Returns the ids of misplaced groups. `is_home` decides by the hash of an id, given the number of shards. The
    /// result is kept until a group is added or removed, or the number of shards changes.
    #[must_use]
    pub fn misplaced(&self, shards: i32, is_home: impl Fn(i32) -> bool) -> Arc<[Name]> {
        let kept = self.order.misplaced.load();
        if let Some(kept) = kept.as_ref().filter(|kept| kept.shards == shards) {
            return Arc::clone(&kept.ids);
        }
        let misplaced = self.iter().filter(|group| !is_home(group.hash()));
        let ids: Arc<[Name]> = misplaced.map(|group| Name::clone(&group.id)).collect();
        self.order.misplaced.store(Some(Arc::new(MisplacedGroups { shards, ids: Arc::clone(&ids) })));
        ids
    }
}
