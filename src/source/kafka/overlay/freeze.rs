//! When a log partition counts as frozen by an open transaction.
//!
//! The high watermark beyond what is applied is nothing: transactions come and go all the time. Only where nothing was
//! applied for a while is the last stable offset asked for, and only if it holds the reader back twice in a row is the
//! partition frozen.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Nothing applied for so long makes a candidate; two answers so far apart make it frozen.
pub(super) const STILL: Duration = Duration::from_millis(250);
/// How soon a partition is asked for again whose reader is only slow.
const SLOW: Duration = Duration::from_secs(1);

/// What is known of each log partition.
#[derive(Debug, Default)]
pub(super) struct Freezes(BTreeMap<i32, State>);

#[derive(Debug)]
struct State {
    applied: i64,
    since: Instant,
    next_ask: Instant,
    held_since: Option<Instant>,
    frozen: bool,
}

impl Freezes {
    /// Looks at a partition. True: its last stable offset should be asked for.
    pub(super) fn look(&mut self, partition: i32, applied: i64, high: i64, now: Instant) -> bool {
        let new = || State { applied, since: now, next_ask: now, held_since: None, frozen: false };
        let state = self.0.entry(partition).or_insert_with(new);
        if applied != state.applied || high <= applied {
            *state = new();
            return false;
        }
        let due = !state.frozen && now.duration_since(state.since) >= STILL && now >= state.next_ask;
        if due {
            state.next_ask = now + STILL;
        }
        due
    }

    /// Takes the answer. True: the partition has just been found frozen.
    pub(super) fn answer(&mut self, partition: i32, stable: i64, now: Instant) -> bool {
        let Some(state) = self.0.get_mut(&partition) else { return false };
        if stable > state.applied {
            state.held_since = None;
            state.next_ask = now + SLOW;
            return false;
        }
        let held_since = *state.held_since.get_or_insert(now);
        let frozen = !state.frozen && now.duration_since(held_since) >= STILL;
        state.frozen |= frozen;
        frozen
    }

    pub(super) fn is_frozen(&self, partition: i32) -> bool {
        self.0.get(&partition).is_some_and(|state| state.frozen)
    }

    /// Forgets partitions that are no more.
    pub(super) fn retain(&mut self, exists: impl Fn(i32) -> bool) {
        self.0.retain(|partition, _| exists(*partition));
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start to count from")]
mod tests;
