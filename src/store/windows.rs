//! Windows of recent samples per key, from which status and rates are derived.
//!
//! A group that has committed since the load has a [`KeyWindow`] of at most 64 bytes per row. Other groups use no
//! memory. Windows are immutable once published, so that a cut has one version of them.

use std::{num::NonZeroU32, sync::Arc};

use hashbrown::HashMap;

use super::{
    ends::to_f64,
    group::{Entry, GroupView, Row},
};
use crate::{clock::Ticks, model::Name};

/// Weight of the newest sample in a smoothed rate.
const RATE_WEIGHT: f64 = 0.3;

/// A time on the steady clock, or never, in 4 bytes.
type OptionalTicks = Option<NonZeroU32>;

fn when(at: Ticks) -> OptionalTicks {
    NonZeroU32::new(at.max(1))
}

/// Summary of the samples of one key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeyWindow {
    topic_index: u32,
    partition: i32,
    /// Start of the log of the samples, see [`LogOffsets::since`](super::ends::LogOffsets::since).
    log: Ticks,
    /// Committed offset at the last sample.
    pub committed_offset: i64,
    /// Lag at the last sample for which it was known.
    pub lag: i64,
    /// Time of the last sample without lag.
    pub without_lag: OptionalTicks,
    /// Time at which the committed offset last changed; before a change, the time of the first sample.
    pub moved: Ticks,
    /// Time at which the committed offset last went back.
    pub rewound: OptionalTicks,
    /// Time at which the lag last fell; before that, the time of the first sample.
    pub fell: OptionalTicks,
    /// Time at which the lag last rose.
    pub rose: OptionalTicks,
    rate: f32,
}

impl KeyWindow {
    /// Returns the window of the first sample of a key on a log, with the lag if known.
    #[must_use]
    pub fn first(entry: &Entry<'_>, log: Ticks, lag: Option<i64>, now: Ticks) -> Self {
        Self {
            topic_index: u32::try_from(entry.topic_index).unwrap_or(u32::MAX),
            partition: entry.row.partition,
            log,
            committed_offset: entry.row.committed_offset,
            lag: lag.unwrap_or(0),
            without_lag: if lag == Some(0) { when(now) } else { None },
            // The time before the first sample is unknown, so the key starts as moving and falling.
            moved: now,
            rewound: None,
            fell: when(now),
            rose: None,
            rate: f32::NAN,
        }
    }

    /// Returns the window after another sample. An unknown lag changes neither `fell` nor `rose` nor `without_lag`.
    #[must_use]
    pub fn next(&self, entry: &Entry<'_>, known: Option<i64>, now: Ticks) -> Self {
        let offset = entry.row.committed_offset;
        let lag = known.unwrap_or(self.lag);
        let at = |happened: bool, before: OptionalTicks| if happened { when(now) } else { before };
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

    /// Returns whether the samples belong to the log that was first seen at `since`.
    #[must_use]
    pub fn is_of_log(&self, since: Ticks) -> bool {
        self.log == since
    }

    fn is_of(&self, topic_index: usize, row: &Row) -> bool {
        self.topic_index as usize == topic_index && self.partition == row.partition
    }

    /// Returns the smoothed rate after another move. It counts the time since the previous move, because a group that
    /// commits once a minute moves in only one of six samples.
    fn rate_after(&self, offset: i64, now: Ticks) -> f32 {
        let seconds = f64::from(now.saturating_sub(self.moved)) / 10.0;
        let rate = to_f64(offset.saturating_sub(self.committed_offset).max(0)) / seconds.max(0.1);
        let before = f64::from(self.rate);
        let smoothed = if before.is_nan() { rate } else { before + RATE_WEIGHT * (rate - before) };
        #[expect(clippy::cast_possible_truncation, reason = "a rate needs no more than seven digits")]
        let rate = smoothed as f32;
        rate
    }

    /// Returns the smoothed number of records per second that the group consumes; 0 if it has not moved for a window,
    /// `None` if it is not known yet.
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
    /// Returns the window of the row at a position of [`GroupView::entries`](super::group::GroupView::entries). Rows
    /// move when other rows are deleted; a window of another row is ignored.
    #[must_use]
    pub fn get(&self, position: usize, entry: &Entry<'_>) -> Option<&KeyWindow> {
        self.at(position, entry.topic_index, entry.row)
    }

    /// Returns the window of a row that was copied out.
    #[must_use]
    pub fn at(&self, position: usize, topic_index: usize, row: &Row) -> Option<&KeyWindow> {
        self.0.get(position).filter(|window| window.is_of(topic_index, row))
    }
}

/// All windows of one source.
#[derive(Debug, Default)]
pub struct Windows {
    /// Windows by group id.
    pub groups: HashMap<Name, Arc<GroupWindows>>,
    /// Offsets that differ because the source has been read in another mode since the last sample.
    pub replaced: Option<Replaced>,
}

/// Offsets that were replaced without a commit, by group, topic and partition, with their previous values.
#[derive(Debug, Default)]
pub struct Replaced(HashMap<Name, HashMap<(Name, i32), PreviousOffset>>);

/// A replaced offset as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousOffset {
    /// The previous offset; `None` if it did not exist.
    pub committed_offset: Option<i64>,
    /// Whether the offset does not exist any more.
    pub is_gone: bool,
}

impl Replaced {
    /// Returns the differences between the groups before and after.
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
                .map(|(key, offset)| (key.clone(), PreviousOffset { committed_offset: Some(*offset), is_gone: true }));
            let others = are.iter().filter(|(key, offset)| were.get(*key) != Some(*offset));
            let others = others.map(|(key, _)| {
                (key.clone(), PreviousOffset { committed_offset: were.get(key).copied(), is_gone: false })
            });
            replaced.insert(id, gone.chain(others));
        }
        replaced
    }

    fn insert(&mut self, group: &Name, offsets: impl Iterator<Item = ((Name, i32), PreviousOffset)>) {
        let offsets: HashMap<(Name, i32), PreviousOffset> = offsets.collect();
        if !offsets.is_empty() {
            self.0.insert(Name::clone(group), offsets);
        }
    }

    /// Returns the groups that have replaced offsets.
    pub fn groups(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    /// Returns whether a group has replaced offsets.
    #[must_use]
    pub fn has(&self, group: &str) -> bool {
        self.0.contains_key(group)
    }

    /// Returns the offsets of a group that do not exist any more, as (topic, partition, previous offset).
    pub fn gone(&self, group: &str) -> impl Iterator<Item = (&Name, i32, i64)> {
        let gone = self.0.get(group).into_iter().flatten().filter(|(_, before)| before.is_gone);
        gone.filter_map(|((topic, partition), before)| Some((topic, *partition, before.committed_offset?)))
    }

    /// Returns the previous value of an offset; `None` if it was not replaced or is unchanged.
    #[must_use]
    pub fn before(&self, group: &str, topic: &Name, partition: i32) -> Option<Option<i64>> {
        let offsets = self.0.get(group)?;
        Some(offsets.get(&(Name::clone(topic), partition))?.committed_offset)
    }
}

impl Windows {
    /// Returns the windows of a group that has committed since the load.
    #[must_use]
    pub fn group(&self, id: &str) -> Option<&GroupWindows> {
        self.groups.get(id).map(|windows| &**windows)
    }
}
