//! One ordered view over the samples in memory and those of the history store. The store provides the samples older
//! than the oldest one in memory.

use std::{cmp::Ordering, collections::VecDeque, iter::Peekable, ops::RangeInclusive, sync::Arc, vec};

use super::in_memory::{self, MemoryReader, Passed, before, between};
use crate::{
    model::{Millis, Name},
    store::{
        cut::SourceCut,
        ends::to_f64,
        history_store::{ArchivedKey, ArchivedKeys, Bounds, HistorySamples, Point, ReadError, Reserved, SampleRequest},
        samples::{SampleNumber, SampleTime},
        trailing::LONGEST_GAP,
    },
};

/// Reference to a sample.
#[derive(Clone, Copy, Debug)]
pub enum SampleRef {
    /// A sample in the history store, by its time.
    Stored(Millis),
    /// A sample in memory.
    InMemory(SampleNumber, SampleTime),
}

impl SampleRef {
    /// Returns the time of the sample on the wall clock.
    #[must_use]
    pub fn at(&self) -> Millis {
        match self {
            Self::Stored(at) => *at,
            Self::InMemory(_, moment) => moment.at,
        }
    }

    /// Returns the time from which ages are computed (ms). It is on the steady clock for samples in memory, and on the
    /// wall clock for stored ones, because the store has no steady clock.
    fn time(&self) -> Millis {
        match self {
            Self::Stored(at) => *at,
            Self::InMemory(_, moment) => moment.steady(),
        }
    }

    /// Returns the seconds between an earlier sample and this one.
    #[must_use]
    pub fn since(&self, before: &Self) -> f64 {
        let millis = match (before, self) {
            (Self::InMemory(_, before), Self::InMemory(_, after)) => {
                i64::from(after.ticks.saturating_sub(before.ticks)) * 100
            }
            (before, after) => after.at().saturating_sub(before.at()),
        };
        to_f64(millis) / 1000.0
    }
}

/// A key with its samples in memory, in the store, or in both.
#[derive(Debug)]
pub struct JoinedKey {
    /// Topic name.
    pub topic: Name,
    /// Partition of the topic.
    pub partition: i32,
    in_memory: Option<in_memory::MemoryKey>,
    stored: Option<ArchivedKey>,
    /// The times of the samples read from the store.
    stored_times: Arc<StoredTimes>,
}

/// The times of the samples read from a store, on the wall clock, in order.
#[derive(Debug, Default)]
struct StoredTimes {
    all: Vec<Millis>,
    /// Samples after a gap: the time since the previous sample is much longer than usual there, because the server did
    /// not run or the clock was set.
    after_gaps: Vec<Millis>,
}

/// Factor by which the time between two samples must exceed the usual one to count as a gap.
const GAP_FACTOR: Millis = 3;
/// Number of steps on either side from which the usual time between samples is computed (their median).
const GAP_NEIGHBOURS: usize = 4;

impl StoredTimes {
    fn new(all: Vec<Millis>) -> Self {
        let steps: Vec<Millis> =
            all.iter().zip(all.iter().skip(1)).map(|(before, after)| after.saturating_sub(*before)).collect();
        let usual = |at: usize| {
            let from = at.saturating_sub(GAP_NEIGHBOURS);
            let mut around: Vec<Millis> =
                steps.iter().skip(from).take(at + GAP_NEIGHBOURS + 1 - from).copied().collect();
            around.sort_unstable();
            around.get(around.len().saturating_sub(1) / 2).copied().unwrap_or(Millis::MAX)
        };
        let is_gap = |(at, step): &(usize, &Millis)| **step > usual(*at).saturating_mul(GAP_FACTOR);
        let gaps = steps.iter().enumerate().filter(is_gap);
        let after_gaps = gaps.filter_map(|(at, _)| all.get(at + 1).copied()).collect();
        Self { after_gaps, all }
    }

    /// Returns the last sample before a time.
    fn before(&self, time: Millis) -> Option<Millis> {
        self.all.get(self.all.partition_point(|at| *at < time).checked_sub(1)?).copied()
    }

    /// Returns whether there is a gap between two times.
    fn has_gap(&self, from: Millis, to: Millis) -> bool {
        let next = self.after_gaps.partition_point(|at| *at <= from);
        self.after_gaps.get(next).is_some_and(|at| *at <= to)
    }
}

impl JoinedKey {
    /// Returns the values at a sample; `None` if the key did not exist.
    #[must_use]
    pub fn at(&self, sample_ref: SampleRef) -> Option<Point> {
        match sample_ref {
            SampleRef::Stored(at) => self.stored.as_ref()?.at(at),
            SampleRef::InMemory(index, _) => self.in_memory.as_ref()?.at(index),
        }
    }

    /// Returns the number of trailing markers and the log start at a sample in memory.
    fn markers_and_start(&self, index: SampleNumber) -> (i64, Option<i64>) {
        self.in_memory
            .as_ref()
            .map_or((0, None), |in_memory| (in_memory.trailing_markers(index), in_memory.log_start(index)))
    }

    /// Returns when the log end passed an offset that it is beyond at a sample, on the clock of [`SampleRef::time`];
    /// `None` if that is unknown. Samples in memory and in the store are never combined, because their clocks differ.
    /// The result therefore does not depend on which samples were requested, except that the store has none before the
    /// first requested one.
    fn passed(&self, sample_ref: SampleRef, offset: i64) -> Option<f64> {
        match sample_ref {
            SampleRef::Stored(at) => self.passed_in_store(at, offset),
            SampleRef::InMemory(index, _) => match self.in_memory.as_ref()?.passed(index, offset)? {
                Passed::At(at) => Some(at),
                Passed::Before { oldest, newest } => before(oldest, newest, offset),
            },
        }
    }

    /// Returns whether the store has a gap between two of its samples.
    fn has_gap(&self, from: SampleRef, to: SampleRef) -> bool {
        match (from, to) {
            (SampleRef::Stored(from), SampleRef::Stored(to)) => self.stored_times.has_gap(from, to),
            _ => false,
        }
    }

    /// Returns when the log end passed an offset before a stored sample. It uses the wall clock, the only clock of the
    /// store. `None` across a gap, in which the clock may have been set, and where the log end decreased, because the
    /// clock was set back or the log was replaced.
    fn passed_in_store(&self, to: Millis, offset: i64) -> Option<f64> {
        let rows = self.stored.as_ref()?.rows.iter().rev().filter(|(at, _)| *at <= to);
        let mut beyond: Option<(Millis, i64)> = None;
        for (at, end) in rows.filter_map(|(at, point)| Some((*at, point.as_ref()?.log_end_offset?))) {
            if beyond.is_some_and(|(_, later)| end > later) {
                return None;
            }
            if end > offset {
                beyond = Some((at, end));
                continue;
            }
            let beyond = beyond?;
            // A row holds until the sample before the next row.
            let stood = self.stored_times.before(beyond.0).map_or(at, |last| at.max(last));
            return (!self.stored_times.has_gap(stood, to)).then(|| between((stood, end), beyond, offset));
        }
        None
    }
}

/// A request for samples of a source.
#[derive(Clone, Debug)]
pub struct SampleQuery {
    /// Times of the samples on the wall clock.
    pub times: RangeInclusive<Millis>,
    /// The requested groups; `None` for all.
    pub groups: Option<Vec<String>>,
    /// Prefix of the requested group ids.
    pub prefix: String,
    /// The lowest requested group id.
    pub first: String,
    /// Whether the ages of unread records are computed.
    pub ages: bool,
    /// Deadline, cancellation and memory budget of the read.
    pub bounds: Bounds,
}

impl SampleQuery {
    /// Returns a request for all groups within a time range, without bounds.
    #[must_use]
    pub fn all(times: RangeInclusive<Millis>) -> Self {
        let (groups, prefix, first, ages, bounds) = Default::default();
        Self { times, groups, prefix, first, ages, bounds }
    }
}

/// Predicate of the requested groups.
type GroupPredicate<'a> = Box<dyn Fn(&str) -> bool + Send + 'a>;

/// Reader of the keys of a source, in order.
pub struct JoinedReader<'a> {
    reader: MemoryReader<'a>,
    bounds: Bounds,
    /// The samples to read, in order.
    pub sample_refs: Vec<SampleRef>,
    has_group: GroupPredicate<'a>,
    /// Groups in memory that have not been read yet.
    groups: VecDeque<Name>,
    /// The group in memory that is being read.
    group: Name,
    in_memory: Peekable<vec::IntoIter<in_memory::MemoryKey>>,
    /// The next key of the store.
    next_stored: Option<ArchivedKey>,
    stored: ArchivedKeys,
    stored_times: Arc<StoredTimes>,
    /// The last group of the store that was checked, and whether it is requested.
    known: Option<(Name, bool)>,
    /// The memory of groups and times.
    _reserved: Reserved,
}

impl std::fmt::Debug for JoinedReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinedReader").field("sample_refs", &self.sample_refs.len()).finish_non_exhaustive()
    }
}

impl<'a> JoinedReader<'a> {
    /// Returns a reader of the requested samples of the groups that `has_group` accepts. `downsample` may drop some of
    /// the samples. If there is a history store, this and the following calls block until it answers.
    ///
    /// # Errors
    /// The read was stopped, or exceeded its budget.
    pub fn new(
        cluster: &'a SourceCut,
        wanted: SampleQuery,
        has_group: impl Fn(&str) -> bool + Send + 'a,
        downsample: impl FnOnce(Vec<SampleRef>) -> Vec<SampleRef>,
    ) -> Result<Self, ReadError> {
        let samples = &cluster.samples;
        let SampleQuery { times, mut groups, prefix, first, ages, bounds } = wanted;
        groups.iter_mut().for_each(|groups| groups.sort_unstable());
        // The oldest sample in memory; the store is read up to there.
        let seam = samples.times().next().map_or(Millis::MAX, |(_, oldest)| oldest.at);
        let request = SampleRequest {
            source: cluster.source.id.clone(),
            times: *times.start()..=(*times.end()).min(seam.saturating_sub(1)),
            groups,
            prefix,
            first: first.clone(),
            bounds: bounds.clone(),
        };
        let store = cluster.cluster.history_store().filter(|_| !request.times.is_empty());
        let stored = store.map(|store| store.read(request)).transpose()?.flatten();
        let HistorySamples { times: stored_times, keys: stored } =
            stored.unwrap_or_else(|| HistorySamples { times: vec![], keys: Box::new(std::iter::empty()) });
        let from_store = stored_times.iter().map(|at| SampleRef::Stored(*at));
        let in_memory = samples.times().map(|(index, moment)| SampleRef::InMemory(index, moment));
        let sample_refs =
            downsample(from_store.chain(in_memory.filter(|sample_ref| times.contains(&sample_ref.at()))).collect());
        let first_in_memory = sample_refs.iter().find_map(|sample_ref| match sample_ref {
            SampleRef::InMemory(index, _) => Some(*index),
            SampleRef::Stored(_) => None,
        });
        let reader = MemoryReader::new(cluster, first_in_memory.unwrap_or(0), bounds.clone()).with_ages(ages);
        let is_wanted = |id: &str| *id >= *first && has_group(id);
        let groups: VecDeque<Name> = first_in_memory.map(|_| reader.groups(is_wanted)).unwrap_or_default().into();
        let bytes =
            groups.len() * size_of::<Name>() + (sample_refs.len() + stored_times.len()) * size_of::<SampleRef>();
        let reserved = bounds.reserve(bytes)?;
        let mut joined = Self {
            reader,
            bounds,
            sample_refs,
            has_group: Box::new(has_group),
            groups,
            group: Name::from(""),
            in_memory: vec![].into_iter().peekable(),
            next_stored: None,
            stored,
            stored_times: Arc::new(StoredTimes::new(stored_times)),
            known: None,
            _reserved: reserved,
        };
        joined.next_stored = joined.stored.next().transpose()?;
        Ok(joined)
    }

    /// Returns the next key that `wanted` accepts, ordered by group, topic and partition.
    ///
    /// # Errors
    /// The read was stopped, or exceeded its budget.
    pub fn next_key(&mut self, wanted: impl Fn(&str, i32) -> bool) -> Result<Option<(Name, JoinedKey)>, ReadError> {
        loop {
            self.bounds.check()?;
            self.fill_memory(&wanted)?;
            let in_memory = self.in_memory.peek().map(|key| (&self.group, &key.topic, key.partition));
            let stored = self.next_stored.as_ref().map(|key| (&key.group, &key.topic, key.partition));
            let order = match (in_memory, stored) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(in_memory), Some(stored)) => in_memory.cmp(&stored),
            };
            let in_memory = if order.is_le() { self.in_memory.next() } else { None };
            let stored = if order.is_ge() { self.take_stored()? } else { None };
            let stored_times = Arc::clone(&self.stored_times);
            match (in_memory, stored) {
                (Some(in_memory), stored) => {
                    let (topic, partition) = (Name::clone(&in_memory.topic), in_memory.partition);
                    let key = JoinedKey { topic, partition, in_memory: Some(in_memory), stored, stored_times };
                    return Ok(Some((Name::clone(&self.group), key)));
                }
                (None, Some(stored)) if wanted(&stored.topic, stored.partition) && self.has_group(&stored.group) => {
                    let (group, topic) = (Name::clone(&stored.group), Name::clone(&stored.topic));
                    let partition = stored.partition;
                    return Ok(Some((
                        group,
                        JoinedKey { topic, partition, in_memory: None, stored: Some(stored), stored_times },
                    )));
                }
                (None, _) => {}
            }
        }
    }

    /// Reads groups in memory until one has a key, or all are read.
    fn fill_memory(&mut self, wanted: &impl Fn(&str, i32) -> bool) -> Result<(), ReadError> {
        while self.in_memory.peek().is_none() {
            self.in_memory = self.reader.next_keys()?.into_iter().peekable();
            if self.in_memory.peek().is_none() {
                let Some(group) = self.groups.pop_front() else { break };
                self.reader.begin_group(&group, wanted)?;
                self.group = group;
            }
        }
        Ok(())
    }

    fn take_stored(&mut self) -> Result<Option<ArchivedKey>, ReadError> {
        let next = self.stored.next().transpose()?;
        Ok(std::mem::replace(&mut self.next_stored, next))
    }

    /// Returns whether a group of the store is requested. The predicate is evaluated once per group.
    fn has_group(&mut self, id: &Name) -> bool {
        match &self.known {
            Some((known, has)) if known == id => *has,
            _ => {
                let has = (self.has_group)(id);
                self.known = Some((Name::clone(id), has));
                has
            }
        }
    }
}

/// Computes the ages of one key's oldest unread records. The samples must be passed in the order of time.
#[derive(Debug, Default)]
pub struct Ages {
    /// The last sample, its next offset to read, and when the log end passed that offset, if known.
    passed: Option<(SampleRef, i64, Option<f64>)>,
}

impl Ages {
    /// Returns the seconds since the log end passed the committed offset or, if greater, the log start; 0 if nothing
    /// was unread. `None` if the age is unknown. In memory this is the case if the end did not move in the samples. In
    /// the store it is the case if the end had passed the offset before the first sample that was read, or if the
    /// unread offsets may be transaction markers.
    pub fn at(&mut self, key: &JoinedKey, sample_ref: SampleRef, point: Point) -> Option<f64> {
        let Some(lag) = point.lag.filter(|lag| *lag > 0) else {
            self.passed = None;
            return point.lag.map(|_| 0.0);
        };
        let (trailing_markers, log_start) = match sample_ref {
            SampleRef::Stored(_) if lag <= LONGEST_GAP => return None,
            SampleRef::Stored(_) => (0, None),
            SampleRef::InMemory(index, _) => key.markers_and_start(index),
        };
        if lag <= trailing_markers {
            return Some(0.0);
        }
        let next = point.committed_offset.max(log_start.unwrap_or(0));
        let is_alike = |known: SampleRef| {
            matches!(
                (known, sample_ref),
                (SampleRef::InMemory(..), SampleRef::InMemory(..)) | (SampleRef::Stored(_), SampleRef::Stored(_))
            ) && !key.has_gap(known, sample_ref)
        };
        let passed = match self.passed {
            Some((known, offset, at)) if offset == next && is_alike(known) => at,
            _ => key.passed(sample_ref, next),
        };
        self.passed = Some((sample_ref, next, passed));
        Some(((to_f64(sample_ref.time()) - passed?) / 1000.0).max(0.0))
    }
}

#[cfg(test)]
mod tests;
