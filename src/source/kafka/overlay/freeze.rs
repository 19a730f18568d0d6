//! Detects log partitions that an open transaction freezes.
//!
//! A high watermark beyond the applied offset does not prove a freeze, since transactions begin and end all the time.
//! Therefore the last stable offset is requested only if nothing was applied for [`STALL_TIME`]. If two responses, at
//! least [`STALL_TIME`] apart, show that the poll thread has reached the last stable offset, the partition is frozen.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Time without progress after which a last stable offset is requested, and between the two responses that show a
/// freeze.
pub(super) const STALL_TIME: Duration = Duration::from_millis(250);
/// Interval between requests about a partition with a poll thread that is behind the last stable offset.
const SLOW_INTERVAL: Duration = Duration::from_secs(1);

/// The state of each log partition.
#[derive(Debug, Default)]
pub(super) struct Freezes(BTreeMap<i32, State>);

#[derive(Debug)]
struct State {
    /// Last applied offset.
    applied: i64,
    /// Earliest time of the next request for the last stable offset.
    next_request: Instant,
    /// Time of the first response that showed the poll thread at the last stable offset.
    blocked_since: Option<Instant>,
    frozen: bool,
}

impl Freezes {
    /// Updates the offsets of a partition. Returns whether its last stable offset should be requested.
    pub(super) fn observe(&mut self, partition: i32, applied: i64, high: i64, now: Instant) -> bool {
        let new = || State { applied, next_request: now + STALL_TIME, blocked_since: None, frozen: false };
        let state = self.0.entry(partition).or_insert_with(new);
        if applied != state.applied || high <= applied {
            *state = new();
            return false;
        }
        let due = !state.frozen && now >= state.next_request;
        if due {
            state.next_request = now + STALL_TIME;
        }
        due
    }

    /// Handles a last stable offset. Returns whether it shows that the partition is frozen, for the first time.
    pub(super) fn observe_stable(&mut self, partition: i32, stable: i64, now: Instant) -> bool {
        let Some(state) = self.0.get_mut(&partition) else { return false };
        if stable > state.applied {
            state.blocked_since = None;
            state.next_request = now + SLOW_INTERVAL;
            return false;
        }
        let blocked_since = *state.blocked_since.get_or_insert(now);
        let frozen = !state.frozen && now.duration_since(blocked_since) >= STALL_TIME;
        state.frozen |= frozen;
        frozen
    }

    /// Returns whether an open transaction freezes the partition.
    pub(super) fn is_frozen(&self, partition: i32) -> bool {
        self.0.get(&partition).is_some_and(|state| state.frozen)
    }

    /// Returns the frozen partitions.
    pub(super) fn frozen(&self) -> impl Iterator<Item = i32> {
        self.0.iter().filter(|(_, state)| state.frozen).map(|(partition, _)| *partition)
    }

    /// Removes partitions that do not exist any more.
    pub(super) fn retain(&mut self, exists: impl Fn(i32) -> bool) {
        self.0.retain(|partition, _| exists(*partition));
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start to count from")]
mod tests;
