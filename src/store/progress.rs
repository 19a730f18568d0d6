//! Load progress and counters of one log partition.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering},
};

use parking_lot::Mutex;

use crate::{clock::Ticks, decode::Fault, model::Millis};

/// Counters of one log partition. Its poll thread writes them, any thread may read them.
#[derive(Debug)]
pub struct Progress {
    records: AtomicU64,
    tombstones: AtomicU64,
    left_over: AtomicU64,
    target: AtomicI64,
    first: AtomicI64,
    captured: AtomicU32,
    last_record_at: AtomicI64,
    open_transaction_since: AtomicI64,
    refused: AtomicBool,
    troubles: Mutex<Troubles>,
}

#[derive(Clone, Debug, Default)]
struct Troubles {
    decode_errors: BTreeMap<&'static str, u64>,
    unknown_types: BTreeMap<i16, u64>,
    last_error: Option<String>,
}

const NONE: i64 = i64::MIN;

impl Default for Progress {
    fn default() -> Self {
        Self {
            records: AtomicU64::default(),
            tombstones: AtomicU64::default(),
            left_over: AtomicU64::default(),
            target: AtomicI64::new(NONE),
            first: AtomicI64::new(NONE),
            captured: AtomicU32::new(0),
            last_record_at: AtomicI64::new(NONE),
            open_transaction_since: AtomicI64::new(NONE),
            refused: AtomicBool::new(false),
            troubles: Mutex::default(),
        }
    }
}

fn known(value: &AtomicI64) -> Option<i64> {
    Some(value.load(Ordering::Relaxed)).filter(|value| *value != NONE)
}

impl Progress {
    /// Sets the range of the initial load: the first offset, and the log end that was captured at the start. `at` is
    /// when the range was requested.
    pub fn set_load(&self, first: i64, target: i64, at: Ticks) {
        self.captured.store(at, Ordering::Relaxed);
        self.first.store(first, Ordering::Relaxed);
        self.target.store(target, Ordering::Relaxed);
    }

    /// Counts a batch of records.
    pub fn count(&self, records: u64, tombstones: u64, last_record_at: Option<Millis>) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.tombstones.fetch_add(tombstones, Ordering::Relaxed);
        if let Some(at) = last_record_at {
            self.last_record_at.store(at, Ordering::Relaxed);
        }
    }

    /// Counts a record that does not decode.
    pub fn decode_error(&self, fault: Fault) {
        *self.troubles.lock().decode_errors.entry(fault.name()).or_default() += 1;
    }

    /// Counts a record of an unknown type.
    pub fn unknown_type(&self, kind: i16) {
        *self.troubles.lock().unknown_types.entry(kind).or_default() += 1;
    }

    /// Counts a valid record with bytes after its end.
    pub fn left_over(&self) {
        self.left_over.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets or clears the reason why the partition cannot be read.
    pub fn set_error(&self, error: Option<String>) {
        self.refused.store(false, Ordering::Relaxed);
        self.troubles.lock().last_error = error;
    }

    /// Records that the user has no right to read the partition.
    pub fn refuse(&self, error: String) {
        self.set_error(Some(error));
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Returns whether the user lacks the right to read the partition, as far as is known.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Returns why the partition cannot be read.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.troubles.lock().last_error.clone()
    }

    /// Returns the number of records read.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Returns the number of tombstones: records without a value.
    #[must_use]
    pub fn tombstones(&self) -> u64 {
        self.tombstones.load(Ordering::Relaxed)
    }

    /// Returns the number of valid records with bytes after their end.
    #[must_use]
    pub fn with_left_over(&self) -> u64 {
        self.left_over.load(Ordering::Relaxed)
    }

    /// Returns the number of records that did not decode, by fault.
    #[must_use]
    pub fn decode_errors(&self) -> BTreeMap<&'static str, u64> {
        self.troubles.lock().decode_errors.clone()
    }

    /// Returns the number of records of unknown types, by type.
    #[must_use]
    pub fn unknown_types(&self) -> BTreeMap<i16, u64> {
        self.troubles.lock().unknown_types.clone()
    }

    /// Returns the log end that was captured at the start.
    #[must_use]
    pub fn target(&self) -> Option<i64> {
        known(&self.target)
    }

    /// Returns whether the target lies beyond `end`, which was requested at `asked`, after the target: the log was
    /// truncated.
    #[must_use]
    pub fn is_beyond(&self, end: i64, asked: Ticks) -> bool {
        asked > self.captured.load(Ordering::Relaxed) && self.target().is_some_and(|target| end < target)
    }

    /// Returns when the range of the initial load was requested. The records in it were committed earlier.
    #[must_use]
    pub fn load_began(&self) -> Ticks {
        self.captured.load(Ordering::Relaxed)
    }

    /// Returns the first offset at the start.
    #[must_use]
    pub fn first(&self) -> Option<i64> {
        known(&self.first)
    }

    /// Sets since when an open transaction delays readers.
    pub fn set_open_transaction_since(&self, since: Option<Millis>) {
        self.open_transaction_since.store(since.unwrap_or(NONE), Ordering::Relaxed);
    }

    /// Returns since when an open transaction delays readers; `None` if none does for long.
    #[must_use]
    pub fn open_transaction_since(&self) -> Option<Millis> {
        known(&self.open_transaction_since)
    }

    /// Returns the time of the last record read.
    #[must_use]
    pub fn last_record_at(&self) -> Option<Millis> {
        known(&self.last_record_at)
    }
}

#[cfg(test)]
mod tests;
