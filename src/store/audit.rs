//! What the audit found: committed offsets that are not what is kept at the source.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::counter::Counter;
use crate::model::{Millis, Name};

/// (group, topic, partition).
pub type AuditKey = (Name, Name, i32);

/// A committed offset that is not what the coordinator says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The offset here; `None` where there is none.
    pub committed_offset: Option<i64>,
    /// The offset there.
    pub their_offset: Option<i64>,
    /// When it was first seen.
    pub first_seen_at: Millis,
    /// When it was last seen.
    pub checked_at: Millis,
}

/// Differences and counters of one cluster.
#[derive(Debug, Default)]
pub struct Audit {
    differences: Mutex<BTreeMap<AuditKey, Difference>>,
    /// Groups compared.
    pub groups: Counter,
    /// Committed offsets compared.
    pub keys: Counter,
    /// Groups that could not be compared: behind an open transaction, or the coordinator did not tell.
    pub skipped: Counter,
    /// Differences that outlived a second look.
    pub found: Counter,
}

impl Audit {
    /// The differences that there are.
    #[must_use]
    pub fn differences(&self) -> Vec<(AuditKey, Difference)> {
        self.differences.lock().iter().map(|(key, of)| (key.clone(), of.clone())).collect()
    }

    /// Replaces what is known of a group. Returns the keys that are new.
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

    /// Drops the differences: they are of another Kafka cluster.
    pub(super) fn clear(&self) {
        self.differences.lock().clear();
    }

    /// Groups with differences.
    #[must_use]
    pub fn groups_with_differences(&self) -> Vec<Name> {
        let mut groups: Vec<Name> = self.differences.lock().keys().map(|key| Name::clone(&key.0)).collect();
        groups.dedup();
        groups
    }
}
