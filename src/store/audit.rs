//! Results of the audit: committed offsets that differ from those of their coordinator or offset store.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::counter::Counter;
use crate::model::{Millis, Name};

/// Key of a committed offset: (group, topic, partition).
pub type AuditKey = (Name, Name, i32);

/// A committed offset that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The offset in offsetd; `None` if it does not exist here.
    pub committed_offset: Option<i64>,
    /// The offset at the coordinator; `None` if it does not exist there.
    pub their_offset: Option<i64>,
    /// Time at which the difference was first seen.
    pub first_seen_at: Millis,
    /// Time at which the difference was last seen.
    pub checked_at: Millis,
}

/// Differences and counters of one source.
#[derive(Debug, Default)]
pub struct Audit {
    differences: Mutex<BTreeMap<AuditKey, Difference>>,
    /// Number of groups compared.
    pub groups: Counter,
    /// Number of committed offsets compared.
    pub keys: Counter,
    /// Number of groups that could not be compared: they have commits after an open transaction, or the coordinator did
    /// not answer.
    pub skipped: Counter,
    /// Number of differences that a second check confirmed.
    pub found: Counter,
}

impl Audit {
    /// Returns the current differences.
    #[must_use]
    pub fn differences(&self) -> Vec<(AuditKey, Difference)> {
        self.differences.lock().iter().map(|(key, of)| (key.clone(), of.clone())).collect()
    }

    /// Replaces the differences of a group. Returns the keys that are new.
    pub fn set(&self, group: &str, now: Millis, found: Vec<(AuditKey, Option<i64>, Option<i64>)>) -> Vec<AuditKey> {
        let mut differences = self.differences.lock();
        let mut before: BTreeMap<AuditKey, Difference> = BTreeMap::new();
        differences.retain(|key, of| {
            let others = *key.0 != *group;
            if !others {
                before.insert(key.clone(), of.clone());
            }
            others
        });
        let mut new = vec![];
        for (key, committed_offset, their_offset) in found {
            let first_seen_at = before.get(&key).map_or(now, |before| before.first_seen_at);
            if !before.contains_key(&key) {
                new.push(key.clone());
            }
            differences.insert(key, Difference { committed_offset, their_offset, first_seen_at, checked_at: now });
        }
        self.found.add(new.len() as u64);
        new
    }

    /// Drops the differences, because they belong to another Kafka cluster.
    pub(super) fn clear(&self) {
        self.differences.lock().clear();
    }

    /// Returns the groups with differences.
    #[must_use]
    pub fn groups_with_differences(&self) -> Vec<Name> {
        let mut groups: Vec<Name> = self.differences.lock().keys().map(|key| Name::clone(&key.0)).collect();
        groups.dedup();
        groups
    }
}
