//! Samples in memory and those of the history store as one: the older part ends where memory begins.

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

/// A sample.
#[derive(Clone, Copy, Debug)]
pub enum Pick {
    /// In a store, by its time.
    Older(Millis),
    /// In memory.
    Kept(Index, Moment),
}

impl Pick {
    /// When, on the wall clock.
    #[must_use]
    pub fn at(&self) -> Millis {
        match self {
            Self::Older(at) => *at,
            Self::Kept(_, moment) => moment.at,
        }
    }

    /// When (ms), on the clock that its age is told by: the steady one, which the store does not have.
    fn time(&self) -> Millis {
        match self {
            Self::Older(at) => *at,
            Self::Kept(_, moment) => moment.steady(),
        }
    }

    /// Seconds since another.
    #[must_use]
    pub fn since(&self, before: &Self) -> f64 {
        let millis = match (before, self) {
            (Self::Kept(_, before), Self::Kept(_, after)) => i64::from(after.ticks.saturating_sub(before.ticks)) * 100,
            (before, after) => after.at().saturating_sub(before.at()),
        };
        to_f64(millis) / 1000.0
    }
}

/// A key, in memory, in the store, or both.
#[derive(Debug)]
pub struct Key {
    /// Topic name.
    pub topic: Name,
    /// Partition of the topic.
    pub partition: i32,
    kept: Option<tracks::Key>,
    older: Option<Archived>,
    /// The times of the samples in the store.
    older_times: Arc<Times>,
}

/// The times of the samples in a store that were asked for, on the wall clock, in order.
#[derive(Debug, Default)]
struct Times {
    all: Vec<Millis>,
    /// Those before which no sample was taken for several times as long as around them: the server did not run, or the
    /// clock was set.
    after_gaps: Vec<Millis>,
}

/// A gap is more than so many times as long as the time between samples around it usually is.
const GAP: Millis = 3;
/// So many of those times on either side say what is usual.
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

    /// The last before a time.
    fn before(&self, time: Millis) -> Option<Millis> {
        self.all.get(self.all.partition_point(|at| *at < time).checked_sub(1)?).copied()
    }

    /// Whether there is a gap between two times.
    fn has_gap(&self, from: Millis, to: Millis) -> bool {
        let next = self.after_gaps.partition_point(|at| *at <= from);
        self.after_gaps.get(next).is_some_and(|at| *at <= to)
    }
}

impl Key {
    /// What it was at a sample.
    #[must_use]
    pub fn at(&self, pick: Pick) -> Option<Point> {
        match pick {
            Pick::Older(at) => self.older.as_ref()?.at(at),
            Pick::Kept(index, _) => self.kept.as_ref()?.at(index),
        }
    }

    /// How many offsets before the log end held nothing to read, and the log start, at a sample in memory.
    fn of_log(&self, index: Index) -> (i64, Option<i64>) {
        self.kept.as_ref().map_or((0, None), |kept| (kept.silent_tail(index), kept.log_start(index)))
    }

    /// When the log end passed an offset, on the clock of [`Pick::time`], which it is beyond at a sample. A sample in memory
    /// is told by those in memory, all of them, and one in the store by those there: which others were asked for changes no
    /// answer, but that in the store there may be none. `None` when nothing can tell.
    fn passed(&self, pick: Pick, offset: i64) -> Option<f64> {
        match pick {
            Pick::Older(at) => self.passed_in_store(at, offset),
            Pick::Kept(index, _) => match self.kept.as_ref()?.passed(index, offset)? {
                Passed::At(at) => Some(at),
                Passed::Before { oldest, newest } => before(oldest, newest, offset),
            },
        }
    }

    /// Whether the store has a gap between two of its samples.
    fn has_gap(&self, from: Pick, to: Pick) -> bool {
        match (from, to) {
            (Pick::Older(from), Pick::Older(to)) => self.older_times.has_gap(from, to),
            _ => false,
        }
    }

    /// By the wall clock, which is all that the store has. Nothing can tell across a gap, in which the clock may have been
    /// set, and where the end went back: the clock was set back there, or the log is another one.
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
            // A row stands until the next: until the last sample before it.
            let stood = self.older_times.before(beyond.0).map_or(at, |last| at.max(last));
            return (!self.older_times.has_gap(stood, to)).then(|| between((stood, end), beyond, offset));
        }
        None
    }
}

/// Which samples of a cluster are wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// When, on the wall clock.
    pub times: RangeInclusive<Millis>,
    /// Only these groups; `None`: all.
    pub groups: Option<Vec<String>>,
    /// Only groups whose id starts so.
    pub prefix: String,
    /// Only groups from this id on.
    pub first: String,
    /// The keys are to tell ages.
    pub ages: bool,
    /// What bounds the read.
    pub bounds: Bounds,
}

impl Wanted {
    /// All groups at some times, without a bound.
    #[must_use]
    pub fn all(times: RangeInclusive<Millis>) -> Self {
        let (groups, prefix, first, ages, bounds) = Default::default();
        Self { times, groups, prefix, first, ages, bounds }
    }
}

/// Whether a group is wanted.
type HasGroup<'a> = Box<dyn Fn(&str) -> bool + Send + 'a>;

/// The keys of a cluster, one by one.
pub struct Joined<'a> {
    reader: Reader<'a>,
    bounds: Bounds,
    /// The samples that are looked at, in order.
    pub picks: Vec<Pick>,
    has_group: HasGroup<'a>,
    /// Groups in memory that are still to come.
    groups: VecDeque<Name>,
    /// The group in memory that is read.
    group: Name,
    kept: Peekable<vec::IntoIter<tracks::Key>>,
    /// The next key of the store.
    older_next: Option<Archived>,
    older: ArchivedKeys,
    older_times: Arc<Times>,
    /// The group that was asked for last, and whether it is wanted.
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
    /// Returns the samples that are wanted, of groups that `has_group` accepts; `thin` leaves some of them out. Where there
    /// is a history store, this and what follows may wait for it.
    ///
    /// # Errors
    /// The read was stopped, or is over its budget.
    pub fn new(
        cluster: &'a SourceCut,
        wanted: Wanted,
        has_group: impl Fn(&str) -> bool + Send + 'a,
        thin: impl FnOnce(Vec<Pick>) -> Vec<Pick>,
    ) -> Result<Self, ReadError> {
        let samples = &cluster.samples;
        let Wanted { times, mut groups, prefix, first, ages, bounds } = wanted;
        groups.iter_mut().for_each(|groups| groups.sort_unstable());
        // Where memory begins.
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

    /// Returns the next key that is wanted, ordered by group, topic and partition.
    ///
    /// # Errors
    /// The read was stopped, or is over its budget.
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

    /// Reads on in memory until there is a key, or no group any more.
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

    /// Returns whether a group of the store is wanted: evaluated once for all its keys.
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

/// The ages of one key's oldest unread records, asked for in the order of time.
#[derive(Debug, Default)]
pub struct Ages {
    /// The last sample asked for, an offset, and when the log end passed it, if anything can tell.
    passed: Option<(Pick, i64, Option<f64>)>,
}

impl Ages {
    /// Returns the seconds since the log end passed what was committed, or the log start; 0 where there was nothing to read.
    /// `None` when nothing can tell: the end did not move in the samples in memory, or, in the store, it was beyond before
    /// the first that was asked for, or what is left may be markers of transactions.
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
