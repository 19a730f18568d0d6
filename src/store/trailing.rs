//! Trailing transaction markers: ends of data logs after which a consumer has nothing left to read.
//!
//! Kafka ends a transaction with a control record (the marker) in each data partition, and consumers never receive
//! control records. A group that has read everything may therefore keep a lag of 1 or more records before the log end,
//! also in Kafka's own tools. Its time lag is 0. Only reading the log distinguishes a marker from a record.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use crate::model::Name;

/// Longest gap between a committed offset and a log end that is checked for markers, in offsets: a few transactions.
pub const LONGEST_GAP: i64 = 8;
/// Maximum number of gaps per source that wait to be checked.
const WAITING: usize = 1000;

/// A short gap before the log end of a partition, as (topic, partition, committed offset).
pub type Gap = (Name, i32, i64);

/// The gaps that wait to be checked, by source: short ones in partitions that do not grow.
#[derive(Debug, Default)]
pub struct UncheckedGaps(Mutex<BTreeMap<Name, BTreeSet<Gap>>>);

impl UncheckedGaps {
    /// Replaces the waiting gaps of a source, up to the limit.
    pub fn set(&self, source: &Name, gaps: impl Iterator<Item = Gap>) {
        self.0.lock().insert(Name::clone(source), gaps.take(WAITING).collect());
    }

    /// Removes all waiting gaps.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    /// Returns the waiting gaps of all sources.
    #[must_use]
    pub fn waiting(&self) -> Vec<Gap> {
        self.0.lock().values().flatten().cloned().collect()
    }
}
