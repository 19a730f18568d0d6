//! How the rounds go: each looks at every group once.

use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};

use crate::{model::Name, source::polled::Seen, store::source::Reading};

/// The round under way, and what was not told of each group.
#[derive(Debug)]
pub(super) struct Tally {
    /// Groups of the round without an answer yet; `None` before the first complete listing.
    left: Option<HashSet<Name>>,
    /// Time in this round in which something was asked, or waited for the pace.
    busy: Duration,
    looked: Instant,
    /// When each group was last answered, and the longest time between two answers in this round.
    answered: HashMap<Name, Instant>,
    longest: Duration,
    /// Keys that the last answers did not tell, by group.
    rejected: HashMap<Name, Counts>,
    last_rejected: Option<String>,
    /// Of the last round: how long it was busy, and the interval.
    last: Option<(Duration, Duration)>,
    is_news: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    forbidden: u64,
    malformed: u64,
}

impl Tally {
    /// Nothing was asked yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: None,
            busy: Duration::ZERO,
            looked: now,
            answered: HashMap::new(),
            longest: Duration::ZERO,
            rejected: HashMap::new(),
            last_rejected: None,
            last: None,
            is_news: false,
        }
    }

    /// Whether every group was answered once.
    pub(super) fn is_first_done(&self) -> bool {
        self.last.is_some()
    }

    /// Takes over a complete listing: the first begins the first round.
    pub(super) fn listed(&mut self, names: &HashSet<Name>) {
        self.left.get_or_insert_with(|| names.clone());
    }

    /// Forgets a group that is gone.
    pub(super) fn forget(&mut self, group: &Name) {
        self.answered.remove(group);
        self.is_news |= self.rejected.remove(group).is_some();
        self.strike(group);
    }

    /// The group holds the round up no longer.
    fn strike(&mut self, group: &Name) {
        if let Some(left) = &mut self.left {
            left.remove(group);
        }
    }

    /// Notes that time has passed. `is_busy`: requests are under way or due.
    pub(super) fn pass(&mut self, is_busy: bool, now: Instant) {
        let passed = now.duration_since(std::mem::replace(&mut self.looked, now));
        self.busy += if is_busy { passed } else { Duration::ZERO };
    }

    /// Notes an answer about a group.
    pub(super) fn answered(&mut self, group: &Name, now: Instant) {
        if let Some(before) = self.answered.insert(Name::clone(group), now) {
            self.longest = self.longest.max(now.duration_since(before));
        }
        self.strike(group);
    }

    /// Takes over what an answer did not tell.
    pub(super) fn reject(&mut self, group: &Name, seen: &Seen) {
        self.set_rejected(group, Counts { forbidden: seen.forbidden, malformed: seen.malformed });
        self.last_rejected = seen.last_rejected.clone().or(self.last_rejected.take());
    }

    /// Notes that the coordinator of a group refuses to tell of it.
    pub(super) fn refused(&mut self, group: &Name, offsets: usize) {
        self.set_rejected(group, Counts { forbidden: offsets.max(1) as u64, malformed: 0 });
        self.last_rejected = Some(group.to_string());
    }

    /// Notes that the coordinator of a group does not answer.
    pub(super) fn unanswered(&mut self, group: &Name, offsets: usize) {
        self.set_rejected(group, Counts { forbidden: 0, malformed: offsets as u64 });
        self.last_rejected = Some(group.to_string());
    }

    fn set_rejected(&mut self, group: &Name, counts: Counts) {
        let before = if counts == Counts::default() {
            self.rejected.remove(group)
        } else {
            self.rejected.insert(Name::clone(group), counts)
        };
        self.is_news |= before.unwrap_or_default() != counts;
    }

    /// Ends the round once every group was answered, and begins the next one with these. Returns what there is to say of
    /// the last, if that is news. `expected`: the interval as it is meant to be.
    pub(super) fn finish(&mut self, names: impl FnOnce() -> HashSet<Name>, expected: Duration) -> Option<Reading> {
        if self.left.as_ref().is_some_and(HashSet::is_empty) {
            let names = names();
            // Without groups there is no round.
            if self.last.is_none() || !names.is_empty() {
                let interval = if self.longest.is_zero() { expected.max(self.busy) } else { self.longest };
                (self.last, self.is_news) = (Some((self.busy, interval)), true);
            }
            self.left = Some(names);
            (self.busy, self.longest) = (Duration::ZERO, Duration::ZERO);
        }
        let (busy, interval) = self.last.filter(|_| std::mem::take(&mut self.is_news))?;
        let sum = |count: fn(&Counts) -> u64| self.rejected.values().map(count).sum();
        Some(Reading {
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
