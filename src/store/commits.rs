//! The most recent commits of a shard, in bounded rings.

use std::{collections::VecDeque, sync::Arc};

use crate::model::{Millis, Name, Revision};

/// Events per block: the most that a write after a pin copies.
const BLOCK: usize = 256;

/// A commit or deletion that came after the initial load.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitEvent {
    /// Group id.
    pub group: Name,
    /// Topic name.
    pub topic: Name,
    /// Partition of the topic.
    pub partition: i32,
    /// The new offset; `None` if it was deleted.
    pub committed_offset: Option<i64>,
    /// The previous offset, if there was one.
    pub previous_offset: Option<i64>,
    /// Time at which the coordinator handled the commit; of a deletion, the time of its record.
    pub committed_at: Millis,
    /// Position in the order of its shard.
    pub revision: Revision,
    /// Time at which this process applied it.
    pub applied_at: Millis,
    /// Sequence number of the change in its shard.
    pub sequence: u64,
}

impl CommitEvent {
    /// Returns whether this is a deletion or a rewind. Those are rare and are kept for longer.
    fn is_notable(&self) -> bool {
        match (self.committed_offset, self.previous_offset) {
            (Some(offset), Some(previous)) => offset < previous,
            (None, _) => true,
            (Some(_), None) => false,
        }
    }
}

/// Two rings: all commits for at least [`CommitRings::KEEP`], and rewinds and deletions for
/// [`CommitRings::KEEP_NOTABLE`]. Both are bounded in number.
#[derive(Clone, Debug)]
pub struct CommitRings {
    all: Ring,
    notable: Ring,
    capacity: usize,
}

impl CommitRings {
    /// How long a commit is kept, in milliseconds, unless the capacity is exceeded.
    pub const KEEP: Millis = 60_000;
    /// How long a rewind or deletion is kept, in milliseconds, unless the capacity is exceeded.
    pub const KEEP_NOTABLE: Millis = 24 * 3_600_000;
    /// Number of commits that are kept however old they are.
    const MINIMUM: usize = 1024;

    /// Creates rings for at most `capacity` commits.
    pub(super) fn new(capacity: usize) -> Self {
        Self { all: Ring::default(), notable: Ring::default(), capacity: capacity.max(Self::MINIMUM) }
    }

    pub(super) fn push(&mut self, event: CommitEvent) {
        let now = event.applied_at;
        if event.is_notable() {
            self.notable.push(event.clone());
            self.notable.trim(now.saturating_sub(Self::KEEP_NOTABLE), 0, self.capacity / 10);
        }
        self.all.push(event);
        self.all.trim(now.saturating_sub(Self::KEEP), Self::MINIMUM, self.capacity);
    }

    /// Returns all events once, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &CommitEvent> {
        let oldest = self.all.iter().next().map_or(u64::MAX, |event| event.sequence);
        self.notable.iter().take_while(move |event| event.sequence < oldest).chain(self.all.iter())
    }
}

/// A queue of shared blocks, so that a clone is cheap.
#[derive(Clone, Debug, Default)]
struct Ring {
    blocks: VecDeque<Arc<Vec<CommitEvent>>>,
    len: usize,
}

impl Ring {
    fn push(&mut self, event: CommitEvent) {
        match self.blocks.back_mut() {
            Some(block) if block.len() < BLOCK => Arc::make_mut(block).push(event),
            _ => self.blocks.push_back(Arc::new(vec![event])),
        }
        self.len += 1;
    }

    /// Drops the oldest block if all its events are older than `before` and `minimum` events stay, or if there are more
    /// than `maximum`.
    fn trim(&mut self, before: Millis, minimum: usize, maximum: usize) {
        let Some(block) = self.blocks.front() else { return };
        let left = self.len.saturating_sub(block.len());
        let old = block.last().is_some_and(|event| event.applied_at < before) && left >= minimum;
        if self.blocks.len() > 1 && (old || self.len > maximum) {
            self.len = left;
            self.blocks.pop_front();
        }
    }

    fn iter(&self) -> impl Iterator<Item = &CommitEvent> {
        self.blocks.iter().flat_map(|block| block.iter())
    }
}

#[cfg(test)]
mod tests;
