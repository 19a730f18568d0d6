//! Results of the self-audit: committed offsets that differ from those of the source.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::counter::Counter;
use crate::model::{Millis, Name};

/// Group, topic and partition of a committed offset.
pub type AuditKey = (Name, Name, i32);

/// A key that differs, with the offset of the store and the offset of the coordinator.
pub type Finding = (AuditKey, Option<i64>, Option<i64>);

/// A committed offset that differs from the one that its coordinator returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The offset in the store, if there is one.
    pub committed_offset: Option<i64>,
    /// The offset that the coordinator returns, if there is one.
    pub their_offset: Option<i64>,
    /// Time of the first audit that found it.
    pub first_seen_at: Millis,
    /// Time of the last audit that found it.
    pub checked_at: Millis,
}

/// Differences and counters of the self-audit of one cluster.
#[derive(Debug, Default)]
pub struct Audit {
    differences: Mutex<BTreeMap<AuditKey, Difference>>,
    off_reason: Mutex<Option<&'static str>>,
    /// Number of compared groups.
    pub groups: Counter,
    /// Number of compared committed offsets.
    pub keys: Counter,
    /// Number of groups that could not be compared, because of an open transaction or a missing response of the
    /// coordinator.
    pub skipped: Counter,
    /// Number of differences that a second comparison confirmed.
    pub found: Counter,
}

impl Audit {
    /// Returns the differences of all groups.
    #[must_use]
    pub fn differences(&self) -> Vec<(AuditKey, Difference)> {
        self.differences.lock().iter().map(|(key, of)| (key.clone(), of.clone())).collect()
    }

    /// Replaces the differences of a group. Returns the keys that did not differ before.
    pub fn set(&self, group: &str, now: Millis, found: Vec<Finding>) -> Vec<AuditKey> {
        let mut differences = self.differences.lock();
        let before: BTreeMap<_, _> = differences.extract_if(.., |key, _| *key.0 == *group).collect();
        let mut new = vec![];
        for (key, committed_offset, their_offset) in found {
            let known = before.get(&key);
            new.extend(known.is_none().then(|| key.clone()));
            let first_seen_at = known.map_or(now, |known| known.first_seen_at);
            differences.insert(key, Difference { committed_offset, their_offset, first_seen_at, checked_at: now });
        }
        self.found.add(new.len() as u64);
        new
    }

    /// Sets why no groups are compared; `None` if they are.
    pub fn set_off_reason(&self, reason: Option<&'static str>) {
        *self.off_reason.lock() = reason;
    }

    /// Returns why no groups are compared; `None` if they are.
    #[must_use]
    pub fn off_reason(&self) -> Option<&'static str> {
        *self.off_reason.lock()
    }

    /// Drops all differences, because another Kafka cluster is read now.
    pub(super) fn clear(&self) {
        self.differences.lock().clear();
    }
}
