//! Samples of committed offsets and log ends over time: one version of them, immutable, pinned by a cut.
//!
//! Samples are numbered from 1, and have their times in common. The values of a key at them are in the [`Series`] of its
//! group or topic; a key without a line there had its present value at all of them.

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

pub use series::{EVER, Key, Line, Series, Track, Writer};

/// Number of a sample.
pub type Index = u32;

/// When a sample was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// On the steady clock.
    pub ticks: Ticks,
    /// On the wall clock. In the order of samples, also where that clock went back.
    pub at: Millis,
}

impl Moment {
    /// On the steady clock, in milliseconds.
    #[must_use]
    pub fn steady(&self) -> Millis {
        Millis::from(self.ticks) * 100
    }
}

/// The status of a group became another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    /// Counts the changes of a cluster.
    pub sequence: u64,
    /// Group id.
    pub group: Name,
    /// What it was.
    pub from: Status,
    /// What it is.
    pub to: Status,
    /// When that was noticed.
    pub at: Millis,
}

/// One version.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Number of the oldest sample less 1.
    before: Index,
    moments: VecDeque<Moment>,
    /// Lines of groups, by id: of committed offsets.
    pub groups: HashMap<Name, Arc<Series>>,
    /// Lines of topics, by name: of log ends.
    pub topics: HashMap<Name, Arc<Series>>,
    /// Lines of topics, by name: of log starts.
    pub starts: HashMap<Name, Arc<Series>>,
    /// Lines of topics, by name: of silent tails (see [`super::silent`]).
    pub tails: HashMap<Name, Arc<Series>>,
    /// The same at the newest sample.
    pub tails_now: Arc<Tails>,
    /// Changes of status, oldest first.
    pub changes: Arc<Vec<StatusChange>>,
    /// Bytes in memory.
    pub bytes: usize,
    /// Samples that were dropped before their time, to stay within the bytes allowed.
    pub dropped: u64,
}

/// How many offsets before a log end hold nothing to read, by topic and partition.
pub type Tails = HashMap<Name, BTreeMap<i32, i64>>;

/// What an entry of a map takes beside what it leads to: name, pointer, counters, and what is free.
const ENTRY_BYTES: usize = 64;

impl Samples {
    /// Number of the oldest sample.
    #[must_use]
    pub fn first(&self) -> Index {
        self.before + 1
    }

    /// Number of the sample after the newest.
    #[must_use]
    pub fn next(&self) -> Index {
        self.first().saturating_add(Index::try_from(self.moments.len()).unwrap_or(Index::MAX))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.moments.is_empty()
    }

    /// The version after this one with nothing in it. Numbers are not used again.
    #[must_use]
    pub(super) fn cleared(&self) -> Self {
        Self { before: self.next().saturating_sub(1), ..Self::default() }
    }

    /// When a sample was taken, if it is kept.
    #[must_use]
    pub fn moment(&self, index: Index) -> Option<Moment> {
        self.moments.get(index.checked_sub(self.first())? as usize).copied()
    }

    /// The newest sample.
    #[must_use]
    pub fn newest(&self) -> Option<Moment> {
        self.moments.back().copied()
    }

    /// The samples, oldest first.
    pub fn moments(&self) -> impl DoubleEndedIterator<Item = (Index, Moment)> + ExactSizeIterator {
        let first = self.first();
        self.moments
            .iter()
            .enumerate()
            .map(move |(at, moment)| (first.saturating_add(Index::try_from(at).unwrap_or(Index::MAX)), *moment))
    }

    /// Adds the moment of the next sample. Where the wall clock went back, kept samples that would be too new by it are
    /// dated by the steady clock.
    pub fn push(&mut self, moment: Moment) {
        if self.newest().is_some_and(|newest| moment.at <= newest.at) {
            for kept in &mut self.moments {
                let since = moment.steady().saturating_sub(kept.steady()).max(1);
                kept.at = kept.at.min(moment.at.saturating_sub(since));
            }
        }
        self.moments.push_back(moment);
    }

    /// Drops what is older than `oldest`, and then the oldest until it fits into `max_bytes`.
    pub fn trim(&mut self, oldest: Ticks, max_bytes: usize) {
        let kept = self.moments.iter().position(|moment| moment.ticks >= oldest).unwrap_or(self.moments.len());
        self.drop_first(kept);
        self.bytes = self.count_bytes();
        while self.bytes > max_bytes && !self.moments.is_empty() {
            let dropped = (self.moments.len() / 8).max(1);
            self.dropped += dropped as u64;
            self.drop_first(dropped);
            self.bytes = self.count_bytes();
        }
    }

    fn drop_first(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        self.moments.drain(..count);
        self.before = self.before.saturating_add(Index::try_from(count).unwrap_or(Index::MAX));
        let floor = self.first();
        for series in [&mut self.groups, &mut self.topics, &mut self.starts, &mut self.tails] {
            series.retain(|_, series| !series.has_older(floor) || Arc::make_mut(series).trim(floor));
        }
    }

    fn count_bytes(&self) -> usize {
        let each = |series: &Arc<Series>| series.bytes() + ENTRY_BYTES;
        let of_topics = [&self.topics, &self.starts, &self.tails].into_iter().flat_map(HashMap::values);
        let series: usize = self.groups.values().chain(of_topics).map(each).sum();
        series + self.moments.capacity() * size_of::<Moment>() + self.changes.capacity() * size_of::<StatusChange>()
    }
}

/// Where the sampler publishes the next version.
#[derive(Debug)]
pub struct SamplesBoard {
    current: ArcSwap<Samples>,
    /// Sequence of the newest change of status.
    changed: watch::Sender<u64>,
}

impl Default for SamplesBoard {
    fn default() -> Self {
        Self { current: ArcSwap::default(), changed: watch::Sender::new(0) }
    }
}

impl SamplesBoard {
    /// The newest version.
    #[must_use]
    pub fn current(&self) -> Arc<Samples> {
        self.current.load_full()
    }

    /// Puts the next version in the place of the one before.
    pub fn publish(&self, samples: Samples) {
        let newest = samples.changes.last().map_or(0, |change| change.sequence);
        self.current.store(Arc::new(samples));
        self.changed.send_if_modified(|known| std::mem::replace(known, newest) != newest);
    }

    /// Wakes whenever the status of a group has changed.
    #[must_use]
    pub fn watch_changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod tests;
