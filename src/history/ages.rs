//! How old the oldest unread records of a key were, sample by sample.

use super::joined::{Key, Pick};
use crate::store::{ends::to_f64, older::Point, silent::LONGEST};

/// Tells the ages of one key. To be asked in the order of time.
#[derive(Debug)]
pub struct Ages<'a> {
    key: &'a Key,
    /// The last sample asked for, an offset, and when the log end passed it, if anything can tell.
    passed: Option<(Pick, i64, Option<f64>)>,
}

impl<'a> Ages<'a> {
    /// Of a key.
    #[must_use]
    pub fn new(key: &'a Key) -> Self {
        Self { key, passed: None }
    }

    /// Seconds since the log end passed what was committed, or the log start; 0 where there was nothing to read. `None`
    /// when nothing can tell: the end did not move in the samples in memory, or, in the store, it was beyond before the
    /// first that was asked for, or what is left may be markers of transactions.
    pub fn at(&mut self, pick: Pick, point: Point) -> Option<f64> {
        let Some(lag) = point.lag.filter(|lag| *lag > 0) else {
            self.passed = None;
            return point.lag.map(|_| 0.0);
        };
        let (silent_tail, log_start) = match pick {
            Pick::Older(_) if lag <= LONGEST => return None,
            Pick::Older(_) => (0, None),
            Pick::Kept(index, _) => self.key.of_log(index),
        };
        if lag <= silent_tail {
            return Some(0.0);
        }
        let next = point.committed_offset.max(log_start.unwrap_or(0));
        let is_alike = |known: Pick| {
            matches!((known, pick), (Pick::Kept(..), Pick::Kept(..)) | (Pick::Older(_), Pick::Older(_)))
                && !self.key.has_gap(known, pick)
        };
        let passed = match self.passed {
            Some((known, offset, at)) if offset == next && is_alike(known) => at,
            _ => self.key.passed(pick, next),
        };
        self.passed = Some((pick, next, passed));
        Some(((to_f64(pick.time()) - passed?) / 1000.0).max(0.0))
    }
}

#[cfg(test)]
mod tests;
