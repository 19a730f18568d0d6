//! Samples of committed offsets and log ends over time. A cut pins one immutable version of them.
//!
//! Samples are numbered from 1, and all keys share their times. The values of a key are in the [`Series`] of its group
//! or topic. A key without a line there had its current value at every sample.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use tokio::sync::watch;

use crate::{
    clock::Ticks,
    model::{Millis, Name, Status},
};

mod run;
mod series;

pub use series::{BEFORE_FIRST, Line, Series, SeriesKey, SeriesWriter, Track};

/// Number of a sample.
pub type SampleNumber = u32;

/// Time of a sample, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleTime {
    /// On the steady clock.
    pub ticks: Ticks,
    /// On the wall clock. Ascending in the order of samples, even if that clock was set back.
    pub at: Millis,
}

impl SampleTime {
    /// Returns the time on the steady clock, in milliseconds.
    #[must_use]
    pub fn steady(&self) -> Millis {
        Millis::from(self.ticks) * 100
    }
}

/// A change of a group's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    /// Number of the change among the changes of the cluster's groups.
    pub sequence: u64,
    /// Group id.
    pub group: Name,
    /// The status before.
    pub from: Status,
    /// The status after.
    pub to: Status,
    /// Time at which the sampler saw the change.
    pub at: Millis,
}

/// One version of the samples of a source.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Number of the oldest sample, minus 1.
    before: SampleNumber,
    times: VecDeque<SampleTime>,
    /// Committed offsets, by group id.
    pub groups: HashMap<Name, Arc<Series>>,
    /// Log ends, by topic name.
    pub topics: HashMap<Name, Arc<Series>>,
    /// Log starts, by topic name.
    pub starts: HashMap<Name, Arc<Series>>,
    /// Lengths of trailing markers, by topic name (see [`super::trailing`]).
    pub trailing: HashMap<Name, Arc<Series>>,
    /// Lengths of trailing markers at the newest sample.
    pub trailing_now: Arc<TrailingMarkers>,
    /// Status changes, oldest first.
    pub changes: Arc<Vec<StatusChange>>,
    /// Memory used, in bytes.
    pub bytes: usize,
    /// Number of samples that were dropped before their retention ended, because of the memory limit.
    pub dropped: u64,
}

/// Number of offsets before a log end that are only transaction markers, by topic and partition.
pub type TrailingMarkers = HashMap<Name, BTreeMap<i32, i64>>;

/// Bytes of a map entry in addition to its value: name, pointer, counters and free capacity.
const ENTRY_BYTES: usize = 64;

impl Samples {
    /// Returns the number of the oldest sample.
    #[must_use]
    pub fn first(&self) -> SampleNumber {
        self.before + 1
    }

    /// Returns the number of the sample after the newest.
    #[must_use]
    pub fn next(&self) -> SampleNumber {
        self.first().saturating_add(SampleNumber::try_from(self.times.len()).unwrap_or(SampleNumber::MAX))
    }

    /// Returns whether there are no samples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Returns the next version, without samples. Sample numbers are not reused.
    #[must_use]
    pub(super) fn cleared(&self) -> Self {
        Self { before: self.next().saturating_sub(1), ..Self::default() }
    }

    /// Returns the time of a sample that is still kept.
    #[must_use]
    pub fn time(&self, index: SampleNumber) -> Option<SampleTime> {
        self.times.get(index.checked_sub(self.first())? as usize).copied()
    }

    /// Returns the time of the newest sample.
    #[must_use]
    pub fn newest(&self) -> Option<SampleTime> {
        self.times.back().copied()
    }

    /// Returns the samples, oldest first.
    pub fn times(&self) -> impl DoubleEndedIterator<Item = (SampleNumber, SampleTime)> + ExactSizeIterator {
        let first = self.first();
        self.times.iter().enumerate().map(move |(at, time)| {
            (first.saturating_add(SampleNumber::try_from(at).unwrap_or(SampleNumber::MAX)), *time)
        })
    }

    /// Appends the time of the next sample. If the wall clock was set back, kept samples that are dated later than the
    /// new one get dates that are computed from the steady clock.
    pub fn push(&mut self, time: SampleTime) {
        if self.newest().is_some_and(|newest| time.at <= newest.at) {
            for kept in &mut self.times {
                let since = time.steady().saturating_sub(kept.steady()).max(1);
                kept.at = kept.at.min(time.at.saturating_sub(since));
            }
        }
        self.times.push_back(time);
    }

    /// Drops samples older than `oldest`, then further oldest samples until the rest fits into `max_bytes`.
    pub fn trim(&mut self, oldest: Ticks, max_bytes: usize) {
        let kept = self.times.iter().position(|time| time.ticks >= oldest).unwrap_or(self.times.len());
        self.drop_first(kept);
        self.bytes = self.count_bytes();
        while self.bytes > max_bytes && !self.times.is_empty() {
            let dropped = (self.times.len() / 8).max(1);
            self.dropped += dropped as u64;
            self.drop_first(dropped);
            self.bytes = self.count_bytes();
        }
    }

    fn drop_first(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        self.times.drain(..count);
        self.before = self.before.saturating_add(SampleNumber::try_from(count).unwrap_or(SampleNumber::MAX));
        let floor = self.first();
        for series in [&mut self.groups, &mut self.topics, &mut self.starts, &mut self.trailing] {
            series.retain(|_, series| !series.has_older(floor) || Arc::make_mut(series).trim(floor));
        }
    }

    fn count_bytes(&self) -> usize {
        let each = |series: &Arc<Series>| series.bytes() + ENTRY_BYTES;
        let of_topics = [&self.topics, &self.starts, &self.trailing].into_iter().flat_map(HashMap::values);
        let series: usize = self.groups.values().chain(of_topics).map(each).sum();
        series + self.times.capacity() * size_of::<SampleTime>() + self.changes.capacity() * size_of::<StatusChange>()
    }
}

/// The current version of the samples of a source, published by the sampler.
#[derive(Debug)]
pub struct SamplesBoard {
    current: ArcSwap<Samples>,
    /// Sequence number of the newest status change.
    changed: watch::Sender<u64>,
}

impl Default for SamplesBoard {
    fn default() -> Self {
        Self { current: ArcSwap::default(), changed: watch::Sender::new(0) }
    }
}

impl SamplesBoard {
    /// Returns the newest version.
    #[must_use]
    pub fn current(&self) -> Arc<Samples> {
        self.current.load_full()
    }

    /// Publishes the next version.
    pub fn publish(&self, samples: Samples) {
        let newest = samples.changes.last().map_or(0, |change| change.sequence);
        self.current.store(Arc::new(samples));
        self.changed.send_if_modified(|known| std::mem::replace(known, newest) != newest);
    }

    /// Returns a receiver that is notified when the status of a group changes.
    #[must_use]
    pub fn watch_changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod tests;
