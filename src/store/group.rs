//! The committed offsets and members of one group.
//!
//! Readers get a [`GroupView`], and the writer changes it through `Group`. A view is immutable once a reader shares it:
//! the writer copies only the parts that it changes (the list of chunks, and one chunk of at most [`CHUNK_ROWS`] rows).
//! The old parts are counted as retained ([`Held`]).

use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::{
    copies::Copies,
    held::{Held, Mark, Version},
};
use crate::{
    clock::Ticks,
    model::{Millis, Name, Revision, Uuid},
};

mod index;
mod places;
mod view;
mod writer;

pub(super) use index::Index;
pub use view::{Entry, GroupView, ReadAhead};
pub(super) use writer::{Group, leave_group};

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
    pub fn says(&self, rare: Option<&Rare>, committed_offset: i64, leader_epoch: i32, metadata: &str) -> bool {
        let (offset, epoch) = (self.committed_offset, self.leader_epoch);
        offset == committed_offset
            && (leader_epoch < 0 || epoch == leader_epoch)
            && rare.and_then(|rare| rare.metadata.as_deref()).unwrap_or_default() == metadata
    }
}

/// Extras of a row: fields that few commits have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rare {
    /// Metadata text of the client.
    pub metadata: Option<Arc<str>>,
    /// Expiry time, of commits with a retention of their own (value version 1).
    pub expires_at: Option<Millis>,
    /// Topic id in the commit.
    pub topic_id: Option<Uuid>,
}

/// A commit with its extras: the owned form of [`Commit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The commit.
    pub row: Row,
    /// Its extras, if any.
    pub rare: Option<Rare>,
}

impl Stored {
    /// Returns a commit that is not in a group yet. Its topic index and interval are 0.
    pub(crate) fn of(commit: &Commit<'_>, partition: i32, revision: Revision, applied: Ticks) -> Self {
        let (row, rare) = (Row::of(commit, partition, revision, applied), Rare::of(commit));
        Self { row, rare: Some(rare).filter(|rare| !rare.is_empty()) }
    }

    /// Returns the borrowed form.
    pub(crate) fn commit(&self) -> Commit<'_> {
        let rare = self.rare.as_ref();
        Commit {
            committed_offset: self.row.committed_offset,
            committed_at: self.row.committed_at,
            leader_epoch: self.row.leader_epoch,
            metadata: rare.and_then(|rare| rare.metadata.as_deref()).unwrap_or_default(),
            expires_at: rare.and_then(|rare| rare.expires_at),
            topic_id: rare.and_then(|rare| rare.topic_id),
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

impl Rare {
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

/// Rows, and their extras by position in the chunk.
#[derive(Clone, Debug, Default)]
struct Chunk {
    rows: Vec<Row>,
    rare: Option<Box<HashMap<u16, Rare>>>,
    mark: Mark,
}

impl Chunk {
    #[inline]
    fn rare(&self, at: usize) -> Option<&Rare> {
        self.rare.as_ref()?.get(&u16::try_from(at).ok()?)
    }

    fn set_rare(&mut self, at: usize, rare: Rare) {
        let Ok(at) = u16::try_from(at) else { return };
        if !rare.is_empty() {
            self.rare.get_or_insert_default().insert(at, rare);
        } else if let Some(known) = &mut self.rare {
            known.remove(&at);
            if known.is_empty() {
                self.rare = None;
            }
        }
    }
}

impl Version for Chunk {
    fn heap(&self) -> usize {
        let rare = |rare: &HashMap<u16, Rare>| size_of::<HashMap<u16, Rare>>() + rare.allocation_size();
        self.rows.capacity() * size_of::<Row>() + self.rare.as_deref().map_or(0, rare)
    }

    fn mark(&self) -> &Mark {
        &self.mark
    }
}

/// A topic of the group. Rows refer to it by its index, which is stable while such a row exists.
#[derive(Clone, Debug)]
struct Topic {
    name: Name,
    rows: u32,
}

/// A commit to apply: the borrowed form of [`Stored`].
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
}

/// A commit of the initial load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replayed<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) commit: &'a Commit<'a>,
    pub(super) revision: Revision,
}

/// Position and time at which a commit was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) revision: Revision,
    /// [`Row::applied`].
    pub(super) applied: Ticks,
    /// On the wall clock.
    pub(super) at: Millis,
}

/// State that the groups of a shard share.
#[derive(Debug, Default)]
pub struct Kit {
    /// The epoch of the shard.
    pub(super) epoch: u64,
    pub(super) hasher: DefaultHashBuilder,
    pub(super) held: Arc<Held>,
    /// Index of the shards that hold records of a group.
    pub(super) copies: Arc<Copies>,
}

impl Kit {
    pub(super) fn new(epoch: u64, held: Arc<Held>, copies: Arc<Copies>) -> Self {
        Self { epoch, hasher: DefaultHashBuilder::default(), held, copies }
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
fn place_of(row: u32) -> (usize, usize) {
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
