//! How often coordinators are asked.

use std::time::{Duration, Instant};

/// Lets so many calls a second go, evenly: never more in any second, and none saved up.
#[derive(Debug)]
pub(in super::super) struct Pace {
    between: Duration,
    next: Instant,
}

impl Pace {
    pub(in super::super) fn new(calls_per_second: usize, now: Instant) -> Self {
        let per_second = u32::try_from(calls_per_second).unwrap_or(u32::MAX).max(1);
        Self { between: Duration::from_secs(1) / per_second, next: now }
    }

    /// Whether a call may go now.
    pub(in super::super) fn is_free(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// How long until a call may go.
    pub(in super::super) fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// Counts calls that go at once.
    pub(in super::super) fn count(&mut self, calls: u32, now: Instant) {
        self.next = now + self.between * calls;
    }
}

#[cfg(test)]
mod tests;
