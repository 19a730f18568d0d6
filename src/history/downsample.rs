//! Samples reduced to one per time step, and their sums over several keys.

use crate::{model::Millis, store::history_store::Point};

/// The values of a series at one time; sums if the series has several keys.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Time of the sample on the wall clock.
    pub at: Millis,
    /// Committed offset; `None` if no key existed.
    pub committed_offset: Option<i64>,
    /// Log end offset, over the keys with a known log end.
    pub log_end_offset: Option<i64>,
    /// Lag, over the keys with a known lag.
    pub lag: Option<i64>,
    /// Greatest known age of an oldest unread record (s).
    pub max_lag_seconds: Option<f64>,
    /// Records consumed per second since the previous sample.
    pub consume_rate: Option<f64>,
    /// Records produced per second since the previous sample, from the log ends.
    pub produce_rate: Option<f64>,
}

/// Returns the last moment of each step. The moments must be ordered by time.
pub fn last_per_step<T>(moments: impl Iterator<Item = (T, Millis)>, step: Millis) -> Vec<T> {
    let mut picked: Vec<T> = vec![];
    let mut before = None;
    for (moment, at) in moments {
        let step = Some(at.div_euclid(step.max(1)));
        match picked.last_mut().filter(|_| before == step) {
            Some(last) => *last = moment,
            None => picked.push(moment),
        }
        before = step;
    }
    picked
}

/// Sums over keys, at the same times for all keys.
#[derive(Clone, Debug)]
pub struct SampleSums(Vec<SampleSum>);

#[derive(Clone, Debug)]
struct SampleSum {
    sample: Sample,
    /// Seconds since the previous sample.
    gap: f64,
    /// At least one key with lag has an unknown age.
    unknown_age: bool,
}

impl SampleSums {
    /// Returns empty sums at the given times, each with the seconds since the previous one.
    #[must_use]
    pub fn new(times: impl Iterator<Item = (Millis, f64)>) -> Self {
        let sum = |(at, gap)| SampleSum { sample: Sample { at, ..Sample::default() }, gap, unknown_age: false };
        Self(times.map(sum).collect())
    }

    /// Adds a key. `at` returns the key's values and the age of its oldest unread record (s) at a position.
    pub fn add(&mut self, mut at: impl FnMut(usize) -> Option<(Point, Option<f64>)>) {
        let mut before: Option<Point> = None;
        for (position, SampleSum { sample, gap, unknown_age }) in self.0.iter_mut().enumerate() {
            let known = at(position);
            if let Some((point, age)) = known {
                *unknown_age |= age.is_none() && point.lag.is_some_and(|lag| lag > 0);
                let greater = |known: f64| age.map_or(known, |age| known.max(age));
                sample.max_lag_seconds = sample.max_lag_seconds.map(greater).or(age);
                add(&mut sample.committed_offset, Some(point.committed_offset));
                add(&mut sample.log_end_offset, point.log_end_offset);
                add(&mut sample.lag, point.lag);
                let before = before.filter(|_| *gap > 0.0);
                let from = before.map(|before| before.committed_offset);
                add_rate(&mut sample.consume_rate, from, Some(point.committed_offset), *gap);
                let from = before.and_then(|before| before.log_end_offset);
                add_rate(&mut sample.produce_rate, from, point.log_end_offset, *gap);
            }
            before = known.map(|(point, _)| point);
        }
    }

    /// Returns the samples at which at least one key existed.
    #[must_use]
    pub fn finish(self) -> Vec<Sample> {
        let sample = |SampleSum { mut sample, unknown_age, .. }: SampleSum| {
            // A maximum of 0 is unknown if the age of a key with lag is unknown.
            sample.max_lag_seconds = sample.max_lag_seconds.filter(|max| *max > 0.0 || !unknown_age);
            sample.committed_offset.map(|_| sample)
        };
        self.0.into_iter().filter_map(sample).collect()
    }
}

fn add(sum: &mut Option<i64>, value: Option<i64>) {
    if let Some(value) = value {
        *sum = Some(sum.unwrap_or(0).saturating_add(value));
    }
}

fn add_rate(sum: &mut Option<f64>, from: Option<i64>, to: Option<i64>, seconds: f64) {
    if let (Some(from), Some(to)) = (from, to)
        && to >= from
    {
        *sum = Some(sum.unwrap_or(0.0) + crate::store::ends::to_f64(to.saturating_sub(from)) / seconds);
    }
}

#[cfg(test)]
mod tests;
