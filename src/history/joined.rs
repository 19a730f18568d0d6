//! One ordered view over the samples in memory and those of the history store. The store provides the samples older
//! than the oldest one in memory.

use std::{cmp::Ordering, collections::VecDeque, iter::Peekable, ops::RangeInclusive, sync::Arc, vec};

use super::tracks::{self, Passed, Reader, before, between};
use crate::{
    model::{Millis, Name},
    store::{
        cut::SourceCut,
        ends::to_f64,
        older::{Archived, ArchivedKeys, Bounds, Older, Point, Question, ReadError, Reserved},
        samples::{Index, Moment},
        silent::LONGEST,
    },
};

/// Reference to a sample.
#[derive(Clone, Copy, Debug)]
pub enum Pick {
    /// A sample in the history store, by its time.
    Older(Millis),
    /// A sample in memory.
    Kept(Index, Moment),
}

impl Pick {
    /// Returns the time of the sample on the wall clock.
    #[must_use]
    pub fn at(&self) -> Millis {
        match self {
            Self::Older(at) => *at,
            Self::Kept(_, moment) => moment.at,
        }
    }

    /// Returns the time from which ages are computed (ms). It is on the steady clock for samples in memory, and on the
    /// wall clock for stored ones, because the store has no steady clock.
    fn time(&self) -> Millis {
        match self {
            Self::Older(at) => *at,
            Self::Kept(_, moment) => moment.steady(),
        }
    }

    /// Returns the seconds between an earlier sample and this one.
    #[must_use]
    pub fn since(&self, before: &Self) -> f64 {
        let millis = match (before, self) {
            (Self::Kept(_, before), Self::Kept(_, after)) => i64::from(after.ticks.saturating_sub(before.ticks)) * 100,
            (before, after) => after.at().saturating_sub(before.at()),
        };
        to_f64(millis) / 1000.0
    }
}

/// A key with its samples in memory, in the store, or in both.
#[derive(Debug)]
pub struct Key {
    /// Topic name.
    pub topic: Name,
    /// Partition of the topic.
    pub partition: i32,
    kept: Option<tracks::Key>,
    older: Option<Archived>,
    /// The times of the samples read from the store.
    older_times: Arc<Times>,
}

/// The times of the samples read from a store, on the wall clock, in order.
#[derive(Debug, Default)]
struct Times {
    all: Vec<Millis>,
    /// Samples after a gap: the time since the previous sample is much longer than usual there, because the server did
    /// not run or the clock was set.
    after_gaps: Vec<Millis>,
}

/// Factor by which the time between two samples must exceed the usual one to count as a gap.
const GAP: Millis = 3;
/// Number of steps on either side from which the usual time between samples is computed (their median).
const AROUND: usize = 4;

impl Times {
    fn new(all: Vec<Millis>) -> Self {
        let steps: Vec<Millis> =
            all.iter().zip(all.iter().skip(1)).map(|(before, after)| after.saturating_sub(*before)).collect();
        let usual = |at: usize| {
            let from = at.saturating_sub(AROUND);
            let mut around: Vec<Millis> = steps.iter().skip(from).take(at + AROUND + 1 - from).copied().collect();
            around.sort_unstable();
            around.get(around.len().saturating_sub(1) / 2).copied().unwrap_or(Millis::MAX)
        };
        let is_gap = |(at, step): &(usize, &Millis)| **step > usual(*at).saturating_mul(GAP);
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

impl Key {
    /// Returns the values at a sample; `None` if the key did not exist.
    #[must_use]
    pub fn at(&self, pick: Pick) -> Option<Point> {
        match pick {
            Pick::Older(at) => self.older.as_ref()?.at(at),
            Pick::Kept(index, _) => self.kept.as_ref()?.at(index),
        }
    }

    /// Returns the number of trailing markers and the log start at a sample in memory.
    fn of_log(&self, index: Index) -> (i64, Option<i64>) {
        self.kept.as_ref().map_or((0, None), |kept| (kept.silent_tail(index), kept.log_start(index)))
    }

    /// Returns when the log end passed an offset that it is beyond at a sample, on the clock of [`Pick::time`]; `None`
    /// if that is unknown. Samples in memory and in the store are never combined, because their clocks differ. The
    /// result therefore does not depend on which samples were requested, except that the store has none before the
    /// first requested one.
    fn passed(&self, pick: Pick, offset: i64) -> Option<f64> {
        match pick {
            Pick::Older(at) => self.passed_in_store(at, offset),
            Pick::Kept(index, _) => match self.kept.as_ref()?.passed(index, offset)? {
                Passed::At(at) => Some(at),
                Passed::Before { oldest, newest } => before(oldest, newest, offset),
            },
        }
    }

    /// Returns whether the store has a gap between two of its samples.
    fn has_gap(&self, from: Pick, to: Pick) -> bool {
        match (from, to) {
            (Pick::Older(from), Pick::Older(to)) => self.older_times.has_gap(from, to),
            _ => false,
        }
    }

    /// Returns the same by the wall clock, which is the only clock of the store. The result is unknown across a gap, in
    /// which the clock may have been set, and where the log end decreased, because the clock was set back or the log
    /// was replaced.
    fn passed_in_store(&self, to: Millis, offset: i64) -> Option<f64> {
        let rows = self.older.as_ref()?.rows.iter().rev().filter(|(at, _)| *at <= to);
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
            let stood = self.older_times.before(beyond.0).map_or(at, |last| at.max(last));
            return (!self.older_times.has_gap(stood, to)).then(|| between((stood, end), beyond, offset));
        }
        None
    }
}

/// A request for samples of a source.
#[derive(Clone, Debug)]
pub struct Wanted {
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

impl Wanted {
    /// Returns a request for all groups within a time range, without bounds.
    #[must_use]
    pub fn all(times: RangeInclusive<Millis>) -> Self {
        let (groups, prefix, first, ages, bounds) = Default::default();
        Self { times, groups, prefix, first, ages, bounds }
    }
}

/// Predicate of the requested groups.
type HasGroup<'a> = Box<dyn Fn(&str) -> bool + Send + 'a>;

/// Reader of the keys of a source, in order.
pub struct Joined<'a> {
    reader: Reader<'a>,
    bounds: Bounds,
    /// The samples to read, in order.
    pub picks: Vec<Pick>,
    has_group: HasGroup<'a>,
    /// Groups in memory that have not been read yet.
    groups: VecDeque<Name>,
    /// The group in memory that is being read.
    group: Name,
    kept: Peekable<vec::IntoIter<tracks::Key>>,
    /// The next key of the store.
    older_next: Option<Archived>,
    older: ArchivedKeys,
    older_times: Arc<Times>,
    /// The last group of the store that was checked, and whether it is requested.
    known: Option<(Name, bool)>,
    /// The memory of groups and times.
    _reserved: Reserved,
}

impl std::fmt::Debug for Joined<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Joined").field("picks", &self.picks.len()).finish_non_exhaustive()
    }
}

impl<'a> Joined<'a> {
    /// Returns a reader of the requested samples of the groups that `has_group` accepts. `thin` may drop some of the
    /// samples. If there is a history store, this and the following calls block until it answers.
    ///
    /// # Errors
    /// The read was stopped, or exceeded its budget.
    pub fn new(
        cluster: &'a SourceCut,
        wanted: Wanted,
        has_group: impl Fn(&str) -> bool + Send + 'a,
        thin: impl FnOnce(Vec<Pick>) -> Vec<Pick>,
    ) -> Result<Self, ReadError> {
        let samples = &cluster.samples;
        let Wanted { times, mut groups, prefix, first, ages, bounds } = wanted;
        groups.iter_mut().for_each(|groups| groups.sort_unstable());
        // The oldest sample in memory; the store is read up to there.
        let seam = samples.moments().next().map_or(Millis::MAX, |(_, oldest)| oldest.at);
        let question = Question {
            source: cluster.source.id.clone(),
            times: *times.start()..=(*times.end()).min(seam.saturating_sub(1)),
            groups,
            prefix,
            first: first.clone(),
            bounds: bounds.clone(),
        };
        let store = cluster.cluster.older().filter(|_| !question.times.is_empty());
        let older = store.map(|store| store.ask(question)).transpose()?.flatten();
        let Older { times: older_times, keys: older } =
            older.unwrap_or_else(|| Older { times: vec![], keys: Box::new(std::iter::empty()) });
        let of_store = older_times.iter().map(|at| Pick::Older(*at));
        let kept = samples.moments().map(|(index, moment)| Pick::Kept(index, moment));
        let picks = thin(of_store.chain(kept.filter(|pick| times.contains(&pick.at()))).collect());
        let first_kept = picks.iter().find_map(|pick| match pick {
            Pick::Kept(index, _) => Some(*index),
            Pick::Older(_) => None,
        });
        let reader = Reader::new(cluster, first_kept.unwrap_or(0), bounds.clone()).with_ages(ages);
        let is_wanted = |id: &str| *id >= *first && has_group(id);
        let groups: VecDeque<Name> = first_kept.map(|_| reader.groups(is_wanted)).unwrap_or_default().into();
        let bytes = groups.len() * size_of::<Name>() + (picks.len() + older_times.len()) * size_of::<Pick>();
        let reserved = bounds.reserve(bytes)?;
        let mut joined = Self {
            reader,
            bounds,
            picks,
            has_group: Box::new(has_group),
            groups,
            group: Name::from(""),
            kept: vec![].into_iter().peekable(),
            older_next: None,
            older,
            older_times: Arc::new(Times::new(older_times)),
            known: None,
            _reserved: reserved,
        };
        joined.older_next = joined.older.next().transpose()?;
        Ok(joined)
    }

    /// Returns the next key that `wanted` accepts, ordered by group, topic and partition.
    ///
    /// # Errors
    /// The read was stopped, or exceeded its budget.
    pub fn next_key(&mut self, wanted: impl Fn(&str, i32) -> bool) -> Result<Option<(Name, Key)>, ReadError> {
        loop {
            self.bounds.check()?;
            self.fill(&wanted)?;
            let kept = self.kept.peek().map(|key| (&self.group, &key.topic, key.partition));
            let older = self.older_next.as_ref().map(|key| (&key.group, &key.topic, key.partition));
            let order = match (kept, older) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(kept), Some(older)) => kept.cmp(&older),
            };
            let kept = if order.is_le() { self.kept.next() } else { None };
            let older = if order.is_ge() { self.take_older()? } else { None };
            let older_times = Arc::clone(&self.older_times);
            match (kept, older) {
                (Some(kept), older) => {
                    let (topic, partition) = (Name::clone(&kept.topic), kept.partition);
                    let key = Key { topic, partition, kept: Some(kept), older, older_times };
                    return Ok(Some((Name::clone(&self.group), key)));
                }
                (None, Some(older)) if wanted(&older.topic, older.partition) && self.has_group(&older.group) => {
                    let (group, topic) = (Name::clone(&older.group), Name::clone(&older.topic));
                    let partition = older.partition;
                    return Ok(Some((group, Key { topic, partition, kept: None, older: Some(older), older_times })));
                }
                (None, _) => {}
            }
        }
    }

    /// Reads groups in memory until one has a key, or all are read.
    fn fill(&mut self, wanted: &impl Fn(&str, i32) -> bool) -> Result<(), ReadError> {
        while self.kept.peek().is_none() {
            self.kept = self.reader.next_keys()?.into_iter().peekable();
            if self.kept.peek().is_none() {
                let Some(group) = self.groups.pop_front() else { break };
                self.reader.begin(&group, wanted)?;
                self.group = group;
            }
        }
        Ok(())
    }

    fn take_older(&mut self) -> Result<Option<Archived>, ReadError> {
        let next = self.older.next().transpose()?;
        Ok(std::mem::replace(&mut self.older_next, next))
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
    passed: Option<(Pick, i64, Option<f64>)>,
}

impl Ages {
    /// Returns the seconds since the log end passed the committed offset or, if greater, the log start; 0 if nothing
    /// was unread. `None` if the age is unknown. In memory this is the case if the end did not move in the samples. In
    /// the store it is the case if the end had passed the offset before the first sample that was read, or if the
    /// unread offsets may be transaction markers.
    pub fn at(&mut self, key: &Key, pick: Pick, point: Point) -> Option<f64> {
        let Some(lag) = point.lag.filter(|lag| *lag > 0) else {
            self.passed = None;
            return point.lag.map(|_| 0.0);
        };
        let (silent_tail, log_start) = match pick {
            Pick::Older(_) if lag <= LONGEST => return None,
            Pick::Older(_) => (0, None),
            Pick::Kept(index, _) => key.of_log(index),
        };
        if lag <= silent_tail {
            return Some(0.0);
        }
        let next = point.committed_offset.max(log_start.unwrap_or(0));
        let is_alike = |known: Pick| {
            matches!((known, pick), (Pick::Kept(..), Pick::Kept(..)) | (Pick::Older(_), Pick::Older(_)))
                && !key.has_gap(known, pick)
        };
        let passed = match self.passed {
            Some((known, offset, at)) if offset == next && is_alike(known) => at,
            _ => key.passed(pick, next),
        };
        self.passed = Some((pick, next, passed));
        Some(((to_f64(pick.time()) - passed?) / 1000.0).max(0.0))
    }
}

#[cfg(test)]
mod tests;
