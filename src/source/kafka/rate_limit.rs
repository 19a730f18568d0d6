//! A rate limit for requests to coordinators.

use std::time::{Duration, Instant};

/// Spaces calls evenly: no second has more calls than allowed, and unused calls are not saved up.
#[derive(Debug)]
pub(in super::super) struct RateLimit {
    between: Duration,
    next: Instant,
}

impl RateLimit {
    pub(in super::super) fn new(calls_per_second: usize, now: Instant) -> Self {
        let per_second = u32::try_from(calls_per_second).unwrap_or(u32::MAX).max(1);
        Self { between: Duration::from_secs(1) / per_second, next: now }
    }

    /// Returns whether a call may be sent now.
    pub(in super::super) fn allows(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Returns the time until a call may be sent.
    pub(in super::super) fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// Records calls that are sent together now.
    pub(in super::super) fn record(&mut self, calls: u32, now: Instant) {
        self.next = now + self.between * calls;
    }
}

#[cfg(test)]
mod tests;
