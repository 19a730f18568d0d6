//! What the writer of a shard does to a group.

use std::sync::Arc;

use super::{CHUNK_ROWS, Chunk, Commit, Entry, GroupView, Index, Kit, Rare, Row, Topic, make_room, smoothed_interval};
use crate::{
    clock::Ticks,
    model::{Millis, Name},
    store::{
        held::{leave, make_mut},
        membership::{GroupKind, Membership, log::Members, piece::Piece},
    },
};

/// A group in the hands of its writer.
#[derive(Debug)]
pub(in super::super) struct Group<'a> {
    pub(in super::super) view: &'a mut Arc<GroupView>,
    pub(in super::super) index: &'a mut Index,
}

impl Group<'_> {
    /// The committed offset of a key.
    pub(in super::super) fn get(&self, kit: &Kit, topic: &str, partition: i32) -> Option<Entry<'_>> {
        self.view.entry(self.index.find(self.view, &kit.hasher, topic, partition)?)
    }

    /// Sets the committed offset of a key. Returns its place, and the row before.
    pub(in super::super) fn commit(
        &mut self,
        kit: &Kit,
        (topic, partition): (&str, i32),
        commit: &Commit<'_>,
        log_offset: i64,
        applied: Ticks,
        intern: impl FnOnce(&str) -> Name,
    ) -> (u32, Option<Row>) {
        let mut row = Row::of(commit, partition, log_offset, applied);
        let rare = Rare::of(commit);
        row.topic = self.topic(kit, topic, intern);
        let known = self.index.row(self.view, &kit.hasher, row.topic, partition);
        let before = known.and_then(|index| self.view.row(index).copied());
        let topic = row.topic;
        let index = match known {
            Some(index) => {
                row.interval_ms = before.map_or(0, |before| smoothed_interval(&before, row.committed_at));
                self.set(kit, index, row, rare);
                index
            }
            None => self.push(kit, row, rare),
        };
        self.index.set_last(topic, index);
        (index, before)
    }

    /// Removes a key. Returns its row.
    pub(in super::super) fn remove(&mut self, kit: &Kit, topic: &str, partition: i32) -> Option<Row> {
        let index = self.index.find(self.view, &kit.hasher, topic, partition)?;
        let row = *self.view.row(index)?;
        self.index.forget(&kit.hasher, &row, index);
        let last = u32::try_from(self.view.len()).ok()?.checked_sub(1)?;
        if index != last {
            // The last row takes the place, so that chunks stay dense.
            let moved = self.view.entry(last)?;
            let (moved, rare) = (*moved.row, moved.rare.cloned().unwrap_or_default());
            self.index.forget(&kit.hasher, &moved, last);
            self.set(kit, index, moved, rare);
            self.index.remember(self.view, &kit.hasher, index);
        }
        self.pop(kit);
        self.release_topic(kit, row.topic);
        Some(row)
    }

    /// Replaces the members of a classic group.
    pub(in super::super) fn set_classic(&mut self, kit: &Kit, membership: Option<Arc<Membership>>) {
        self.change_members(kit, |members| members.set_classic(membership));
    }

    /// Takes over a record of a group of another kind.
    pub(in super::super) fn apply_piece(&mut self, kit: &Kit, kind: GroupKind, piece: Piece, log_offset: i64) {
        self.change_members(kit, |members| members.apply(kind, piece, log_offset));
    }

    fn change_members(&mut self, kit: &Kit, change: impl FnOnce(&mut Members)) {
        let view = make_mut(self.view, &kit.held);
        change(&mut view.members);
    }

    /// Notes since when the membership is not known; `None`: it is known again.
    pub(in super::super) fn set_members_stale_since(&mut self, kit: &Kit, since: Option<Millis>) {
        make_mut(self.view, &kit.held).stale_since = since.unwrap_or(super::view::NOT_STALE);
    }

    /// Counts a commit that is news.
    pub(in super::super) fn count_live(&mut self, kit: &Kit) {
        make_mut(self.view, &kit.held).live_commits += 1;
    }

    fn chunk(&mut self, kit: &Kit, index: u32) -> Option<(&mut Chunk, usize)> {
        let index = index as usize;
        let chunk = make_mut(self.view, &kit.held).chunks.get_mut(index / CHUNK_ROWS)?;
        Some((make_mut(chunk, &kit.held), index % CHUNK_ROWS))
    }

    fn set(&mut self, kit: &Kit, index: u32, row: Row, rare: Rare) {
        let Some((chunk, at)) = self.chunk(kit, index) else { return };
        if let Some(slot) = chunk.rows.get_mut(at) {
            *slot = row;
        }
        chunk.set_rare(at, rare);
    }

    /// Returns the place.
    fn push(&mut self, kit: &Kit, row: Row, rare: Rare) -> u32 {
        let view = make_mut(self.view, &kit.held);
        if view.chunks.last().is_none_or(|chunk| chunk.rows.len() >= CHUNK_ROWS) {
            make_room(&mut view.chunks, 1, usize::MAX);
            view.chunks.push(Arc::default());
        }
        let mut at = 0;
        if let Some(chunk) = view.chunks.last_mut().map(|chunk| make_mut(chunk, &kit.held)) {
            at = chunk.rows.len();
            make_room(&mut chunk.rows, 4, CHUNK_ROWS);
            chunk.rows.push(row);
            chunk.set_rare(at, rare);
        }
        let index = (view.chunks.len().saturating_sub(1)) * CHUNK_ROWS + at;
        if let Some(topic) = Arc::make_mut(&mut view.topics).get_mut(row.topic as usize) {
            topic.rows += 1;
        }
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        self.index.remember(self.view, &kit.hasher, index);
        index
    }

    fn pop(&mut self, kit: &Kit) {
        let view = make_mut(self.view, &kit.held);
        let Some(chunk) = view.chunks.last_mut().map(|chunk| make_mut(chunk, &kit.held)) else { return };
        chunk.rows.pop();
        let at = chunk.rows.len();
        chunk.set_rare(at, Rare::default());
        if chunk.rows.is_empty() {
            view.chunks.pop();
        }
    }

    /// Place of a topic, new if need be.
    fn topic(&mut self, kit: &Kit, name: &str, intern: impl FnOnce(&str) -> Name) -> u32 {
        if let Some(at) = self.index.topic(self.view, &kit.hasher, name) {
            return at;
        }
        let new = Topic { name: intern(name), rows: 0 };
        let topics = Arc::make_mut(&mut make_mut(self.view, &kit.held).topics);
        // Only where topics come and go are there free places; look for one when the list would grow.
        let full = topics.len() == topics.capacity();
        let free = full.then(|| topics.iter().position(|topic| topic.rows == 0)).flatten();
        let at = free.unwrap_or(topics.len());
        match topics.get_mut(at) {
            Some(place) => *place = new,
            None => {
                make_room(topics, 1, usize::MAX);
                topics.push(new);
            }
        }
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        self.index.remember_topic(self.view, &kit.hasher, at);
        at
    }

    /// Counts a row of the topic less; without rows the topic is forgotten and its place free.
    fn release_topic(&mut self, kit: &Kit, at: u32) {
        let topics = Arc::make_mut(&mut make_mut(self.view, &kit.held).topics);
        let Some(topic) = topics.get_mut(at as usize) else { return };
        topic.rows = topic.rows.saturating_sub(1);
        if topic.rows == 0 {
            self.index.forget_topic(&kit.hasher, &topic.name, at);
            topic.name = Name::from("");
        }
    }
}

/// Leaves a group to those who still read it.
pub(in super::super) fn leave_group(view: &Arc<GroupView>, kit: &Kit) {
    // A view that is read holds its chunks.
    let is_read = Arc::strong_count(view) > 1;
    for chunk in view.chunks.iter().filter(|chunk| is_read || Arc::strong_count(chunk) > 1) {
        leave(chunk, &kit.held);
    }
    if is_read {
        leave(view, &kit.held);
    }
}
