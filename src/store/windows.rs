//! What samples of the committed offsets say, for status and rates.
//!
//! A group that committed since the load has a [`KeyWindow`] a row, of at most 64 bytes; the others
//! cost nothing. Windows are immutable once published, so that a cut holds one version of them.

use std::{num::NonZeroU32, sync::Arc};

use hashbrown::HashMap;

use super::{
    ends::to_f64,
    group::{Entry, GroupView, Row},
};
use crate::{clock::Ticks, model::Name};

/// Weight of the newest sample in a rate.
const RATE_WEIGHT: f64 = 0.3;

/// A time on the steady clock, or never, in 4 bytes.
type When = Option<NonZeroU32>;

fn when(at: Ticks) -> When {
    NonZeroU32::new(at.max(1))
}

/// What the samples of one key say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeyWindow {
    topic_index: u32,
    partition: i32,
    /// When the log that the samples concern was first seen, see [`EndValue::since`](super::ends::EndValue::since).
    log: Ticks,
    /// Committed offset at the last sample.
    pub committed_offset: i64,
    /// Lag at the last sample at which it was known.
    pub lag: i64,
    /// When a sample last had no lag.
    pub without_lag: When,
    /// When the committed offset last differed from the sample before, or samples began to be taken.
    pub moved: Ticks,
    /// When it last went back.
    pub rewound: When,
    /// When the lag last fell, or samples began to be taken.
    pub fell: When,
    /// When the lag last rose.
    pub rose: When,
    rate: f32,
}

impl KeyWindow {
    /// The first sample of a key on a log, with the lag if it is known.
    #[must_use]
    pub fn first(entry: &Entry<'_>, log: Ticks, lag: Option<i64>, now: Ticks) -> Self {
        Self {
            topic_index: u32::try_from(entry.topic_index).unwrap_or(u32::MAX),
            partition: entry.row.partition,
            log,
            committed_offset: entry.row.committed_offset,
            lag: lag.unwrap_or(0),
            without_lag: if lag == Some(0) { when(now) } else { None },
            // Nothing is known of the time before, so nothing is said against it.
            moved: now,
            rewound: None,
            fell: when(now),
            rose: None,
            rate: f32::NAN,
        }
    }

    /// The window after another sample. An unknown lag is neither a fall nor a rise, nor is it no lag.
    #[must_use]
    pub fn next(&self, entry: &Entry<'_>, known: Option<i64>, now: Ticks) -> Self {
        let offset = entry.row.committed_offset;
        let lag = known.unwrap_or(self.lag);
        let at = |happened: bool, before: When| if happened { when(now) } else { before };
        let rate = if offset == self.committed_offset { self.rate } else { self.rate_after(offset, now) };
        Self {
            committed_offset: offset,
            lag,
            without_lag: at(known == Some(0), self.without_lag),
            moved: if offset == self.committed_offset { self.moved } else { now },
            rewound: at(offset < self.committed_offset, self.rewound),
            fell: at(lag < self.lag, self.fell),
            rose: at(lag > self.lag, self.rose),
            rate,
            ..*self
        }
    }

    /// Whether the samples concern the log that was first seen then.
    #[must_use]
    pub fn is_of_log(&self, since: Ticks) -> bool {
        self.log == since
    }

    fn is_of(&self, topic_index: usize, row: &Row) -> bool {
        self.topic_index as usize == topic_index && self.partition == row.partition
    }

    /// The rate with another move, from the time since the move before: a group that commits once a
    /// minute moves in one sample of six.
    fn rate_after(&self, offset: i64, now: Ticks) -> f32 {
        let seconds = f64::from(now.saturating_sub(self.moved)) / 10.0;
        let rate = to_f64(offset.saturating_sub(self.committed_offset).max(0)) / seconds.max(0.1);
        let before = f64::from(self.rate);
        let smoothed = if before.is_nan() { rate } else { before + RATE_WEIGHT * (rate - before) };
        #[expect(clippy::cast_possible_truncation, reason = "a rate needs no more than seven digits")]
        let rate = smoothed as f32;
        rate
    }

    /// Records per second that the group consumes, smoothed; 0 when it has not moved for a window,
    /// `None` before anything can be said.
    #[must_use]
    pub fn consume_rate(&self, now: Ticks, window: Ticks) -> Option<f64> {
        if now.saturating_sub(self.moved) >= window {
            return Some(0.0);
        }
        (!self.rate.is_nan()).then(|| f64::from(self.rate))
    }
}

/// The windows of one group, by position of the row.
#[derive(Debug, Default)]
pub struct GroupWindows(pub Vec<KeyWindow>);

impl GroupWindows {
    /// The window of the row at a position of [`GroupView::entries`](super::group::GroupView::entries). Rows move when others are
    /// deleted; a window that is not of this row is none.
    #[must_use]
    pub fn get(&self, position: usize, entry: &Entry<'_>) -> Option<&KeyWindow> {
        self.at(position, entry.topic_index, entry.row)
    }

    /// The same, for a row that was copied out.
    #[must_use]
    pub fn at(&self, position: usize, topic_index: usize, row: &Row) -> Option<&KeyWindow> {
        self.0.get(position).filter(|window| window.is_of(topic_index, row))
    }
}

/// All windows of one cluster.
#[derive(Debug, Default)]
pub struct Windows {
    /// By group id.
    pub groups: HashMap<Name, Arc<GroupWindows>>,
    /// Since the last sample, the source is read in another way: what offsets were before that are others now.
    pub replaced: Option<Replaced>,
}

/// Offsets that were replaced without a commit, by group, topic and partition: what they were, and whether they are gone.
/// Those that are new were not there.
#[derive(Debug, Default)]
pub struct Replaced(HashMap<Name, HashMap<(Name, i32), Before>>);

/// An offset before it was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// `None`: it was not there.
    pub committed_offset: Option<i64>,
    /// It is not there now.
    pub is_gone: bool,
}

impl Replaced {
    /// What differs between all groups before and after.
    #[must_use]
    pub fn between(before: &HashMap<Name, Arc<GroupView>>, after: &HashMap<Name, Arc<GroupView>>) -> Self {
        let offsets = |group: Option<&Arc<GroupView>>| -> HashMap<(Name, i32), i64> {
            let entries = group.into_iter().flat_map(|group| group.entries());
            entries.map(|at| ((Name::clone(at.topic), at.row.partition), at.row.committed_offset)).collect()
        };
        let mut replaced = Self::default();
        for id in before.keys().chain(after.keys().filter(|id| !before.contains_key(*id))) {
            let (were, are) = (offsets(before.get(id)), offsets(after.get(id)));
            let gone = were
                .iter()
                .filter(|(key, _)| !are.contains_key(*key))
                .map(|(key, offset)| (key.clone(), Before { committed_offset: Some(*offset), is_gone: true }));
            let others = are.iter().filter(|(key, offset)| were.get(*key) != Some(*offset));
            let others = others
                .map(|(key, _)| (key.clone(), Before { committed_offset: were.get(key).copied(), is_gone: false }));
            replaced.enter(id, gone.chain(others));
        }
        replaced
    }

    fn enter(&mut self, group: &Name, offsets: impl Iterator<Item = ((Name, i32), Before)>) {
        let offsets: HashMap<(Name, i32), Before> = offsets.collect();
        if !offsets.is_empty() {
            self.0.insert(Name::clone(group), offsets);
        }
    }

    /// The groups of which offsets were replaced.
    pub fn groups(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    /// Whether offsets of a group were replaced.
    #[must_use]
    pub fn has(&self, group: &str) -> bool {
        self.0.contains_key(group)
    }

    /// The offsets of a group that are gone, as (topic, partition, offset).
    pub fn gone(&self, group: &str) -> impl Iterator<Item = (&Name, i32, i64)> {
        let gone = self.0.get(group).into_iter().flatten().filter(|(_, before)| before.is_gone);
        gone.filter_map(|((topic, partition), before)| Some((topic, *partition, before.committed_offset?)))
    }

    /// What an offset was before; `None` where it was not replaced, or by the same.
    #[must_use]
    pub fn before(&self, group: &str, topic: &Name, partition: i32) -> Option<Option<i64>> {
        let offsets = self.0.get(group)?;
        Some(offsets.get(&(Name::clone(topic), partition))?.committed_offset)
    }
}

impl Windows {
    /// The windows of a group, if it committed since the load.
    #[must_use]
    pub fn group(&self, id: &str) -> Option<&GroupWindows> {
        self.groups.get(id).map(|windows| &**windows)
    }
}
