//! Time, injected so that tests decide it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::model::Millis;

/// Tenths of a second since the clock was made: orders what this process saw, whatever happens to
/// the wall clock. 32 bits last 13 years.
pub type Ticks = u32;

/// A wall clock and a steady one.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System(Instant),
    Manual { start: Millis, now: Arc<AtomicI64>, wall_ahead: Arc<AtomicI64> },
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn system() -> Self {
        Self(Kind::System(Instant::now()))
    }

    /// A clock that stands at `now` until [`Clock::advance`].
    #[must_use]
    pub fn manual(now: Millis) -> Self {
        Self(Kind::Manual { start: now, now: Arc::new(AtomicI64::new(now)), wall_ahead: Arc::default() })
    }

    /// Moves a manual clock and all its clones; a system clock goes its own way.
    pub fn advance(&self, by: Millis) {
        if let Kind::Manual { now, .. } = &self.0 {
            now.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// Sets the wall clock of a manual clock ahead of its steady one, or behind it; a system clock goes its own way.
    pub fn set_wall_ahead(&self, by: Millis) {
        if let Kind::Manual { wall_ahead, .. } = &self.0 {
            wall_ahead.store(by, Ordering::Relaxed);
        }
    }

    /// Milliseconds since the Unix epoch.
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

    /// Steady time since the clock was made.
    #[must_use]
    pub fn ticks(&self) -> Ticks {
        let millis = match &self.0 {
            Kind::System(start) => as_millis(start.elapsed().as_millis()),
            Kind::Manual { start, now, .. } => now.load(Ordering::Relaxed).saturating_sub(*start),
        };
        Ticks::try_from(millis / 100).unwrap_or(Ticks::MAX)
    }
}

/// A length of time in ticks.
#[must_use]
pub fn ticks(duration: Duration) -> Ticks {
    Ticks::try_from(duration.as_millis() / 100).unwrap_or(Ticks::MAX)
}

fn as_millis(millis: u128) -> Millis {
    Millis::try_from(millis).unwrap_or(Millis::MAX)
}
