//! What readers get of a group.

use std::{
    ops::{ControlFlow, Range},
    sync::Arc,
};

use super::{CHUNK_ROWS, Chunk, Rare, Row, Topic, place_of};
use crate::{
    model::{Millis, Name, Uuid, java_hash},
    store::{
        held::{Mark, Version},
        membership::{Membership, log::Members},
    },
};

/// The members are known.
pub(super) const NOT_STALE: Millis = Millis::MIN;

/// A group at one moment.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// Group id.
    pub id: Name,
    /// What the log says of members; nothing where only offsets were ever committed (a simple group).
    pub members: Members,
    /// See [`GroupView::members_stale_since`]; or [`NOT_STALE`].
    pub(super) stale_since: Millis,
    /// Commits since the initial load.
    pub live_commits: u64,
    pub(super) hash: i32,
    pub(super) topics: Arc<Vec<Topic>>,
    pub(super) chunks: Vec<Arc<Chunk>>,
    pub(super) mark: Mark,
}

impl Version for GroupView {
    fn heap(&self) -> usize {
        self.chunks.capacity() * size_of::<Arc<Chunk>>()
    }

    fn mark(&self) -> &Mark {
        &self.mark
    }
}

/// What a reader of all groups reads of each.
#[derive(Clone, Copy, Debug)]
pub enum ReadAhead {
    /// Topics of all, offsets of few.
    Topics,
    /// Topics and offsets.
    Offsets,
}

/// An entry of a view: a row with its name and rare fields.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Topic name.
    pub topic: &'a Name,
    /// The same number for the same topic within one view.
    pub topic_index: usize,
    /// The commit.
    pub row: &'a Row,
    /// Its rare fields, if any.
    pub rare: Option<&'a Rare>,
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
            mark: Mark::default(),
        }
    }

    /// Gives back the room that was kept for growing, where nobody reads it now.
    pub(in super::super) fn shrink(&mut self) {
        if let Some(topics) = Arc::get_mut(&mut self.topics) {
            topics.shrink_to_fit();
        }
        for chunk in self.chunks.iter_mut().filter_map(Arc::get_mut) {
            chunk.rows.shrink_to_fit();
        }
    }

    /// Bytes that only readers keep of it.
    pub(in super::super) fn retained(&self) -> usize {
        self.mark.bytes() + self.chunks.iter().map(|chunk| chunk.mark.bytes()).sum::<usize>()
    }

    /// Hash of the id, by which a log places groups: [`java_hash`].
    #[must_use]
    pub fn hash(&self) -> i32 {
        self.hash
    }

    /// Who is in the group; `None` for a simple group.
    #[must_use]
    pub fn membership(&self) -> Option<&Membership> {
        self.members.current().map(|current| &**current)
    }

    /// Whether it is known to have members.
    #[must_use]
    pub fn has_members(&self) -> bool {
        self.membership().is_some_and(|membership| !membership.members.is_empty())
    }

    /// Since when an open transaction hides what became of the members.
    #[must_use]
    pub fn members_stale_since(&self) -> Option<Millis> {
        (self.stale_since != NOT_STALE).then_some(self.stale_since)
    }

    /// Committed offsets.
    #[must_use]
    pub fn len(&self) -> usize {
        // All but the last are full.
        let (last, full) = self.chunks.split_last().map_or((0, 0), |(last, full)| (last.rows.len(), full.len()));
        full * CHUNK_ROWS + last
    }

    /// No fewer than [`GroupView::len`], and told without a look at them.
    #[must_use]
    pub fn len_at_most(&self) -> usize {
        self.chunks.len() * CHUNK_ROWS
    }

    /// Looks at what is to be read. The number says nothing, but whoever makes it has waited for the memory.
    pub(in super::super) fn look_at(&self, what: ReadAhead) -> u32 {
        let topic = self.topics.first().map_or(0, |topic| topic.rows);
        match what {
            ReadAhead::Topics => topic,
            ReadAhead::Offsets => topic ^ self.row(0).map_or(0, |row| row.topic),
        }
    }

    /// Neither offsets nor members.
    pub(in super::super) fn is_gone(&self) -> bool {
        self.is_empty() && self.members.is_empty()
    }

    /// Whether nothing is committed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Topic names by [`Entry::topic_index`]. Some may have no row any more.
    pub fn topic_names(&self) -> impl ExactSizeIterator<Item = &Name> {
        self.topics.iter().map(|topic| &topic.name)
    }

    /// Topics with a committed offset, and how many.
    pub fn topic_counts(&self) -> impl Iterator<Item = (&Name, u32)> {
        self.topics.iter().filter(|topic| topic.rows > 0).map(|topic| (&topic.name, topic.rows))
    }

    /// All committed offsets, in no order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.chunks.iter().flat_map(move |chunk| {
            chunk.rows.iter().enumerate().filter_map(move |(at, row)| self.entry_of(chunk, at, row))
        })
    }

    /// Gives some of them, with their positions, until `take` breaks.
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
        Some(Entry { topic: &self.topics.get(topic_index)?.name, topic_index, row, rare: chunk.rare(at) })
    }

    /// The topic that the group committed to by this id.
    #[must_use]
    pub fn topic_with_id(&self, id: Uuid) -> Option<&Name> {
        self.chunks.iter().find_map(|chunk| {
            let (at, _) = chunk.rare.as_ref()?.iter().find(|(_, rare)| rare.topic_id == Some(id))?;
            self.topics.get(chunk.rows.get(usize::from(*at))?.topic as usize).map(|topic| &topic.name)
        })
    }

    pub(super) fn row(&self, index: u32) -> Option<&Row> {
        let (chunk, at) = place_of(index);
        self.chunks.get(chunk)?.rows.get(at)
    }

    pub(in super::super) fn entry(&self, index: u32) -> Option<Entry<'_>> {
        let (chunk, at) = place_of(index);
        let chunk = self.chunks.get(chunk)?;
        self.entry_of(chunk, at, chunk.rows.get(at)?)
    }
}
