//! The clock: wall time and steady time, which tests can control.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::model::Millis;

/// Tenths of a second since the clock was created. Orders events of this process independently of the wall clock. 32
/// bits last 13 years.
pub type Ticks = u32;

/// A wall clock and a steady clock.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System(Instant),
    Manual { start: Millis, now: Arc<AtomicI64>, wall_ahead: Arc<AtomicI64> },
}

impl Clock {
    /// Returns the clock of the machine.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn system() -> Self {
        Self(Kind::System(Instant::now()))
    }

    /// Returns a clock that stays at `now` until [`Clock::advance`].
    #[must_use]
    pub fn manual(now: Millis) -> Self {
        Self(Kind::Manual { start: now, now: Arc::new(AtomicI64::new(now)), wall_ahead: Arc::default() })
    }

    /// Advances a manual clock and all its clones. Has no effect on the system clock.
    pub fn advance(&self, by: Millis) {
        if let Kind::Manual { now, .. } = &self.0 {
            now.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// Sets the difference between the wall clock and the steady clock of a manual clock. Has no effect on the system
    /// clock.
    pub fn set_wall_ahead(&self, by: Millis) {
        if let Kind::Manual { wall_ahead, .. } = &self.0 {
            wall_ahead.store(by, Ordering::Relaxed);
        }
    }

    /// Returns the milliseconds since the Unix epoch.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn now(&self) -> Millis {
        match &self.0 {
            Kind::System(_) => {
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| as_millis(since.as_millis()))
            }
            Kind::Manual { now, wall_ahead, .. } => {
                now.load(Ordering::Relaxed).saturating_add(wall_ahead.load(Ordering::Relaxed))
            }
        }
    }

    /// Returns the steady time since the clock was created.
    #[must_use]
    pub fn ticks(&self) -> Ticks {
        let millis = match &self.0 {
            Kind::System(start) => as_millis(start.elapsed().as_millis()),
            Kind::Manual { start, now, .. } => now.load(Ordering::Relaxed).saturating_sub(*start),
        };
        Ticks::try_from(millis / 100).unwrap_or(Ticks::MAX)
    }
}

/// Converts a duration to ticks.
#[must_use]
pub fn ticks(duration: Duration) -> Ticks {
    Ticks::try_from(duration.as_millis() / 100).unwrap_or(Ticks::MAX)
}

fn as_millis(millis: u128) -> Millis {
    Millis::try_from(millis).unwrap_or(Millis::MAX)
}
