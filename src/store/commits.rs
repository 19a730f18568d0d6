//! The last commits seen, in a bounded ring.

use std::{collections::VecDeque, sync::Arc};

use crate::model::{Millis, Name, Revision};

/// Events of a block: what a write after a pin copies at most.
const BLOCK: usize = 256;

/// A commit or a deletion that came after the initial load.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitEvent {
    /// Group id.
    pub group: Name,
    /// Topic name.
    pub topic: Name,
    /// Partition of the topic.
    pub partition: i32,
    /// `None`: the offset was deleted.
    pub committed_offset: Option<i64>,
    /// The offset before, if there was one.
    pub previous_offset: Option<i64>,
    /// When the coordinator handled it; of a deletion, the time of its record.
    pub committed_at: Millis,
    /// Where it stands in the order of its shard.
    pub revision: Revision,
    /// When this process applied it.
    pub applied_at: Millis,
    /// Number of the change in its shard.
    pub sequence: u64,
}

impl CommitEvent {
    /// A deletion, or a commit that went back: rare, and asked for long after.
    fn is_notable(&self) -> bool {
        match (self.committed_offset, self.previous_offset) {
            (Some(offset), Some(previous)) => offset < previous,
            (None, _) => true,
            (Some(_), None) => false,
        }
    }
}

/// Two rings: all commits for at least [`Rings::KEEP`], rewinds and deletions for
/// [`Rings::KEEP_NOTABLE`]; both bounded in number.
#[derive(Clone, Debug)]
pub struct Rings {
    all: Ring,
    notable: Ring,
    capacity: usize,
}

impl Rings {
    /// How long a commit is kept, unless the capacity is reached before.
    pub const KEEP: Millis = 60_000;
    /// How long a rewind or deletion is kept, unless there are too many.
    pub const KEEP_NOTABLE: Millis = 24 * 3_600_000;
    /// Commits kept however old they are.
    const MINIMUM: usize = 1024;

    /// Rings for at most `capacity` commits.
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

    /// All events, oldest first; none twice.
    pub fn iter(&self) -> impl Iterator<Item = &CommitEvent> {
        let oldest = self.all.iter().next().map_or(u64::MAX, |event| event.sequence);
        self.notable.iter().take_while(move |event| event.sequence < oldest).chain(self.all.iter())
    }
}

/// A queue of shared blocks, so that a copy is cheap.
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

    /// Drops the oldest block if all in it is older than `before` and `minimum` stay, or if there
    /// are more than `maximum`.
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
