//! Numbers of groups by status.

use std::collections::BTreeMap;

use super::proto;
use crate::model::Status;

/// Number of groups by status. Statuses without groups are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StatusCounts(BTreeMap<Status, i64>);

impl StatusCounts {
    /// Counts a group.
    pub(super) fn add(&mut self, status: Status) {
        *self.0.entry(status).or_default() += 1;
    }

    /// Counts a group by its current status instead of the one by which it was counted.
    pub(super) fn correct(&mut self, counted: Status, current: Status) {
        if counted != current {
            *self.0.entry(counted).or_default() -= 1;
            self.add(current);
        }
    }

    /// Returns the counts, from the worst status to the best.
    pub(super) fn into_proto(self) -> Vec<proto::StatusCount> {
        let counts = self.0.into_iter().rev().filter(|(_, groups)| *groups > 0);
        counts.map(|(status, groups)| proto::StatusCount { status: status.as_str().to_owned(), groups }).collect()
    }
}

#[cfg(test)]
mod tests;
