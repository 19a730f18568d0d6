//! Reader of the samples in memory: a line for each key that changed, and the current value for each that did not.
//!
//! Values are decoded in blocks, and their memory is charged to the budget of the read.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::HashMap;

use crate::{
    clock::Ticks,
    lag::MOST_EXTRAPOLATED,
    model::{Millis, Name},
    store::{
        cut::{GroupCut, SourceCut},
        ends::to_f64,
        history_store::{Bounds, Point, ReadError, Reserved},
        samples::{Line, SampleNumber, Samples, Series, Track},
    },
};

/// Maximum number of committed offsets decoded at a time: keys × samples.
const MAX_BLOCK_VALUES: usize = 1 << 18;
/// Number of partitions of a topic for which log ends are decoded together.
const BLOCK_PARTITIONS: i32 = 1024;
/// Maximum number of log ends cached for other groups that read the same topics: partitions × samples.
const MAX_CACHED_ENDS: usize = 1 << 20;

/// The values of one key.
#[derive(Debug)]
enum Values {
    /// The same value at all samples.
    Constant(i64),
    Tracks(Vec<Track>),
}

impl Values {
    /// Returns the value at a sample, the sample since which it has that value, and the sample since which the log is
    /// the same.
    fn at(&self, index: SampleNumber) -> Option<(SampleNumber, i64, SampleNumber)> {
        match self {
            Self::Constant(value) => Some((0, *value, 0)),
            Self::Tracks(tracks) => tracks.iter().find_map(|track| {
                let (since, value) = track.at(index)?;
                Some((since, value, if track.line.is_new_log { track.line.since } else { 0 }))
            }),
        }
    }
}

/// The log ends of a block of partitions of a topic.
#[derive(Debug)]
struct PartitionLogs {
    samples: Arc<Samples>,
    /// Log ends by partition.
    ends: BTreeMap<i32, Values>,
    /// Log starts by partition; empty unless ages are computed.
    starts: BTreeMap<i32, Values>,
    trailing: BTreeMap<i32, Values>,
    _reserved: Vec<Reserved>,
}

/// When a log end passed an offset, on the steady clock (ms). The wall clock may have been set in between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Passed {
    /// The time at which it passed.
    At(f64),
    /// It passed before the oldest sample.
    Before {
        /// Time and log end of the oldest sample.
        oldest: (Millis, i64),
        /// Time and log end of the newest sample.
        newest: (Millis, i64),
    },
}

/// Reads the samples of a source, beginning with one of them.
#[derive(Debug)]
pub struct MemoryReader<'a> {
    cluster: &'a SourceCut,
    from: SampleNumber,
    /// Whether keys return when log ends passed offsets, see [`MemoryReader::with_ages`].
    ages: bool,
    newest: Ticks,
    bounds: Bounds,
    /// Log ends by topic and block of partitions.
    logs: HashMap<(Name, i32), Arc<PartitionLogs>>,
    cached_ends: usize,
    /// Keys of the group that have not been returned yet, in order.
    pending: BTreeMap<(Name, i32), Values>,
    /// The memory of `pending`.
    reserved: Reserved,
    /// The lines of the group.
    series: Option<&'a Series>,
}

/// The samples of a key.
#[derive(Debug)]
pub struct MemoryKey {
    /// Topic name.
    pub topic: Name,
    /// Partition of the topic.
    pub partition: i32,
    committed: Values,
    logs: Arc<PartitionLogs>,
    /// The current log end, if the log is still the one that was sampled last.
    end_now: Option<i64>,
    next: SampleNumber,
    /// The memory of all keys that were decoded together.
    _reserved: Arc<Reserved>,
}

impl<'a> MemoryReader<'a> {
    /// Returns a reader. It begins with the oldest sample if `from` is no longer available.
    #[must_use]
    pub fn new(cluster: &'a SourceCut, from: SampleNumber, bounds: Bounds) -> Self {
        let samples = &cluster.samples;
        let newest = samples.newest().map_or(0, |newest| newest.ticks);
        let from = from.max(samples.first());
        let (logs, cached_ends, pending, reserved, series) = Default::default();
        Self { cluster, from, ages: false, newest, bounds, logs, cached_ends, pending, reserved, series }
    }

    /// Makes keys also return when log ends passed offsets, computed from all samples in memory.
    #[must_use]
    pub fn with_ages(self, ages: bool) -> Self {
        Self { ages, ..self }
    }

    /// Returns the ids of all groups in order, including groups that no longer exist but have samples.
    #[must_use]
    pub fn groups(&self, wanted: impl Fn(&str) -> bool) -> Vec<Name> {
        let present = self.cluster.groups().map(|group| &group.group.id);
        let mut ids: Vec<Name> =
            present.chain(self.cluster.samples.groups.keys()).filter(|id| wanted(id)).map(Name::clone).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Begins to read the keys of a group that `wanted` accepts.
    ///
    /// # Errors
    /// The read was stopped, or exceeded its budget.
    pub fn begin_group(&mut self, group: &Name, wanted: impl Fn(&str, i32) -> bool) -> Result<(), ReadError> {
        self.bounds.check()?;
        self.series = self.cluster.samples.groups.get(group).map(|series| &**series);
        let lines = self.series.into_iter().flat_map(Series::lines).map(|line| (&line.topic, line.partition));
        self.pending = lines
            .filter(|(topic, partition)| wanted(topic, *partition))
            .map(|(topic, partition)| ((Name::clone(topic), partition), Values::Tracks(vec![])))
            .collect();
        let newest = self.newest;
        let current = self.cluster.group(group).into_iter().flat_map(|group| current_offsets(group, newest));
        for (topic, partition, value) in current.filter(|(topic, partition, _)| wanted(topic, *partition)) {
            self.pending.entry((Name::clone(topic), partition)).or_insert(Values::Constant(value));
        }
        // Twice the entries, because the nodes of a B-tree are partly empty.
        self.reserved = self.bounds.reserve(2 * self.pending.len() * size_of::<((Name, i32), Values)>())?;
        Ok(())
    }

    /// Returns the next keys of the group, ordered by topic and partition; an empty list at the end.
    ///
    /// # Errors
    /// The read was stopped, or exceeded its budget.
    pub fn next_keys(&mut self) -> Result<Vec<MemoryKey>, ReadError> {
        self.bounds.check()?;
        let next = self.cluster.samples.next();
        let most = (MAX_BLOCK_VALUES / (next.saturating_sub(self.from) as usize).max(1)).max(1);
        let mut found: BTreeMap<(Name, i32), Values> =
            std::iter::from_fn(|| self.pending.pop_first()).take(most).collect();
        let is_found = |line: &Line| {
            let values = found.get(&(Name::clone(&line.topic), line.partition));
            values.is_some_and(|values| matches!(values, Values::Tracks(_)))
        };
        let (tracks, reserved) = self.decode(self.series, self.from, is_found)?;
        for track in tracks {
            add(&mut found, (Name::clone(&track.line.topic), track.line.partition), track);
        }
        let reserved = Arc::new(reserved);
        let key = |((topic, partition), committed)| {
            let (logs, end_now) = (self.logs(&topic, partition)?, self.end_now(&topic, partition));
            Ok(MemoryKey { topic, partition, committed, logs, end_now, next, _reserved: Arc::clone(&reserved) })
        };
        found.into_iter().map(key).collect()
    }

    /// Returns the values of lines, and the memory reserved for them.
    fn decode(
        &self,
        series: Option<&Series>,
        from: SampleNumber,
        wanted: impl Fn(&Line) -> bool,
    ) -> Result<(Vec<Track>, Reserved), ReadError> {
        let Some(series) = series else { return Ok(<_>::default()) };
        let samples = self.cluster.samples.next().saturating_sub(from) as usize + 1;
        let mut tracks = series.tracks(from, wanted);
        let most = tracks.len() * (size_of::<Track>() + samples * size_of::<(SampleNumber, i64)>());
        let mut reserved = self.bounds.reserve(most)?;
        series.fill(from, &mut tracks);
        reserved.resize(tracks.iter().map(Track::bytes).sum())?;
        Ok((tracks, reserved))
    }

    /// Returns the log ends of the block that a partition belongs to.
    fn logs(&mut self, topic: &Name, partition: i32) -> Result<Arc<PartitionLogs>, ReadError> {
        let block = partition.div_euclid(BLOCK_PARTITIONS);
        let key = (Name::clone(topic), block);
        if let Some(known) = self.logs.get(&key) {
            return Ok(Arc::clone(known));
        }
        if self.cached_ends > MAX_CACHED_ENDS {
            self.logs.clear();
            self.cached_ends = 0;
        }
        let samples = Arc::clone(&self.cluster.samples);
        let from = if self.ages { samples.first() } else { self.from };
        let (mut ends, reserved) = self.values(samples.topics.get(topic), from, block)?;
        self.add_constant_ends(topic, block, &mut ends);
        let mut logs = PartitionLogs {
            samples,
            ends,
            starts: BTreeMap::new(),
            trailing: BTreeMap::new(),
            _reserved: vec![reserved],
        };
        if self.ages {
            let (starts, of_starts) = self.values(logs.samples.starts.get(topic), from, block)?;
            let (mut trailing, of_trailing) = self.values(logs.samples.trailing.get(topic), from, block)?;
            let now = logs.samples.trailing_now.get(topic).into_iter().flatten();
            for (partition, count) in now.filter(|(partition, _)| partition.div_euclid(BLOCK_PARTITIONS) == block) {
                trailing.entry(*partition).or_insert(Values::Constant(*count));
            }
            (logs.starts, logs.trailing) = (starts, trailing);
            logs._reserved.extend([of_starts, of_trailing]);
        }
        let logs = Arc::new(logs);
        self.logs.insert(key, Arc::clone(&logs));
        Ok(logs)
    }

    /// Returns the values of the lines of a block, by partition.
    fn values(
        &mut self,
        series: Option<&Arc<Series>>,
        from: SampleNumber,
        block: i32,
    ) -> Result<(BTreeMap<i32, Values>, Reserved), ReadError> {
        let is_in_block = |line: &Line| line.partition.div_euclid(BLOCK_PARTITIONS) == block;
        let (tracks, reserved) = self.decode(series.map(|series| &**series), from, is_in_block)?;
        let mut found: BTreeMap<i32, Values> = BTreeMap::new();
        for track in tracks {
            self.cached_ends += track.values.len();
            add(&mut found, track.line.partition, track);
        }
        Ok((found, reserved))
    }

    /// Adds the log ends that did not move, as of the newest sample. A log that is newer than that sample has no
    /// samples.
    fn add_constant_ends(&self, topic: &Name, block: i32, ends: &mut BTreeMap<i32, Values>) {
        let of = &self.cluster.ends;
        let partitions = of.topic(topic).into_iter().flat_map(|topic| topic.partitions.iter().zip(0..));
        for (partition, number) in partitions.filter(|(_, number)| number / BLOCK_PARTITIONS == block) {
            if of.value(*partition).since > self.newest {
                continue;
            }
            let known = of.samples_of(*partition).rev().find(|(taken, _)| *taken <= self.newest);
            let end = known.map_or_else(|| of.value(*partition).log_end, |(_, end)| end);
            if end >= 0 {
                ends.entry(number).or_insert(Values::Constant(end));
            }
        }
    }

    fn end_now(&self, topic: &str, partition: i32) -> Option<i64> {
        let topic = self.cluster.ends.topic(topic)?;
        let value = self.cluster.ends.value(*topic.partitions.get(usize::try_from(partition).ok()?)?);
        (value.log_end >= 0 && value.since <= self.newest).then_some(value.log_end)
    }
}

/// Returns the current offsets of a group, as of the newest sample. They are the values at all samples of the keys
/// without a line.
fn current_offsets(group: GroupCut<'_>, newest: Ticks) -> impl Iterator<Item = (&Name, i32, i64)> {
    let windows = group.source.windows.group(&group.group.id);
    let is_live = group.group.live_commits > 0;
    group.group.entries().enumerate().filter_map(move |(position, entry)| {
        let value = match windows.and_then(|windows| windows.get(position, &entry)) {
            Some(window) => window.committed_offset,
            None if !is_live || entry.row.applied < newest => entry.row.committed_offset,
            // Committed after the newest sample.
            None => return None,
        };
        Some((entry.topic, entry.row.partition, value))
    })
}

fn add<K: Ord>(found: &mut BTreeMap<K, Values>, key: K, track: Track) {
    match found.entry(key).or_insert_with(|| Values::Tracks(vec![])) {
        Values::Tracks(tracks) => tracks.push(track),
        Values::Constant(_) => {}
    }
}

/// Returns when a log end passed an offset, interpolated between two samples around it.
pub(super) fn between(from: (Millis, i64), to: (Millis, i64), offset: i64) -> f64 {
    let part = to_f64(offset.saturating_sub(from.1)) / to_f64(to.1.saturating_sub(from.1).max(1));
    to_f64(from.0) + part.clamp(0.0, 1.0) * to_f64(to.0.saturating_sub(from.0))
}

/// Returns when a log end passed an offset before both samples, extrapolated at the rate between them. `None` if the
/// end did not move, or if the result would lie too far back (see [`MOST_EXTRAPOLATED`]).
pub(super) fn before(from: (Millis, i64), to: (Millis, i64), offset: i64) -> Option<f64> {
    let moved = to_f64(to.1.saturating_sub(from.1));
    let took = to_f64(to.0.saturating_sub(from.0));
    let extrapolated = to_f64(from.1.saturating_sub(offset)) * took / moved;
    (moved > 0.0 && extrapolated <= took * MOST_EXTRAPOLATED).then(|| to_f64(from.0) - extrapolated)
}

impl MemoryKey {
    /// Returns the values at a sample; `None` if the key did not exist.
    #[must_use]
    pub fn at(&self, index: SampleNumber) -> Option<Point> {
        let (since, committed_offset, _) = self.committed.at(index)?;
        let ends = self.logs.ends.get(&self.partition);
        let end = ends.and_then(|ends| ends.at(index));
        let lag = end.and_then(|(_, end, renewed)| {
            // The commit belongs to the topic that existed before under the same name.
            let is_earlier = since < renewed;
            (!is_earlier).then(|| self.lag(committed_offset, end, index)).flatten()
        });
        Some(Point { committed_offset, log_end_offset: end.map(|(_, end, _)| end), lag })
    }

    /// Returns the lag. If the log end is lower than the commit, the lag is 0 if the next sample shows that the end was
    /// only polled before the commit, and unknown otherwise.
    fn lag(&self, committed: i64, end: i64, index: SampleNumber) -> Option<i64> {
        if end >= committed {
            return end.checked_sub(committed);
        }
        let after = match index + 1 {
            next if next < self.next => self.logs.ends.get(&self.partition)?.at(next).map(|(_, end, _)| end),
            _ => self.end_now,
        };
        after.filter(|after| *after >= committed).map(|_| 0)
    }

    /// Returns the log start at a sample: the first offset that is not deleted.
    #[must_use]
    pub fn log_start(&self, index: SampleNumber) -> Option<i64> {
        self.logs.starts.get(&self.partition)?.at(index).map(|(_, start, _)| start)
    }

    /// Returns the number of trailing markers at a sample: offsets before the log end that no consumer receives.
    #[must_use]
    pub fn trailing_markers(&self, index: SampleNumber) -> i64 {
        self.logs.trailing.get(&self.partition).and_then(|trailing| trailing.at(index)).map_or(0, |(_, count, _)| count)
    }

    /// Returns when the log end passed an offset that it is beyond at a sample, interpolated between samples. `None` if
    /// that is unknown.
    #[must_use]
    pub fn passed(&self, index: SampleNumber, offset: i64) -> Option<Passed> {
        let samples = &self.logs.samples;
        let (oldest, newest) = (samples.time(samples.first())?.steady(), samples.newest()?.steady());
        let tracks = match self.logs.ends.get(&self.partition)? {
            Values::Constant(end) => return Some(Passed::Before { oldest: (oldest, *end), newest: (newest, *end) }),
            Values::Tracks(tracks) => tracks,
        };
        let track = tracks.iter().find(|track| track.has(index))?;
        let after = track.values.partition_point(|(_, end)| *end <= offset);
        let (beyond, end) = *track.values.get(after)?;
        let to = samples.time(beyond)?;
        match after.checked_sub(1).and_then(|before| track.values.get(before)) {
            Some((_, before)) => {
                let from = samples.time(beyond.checked_sub(1)?)?;
                Some(Passed::At(between((from.steady(), *before), (to.steady(), end), offset)))
            }
            None if beyond <= samples.first() => {
                Some(Passed::Before { oldest: (oldest, end), newest: (newest, track.line.last) })
            }
            // The log was created between two samples.
            None => Some(Passed::At(to_f64(to.steady()))),
        }
    }
}

/// The rates at which the log starts of one topic advance, over the samples in memory. This is the rate at which
/// retention deletes records.
#[derive(Debug)]
pub struct StartRates {
    /// Rates by partition, of those with a log start that moved (records per second).
    moved: BTreeMap<i32, f64>,
    /// Whether there are at least two samples, so that the other rates are 0.
    known: bool,
}

impl StartRates {
    /// Returns the rates of a topic.
    #[must_use]
    pub fn new(cluster: &SourceCut, topic: &str) -> Self {
        let samples = &cluster.samples;
        let (first, newest) = (samples.times().next().map(|(_, moment)| moment), samples.newest());
        let known = samples.times().len() > 1;
        let mut moved = BTreeMap::new();
        let tracks =
            samples.starts.get(topic).into_iter().flat_map(|series| series.read(samples.first(), Line::is_open));
        for track in tracks {
            let since = samples.time(track.line.since).or(first);
            let seconds = newest.zip(since).map(|(newest, since)| newest.ticks.saturating_sub(since.ticks));
            let seconds = f64::from(seconds.unwrap_or(0)) / 10.0;
            if let Some((_, start)) = track.values.first().filter(|_| seconds > 0.0) {
                moved.insert(track.line.partition, to_f64(track.line.last.saturating_sub(*start)) / seconds);
            }
        }
        Self { moved, known }
    }

    /// Returns the records deleted per second, if known.
    #[must_use]
    pub fn of(&self, partition: i32) -> Option<f64> {
        self.moved.get(&partition).copied().or(self.known.then_some(0.0))
    }
}
