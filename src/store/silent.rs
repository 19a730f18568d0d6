//! Ends of logs with nothing to read before them.
//!
//! The end of a transaction is a record of its own in a data topic, its marker, which no consumer is
//! given. Where a group has read everything, a marker may be left before the log's end: lag 1 for
//! ever, as Kafka's tools say too, but no lag in time. Only a look at the log tells it from a record.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use crate::model::Name;

/// Longest tail that is looked at: markers of a few transactions.
pub const LONGEST: i64 = 8;
/// Tails of a source that wait to be looked at.
const WAITING: usize = 1000;

/// A place near the end of a partition: topic, partition, committed offset.
pub type Tail = (Name, i32, i64);

/// Where a look is due: short tails that nobody reads.
#[derive(Debug, Default)]
pub struct Tails(Mutex<BTreeMap<Name, BTreeSet<Tail>>>);

impl Tails {
    /// Replaces those of a source that wait, as far as there is room.
    pub fn set(&self, source: &Name, tails: impl Iterator<Item = Tail>) {
        self.0.lock().insert(Name::clone(source), tails.take(WAITING).collect());
    }

    /// Drops all.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    /// Those that wait.
    #[must_use]
    pub fn waiting(&self) -> Vec<Tail> {
        self.0.lock().values().flatten().cloned().collect()
    }
}
