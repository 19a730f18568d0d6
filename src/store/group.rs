//! The committed offsets and members of one group.
//!
//! Readers get a [`GroupView`], and the writer changes it through `Group`. A view is immutable once a reader shares it:
//! the writer copies only the parts that it changes (the list of chunks, and one chunk of at most [`CHUNK_ROWS`] rows).
//! The old parts are counted as retained ([`Pins`]).

use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::{
    copies::Copies,
    pins::{Pins, RetainedMark, Version},
};
use crate::{
    clock::Ticks,
    model::{Millis, Name, Revision, Uuid},
};

mod index;
mod index_table;
mod view;
mod writer;

pub(super) use index::RowIndex;
pub use view::{Entry, GroupView, ReadAhead};
pub(super) use writer::{Group, retain_group};

/// Rows per chunk: the most that a write after a pin copies. 93 rows fill 4 KiB, a size class of the allocator; other
/// sizes waste up to a fifth.
pub const CHUNK_ROWS: usize = 93;

/// One committed offset in 44 bytes, the most frequent type of the store. Packed, because alignment would add 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed(4))]
pub struct Row {
    /// Index into the group's list of topics.
    pub topic: u32,
    /// Partition of the topic.
    pub partition: i32,
    /// The next offset that the group will read.
    pub committed_offset: i64,
    /// When the coordinator handled the commit.
    pub committed_at: Millis,
    /// Position of the commit in the order of its shard.
    pub revision: Revision,
    /// Epoch of the last consumed record; -1 if unknown.
    pub leader_epoch: i32,
    /// Smoothed time between commits by their record times, in milliseconds; 0 if unknown.
    pub interval_ms: u32,
    /// When this process applied the commit.
    pub applied: Ticks,
}

impl Row {
    /// Returns whether the row has the given values, as another system reports them. `leader_epoch`: -1 if not
    /// reported.
    #[must_use]
    pub fn has_values(
        &self,
        extras: Option<&Extras>,
        committed_offset: i64,
        leader_epoch: i32,
        metadata: &str,
    ) -> bool {
        let (offset, epoch) = (self.committed_offset, self.leader_epoch);
        offset == committed_offset
            && (leader_epoch < 0 || epoch == leader_epoch)
            && extras.and_then(|extras| extras.metadata.as_deref()).unwrap_or_default() == metadata
    }
}

/// Extras of a row: fields that few commits have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Metadata text of the client.
    pub metadata: Option<Arc<str>>,
    /// Expiry time, of commits with a retention of their own (value version 1).
    pub expires_at: Option<Millis>,
    /// Topic id in the commit.
    pub topic_id: Option<Uuid>,
}

/// A commit with its extras: the owned form of [`Commit`], without its `first_seen_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCommit {
    /// The commit.
    pub row: Row,
    /// Its extras, if any.
    pub extras: Option<Extras>,
}

impl StoredCommit {
    /// Returns a commit that is not in a group yet. Its topic index and interval are 0.
    pub(crate) fn of(commit: &Commit<'_>, partition: i32, revision: Revision, applied: Ticks) -> Self {
        let (row, extras) = (Row::of(commit, partition, revision, applied), Extras::of(commit));
        Self { row, extras: Some(extras).filter(|extras| !extras.is_empty()) }
    }

    /// Returns the borrowed form.
    pub(crate) fn commit(&self) -> Commit<'_> {
        let extras = self.extras.as_ref();
        Commit {
            committed_offset: self.row.committed_offset,
            committed_at: self.row.committed_at,
            leader_epoch: self.row.leader_epoch,
            metadata: extras.and_then(|extras| extras.metadata.as_deref()).unwrap_or_default(),
            expires_at: extras.and_then(|extras| extras.expires_at),
            topic_id: extras.and_then(|extras| extras.topic_id),
            first_seen_at: None,
        }
    }
}

impl Row {
    /// Returns the row of a commit that is not in a group yet. Its topic index and interval are 0.
    pub(super) fn of(commit: &Commit<'_>, partition: i32, revision: Revision, applied: Ticks) -> Self {
        Self {
            topic: 0,
            partition,
            committed_offset: commit.committed_offset,
            committed_at: commit.committed_at,
            revision,
            leader_epoch: commit.leader_epoch,
            interval_ms: 0,
            applied,
        }
    }
}

impl Extras {
    /// Returns the extras of a commit.
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

/// Rows, and what few chunks have besides.
#[derive(Clone, Debug, Default)]
struct Chunk {
    rows: Vec<Row>,
    more: Option<Box<ChunkExtras>>,
    retained_mark: RetainedMark,
}

/// Values of the rows of a chunk that few chunks have.
#[derive(Clone, Debug, Default)]
struct ChunkExtras {
    /// Extras by the row's position in the chunk.
    extras: HashMap<u16, Extras>,
    /// [`Commit::first_seen_at`] by the row's position in the chunk; 0 is unknown. May be shorter than the chunk.
    first_seen: Vec<Millis>,
}

impl Chunk {
    #[inline]
    fn extras(&self, at: usize) -> Option<&Extras> {
        self.more.as_ref()?.extras.get(&u16::try_from(at).ok()?)
    }

    #[inline]
    fn first_seen(&self, at: usize) -> Option<Millis> {
        self.more.as_ref()?.first_seen.get(at).copied().filter(|first_seen| *first_seen > 0)
    }

    /// Sets the values that belong to the row at a position. Must be called for each new row.
    fn set_more(&mut self, at: usize, extras: Extras, first_seen: Option<Millis>) {
        if self.more.is_none() && extras.is_empty() && first_seen.is_none() {
            return;
        }
        let more = self.more.get_or_insert_default();
        if let Ok(at) = u16::try_from(at) {
            if extras.is_empty() {
                more.extras.remove(&at)
            } else {
                more.extras.insert(at, extras)
            };
        }
        match more.first_seen.get_mut(at) {
            Some(known) => *known = first_seen.unwrap_or(0),
            None if first_seen.is_some() => {
                more.first_seen.resize(at, 0);
                more.first_seen.push(first_seen.unwrap_or(0));
            }
            None => {}
        }
        if more.extras.is_empty() && more.first_seen.iter().all(|first_seen| *first_seen == 0) {
            self.more = None;
        }
    }
}

impl Version for Chunk {
    fn heap(&self) -> usize {
        let more = |more: &ChunkExtras| {
            size_of::<ChunkExtras>() + more.extras.allocation_size() + more.first_seen.capacity() * size_of::<Millis>()
        };
        self.rows.capacity() * size_of::<Row>() + self.more.as_deref().map_or(0, more)
    }

    fn retained_mark(&self) -> &RetainedMark {
        &self.retained_mark
    }
}

/// A topic of the group. Rows refer to it by its index, which is stable while such a row exists.
#[derive(Clone, Debug)]
struct GroupTopic {
    name: Name,
    rows: u32,
}

/// A commit to apply: the borrowed form of [`StoredCommit`].
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// The next offset that the group will read.
    pub committed_offset: i64,
    /// When the coordinator handled it.
    pub committed_at: Millis,
    /// Epoch of the last consumed record; -1 if unknown.
    pub leader_epoch: i32,
    /// Metadata text of the client.
    pub metadata: &'a str,
    /// Expiry time, if the commit has a retention of its own.
    pub expires_at: Option<Millis>,
    /// Topic id, if known.
    pub topic_id: Option<Uuid>,
    /// When the key got its first offset, if the store knows it.
    pub first_seen_at: Option<Millis>,
}

/// A commit of the initial load.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplayedCommit<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) commit: &'a Commit<'a>,
    pub(super) revision: Revision,
}

/// Position and time at which a commit was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommitOrigin {
    pub(super) revision: Revision,
    /// [`Row::applied`].
    pub(super) applied: Ticks,
    /// On the wall clock.
    pub(super) at: Millis,
}

/// State that the groups of a shard share.
#[derive(Debug, Default)]
pub struct ShardContext {
    /// The epoch of the shard.
    pub(super) epoch: u64,
    pub(super) hasher: DefaultHashBuilder,
    pub(super) pins: Arc<Pins>,
    /// Index of the shards that hold records of a group.
    pub(super) copies: Arc<Copies>,
}

impl ShardContext {
    pub(super) fn new(epoch: u64, pins: Arc<Pins>, copies: Arc<Copies>) -> Self {
        Self { epoch, hasher: DefaultHashBuilder::default(), pins, copies }
    }
}

/// Returns the mean of the previous interval and the new gap, so that a few commits determine it. A gap of 0 or less is
/// ignored. A commit time after `seen_at` counts as `seen_at`.
fn smoothed_interval(before: &Row, committed_at: Millis, seen_at: Millis) -> u32 {
    let gap = committed_at.min(seen_at).saturating_sub(before.committed_at.min(seen_at));
    let Ok(gap) = u32::try_from(gap) else { return before.interval_ms };
    match (gap, before.interval_ms) {
        (0, known) => known,
        (gap, 0) => gap,
        (gap, known) => (gap / 2).saturating_add(known / 2),
    }
}

/// Returns the chunk of a row, and the row's position in the chunk.
fn position_of(row: u32) -> (usize, usize) {
    (row as usize / CHUNK_ROWS, row as usize % CHUNK_ROWS)
}

/// Makes room for one more element, in a list of at most `most`. Capacity grows by an eighth, because there are
/// millions of rows and most groups do not grow.
fn make_room<T>(list: &mut Vec<T>, least: usize, most: usize) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 8).max(least).min(most.saturating_sub(list.len())));
    }
}

#[cfg(test)]
mod tests;
