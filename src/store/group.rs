//! The committed offsets and members of one group.
//!
//! A `Group` belongs to its shard's writer. What readers get is its [`GroupView`]: immutable once
//! shared, since the writer copies what it touches as long as somebody else holds it (the group's
//! list of chunks, and one chunk of at most [`CHUNK_ROWS`] rows), never the whole group. What is
//! then left to the readers is counted ([`Held`]).

use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use std::hash::BuildHasher;

use super::{
    held::{Held, Mark, Version, leave, make_mut},
    membership::{GroupKind, Membership, log::Members, piece::Piece},
};
use crate::{
    clock::Ticks,
    model::{Millis, Name, Uuid},
};

mod view;

pub use view::{Entry, GroupView};

/// Rows of a chunk: what a write after a pin copies at most.
pub const CHUNK_ROWS: usize = 1024;

/// One committed offset, in 48 bytes: the hot part of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Index into the group's list of topics.
    pub topic: u32,
    /// Partition of the topic.
    pub partition: i32,
    /// The next offset that the group will read.
    pub committed_offset: i64,
    /// When the coordinator handled the commit.
    pub committed_at: Millis,
    /// Offset of the record in `__consumer_offsets`.
    pub log_offset: i64,
    /// Epoch of the last consumed record; -1 is unknown.
    pub leader_epoch: i32,
    /// Time between the last commits, smoothed, in ms; 0 is unknown. By the times in the records.
    pub interval_ms: u32,
    /// When this process applied the commit.
    pub applied: Ticks,
}

/// What few commits carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rare {
    /// Text of the client.
    pub metadata: Option<Arc<str>>,
    /// Only of commits with a retention of their own (value version 1).
    pub expires_at: Option<Millis>,
    /// Topic incarnation of the commit.
    pub topic_id: Option<Uuid>,
}

impl Row {
    /// Of a commit that was not put into a group yet: without topic and interval.
    pub(super) fn of(commit: &Commit<'_>, partition: i32, log_offset: i64, applied: Ticks) -> Self {
        Self {
            topic: 0,
            partition,
            committed_offset: commit.committed_offset,
            committed_at: commit.committed_at,
            log_offset,
            leader_epoch: commit.leader_epoch,
            interval_ms: 0,
            applied,
        }
    }
}

impl Rare {
    /// Of a commit.
    pub(super) fn of(commit: &Commit<'_>) -> Self {
        Self {
            metadata: (!commit.metadata.is_empty()).then(|| Arc::from(commit.metadata)),
            expires_at: commit.expires_at,
            topic_id: commit.topic_id,
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Rows and what is rare about them, by position in the chunk.
#[derive(Clone, Debug, Default)]
struct Chunk {
    rows: Vec<Row>,
    rare: HashMap<u16, Rare>,
    mark: Mark,
}

impl Version for Chunk {
    fn heap(&self) -> usize {
        self.rows.capacity() * size_of::<Row>() + self.rare.allocation_size()
    }

    fn mark(&self) -> &Mark {
        &self.mark
    }
}

/// A topic of the group. Rows name it by its index, which stays as long as a row does.
#[derive(Clone, Debug)]
struct Topic {
    name: Name,
    rows: u32,
}

/// A commit to apply.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// The next offset that the group will read.
    pub committed_offset: i64,
    /// When the coordinator handled it.
    pub committed_at: Millis,
    /// Epoch of the last consumed record; -1 is unknown.
    pub leader_epoch: i32,
    /// Text of the client.
    pub metadata: &'a str,
    /// Expiry of its own, if any.
    pub expires_at: Option<Millis>,
    /// Topic incarnation, if known.
    pub topic_id: Option<Uuid>,
}

/// What the groups of a shard share.
#[derive(Debug, Default)]
pub(super) struct Kit {
    pub(super) hasher: DefaultHashBuilder,
    pub(super) held: Arc<Held>,
}

/// A group with its writer's indexes.
#[derive(Debug)]
pub(super) struct Group {
    view: Arc<GroupView>,
    /// (topic, partition) → row.
    rows: HashTable<u32>,
    /// Topic name → index.
    topics: HashTable<u32>,
}

impl Group {
    pub(super) fn new(id: Name) -> Self {
        Self { view: Arc::new(GroupView::new(id)), rows: HashTable::new(), topics: HashTable::new() }
    }

    /// The group as it is now; the writer copies what it changes from here on.
    pub(super) fn view(&self) -> &Arc<GroupView> {
        &self.view
    }

    /// Neither offsets nor members.
    pub(super) fn is_gone(&self) -> bool {
        self.view.is_empty() && self.view.members.is_none()
    }

    /// The committed offset of a key.
    pub(super) fn get(&self, hasher: &DefaultHashBuilder, topic: &str, partition: i32) -> Option<Entry<'_>> {
        self.view.entry(self.find(hasher, topic, partition)?)
    }

    /// The same, with its place among the entries.
    pub(super) fn get_at(
        &self,
        hasher: &DefaultHashBuilder,
        topic: &str,
        partition: i32,
    ) -> Option<(usize, Entry<'_>)> {
        let index = self.find(hasher, topic, partition)?;
        Some((index as usize, self.view.entry(index)?))
    }

    fn find(&self, hasher: &DefaultHashBuilder, topic: &str, partition: i32) -> Option<u32> {
        let hash = hasher.hash_one((topic, partition));
        self.rows.find(hash, |&index| is_key(&self.view, index, topic, partition)).copied()
    }

    /// Sets the committed offset of a key. Returns the row before.
    pub(super) fn commit(
        &mut self,
        kit: &Kit,
        (topic, partition): (&str, i32),
        commit: &Commit<'_>,
        log_offset: i64,
        applied: Ticks,
        intern: impl FnOnce(&str) -> Name,
    ) -> Option<Row> {
        let mut row = Row::of(commit, partition, log_offset, applied);
        let rare = Rare::of(commit);
        if let Some(index) = self.find(&kit.hasher, topic, partition) {
            let before = self.view.row(index).copied();
            if let Some(before) = before {
                row.topic = before.topic;
                row.interval_ms = smoothed_interval(&before, row.committed_at);
            }
            self.set(kit, index, row, rare);
            return before;
        }
        row.topic = self.topic(kit, topic, intern);
        self.push(kit, row, rare);
        None
    }

    /// Removes a key. Returns its row.
    pub(super) fn remove(&mut self, kit: &Kit, topic: &str, partition: i32) -> Option<Row> {
        let index = self.find(&kit.hasher, topic, partition)?;
        let row = *self.view.row(index)?;
        self.forget(&kit.hasher, index);
        let last = u32::try_from(self.view.len()).ok()?.checked_sub(1)?;
        if index != last {
            // The last row takes the place, so that chunks stay dense.
            let moved = self.view.entry(last)?;
            let (moved, rare) = (*moved.row, moved.rare.cloned().unwrap_or_default());
            self.forget(&kit.hasher, last);
            self.set(kit, index, moved, rare);
            self.remember(&kit.hasher, index);
        }
        self.pop(kit);
        self.release_topic(kit, row.topic);
        Some(row)
    }

    /// Replaces the members of a classic group.
    pub(super) fn set_classic(&mut self, kit: &Kit, membership: Option<Arc<Membership>>) {
        self.change_members(kit, |members| members.set_classic(membership));
    }

    /// Takes over a record of a group of another kind.
    pub(super) fn apply_piece(&mut self, kit: &Kit, kind: GroupKind, piece: Piece, log_offset: i64) {
        self.change_members(kit, |members| members.apply(kind, piece, log_offset));
    }

    fn change_members(&mut self, kit: &Kit, change: impl FnOnce(&mut Members)) {
        let view = make_mut(&mut self.view, &kit.held);
        let members = view.members.get_or_insert_default();
        let members = Arc::make_mut(members);
        change(members);
        if members.is_empty() {
            view.members = None;
        }
    }

    /// Notes since when the membership is not known; `None`: it is known again.
    pub(super) fn set_members_stale_since(&mut self, kit: &Kit, since: Option<Millis>) {
        make_mut(&mut self.view, &kit.held).members_stale_since = since;
    }

    /// Counts a commit that is news.
    pub(super) fn count_live(&mut self, kit: &Kit) {
        make_mut(&mut self.view, &kit.held).live_commits += 1;
    }

    /// Leaves the group to those who still read it.
    pub(super) fn leave(&self, kit: &Kit) {
        // A view that is read holds its chunks.
        let is_read = Arc::strong_count(&self.view) > 1;
        for chunk in self.view.chunks.iter().filter(|chunk| is_read || Arc::strong_count(chunk) > 1) {
            leave(chunk, &kit.held);
        }
        if is_read {
            leave(&self.view, &kit.held);
        }
    }

    fn chunk(&mut self, kit: &Kit, index: u32) -> Option<(&mut Chunk, usize)> {
        let index = index as usize;
        let chunk = make_mut(&mut self.view, &kit.held).chunks.get_mut(index / CHUNK_ROWS)?;
        Some((make_mut(chunk, &kit.held), index % CHUNK_ROWS))
    }

    fn set(&mut self, kit: &Kit, index: u32, row: Row, rare: Rare) {
        let Some((chunk, at)) = self.chunk(kit, index) else { return };
        if let Some(slot) = chunk.rows.get_mut(at) {
            *slot = row;
        }
        set_rare(chunk, at, rare);
    }

    fn push(&mut self, kit: &Kit, row: Row, rare: Rare) {
        let view = make_mut(&mut self.view, &kit.held);
        if view.chunks.last().is_none_or(|chunk| chunk.rows.len() >= CHUNK_ROWS) {
            view.chunks.push(Arc::default());
        }
        let mut at = 0;
        if let Some(chunk) = view.chunks.last_mut().map(|chunk| make_mut(chunk, &kit.held)) {
            at = chunk.rows.len();
            chunk.rows.push(row);
            set_rare(chunk, at, rare);
        }
        let index = (view.chunks.len().saturating_sub(1)) * CHUNK_ROWS + at;
        if let Some(topic) = Arc::make_mut(&mut view.topics).get_mut(row.topic as usize) {
            topic.rows += 1;
        }
        self.remember(&kit.hasher, u32::try_from(index).unwrap_or(u32::MAX));
    }

    fn pop(&mut self, kit: &Kit) {
        let view = make_mut(&mut self.view, &kit.held);
        let Some(chunk) = view.chunks.last_mut().map(|chunk| make_mut(chunk, &kit.held)) else { return };
        chunk.rows.pop();
        let at = chunk.rows.len();
        set_rare(chunk, at, Rare::default());
        if chunk.rows.is_empty() {
            view.chunks.pop();
        }
    }

    fn remember(&mut self, hasher: &DefaultHashBuilder, index: u32) {
        let view = &*self.view;
        let Some(hash) = row_hash(view, hasher, index) else { return };
        self.rows.insert_unique(hash, index, |&index| row_hash(view, hasher, index).unwrap_or_default());
    }

    fn forget(&mut self, hasher: &DefaultHashBuilder, index: u32) {
        let Some(hash) = row_hash(&self.view, hasher, index) else { return };
        if let Ok(entry) = self.rows.find_entry(hash, |&other| other == index) {
            entry.remove();
        }
    }

    /// Index of a topic, new if need be.
    fn topic(&mut self, kit: &Kit, topic: &str, intern: impl FnOnce(&str) -> Name) -> u32 {
        let hash = kit.hasher.hash_one(topic);
        let names = &self.view.topics;
        let is = |&index: &u32| names.get(index as usize).is_some_and(|known| &*known.name == topic);
        if let Some(index) = self.topics.find(hash, is) {
            return *index;
        }
        let new = Topic { name: intern(topic), rows: 0 };
        let topics = Arc::make_mut(&mut make_mut(&mut self.view, &kit.held).topics);
        // Only where topics come and go are there free places; look for one when the list would grow.
        let full = topics.len() == topics.capacity();
        let free = full.then(|| topics.iter().position(|topic| topic.rows == 0)).flatten();
        let index = free.unwrap_or(topics.len());
        match topics.get_mut(index) {
            Some(place) => *place = new,
            None => topics.push(new),
        }
        let names = &self.view.topics;
        let rehash = |&index: &u32| names.get(index as usize).map_or(0, |topic| kit.hasher.hash_one(&*topic.name));
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        self.topics.insert_unique(hash, index, rehash);
        index
    }

    /// Counts a row of the topic less; without rows the topic is forgotten and its place free.
    fn release_topic(&mut self, kit: &Kit, index: u32) {
        let topics = Arc::make_mut(&mut make_mut(&mut self.view, &kit.held).topics);
        let Some(topic) = topics.get_mut(index as usize) else { return };
        topic.rows = topic.rows.saturating_sub(1);
        if topic.rows == 0 {
            let hash = kit.hasher.hash_one(&*topic.name);
            if let Ok(entry) = self.topics.find_entry(hash, |&other| other == index) {
                entry.remove();
            }
            topic.name = Name::from("");
        }
    }
}

fn is_key(view: &GroupView, index: u32, topic: &str, partition: i32) -> bool {
    view.row(index).is_some_and(|row| {
        row.partition == partition && view.topics.get(row.topic as usize).is_some_and(|known| &*known.name == topic)
    })
}

fn row_hash(view: &GroupView, hasher: &DefaultHashBuilder, index: u32) -> Option<u64> {
    let row = view.row(index)?;
    let topic = view.topics.get(row.topic as usize)?;
    Some(hasher.hash_one((&*topic.name, row.partition)))
}

fn set_rare(chunk: &mut Chunk, at: usize, rare: Rare) {
    let Ok(at) = u16::try_from(at) else { return };
    if rare.is_empty() {
        if !chunk.rare.is_empty() {
            chunk.rare.remove(&at);
        }
    } else {
        chunk.rare.insert(at, rare);
    }
}

/// Half the old, half the new: a few commits settle it. Several commits in one millisecond, and
/// clocks that go back, say nothing.
fn smoothed_interval(before: &Row, committed_at: Millis) -> u32 {
    let Ok(gap) = u32::try_from(committed_at.saturating_sub(before.committed_at)) else { return before.interval_ms };
    match (gap, before.interval_ms) {
        (0, known) => known,
        (gap, 0) => gap,
        (gap, known) => (gap / 2).saturating_add(known / 2),
    }
}

#[cfg(test)]
mod tests;
