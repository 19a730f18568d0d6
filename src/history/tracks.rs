//! What the samples in memory say of each key: lines where it changed, and what it is now where it did not.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::HashMap;

use crate::{
    clock::Ticks,
    model::Name,
    store::{
        cut::{ClusterCut, GroupCut},
        older::Point,
        samples::{Index, OPEN, Track},
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

/// Log ends of a topic, by partition.
type TopicEnds = BTreeMap<i32, Values>;

/// Samples of partitions that are kept for the next group that reads the same topic.
const ENDS_KEPT: usize = 1 << 20;

/// Reads the samples of a cluster from one on.
#[derive(Debug)]
pub struct Reader<'a> {
    cluster: &'a ClusterCut,
    from: Index,
    newest: Ticks,
    ends: HashMap<Name, Arc<TopicEnds>>,
    ends_kept: usize,
}

/// A key and what it was.
#[derive(Clone, Debug)]
pub struct Key {
    /// Topic name.
    pub topic: Name,
    /// Partition of the topic.
    pub partition: i32,
    committed: Values,
    ends: Arc<TopicEnds>,
    /// The log end now.
    end_now: Option<i64>,
    next: Index,
}

impl<'a> Reader<'a> {
    /// A reader; `from` is moved to the oldest sample there is.
    #[must_use]
    pub fn new(cluster: &'a ClusterCut, from: Index) -> Self {
        let samples = &cluster.samples;
        let newest = samples.newest().map_or(0, |newest| newest.ticks);
        Self { cluster, from: from.max(samples.first()), newest, ends: HashMap::new(), ends_kept: 0 }
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
            let ends = self.ends(&topic);
            let end_now = self.end_now(&topic, partition);
            Key { topic, partition, committed, ends, end_now, next }
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

    fn ends(&mut self, topic: &Name) -> Arc<TopicEnds> {
        if let Some(known) = self.ends.get(topic) {
            return Arc::clone(known);
        }
        let mut found: BTreeMap<(Name, i32), Values> = BTreeMap::new();
        let series = self.cluster.samples.topics.get(topic);
        for track in series.iter().flat_map(|series| series.read(self.from)) {
            self.ends_kept += track.values.len();
            add(&mut found, (Name::clone(topic), track.line.partition), track);
        }
        let mut ends: TopicEnds = found.into_iter().map(|((_, partition), values)| (partition, values)).collect();
        let of = &self.cluster.ends;
        // As of the newest sample, not as of now.
        let then = || of.samples.iter().rev().filter(|sample| sample.taken <= self.newest);
        for (partition, number) in of.topic(topic).iter().flat_map(|topic| topic.partitions.iter().zip(0..)) {
            let known = then().find_map(|sample| sample.ends.get(partition.slot as usize).filter(|end| **end >= 0));
            let end = known.copied().unwrap_or_else(|| of.value(*partition).log_end);
            if end >= 0 {
                ends.entry(number).or_insert(Values::Constant(end));
            }
        }
        if self.ends_kept > ENDS_KEPT {
            self.ends.clear();
            self.ends_kept = 0;
        }
        let ends = Arc::new(ends);
        self.ends.insert(Name::clone(topic), Arc::clone(&ends));
        ends
    }

    fn end_now(&self, topic: &str, partition: i32) -> Option<i64> {
        let topic = self.cluster.ends.topic(topic)?;
        let value = self.cluster.ends.value(*topic.partitions.get(usize::try_from(partition).ok()?)?);
        (value.log_end >= 0).then_some(value.log_end)
    }
}

fn add(found: &mut BTreeMap<(Name, i32), Values>, key: (Name, i32), track: Track) {
    match found.entry(key).or_insert_with(|| Values::Tracks(vec![])) {
        Values::Tracks(tracks) => tracks.push(track),
        Values::Constant(_) => {}
    }
}

impl Key {
    /// What it was at a sample; `None` if it was not there.
    #[must_use]
    pub fn at(&self, index: Index) -> Option<Point> {
        let (since, committed_offset, _) = self.committed.at(index)?;
        let ends = self.ends.get(&self.partition);
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
            next if next < self.next => self.ends.get(&self.partition)?.at(next).map(|(_, end, _)| end),
            _ => self.end_now,
        };
        after.filter(|after| *after >= committed).map(|_| 0)
    }

    /// Whether it is there at the newest sample.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match &self.committed {
            Values::Constant(_) => true,
            Values::Tracks(tracks) => tracks.iter().any(|track| track.line.until == OPEN),
        }
    }
}
