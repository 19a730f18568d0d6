//! The initial load of a source: its phase, its progress and the time that it still needs.

use std::{
    fmt,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use super::{Kind, Source};
use crate::{
    clock::{Clock, Ticks},
    model::OFFSETS_TOPIC,
    store::ends::{LogEnds, to_f64},
};

/// Resolution of the progress: parts of the whole.
const PARTS: f64 = 1e6;

/// State of the initial load that is not in the shards.
#[derive(Debug)]
pub(super) struct Load {
    /// Time at which the load began.
    started: AtomicU32,
    /// Greatest progress so far, in [`PARTS`] and plus one; 0 while it is unknown.
    reached: AtomicU32,
}

impl Load {
    /// Begins a load.
    pub(super) fn new(clock: &Clock) -> Self {
        Self { started: AtomicU32::new(clock.ticks()), reached: AtomicU32::new(0) }
    }

    /// Begins another load, whose progress is unknown.
    pub(super) fn restart(&self, clock: &Clock) {
        self.started.store(clock.ticks(), Ordering::Relaxed);
        self.reached.store(0, Ordering::Relaxed);
    }

    /// Raises the progress, if it is known and greater, and returns the greatest progress so far.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value is between 0 and 1,000,000")]
    fn raise(&self, progress: Option<f64>) -> Option<f64> {
        let parts = progress.map_or(0, |progress| (progress.clamp(0.0, 1.0) * PARTS) as u32 + 1);
        let reached = self.reached.fetch_max(parts, Ordering::Relaxed).max(parts);
        reached.checked_sub(1).map(|parts| f64::from(parts) / PARTS)
    }
}

/// The phase of the initial load of a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LoadPhase {
    /// The partitions of the log, or their ranges, are not known yet.
    Partitions,
    /// The log is being read. The part of it that has been read, from 0 to 1.
    Log(f64),
    /// The log has been read. Log ends are requested.
    LogEnds,
    /// The log has been read, and log ends are known. Coordinators are asked for misplaced groups.
    Coordinators,
    /// A store that is listed is being read for the first time.
    Listing,
    /// The source is loaded.
    Loaded,
}

impl fmt::Display for LoadPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partitions => write!(f, "requesting the partitions of {OFFSETS_TOPIC}"),
            // Rounded down: 100 % would be complete.
            Self::Log(part) => write!(f, "{:.0} % of the log read", (part * 100.0).floor()),
            Self::LogEnds => f.write_str("log read; requesting log ends"),
            Self::Coordinators => f.write_str("log read; asking coordinators for misplaced groups"),
            Self::Listing => f.write_str("reading all groups"),
            Self::Loaded => f.write_str("loaded"),
        }
    }
}

impl Source {
    /// Returns the phase of the initial load. `ends` are the log ends of the source's cluster.
    #[must_use]
    pub fn load_phase(&self, ends: &LogEnds) -> LoadPhase {
        let access = self.access.load();
        match (self.health().ready, &access.kind, self.progress()) {
            (true, ..) => LoadPhase::Loaded,
            (false, Kind::Table, _) => LoadPhase::Listing,
            (false, Kind::Log(_), None) => LoadPhase::Partitions,
            (false, Kind::Log(_), Some(part)) if part < 1.0 => LoadPhase::Log(part),
            (false, Kind::Log(_), Some(_)) if !ends.loaded => LoadPhase::LogEnds,
            (false, Kind::Log(_), Some(_)) => LoadPhase::Coordinators,
        }
    }

    /// Returns the progress of the initial load, from 0 to 1. `None` until the ranges of all partitions are known, and
    /// for a store that is listed, until it is loaded. The progress of a load never decreases, even if a partition is
    /// read again.
    #[must_use]
    pub fn progress(&self) -> Option<f64> {
        let health = self.health();
        let progress = if health.ready { Some(1.0) } else { self.part_read(health.shards) };
        self.load.raise(progress)
    }

    /// Returns the part of the log that has been read; `None` unless all `expected` partitions and their ranges are
    /// known.
    fn part_read(&self, expected: Option<i32>) -> Option<f64> {
        let access = self.access.load();
        if matches!(access.kind, Kind::Table) || access.shards.len() < usize::try_from(expected?).ok()? {
            return None;
        }
        let (mut done, mut all) = (0_i64, 0_i64);
        for shard in access.shards.values() {
            let (first, target) = (shard.progress.first()?, shard.progress.target()?);
            all = all.saturating_add(target.saturating_sub(first).max(0));
            done = done.saturating_add(shard.applied().0.min(target).saturating_sub(first).max(0));
        }
        Some(if all == 0 { 1.0 } else { to_f64(done) / to_f64(all) })
    }

    /// Returns the estimated time until the log is read, from the rate so far; `None` if the rate is unknown, and in
    /// every other phase.
    #[must_use]
    pub fn remaining(&self, now: Ticks) -> Option<Duration> {
        let progress = self.progress().filter(|progress| *progress > 0.0 && *progress < 1.0)?;
        let spent = f64::from(now.saturating_sub(self.load.started.load(Ordering::Relaxed))) / 10.0;
        Duration::try_from_secs_f64(spent * (1.0 - progress) / progress).ok()
    }
}
