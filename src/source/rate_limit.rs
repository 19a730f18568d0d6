//! Rate limits for requests to the coordinators of Kafka and to other stores.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Spaces calls evenly: no second has more calls than allowed, and unused calls are not saved up.
#[derive(Debug)]
pub(super) struct RateLimit {
    between: Duration,
    next: Instant,
}

impl RateLimit {
    pub(super) fn new(calls_per_second: usize, now: Instant) -> Self {
        let per_second = u32::try_from(calls_per_second).unwrap_or(u32::MAX).max(1);
        Self { between: Duration::from_secs(1) / per_second, next: now }
    }

    /// Returns whether a call may be sent now.
    pub(super) fn allows(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Returns the time until a call may be sent.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// Records calls that are sent together now.
    pub(super) fn record(&mut self, calls: u32, now: Instant) {
        self.next = now + self.between * calls;
    }
}

/// The rate limit of a source, shared by its connections (`max_requests_per_second`).
#[derive(Clone, Debug)]
pub(super) struct RequestLimit(Arc<Mutex<RateLimit>>);

impl RequestLimit {
    pub(super) fn new(requests_per_second: usize) -> Self {
        Self(Arc::new(Mutex::new(RateLimit::new(requests_per_second, now()))))
    }

    /// Waits until the next request may be sent, and records it.
    pub(super) fn wait(&self) {
        thread::sleep(self.reserve());
    }

    /// Records a request and returns the time until it may be sent. Requests are sent in the order of these calls.
    pub(super) fn reserve(&self) -> Duration {
        let (mut limit, now) = (self.0.lock(), now());
        let pause = limit.wait(now);
        limit.record(1, now + pause);
        pause
    }
}

#[expect(clippy::disallowed_methods, reason = "the interval between two requests is not part of an answer")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
