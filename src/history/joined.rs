//! Samples in memory and older ones as one: the older part ends where memory begins.

use std::{
    collections::{BTreeMap, VecDeque},
    iter::Peekable,
    ops::RangeInclusive,
};

use super::tracks::{self, Reader};
use crate::{
    model::{Millis, Name},
    store::{
        cut::ClusterCut,
        older::{Archived, Point, Question},
        samples::{Index, Moment},
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

    /// Seconds since another.
    #[must_use]
    pub fn since(&self, before: &Self) -> f64 {
        let millis = match (before, self) {
            (Self::Kept(_, before), Self::Kept(_, after)) => i64::from(after.ticks.saturating_sub(before.ticks)) * 100,
            (before, after) => after.at().saturating_sub(before.at()),
        };
        crate::store::ends::to_f64(millis) / 1000.0
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
}

/// The keys of a cluster, group by group.
#[derive(Debug)]
pub struct Joined<'a> {
    reader: Reader<'a>,
    /// The samples that are looked at, in order.
    pub picks: Vec<Pick>,
    groups: VecDeque<Name>,
    older: Option<Peekable<Keys>>,
}

/// Older keys.
struct Keys(Box<dyn Iterator<Item = Archived> + Send>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Iterator for Keys {
    type Item = Archived;

    fn next(&mut self) -> Option<Archived> {
        self.0.next()
    }
}

impl<'a> Joined<'a> {
    /// The samples that are wanted, of groups that `has_group` lets through; `thin` leaves some of them out. Where there is
    /// a store of older ones, this and what follows may wait for it.
    pub fn new(
        cluster: &'a ClusterCut,
        wanted: Wanted,
        has_group: impl Fn(&str) -> bool,
        thin: impl FnOnce(Vec<Pick>) -> Vec<Pick>,
    ) -> Self {
        let samples = &cluster.samples;
        let Wanted { times, mut groups, prefix } = wanted;
        groups.iter_mut().for_each(|groups| groups.sort_unstable());
        // Where memory begins.
        let seam = samples.moments().next().map_or(Millis::MAX, |(_, oldest)| oldest.at);
        let question = Question {
            cluster: Name::clone(&cluster.cluster.name),
            times: *times.start()..=(*times.end()).min(seam.saturating_sub(1)),
            groups,
            prefix,
        };
        let older = cluster.cluster.older().filter(|_| !question.times.is_empty());
        let older = older.and_then(|older| older.ask(question));
        let of_store = older.iter().flat_map(|older| older.times.iter().map(|at| Pick::Older(*at)));
        let kept = samples.moments().map(|(index, moment)| Pick::Kept(index, moment));
        let picks = thin(of_store.chain(kept.filter(|pick| times.contains(&pick.at()))).collect());
        let first_kept = picks.iter().find_map(|pick| match pick {
            Pick::Kept(index, _) => Some(*index),
            Pick::Older(_) => None,
        });
        let reader = Reader::new(cluster, first_kept.unwrap_or(0));
        let groups = if first_kept.is_some() { reader.groups(has_group).into() } else { VecDeque::new() };
        Self { reader, picks, groups, older: older.map(|older| Keys(older.keys).peekable()) }
    }

    /// The next group and its keys that are wanted, ordered by topic and partition; groups that the store has and
    /// `has_group` does not let through are left to the caller.
    pub fn next_group(&mut self, wanted: impl Fn(&str, i32) -> bool) -> Option<(Name, Vec<Key>)> {
        let older = self.older.as_mut().and_then(|older| older.peek()).map(|key| Name::clone(&key.group));
        let group = match (self.groups.front(), older) {
            (Some(kept), Some(older)) => Name::clone(kept).min(older),
            (Some(kept), None) => Name::clone(kept),
            (None, older) => older?,
        };
        let mut keys: BTreeMap<(Name, i32), Key> = BTreeMap::new();
        let empty =
            |topic: &Name, partition: i32| Key { topic: Name::clone(topic), partition, kept: None, older: None };
        while let Some(older) = self.older.as_mut().and_then(|older| older.next_if(|key| key.group == group)) {
            if wanted(&older.topic, older.partition) {
                let key = keys.entry((Name::clone(&older.topic), older.partition));
                key.or_insert_with_key(|(topic, partition)| empty(topic, *partition)).older = Some(older);
            }
        }
        if self.groups.front() == Some(&group) {
            self.groups.pop_front();
            for kept in self.reader.keys(&group, &wanted) {
                let key = keys.entry((Name::clone(&kept.topic), kept.partition));
                key.or_insert_with_key(|(topic, partition)| empty(topic, *partition)).kept = Some(kept);
            }
        }
        Some((group, keys.into_values().collect()))
    }
}
