//! What the transaction overlay of a log cost and did: it shows commits ahead of an open transaction.

use crate::store::{counter::Counter, latest::Count};

/// Counters of the transaction overlay of one log.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Requests to coordinators.
    pub(super) calls: Counter,
    /// Of these, failed.
    pub(super) failures: Counter,
    /// Commits and deletions shown before their reader came to them.
    pub(super) shown: Counter,
    /// Records behind transactions that were not kept, because there were too many.
    pub(super) dropped: Counter,
    /// Requests for last stable offsets.
    pub(super) looks: Counter,
}

impl Counters {
    /// The counters as metrics.
    pub(super) fn all(&self) -> Vec<Count> {
        let count = |name, help, counter: &Counter| Count { name, help, value: counter.get() };
        vec![
            count(
                "offsetd_transaction_calls_total",
                "Questions to coordinators about commits behind open transactions.",
                &self.calls,
            ),
            count("offsetd_transaction_failures_total", "Of these, failed.", &self.failures),
            count(
                "offsetd_transaction_looks_total",
                "Questions for last stable offsets of log partitions that stand still.",
                &self.looks,
            ),
            count(
                "offsetd_transaction_shown_total",
                "Commits and deletions shown before a transaction ended.",
                &self.shown,
            ),
            count(
                "offsetd_transaction_dropped_total",
                "Records behind transactions left out for want of room.",
                &self.dropped,
            ),
        ]
    }
}
