//! Tracks the progress of poll rounds. In each round, every group is polled at least once.

use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};

use crate::{model::Name, source::polled::ListingStats, store::source::ReadOutcome};

/// The current round, and the offsets of each group that could not be read.
#[derive(Debug)]
pub(super) struct RoundProgress {
    /// Groups without a response in this round; `None` before the first complete listing.
    pending: Option<HashSet<Name>>,
    /// Time in this round during which requests were in flight or waited for the rate limit.
    busy: Duration,
    /// Time of the last call of `advance`.
    advanced_at: Instant,
    /// Time of the last response about each group.
    answered: HashMap<Name, Instant>,
    /// Longest time between two responses about a group in this round.
    longest: Duration,
    /// Number of keys without an offset in the last responses, by group.
    rejected: HashMap<Name, Counts>,
    last_rejected: Option<String>,
    /// Busy time and interval of the last complete round.
    last: Option<(Duration, Duration)>,
    /// Whether the result changed since it was last returned.
    is_changed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    forbidden: u64,
    malformed: u64,
}

impl RoundProgress {
    /// Starts before the first request.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            pending: None,
            busy: Duration::ZERO,
            advanced_at: now,
            answered: HashMap::new(),
            longest: Duration::ZERO,
            rejected: HashMap::new(),
            last_rejected: None,
            last: None,
            is_changed: false,
        }
    }

    /// Returns whether the first round is complete.
    pub(super) fn is_first_done(&self) -> bool {
        self.last.is_some()
    }

    /// Records a complete listing. The first one starts the first round.
    pub(super) fn record_listing(&mut self, names: &HashSet<Name>) {
        self.pending.get_or_insert_with(|| names.clone());
    }

    /// Drops a group that no longer exists.
    pub(super) fn remove(&mut self, group: &Name) {
        self.answered.remove(group);
        self.is_changed |= self.rejected.remove(group).is_some();
        self.remove_pending(group);
    }

    /// Removes a group from the groups without a response in this round.
    fn remove_pending(&mut self, group: &Name) {
        if let Some(pending) = &mut self.pending {
            pending.remove(group);
        }
    }

    /// Adds the time since the last call to the round. `is_busy`: requests are in flight or due.
    pub(super) fn advance(&mut self, is_busy: bool, now: Instant) {
        let passed = now.duration_since(std::mem::replace(&mut self.advanced_at, now));
        self.busy += if is_busy { passed } else { Duration::ZERO };
    }

    /// Records a response about a group.
    pub(super) fn record_response(&mut self, group: &Name, now: Instant) {
        if let Some(before) = self.answered.insert(Name::clone(group), now) {
            self.longest = self.longest.max(now.duration_since(before));
        }
        self.remove_pending(group);
    }

    /// Records the keys that a response denied or returned malformed.
    pub(super) fn record_rejected(&mut self, group: &Name, stats: &ListingStats) {
        self.set_rejected(group, Counts { forbidden: stats.forbidden, malformed: stats.malformed });
        self.last_rejected = stats.last_rejected.clone().or(self.last_rejected.take());
    }

    /// Records that the user may not describe a group.
    pub(super) fn record_refusal(&mut self, group: &Name, offsets: usize) {
        self.set_rejected(group, Counts { forbidden: offsets.max(1) as u64, malformed: 0 });
        self.last_rejected = Some(group.to_string());
    }

    /// Records that the coordinator of a group does not respond.
    pub(super) fn record_failure(&mut self, group: &Name, offsets: usize) {
        self.set_rejected(group, Counts { forbidden: 0, malformed: offsets as u64 });
        self.last_rejected = Some(group.to_string());
    }

    fn set_rejected(&mut self, group: &Name, counts: Counts) {
        let before = if counts == Counts::default() {
            self.rejected.remove(group)
        } else {
            self.rejected.insert(Name::clone(group), counts)
        };
        self.is_changed |= before.unwrap_or_default() != counts;
    }

    /// Ends the round if all groups have responses, and starts the next round with the groups that `names` returns.
    /// Returns the statistics of the last round if they changed. `expected` is the configured interval.
    pub(super) fn finish(&mut self, names: impl FnOnce() -> HashSet<Name>, expected: Duration) -> Option<ReadOutcome> {
        if self.pending.as_ref().is_some_and(HashSet::is_empty) {
            let names = names();
            // Without groups, only the first round counts.
            if self.last.is_none() || !names.is_empty() {
                let interval = if self.longest.is_zero() { expected.max(self.busy) } else { self.longest };
                (self.last, self.is_changed) = (Some((self.busy, interval)), true);
            }
            self.pending = Some(names);
            (self.busy, self.longest) = (Duration::ZERO, Duration::ZERO);
        }
        let (busy, interval) = self.last.filter(|_| std::mem::take(&mut self.is_changed))?;
        let sum = |count: fn(&Counts) -> u64| self.rejected.values().map(count).sum();
        Some(ReadOutcome {
            entries: 0,
            unmatched: 0,
            malformed: sum(|counts| counts.malformed),
            ambiguous: 0,
            forbidden: sum(|counts| counts.forbidden),
            last_rejected: self.last_rejected.clone().filter(|_| !self.rejected.is_empty()),
            read_at: 0,
            seconds: busy.as_secs_f64(),
            interval,
        })
    }
}

#[cfg(test)]
mod tests;
