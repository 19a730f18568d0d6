//! The immutable view of a group that readers get.

use std::{
    ops::{ControlFlow, Range},
    sync::Arc,
};

use super::{CHUNK_ROWS, Chunk, Extras, GroupTopic, Row, position_of};
use crate::{
    model::{Millis, Name, Uuid, java_hash},
    store::{
        membership::{Membership, log::Members},
        pins::{RetainedMark, Version},
    },
};

/// Value of `stale_since` while the members are known.
pub(super) const NOT_STALE: Millis = Millis::MIN;

/// The state of a group at one moment.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// Group id.
    pub id: Name,
    /// Membership by the records of the group; empty if it only committed offsets (a simple group).
    pub members: Members,
    /// See [`GroupView::members_stale_since`]; [`NOT_STALE`] stands for `None`.
    pub(super) stale_since: Millis,
    /// Number of commits since the initial load.
    pub live_commits: u64,
    pub(super) hash: i32,
    pub(super) topics: Arc<Vec<GroupTopic>>,
    pub(super) chunks: Vec<Arc<Chunk>>,
    pub(super) retained_mark: RetainedMark,
}

impl Version for GroupView {
    fn heap(&self) -> usize {
        self.chunks.capacity() * size_of::<Arc<Chunk>>()
    }

    fn retained_mark(&self) -> &RetainedMark {
        &self.retained_mark
    }
}

/// Memory to prefetch for a reader of all groups.
#[derive(Clone, Copy, Debug)]
pub enum ReadAhead {
    /// Topics of all groups, and offsets of few.
    Topics,
    /// Topics and offsets of all groups.
    Offsets,
}

/// A committed offset of a view: a row with its topic name and extras.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Topic name.
    pub topic: &'a Name,
    /// Index of the topic within the view.
    pub topic_index: usize,
    /// The commit.
    pub row: &'a Row,
    /// The extras, if any.
    pub extras: Option<&'a Extras>,
    /// When the key got its first offset, if the store knows it.
    pub first_seen_at: Option<Millis>,
}

impl GroupView {
    pub(in super::super) fn new(id: Name) -> Self {
        Self {
            hash: java_hash(&id),
            id,
            members: Members::default(),
            stale_since: NOT_STALE,
            live_commits: 0,
            topics: Arc::default(),
            chunks: vec![],
            retained_mark: RetainedMark::default(),
        }
    }

    /// Frees unused capacity in the parts that no reader pins.
    pub(in super::super) fn shrink(&mut self) {
        if let Some(topics) = Arc::get_mut(&mut self.topics) {
            topics.shrink_to_fit();
        }
        for chunk in self.chunks.iter_mut().filter_map(Arc::get_mut) {
            chunk.rows.shrink_to_fit();
        }
    }

    /// Returns the bytes that only readers retain.
    pub(in super::super) fn retained(&self) -> usize {
        self.retained_mark.bytes() + self.chunks.iter().map(|chunk| chunk.retained_mark.bytes()).sum::<usize>()
    }

    /// Returns the [`java_hash`] of the id, which determines the log partition of the group.
    #[must_use]
    pub fn hash(&self) -> i32 {
        self.hash
    }

    /// Returns the membership; `None` for a simple group.
    #[must_use]
    pub fn membership(&self) -> Option<&Membership> {
        self.members.current().map(|current| &**current)
    }

    /// Returns whether the group is known to have members.
    #[must_use]
    pub fn has_members(&self) -> bool {
        self.membership().is_some_and(|membership| !membership.members.is_empty())
    }

    /// Returns since when an open transaction hides changes of the membership.
    #[must_use]
    pub fn members_stale_since(&self) -> Option<Millis> {
        (self.stale_since != NOT_STALE).then_some(self.stale_since)
    }

    /// Returns the number of committed offsets.
    #[must_use]
    pub fn len(&self) -> usize {
        // All chunks but the last are full.
        let (last, full) = self.chunks.split_last().map_or((0, 0), |(last, full)| (last.rows.len(), full.len()));
        full * CHUNK_ROWS + last
    }

    /// Returns an upper bound of [`GroupView::len`], without access to the chunks.
    #[must_use]
    pub fn len_at_most(&self) -> usize {
        self.chunks.len() * CHUNK_ROWS
    }

    /// Reads the memory that is to be prefetched. The returned number is meaningless; it forces the load.
    pub(in super::super) fn prefetch(&self, what: ReadAhead) -> u32 {
        let topic = self.topics.first().map_or(0, |topic| topic.rows);
        match what {
            ReadAhead::Topics => topic,
            ReadAhead::Offsets => topic ^ self.row(0).map_or(0, |row| row.topic),
        }
    }

    /// Returns whether the group has neither offsets nor members.
    pub(in super::super) fn is_gone(&self) -> bool {
        self.is_empty() && self.members.is_empty()
    }

    /// Returns whether the group has no committed offsets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Returns the topic names, by [`Entry::topic_index`]. A topic may have no rows left.
    pub fn topic_names(&self) -> impl ExactSizeIterator<Item = &Name> {
        self.topics.iter().map(|topic| &topic.name)
    }

    /// Returns the topics with their number of committed offsets.
    pub fn topic_counts(&self) -> impl Iterator<Item = (&Name, u32)> {
        self.topics.iter().filter(|topic| topic.rows > 0).map(|topic| (&topic.name, topic.rows))
    }

    /// Returns all committed offsets, unordered.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.chunks.iter().flat_map(move |chunk| {
            chunk.rows.iter().enumerate().filter_map(move |(at, row)| self.entry_of(chunk, at, row))
        })
    }

    /// Calls `take` with the committed offsets at these positions, until it breaks.
    pub fn each_entry<'a, B>(
        &'a self,
        positions: Range<usize>,
        mut take: impl FnMut(usize, Entry<'a>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let first = positions.start / CHUNK_ROWS;
        for (number, chunk) in self.chunks.iter().enumerate().skip(first) {
            let base = number * CHUNK_ROWS;
            let from = positions.start.saturating_sub(base);
            let to = positions.end.saturating_sub(base).min(chunk.rows.len());
            for (row, at) in chunk.rows.get(from..to).unwrap_or_default().iter().zip(from..) {
                if let Some(entry) = self.entry_of(chunk, at, row) {
                    take(base + at, entry)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    #[inline]
    fn entry_of<'a>(&'a self, chunk: &'a Chunk, at: usize, row: &'a Row) -> Option<Entry<'a>> {
        let topic_index = row.topic as usize;
        let topic = &self.topics.get(topic_index)?.name;
        let (extras, first_seen_at) = (chunk.extras(at), chunk.first_seen(at));
        Some(Entry { topic, topic_index, row, extras, first_seen_at })
    }

    /// Returns the topic to which the group committed with this topic id.
    #[must_use]
    pub fn topic_with_id(&self, id: Uuid) -> Option<&Name> {
        self.chunks.iter().find_map(|chunk| {
            let (at, _) = chunk.more.as_ref()?.extras.iter().find(|(_, extras)| extras.topic_id == Some(id))?;
            self.topics.get(chunk.rows.get(usize::from(*at))?.topic as usize).map(|topic| &topic.name)
        })
    }

    pub(super) fn row(&self, index: u32) -> Option<&Row> {
        let (chunk, at) = position_of(index);
        self.chunks.get(chunk)?.rows.get(at)
    }

    pub(in super::super) fn entry(&self, index: u32) -> Option<Entry<'_>> {
        let (chunk, at) = position_of(index);
        let chunk = self.chunks.get(chunk)?;
        self.entry_of(chunk, at, chunk.rows.get(at)?)
    }
}
