//! What samples of the committed offsets say, for status and rates.
//!
//! A group that committed since the load has a [`KeyWindow`] a row, of at most 64 bytes; the others
//! cost nothing. Windows are immutable once published, so that a cut holds one version of them.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{
    ends::to_f64,
    group::{Entry, Row},
};
use crate::{clock::Ticks, model::Name};

/// Weight of the newest sample in a rate.
const RATE_WEIGHT: f64 = 0.3;

/// What the samples of one key say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeyWindow {
    topic_index: u32,
    partition: i32,
    /// Committed offset at the last sample.
    pub committed_offset: i64,
    /// Lag at the last sample.
    pub lag: i64,
    /// When a sample last had no lag, or began to be taken.
    pub without_lag: Option<Ticks>,
    /// When the committed offset last differed from the sample before.
    pub moved: Ticks,
    /// When it last went back.
    pub rewound: Option<Ticks>,
    /// When the lag last fell.
    pub fell: Option<Ticks>,
    /// When the lag last rose.
    pub rose: Option<Ticks>,
    rate: f32,
}

impl KeyWindow {
    /// The first sample of a key.
    #[must_use]
    pub fn first(entry: &Entry<'_>, lag: i64, now: Ticks) -> Self {
        Self {
            topic_index: u32::try_from(entry.topic_index).unwrap_or(u32::MAX),
            partition: entry.row.partition,
            committed_offset: entry.row.committed_offset,
            lag,
            // Nothing is known of the time before: as good as without lag.
            without_lag: Some(now),
            moved: now,
            rewound: None,
            fell: None,
            rose: None,
            rate: f32::NAN,
        }
    }

    /// The window after another sample.
    #[must_use]
    pub fn next(&self, entry: &Entry<'_>, lag: i64, now: Ticks) -> Self {
        let offset = entry.row.committed_offset;
        let at = |happened: bool, before: Option<Ticks>| if happened { Some(now) } else { before };
        let rate = if offset == self.committed_offset { self.rate } else { self.rate_after(offset, now) };
        Self {
            committed_offset: offset,
            lag,
            without_lag: at(lag == 0, self.without_lag),
            moved: if offset == self.committed_offset { self.moved } else { now },
            rewound: at(offset < self.committed_offset, self.rewound),
            fell: at(lag < self.lag, self.fell),
            rose: at(lag > self.lag, self.rose),
            rate,
            ..*self
        }
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
}

impl Windows {
    /// The windows of a group, if it committed since the load.
    #[must_use]
    pub fn group(&self, id: &str) -> Option<&GroupWindows> {
        self.groups.get(id).map(|windows| &**windows)
    }
}
