//! What the samples in memory say of each key: lines where it changed, and what it is now where it did not.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::HashMap;

use crate::{
    clock::Ticks,
    lag::MOST_EXTRAPOLATED,
    model::{Millis, Name},
    store::{
        cut::{ClusterCut, GroupCut},
        ends::to_f64,
        older::Point,
        samples::{Index, Samples, Series, Track},
    },
};

/// Values of one key, line after line.
#[derive(Clone, Debug)]
enum Values {
    /// At every sample the same.
    Constant(i64),
    Tracks(Vec<Track>),
}

impl Values {
    /// The value at a sample, since when, and since when the log is not that of before.
    fn at(&self, index: Index) -> Option<(Index, i64, Index)> {
        match self {
            Self::Constant(value) => Some((0, *value, 0)),
            Self::Tracks(tracks) => tracks.iter().find_map(|track| {
                let (since, value) = track.at(index)?;
                Some((since, value, if track.line.renewed { track.line.since } else { 0 }))
            }),
        }
    }
}

/// What the logs of a topic were.
#[derive(Debug)]
struct Logs {
    samples: Arc<Samples>,
    /// By partition.
    ends: BTreeMap<i32, Values>,
    /// Where ages are wanted.
    starts: BTreeMap<i32, Values>,
    tails: BTreeMap<i32, Values>,
}

/// When a log end passed an offset, on the steady clock (ms): the wall clock may have been set meanwhile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Passed {
    /// Then.
    At(f64),
    /// Before the oldest sample: the log end was beyond it already.
    Before {
        /// When the oldest sample was taken, and the end then.
        oldest: (Millis, i64),
        /// The same of the newest.
        newest: (Millis, i64),
    },
}

/// Samples of partitions that are kept for the next group that reads the same topic.
const LOGS_KEPT: usize = 1 << 20;

/// Reads the samples of a cluster from one on.
#[derive(Debug)]
pub struct Reader<'a> {
    cluster: &'a ClusterCut,
    from: Index,
    /// Whether keys are to tell when log ends passed offsets, see [`Reader::with_ages`].
    ages: bool,
    newest: Ticks,
    logs: HashMap<Name, Arc<Logs>>,
    logs_kept: usize,
}

/// A key and what it was.
#[derive(Clone, Debug)]
pub struct Key {
    /// Topic name.
    pub topic: Name,
    /// Partition of the topic.
    pub partition: i32,
    committed: Values,
    logs: Arc<Logs>,
    /// The log end now, of the log that was sampled last.
    end_now: Option<i64>,
    next: Index,
}

impl<'a> Reader<'a> {
    /// A reader; `from` is moved to the oldest sample there is.
    #[must_use]
    pub fn new(cluster: &'a ClusterCut, from: Index) -> Self {
        let samples = &cluster.samples;
        let newest = samples.newest().map_or(0, |newest| newest.ticks);
        Self { cluster, from: from.max(samples.first()), ages: false, newest, logs: HashMap::new(), logs_kept: 0 }
    }

    /// One that can tell, too, when log ends passed offsets, by all samples there are.
    #[must_use]
    pub fn with_ages(self, ages: bool) -> Self {
        Self { ages, ..self }
    }

    /// Ids of all groups, those that are gone included, in order.
    #[must_use]
    pub fn groups(&self, wanted: impl Fn(&str) -> bool) -> Vec<Name> {
        let present = self.cluster.groups().map(|group| &group.group.id);
        let mut ids: Vec<Name> =
            present.chain(self.cluster.samples.groups.keys()).filter(|id| wanted(id)).map(Name::clone).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The keys of a group that are wanted, ordered by topic and partition.
    pub fn keys(&mut self, group: &Name, wanted: impl Fn(&str, i32) -> bool) -> Vec<Key> {
        let mut found: BTreeMap<(Name, i32), Values> = BTreeMap::new();
        if let Some(series) = self.cluster.samples.groups.get(group) {
            for track in series.read(self.from) {
                let Some(topic) = series.topic(&track.line).filter(|topic| wanted(topic, track.line.partition)) else {
                    continue;
                };
                add(&mut found, (Name::clone(topic), track.line.partition), track);
            }
        }
        if let Some(group) = self.cluster.group(group) {
            for (topic, partition, value) in self.plain(group) {
                if wanted(topic, partition) {
                    found.entry((Name::clone(topic), partition)).or_insert(Values::Constant(value));
                }
            }
        }
        let next = self.cluster.samples.next();
        let key = |((topic, partition), committed)| {
            let logs = self.logs(&topic);
            let end_now = self.end_now(&topic, partition);
            Key { topic, partition, committed, logs, end_now, next }
        };
        found.into_iter().map(key).collect()
    }

    /// The present offsets of a group as of the newest sample: what they were at all of them, where there is no line.
    fn plain(&self, group: GroupCut<'a>) -> impl Iterator<Item = (&'a Name, i32, i64)> + use<'a> {
        let windows = group.cluster.windows.group(&group.group.id);
        let (newest, is_live) = (self.newest, group.group.live_commits > 0);
        group.group.entries().enumerate().filter_map(move |(position, entry)| {
            let value = match windows.and_then(|windows| windows.get(position, &entry)) {
                Some(window) => window.committed_offset,
                None if !is_live || entry.row.applied < newest => entry.row.committed_offset,
                // Committed since: nobody sampled it yet.
                None => return None,
            };
            Some((entry.topic, entry.row.partition, value))
        })
    }

    fn logs(&mut self, topic: &Name) -> Arc<Logs> {
        if let Some(known) = self.logs.get(topic) {
            return Arc::clone(known);
        }
        let samples = Arc::clone(&self.cluster.samples);
        let from = if self.ages { samples.first() } else { self.from };
        let mut ends = self.values(samples.topics.get(topic), from);
        self.add_plain_ends(topic, &mut ends);
        let (mut starts, mut tails) = (BTreeMap::new(), BTreeMap::new());
        if self.ages {
            starts = self.values(samples.starts.get(topic), from);
            tails = self.values(samples.tails.get(topic), from);
            for (partition, tail) in samples.tails_now.get(topic).into_iter().flatten() {
                tails.entry(*partition).or_insert(Values::Constant(*tail));
            }
        }
        if self.logs_kept > LOGS_KEPT {
            self.logs.clear();
            self.logs_kept = 0;
        }
        let logs = Arc::new(Logs { samples, ends, starts, tails });
        self.logs.insert(Name::clone(topic), Arc::clone(&logs));
        logs
    }

    /// What lines say, by partition.
    fn values(&mut self, series: Option<&Arc<Series>>, from: Index) -> BTreeMap<i32, Values> {
        let mut found: BTreeMap<i32, Values> = BTreeMap::new();
        for track in series.into_iter().flat_map(|series| series.read(from)) {
            self.logs_kept += track.values.len();
            add(&mut found, track.line.partition, track);
        }
        found
    }

    /// Adds the log ends that did not move: as of the newest sample, not as of now. A log that is newer has no samples.
    fn add_plain_ends(&self, topic: &Name, ends: &mut BTreeMap<i32, Values>) {
        let of = &self.cluster.ends;
        for (partition, number) in of.topic(topic).iter().flat_map(|topic| topic.partitions.iter().zip(0..)) {
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

fn add<K: Ord>(found: &mut BTreeMap<K, Values>, key: K, track: Track) {
    match found.entry(key).or_insert_with(|| Values::Tracks(vec![])) {
        Values::Tracks(tracks) => tracks.push(track),
        Values::Constant(_) => {}
    }
}

/// When an end passed an offset, between one time and another at which it was beyond.
pub(super) fn between(from: (Millis, i64), to: (Millis, i64), offset: i64) -> f64 {
    let part = to_f64(offset.saturating_sub(from.1)) / to_f64(to.1.saturating_sub(from.1).max(1));
    to_f64(from.0) + part.clamp(0.0, 1.0) * to_f64(to.0.saturating_sub(from.0))
}

/// The same, before both, as if it had moved at the same rate; `None` where it did not, or would have for much longer than
/// was seen.
pub(super) fn before(from: (Millis, i64), to: (Millis, i64), offset: i64) -> Option<f64> {
    let moved = to_f64(to.1.saturating_sub(from.1));
    let took = to_f64(to.0.saturating_sub(from.0));
    let extrapolated = to_f64(from.1.saturating_sub(offset)) * took / moved;
    (moved > 0.0 && extrapolated <= took * MOST_EXTRAPOLATED).then(|| to_f64(from.0) - extrapolated)
}

impl Key {
    /// What it was at a sample; `None` if it was not there.
    #[must_use]
    pub fn at(&self, index: Index) -> Option<Point> {
        let (since, committed_offset, _) = self.committed.at(index)?;
        let ends = self.logs.ends.get(&self.partition);
        let end = ends.and_then(|ends| ends.at(index));
        let lag = end.and_then(|(_, end, renewed)| {
            // Committed to the topic that was there before.
            let is_earlier = since < renewed;
            (!is_earlier).then(|| self.lag(committed_offset, end, index)).flatten()
        });
        Some(Point { committed_offset, log_end_offset: end.map(|(_, end, _)| end), lag })
    }

    /// The log end is a little older than the commit, as the one after it shows; else nobody knows.
    fn lag(&self, committed: i64, end: i64, index: Index) -> Option<i64> {
        if end >= committed {
            return end.checked_sub(committed);
        }
        let after = match index + 1 {
            next if next < self.next => self.logs.ends.get(&self.partition)?.at(next).map(|(_, end, _)| end),
            _ => self.end_now,
        };
        after.filter(|after| *after >= committed).map(|_| 0)
    }

    /// The first offset after those that were deleted, at a sample.
    #[must_use]
    pub fn log_start(&self, index: Index) -> Option<i64> {
        self.logs.starts.get(&self.partition)?.at(index).map(|(_, start, _)| start)
    }

    /// How many offsets before the log end held nothing to read, at a sample.
    #[must_use]
    pub fn silent_tail(&self, index: Index) -> i64 {
        self.logs.tails.get(&self.partition).and_then(|tails| tails.at(index)).map_or(0, |(_, tail, _)| tail)
    }

    /// When the log end passed an offset, which it is beyond at a sample: in between two samples, as if it had moved
    /// steadily. `None` when nothing can tell.
    #[must_use]
    pub fn passed(&self, index: Index, offset: i64) -> Option<Passed> {
        let samples = &self.logs.samples;
        let (oldest, newest) = (samples.moment(samples.first())?.steady(), samples.newest()?.steady());
        let tracks = match self.logs.ends.get(&self.partition)? {
            Values::Constant(end) => return Some(Passed::Before { oldest: (oldest, *end), newest: (newest, *end) }),
            Values::Tracks(tracks) => tracks,
        };
        let track = tracks.iter().find(|track| track.has(index))?;
        let after = track.values.partition_point(|(_, end)| *end <= offset);
        let (beyond, end) = *track.values.get(after)?;
        let to = samples.moment(beyond)?;
        match after.checked_sub(1).and_then(|before| track.values.get(before)) {
            Some((_, before)) => {
                let from = samples.moment(beyond.checked_sub(1)?)?;
                Some(Passed::At(between((from.steady(), *before), (to.steady(), end), offset)))
            }
            None if beyond <= samples.first() => {
                Some(Passed::Before { oldest: (oldest, end), newest: (newest, track.line.last) })
            }
            // The log came into being between two samples.
            None => Some(Passed::At(to_f64(to.steady()))),
        }
    }

    /// Whether it is there at the newest sample.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match &self.committed {
            Values::Constant(_) => true,
            Values::Tracks(tracks) => tracks.iter().any(|track| track.line.is_open()),
        }
    }
}
