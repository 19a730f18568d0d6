//! What the transaction overlay of a cluster cost and did: it shows commits ahead of an open transaction.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of the transaction overlay of one cluster.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests to coordinators.
    pub calls: Counter,
    /// Of these, failed.
    pub failures: Counter,
    /// Commits and deletions shown before their reader came to them.
    pub shown: Counter,
    /// Records behind transactions that were not kept, because there were too many.
    pub dropped: Counter,
    /// Requests for last stable offsets.
    pub looks: Counter,
}

/// Counts up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The sum.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
