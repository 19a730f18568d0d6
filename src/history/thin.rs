//! Samples thinned to a step, and sums of them.

use crate::{model::Millis, store::older::Point};

/// What a series was at one time. Sums, where it is of several keys.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// When, on the wall clock.
    pub at: Millis,
    /// `None`: no key was there.
    pub committed_offset: Option<i64>,
    /// Of the keys whose log end is known.
    pub log_end_offset: Option<i64>,
    /// Of the keys whose lag is known.
    pub lag: Option<i64>,
    /// Greatest known age of the oldest unread record (s).
    pub max_lag_seconds: Option<f64>,
    /// Records per second since the sample before.
    pub consume_rate: Option<f64>,
    /// The same, of the log ends.
    pub produce_rate: Option<f64>,
}

/// The last of each step, by their times, which are in order.
pub fn last_of_each<T>(moments: impl Iterator<Item = (T, Millis)>, step: Millis) -> Vec<T> {
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

/// Sums of keys at the same times.
#[derive(Clone, Debug)]
pub struct Sums(Vec<Sum>);

#[derive(Clone, Debug)]
struct Sum {
    sample: Sample,
    /// Seconds since the sample before.
    gap: f64,
    /// Of a key that is behind nobody knows for how long.
    unknown_age: bool,
}

impl Sums {
    /// Sums of nothing, at times with seconds since the one before.
    #[must_use]
    pub fn new(times: impl Iterator<Item = (Millis, f64)>) -> Self {
        let sum = |(at, gap)| Sum { sample: Sample { at, ..Sample::default() }, gap, unknown_age: false };
        Self(times.map(sum).collect())
    }

    /// Adds a key: what it was at the sample of a place, and the age of its oldest unread record.
    pub fn add(&mut self, mut at: impl FnMut(usize) -> Option<(Point, Option<f64>)>) {
        let mut before: Option<Point> = None;
        for (place, Sum { sample, gap, unknown_age }) in self.0.iter_mut().enumerate() {
            let known = at(place);
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

    /// The samples at which there was any key.
    #[must_use]
    pub fn finish(self) -> Vec<Sample> {
        let sample = |Sum { mut sample, unknown_age, .. }: Sum| {
            // That some keys have read everything says nothing of the greatest.
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
