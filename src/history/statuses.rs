//! Detection of status changes of groups.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{
    model::{Millis, Name, Status},
    store::samples::StatusChange,
};

/// Time for which a change is retained (ms).
const RETAIN_FOR: Millis = 24 * 3_600_000;
/// Maximum number of retained changes.
const MAX_CHANGES: usize = 10_000;

/// The statuses of a source's groups at the last round, and the retained changes.
#[derive(Debug, Default)]
pub(super) struct StatusTracker {
    known: HashMap<Name, Status>,
    next: HashMap<Name, Status>,
    found: Vec<(Name, Status, Status)>,
    changes: Arc<Vec<StatusChange>>,
    sequence: u64,
}

impl StatusTracker {
    /// Drops all statuses because they belong to another Kafka cluster. The sequence of the changes continues.
    pub(super) fn clear(&mut self) {
        *self = Self { sequence: self.sequence, ..Self::default() };
    }

    /// Begins a round. If `drops_previous` is set, no change is reported against the previous statuses.
    pub(super) fn begin_round(&mut self, drops_previous: bool) {
        if drops_previous {
            self.known.clear();
        }
        self.next = HashMap::with_capacity(self.known.len());
        self.found.clear();
    }

    /// Records the status of a group. A group without a previous status has not changed.
    pub(super) fn record(&mut self, group: &Name, status: Status) {
        if let Some(before) = self.known.get(group).filter(|before| **before != status) {
            self.found.push((Name::clone(group), *before, status));
        }
        self.next.insert(Name::clone(group), status);
    }

    /// Ends the round. Returns the retained changes if some were added or have expired.
    pub(super) fn finish_round(&mut self, at: Millis) -> Option<Arc<Vec<StatusChange>>> {
        self.known = std::mem::take(&mut self.next);
        let is_old = |change: &StatusChange| change.at < at.saturating_sub(RETAIN_FOR);
        if self.found.is_empty() && !self.changes.first().is_some_and(is_old) {
            return None;
        }
        let mut changes: Vec<StatusChange> = self.changes.iter().filter(|change| !is_old(change)).cloned().collect();
        self.found.sort_unstable();
        for (group, from, to) in self.found.drain(..) {
            self.sequence += 1;
            changes.push(StatusChange { sequence: self.sequence, group, from, to, at });
        }
        changes.drain(..changes.len().saturating_sub(MAX_CHANGES));
        self.changes = Arc::new(changes);
        Some(Arc::clone(&self.changes))
    }
}

#[cfg(test)]
mod tests;
