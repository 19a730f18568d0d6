//! Changes that the writer of a shard makes to a group.

use std::{iter::Peekable, sync::Arc};

use super::{
    CHUNK_ROWS, Chunk, Commit, CommitOrigin, Entry, Extras, GroupTopic, GroupView, ReplayedCommit, Row, RowIndex,
    ShardContext, make_room, position_of, smoothed_interval,
};
use crate::{
    model::{Millis, Name, Revision},
    store::{
        membership::{GroupKind, Membership, record::GroupRecord},
        pins::{count_retained, make_mut},
    },
};

/// A group that its writer changes.
#[derive(Debug)]
pub(in super::super) struct Group<'a> {
    /// The view, which no reader shares now.
    pub(in super::super) view: &'a mut GroupView,
    pub(in super::super) index: &'a mut RowIndex,
    pub(in super::super) context: &'a ShardContext,
}

impl Group<'_> {
    /// Returns the committed offset of a key.
    pub(in super::super) fn get(&self, topic: &str, partition: i32) -> Option<Entry<'_>> {
        self.view.entry(self.find(topic, partition)?)
    }

    fn find(&self, topic: &str, partition: i32) -> Option<u32> {
        self.index.find(self.view, &self.context.hasher, topic, partition)
    }

    /// Sets the committed offset of a key. Returns the row's index, and the previous row.
    pub(in super::super) fn commit(
        &mut self,
        (topic, partition): (&str, i32),
        commit: &Commit<'_>,
        seen: CommitOrigin,
        intern: impl FnOnce(&str) -> Name,
    ) -> (u32, Option<Row>) {
        let mut row = Row::of(commit, partition, seen.revision, seen.applied);
        let more = (Extras::of(commit), commit.first_seen_at);
        row.topic = self.topic(topic, intern);
        let known = self.index.row(self.view, &self.context.hasher, row.topic, partition);
        let before = known.and_then(|index| self.view.row(index).copied());
        let topic = row.topic;
        let index = match known {
            Some(index) => {
                row.interval_ms = before.map_or(0, |before| smoothed_interval(&before, row.committed_at, seen.at));
                self.set(index, row, more);
                index
            }
            None => self.push(row, more),
        };
        self.index.set_last(topic, index);
        (index, before)
    }

    /// Sets the committed offsets of keys, which were read at `at` (wall clock). Returns the number of new keys.
    pub(in super::super) fn replay<'c>(
        &mut self,
        commits: impl Iterator<Item = ReplayedCommit<'c>>,
        at: Millis,
        intern: impl Fn(&str) -> Name,
    ) -> usize {
        let (mut commits, mut new) = (commits.peekable(), 0);
        while let Some(ReplayedCommit { topic, partition, commit, revision }) = commits.next() {
            let seen = CommitOrigin { revision, applied: 0, at };
            let (_, before) = self.commit((topic, partition), commit, seen, &intern);
            new += usize::from(before.is_none());
            self.replay_in_order(&mut commits, at);
        }
        new
    }

    /// Applies commits while they follow the order of the rows of a chunk, until its end. The chunk is made writable
    /// once, and no key is looked up.
    fn replay_in_order<'c>(
        &mut self,
        commits: &mut Peekable<impl Iterator<Item = ReplayedCommit<'c>>>,
        seen_at: Millis,
    ) {
        let (number, mut at) = self.index.next_position();
        let GroupView { topics, chunks, .. } = &mut *self.view;
        let Some(chunk) = chunks.get_mut(number) else { return };
        let is = |row: Option<&Row>, next: &ReplayedCommit<'_>| {
            row.filter(|row| row.partition == next.partition)
                .and_then(|row| topics.get(row.topic as usize))
                .is_some_and(|topic| *topic.name == *next.topic)
        };
        if commits.peek().is_none_or(|next| !is(chunk.rows.get(at), next)) {
            return;
        }
        let chunk = make_mut(chunk, &self.context.pins);
        let (mut last_topic, mut taken) = (0, 0);
        while let Some(ReplayedCommit { partition, commit, revision, .. }) =
            commits.next_if(|next| is(chunk.rows.get(at), next))
        {
            let Some(row) = chunk.rows.get_mut(at) else { break };
            last_topic = row.topic;
            let interval_ms = smoothed_interval(row, commit.committed_at, seen_at);
            *row = Row { topic: last_topic, interval_ms, ..Row::of(commit, partition, revision, 0) };
            chunk.set_more(at, Extras::of(commit), commit.first_seen_at);
            at += 1;
            taken += 1;
        }
        self.index.advance(last_topic, taken);
    }

    /// Removes a key. Returns its row.
    pub(in super::super) fn remove(&mut self, topic: &str, partition: i32) -> Option<Row> {
        let index = self.find(topic, partition)?;
        let row = *self.view.row(index)?;
        self.index.remove(&self.context.hasher, &row, index);
        let last = u32::try_from(self.view.len()).ok()?.checked_sub(1)?;
        if index != last {
            // The last row moves into the gap, so that chunks stay dense.
            let moved = self.view.entry(last)?;
            let (moved, more) = (*moved.row, (moved.extras.cloned().unwrap_or_default(), moved.first_seen_at));
            self.index.remove(&self.context.hasher, &moved, last);
            self.set(index, moved, more);
            self.index.insert(self.view, &self.context.hasher, index);
        }
        self.pop();
        self.release_topic(row.topic);
        Some(row)
    }

    /// Replaces the members of a classic group.
    pub(in super::super) fn set_classic(&mut self, membership: Option<Arc<Membership>>) {
        self.view.members.set_classic(membership);
    }

    /// Applies a record of a next-generation group.
    pub(in super::super) fn apply_group_record(&mut self, kind: GroupKind, record: GroupRecord, revision: Revision) {
        self.view.members.apply(kind, record, revision);
    }

    /// Sets since when the membership is unknown; `None` if it is known again.
    pub(in super::super) fn set_members_stale_since(&mut self, since: Option<Millis>) {
        self.view.stale_since = since.unwrap_or(super::view::NOT_STALE);
    }

    /// Counts a commit that came after the initial load.
    pub(in super::super) fn count_live(&mut self) {
        self.view.live_commits += 1;
    }

    fn chunk(&mut self, index: u32) -> Option<(&mut Chunk, usize)> {
        let (chunk, at) = position_of(index);
        Some((make_mut(self.view.chunks.get_mut(chunk)?, &self.context.pins), at))
    }

    fn set(&mut self, index: u32, row: Row, (extras, first_seen): (Extras, Option<Millis>)) {
        let Some((chunk, at)) = self.chunk(index) else { return };
        if let Some(slot) = chunk.rows.get_mut(at) {
            *slot = row;
        }
        chunk.set_more(at, extras, first_seen);
    }

    /// Appends a row. Returns its index.
    fn push(&mut self, row: Row, (extras, first_seen): (Extras, Option<Millis>)) -> u32 {
        let view = &mut *self.view;
        if view.chunks.last().is_none_or(|chunk| chunk.rows.len() >= CHUNK_ROWS) {
            make_room(&mut view.chunks, 1, usize::MAX);
            view.chunks.push(Arc::default());
        }
        let mut at = 0;
        if let Some(chunk) = view.chunks.last_mut().map(|chunk| make_mut(chunk, &self.context.pins)) {
            at = chunk.rows.len();
            make_room(&mut chunk.rows, 4, CHUNK_ROWS);
            chunk.rows.push(row);
            chunk.set_more(at, extras, first_seen);
        }
        let index = (view.chunks.len().saturating_sub(1)) * CHUNK_ROWS + at;
        if let Some(topic) = Arc::make_mut(&mut view.topics).get_mut(row.topic as usize) {
            topic.rows += 1;
        }
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        self.index.insert(self.view, &self.context.hasher, index);
        index
    }

    fn pop(&mut self) {
        let view = &mut *self.view;
        let Some(chunk) = view.chunks.last_mut().map(|chunk| make_mut(chunk, &self.context.pins)) else { return };
        chunk.rows.pop();
        let at = chunk.rows.len();
        chunk.set_more(at, Extras::default(), None);
        if chunk.rows.is_empty() {
            view.chunks.pop();
        }
    }

    /// Returns the index of a topic; adds it if it is new.
    fn topic(&mut self, name: &str, intern: impl FnOnce(&str) -> Name) -> u32 {
        if let Some(at) = self.index.topic(self.view, &self.context.hasher, name) {
            return at;
        }
        let new = GroupTopic { name: intern(name), rows: 0 };
        let topics = Arc::make_mut(&mut self.view.topics);
        // Free entries exist only if topics were removed; they are searched when the list would grow.
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
        self.index.insert_topic(self.view, &self.context.hasher, at);
        at
    }

    /// Decrements the number of rows of a topic. A topic without rows is removed, and its entry can be reused.
    fn release_topic(&mut self, at: u32) {
        let topics = Arc::make_mut(&mut self.view.topics);
        let Some(topic) = topics.get_mut(at as usize) else { return };
        topic.rows = topic.rows.saturating_sub(1);
        if topic.rows == 0 {
            self.index.remove_topic(&self.context.hasher, &topic.name, at);
            topic.name = Name::from("");
        }
    }
}

/// Counts the parts of a removed group that readers still pin as retained.
pub(in super::super) fn retain_group(view: &Arc<GroupView>, context: &ShardContext) {
    // A view that readers pin also retains its chunks.
    let is_read = Arc::strong_count(view) > 1;
    for chunk in view.chunks.iter().filter(|chunk| is_read || Arc::strong_count(chunk) > 1) {
        count_retained(chunk, &context.pins);
    }
    if is_read {
        count_retained(view, &context.pins);
    }
}
