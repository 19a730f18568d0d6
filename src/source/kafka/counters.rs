//! Counters of the transaction overlay, which shows commits ahead of an open transaction.

use crate::store::{counter::Counter, latest::SourceCounter};

/// Counters of the transaction overlay of one log.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Number of requests to coordinators.
    pub(super) calls: Counter,
    /// Number of those requests that failed.
    pub(super) failures: Counter,
    /// Number of commits and deletions shown before the log's reader reached them.
    pub(super) shown: Counter,
    /// Number of records behind transactions that were dropped because a limit was reached.
    pub(super) dropped: Counter,
    /// Number of requests for last stable offsets.
    pub(super) stable_offset_requests: Counter,
}

impl Counters {
    /// Returns the counters as metrics.
    pub(super) fn all(&self) -> Vec<SourceCounter> {
        let count = |name, help, counter: &Counter| SourceCounter { name, help, value: counter.get() };
        vec![
            count(
                "offsetd_transaction_calls_total",
                "Requests to coordinators about commits behind open transactions.",
                &self.calls,
            ),
            count("offsetd_transaction_failures_total", "Failed requests to coordinators.", &self.failures),
            count(
                "offsetd_transaction_looks_total",
                "Requests for the last stable offset of log partitions that do not advance.",
                &self.stable_offset_requests,
            ),
            count(
                "offsetd_transaction_shown_total",
                "Commits and deletions shown before a transaction ended.",
                &self.shown,
            ),
            count(
                "offsetd_transaction_dropped_total",
                "Records behind open transactions dropped because a limit was reached.",
                &self.dropped,
            ),
        ]
    }
}
