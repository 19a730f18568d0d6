//! Notices when the status of a group becomes another.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{
    model::{Millis, Name, Status},
    store::samples::StatusChange,
};

/// How long a change is remembered.
const KEEP: Millis = 24 * 3_600_000;
/// Changes that are remembered at most.
const MOST: usize = 10_000;

/// What the groups of a cluster were at the last look.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    known: HashMap<Name, Status>,
    next: HashMap<Name, Status>,
    found: Vec<(Name, Status, Status)>,
    changes: Arc<Vec<StatusChange>>,
    sequence: u64,
}

impl Statuses {
    /// Drops what is known of groups: they are of another Kafka cluster. Changes are numbered on.
    pub(super) fn forget(&mut self) {
        *self = Self { sequence: self.sequence, ..Self::default() };
    }

    /// A look begins. `anew`: what groups were before says nothing.
    pub(super) fn begin(&mut self, anew: bool) {
        if anew {
            self.known.clear();
        }
        self.next = HashMap::with_capacity(self.known.len());
        self.found.clear();
    }

    /// A group and its status. One that was not seen before has none that it could have changed from.
    pub(super) fn note(&mut self, group: &Name, status: Status) {
        if let Some(before) = self.known.get(group).filter(|before| **before != status) {
            self.found.push((Name::clone(group), *before, status));
        }
        self.next.insert(Name::clone(group), status);
    }

    /// The changes that are remembered, if there are new ones or some too old.
    pub(super) fn finish(&mut self, at: Millis) -> Option<Arc<Vec<StatusChange>>> {
        self.known = std::mem::take(&mut self.next);
        let is_old = |change: &StatusChange| change.at < at.saturating_sub(KEEP);
        if self.found.is_empty() && !self.changes.first().is_some_and(is_old) {
            return None;
        }
        let mut changes: Vec<StatusChange> = self.changes.iter().filter(|change| !is_old(change)).cloned().collect();
        self.found.sort_unstable();
        for (group, from, to) in self.found.drain(..) {
            self.sequence += 1;
            changes.push(StatusChange { sequence: self.sequence, group, from, to, at });
        }
        changes.drain(..changes.len().saturating_sub(MOST));
        self.changes = Arc::new(changes);
        Some(Arc::clone(&self.changes))
    }
}

#[cfg(test)]
mod tests;
