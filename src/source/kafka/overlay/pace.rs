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

    /// Counts a call.
    pub(in super::super) fn count(&mut self, now: Instant) {
        self.next = now + self.between;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a start to count from")]
    fn no_second_sees_more_calls_than_are_allowed() {
        let start = Instant::now();
        let mut pace = Pace::new(50, start);
        let at = |millis: u64| start + Duration::from_millis(millis);
        // Idle for a while first: nothing is saved up.
        let mut take = |millis: &u64| {
            let free = pace.is_free(at(*millis));
            if free {
                pace.count(at(*millis));
            }
            free
        };
        let taken: Vec<u64> = (5_000..8_000).filter(|millis| take(millis)).collect();
        assert_eq!(taken.len(), 150);
        assert!(taken.iter().all(|from| taken.iter().filter(|at| (*from..from + 1000).contains(at)).count() <= 50));
    }
}
