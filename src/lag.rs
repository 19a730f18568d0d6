//! Lag, time lag and status of a committed offset, computed from the commit and the log end. Pure functions; the rules
//! are in the contract.

use std::num::NonZeroU32;

use crate::{
    clock::Ticks,
    model::{LagUnknown, Millis, Status, shown},
    store::{
        ends::{EndError, LogEnds, LogOffsets, Partition, Topic, to_f64},
        event::{AppliedRevisions, ShardKey},
        group::{Extras, GroupView, Row},
        trailing,
        windows::KeyWindow,
    },
};

/// A log end counts as unknown if requests for it have failed for this many ticks.
const STALE_AFTER: Ticks = 100;

/// If the usual interval between commits is unknown, a group counts as `stopped` after this time without a commit, in
/// milliseconds.
const UNKNOWN_INTERVAL_MS: i64 = 3_600_000;

/// Time over which produce rates are measured, in ticks: one minute.
pub const RATE_OVER: Ticks = 600;

/// The lag of a commit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lag {
    /// First offset of the log, if known.
    pub log_start: Option<i64>,
    /// High watermark, if known.
    pub log_end: Option<i64>,
    /// Lag in records, or why it is unknown.
    pub lag: Result<i64, LagUnknown>,
    /// Whether the committed offset is below the log start: records were deleted unread.
    pub data_lost: bool,
    /// Whether only transaction markers are between the committed offset and the log end, so that there is nothing to
    /// read.
    pub only_markers: bool,
    /// Time at which the log was first seen, see [`LogOffsets::since`]; [`Ticks::MAX`] without a log.
    pub log_since: Ticks,
    /// The next offset that the group will read, with its partition.
    next: Option<(Partition, i64)>,
}

impl Lag {
    /// Returns the number of unread records, without transaction markers; `None` if the lag is unknown.
    #[must_use]
    pub fn unread(&self) -> Option<i64> {
        self.lag.ok().map(|lag| if self.only_markers { 0 } else { lag })
    }

    /// Returns the estimated age of the oldest unread record, in seconds; `None` if it cannot be estimated. This is
    /// separate from [`lag()`], because it searches the samples of the log end.
    #[must_use]
    pub fn seconds(&self, ends: &LogEnds, now: Ticks) -> Option<f64> {
        let lag = self.lag.ok()?;
        if lag == 0 || self.only_markers {
            return Some(0.0);
        }
        let (partition, next) = self.next?;
        seconds(next, partition, ends, now)
    }
}

/// Returns the lag of a commit. `topic` is the topic of the row in `ends`; `now` is the time of the cut.
#[must_use]
#[inline]
pub fn lag(
    row: &Row,
    extras: Option<&Extras>,
    shard: &ShardKey,
    topic: Option<&Topic>,
    ends: &LogEnds,
    now: Ticks,
) -> Lag {
    let unknown = |reason, log_since, log_start, log_end| Lag {
        log_start,
        log_end,
        lag: Err(reason),
        data_lost: false,
        only_markers: false,
        log_since,
        next: None,
    };
    let partition =
        topic.zip(usize::try_from(row.partition).ok()).and_then(|(topic, number)| topic.partitions.get(number));
    if topic.is_some_and(|topic| topic.refused) {
        return unknown(LagUnknown::NotAuthorized, Ticks::MAX, None, None);
    }
    let (Some(topic), Some(partition)) = (topic, partition) else {
        let gone = if ends.is_deleted(row.applied) { LagUnknown::TopicDeleted } else { LagUnknown::EndUnknown };
        return unknown(gone, Ticks::MAX, None, None);
    };
    let value = ends.value(*partition);
    let (log_start, log_end) = (known(value.log_start), known(value.log_end));
    if is_earlier(row, extras, shard, topic, &value) {
        return unknown(LagUnknown::TopicRecreated, value.since, log_start, log_end);
    }
    let Some(end) = self::log_end(&value, now) else {
        let refused = value.error == Some(EndError::NotAuthorized);
        let reason = if refused { LagUnknown::NotAuthorized } else { LagUnknown::EndUnknown };
        return unknown(reason, value.since, log_start, None);
    };
    if row.committed_offset > end && value.observed > row.applied {
        return unknown(LagUnknown::AheadOfLog, value.since, log_start, log_end);
    }
    let data_lost = log_start.is_some_and(|start| row.committed_offset < start);
    let next = row.committed_offset.max(log_start.unwrap_or(0));
    let lag = end.saturating_sub(next).max(0);
    let only_markers = lag > 0 && lag <= ends.trailing_markers(*partition).min(trailing::LONGEST_GAP);
    let next = Some((*partition, next));
    Lag { log_start, log_end, lag: Ok(lag), data_lost, only_markers, log_since: value.since, next }
}

/// Returns the log end if it is known and recent enough.
#[must_use]
pub fn log_end(value: &LogOffsets, now: Ticks) -> Option<i64> {
    known(value.log_end).filter(|_| !is_lost(value, now))
}

fn known(offset: i64) -> Option<i64> {
    (offset >= 0).then_some(offset)
}

/// Returns whether the log end is unknown: the user has no right to request it, the partition has no leader, or
/// requests keep failing and the last response is too old.
fn is_lost(value: &LogOffsets, now: Ticks) -> bool {
    match value.error {
        None => false,
        Some(EndError::NotAuthorized | EndError::NoLeader) => true,
        Some(EndError::Other(_)) => now.saturating_sub(value.observed) > STALE_AFTER,
    }
}

/// Returns whether the commit belongs to an earlier topic of the same name. This is decided by its topic id; else by
/// the revisions that were applied when the earlier id was last seen; else by a leader epoch that the current topic,
/// with epochs from 0 on, has not reached.
fn is_earlier(row: &Row, extras: Option<&Extras>, shard: &ShardKey, topic: &Topic, value: &LogOffsets) -> bool {
    if let (Some(committed), Some(present)) = (extras.and_then(|extras| extras.topic_id), topic.id) {
        return committed != present;
    }
    let seen_before =
        |earlier: &AppliedRevisions| earlier.get(shard).is_some_and(|applied| { row.revision } < *applied);
    topic.earlier.as_deref().is_some_and(seen_before)
        || (value.leader_epoch >= 0 && row.leader_epoch > value.leader_epoch && value.observed > row.applied)
}

/// Maximum ratio of extrapolated time to the span of the samples. A rate says nothing about a time that is much longer
/// than the time over which it was measured.
pub const MOST_EXTRAPOLATED: f64 = 10.0;

/// Returns the seconds since the log end, which is now beyond `next`, passed `next`. The time is interpolated between
/// samples of the log end. Before the first sample, it is extrapolated from the produce rate, up to the known age of
/// the log. `None` if it cannot be estimated.
fn seconds(next: i64, partition: Partition, ends: &LogEnds, now: Ticks) -> Option<f64> {
    let newest = ends.value(partition);
    let mut after = (newest.observed, newest.log_end);
    for sample in ends.samples_of(partition).rev().filter(|(taken, _)| *taken < newest.observed) {
        if sample.1 <= next {
            return Some(age(passed(sample, after, next), now));
        }
        after = sample;
    }
    let span = f64::from(newest.observed.saturating_sub(after.0)) / 10.0;
    let rate = ends.produce_rate(partition, Ticks::MAX).filter(|rate| *rate > 0.0);
    let before = rate.map(|rate| to_f64(after.1.saturating_sub(next)) / rate);
    let extrapolated = before.filter(|before| *before <= span * MOST_EXTRAPOLATED);
    let extrapolated = extrapolated.map(|before| age(f64::from(after.0), now) + before);
    match (extrapolated, newest.absent_at) {
        (Some(seconds), Some(absent_at)) => Some(seconds.min(age(f64::from(absent_at), now))),
        (Some(seconds), None) => Some(seconds),
        // The log was empty at that time and has been filled since.
        (None, Some(absent_at)) => Some(age(passed((absent_at, 0), after, next), now)),
        (None, None) => None,
    }
}

/// Returns when a log end passed an offset, in ticks, assuming a steady rate between two samples.
fn passed(from: (Ticks, i64), to: (Ticks, i64), offset: i64) -> f64 {
    let part = to_f64(offset.saturating_sub(from.1)) / to_f64(to.1.saturating_sub(from.1).max(1));
    f64::from(from.0) + part.clamp(0.0, 1.0) * f64::from(to.0.saturating_sub(from.0))
}

/// Returns the seconds since a time in ticks.
fn age(at: f64, now: Ticks) -> f64 {
    ((f64::from(now) - at) / 10.0).max(0.0)
}

/// Returns the milliseconds since a commit, by the time in its record, but at least the time since this process saw the
/// commit: coordinators and clients may write any time into the record. Replayed commits count as seen at `load_began`.
#[must_use]
pub fn ms_since_commit(row: &Row, load_began: Ticks, now: Ticks, now_at: Millis) -> Millis {
    let seen = i64::from(now.saturating_sub(row.applied.max(load_began))) * 100;
    shown(row.committed_at).map_or(seen, |at| now_at.saturating_sub(at).max(seen))
}

/// Inputs of [`status`] in addition to the commit.
#[derive(Clone, Copy, Debug)]
pub struct StatusContext<'a> {
    /// Log ends of the cluster.
    pub ends: &'a LogEnds,
    /// Length of the window of samples, in ticks.
    pub window: Ticks,
    /// Time of the cut, on the steady clock.
    pub now: Ticks,
    /// Time of the cut, on the wall clock.
    pub now_at: Millis,
    /// Time at which the load of the commit's shard began.
    pub load_began: Ticks,
}

/// Returns the initial value for the maximum over a group's partitions. The status of a group without offsets is
/// unknown.
#[must_use]
pub fn status_before_offsets(group: &GroupView) -> Status {
    if group.is_empty() { Status::Unknown } else { Status::Ok }
}

/// Returns the status of a partition, by the rules of Burrow's evaluator as refined in the contract. The worst
/// applicable status wins, except that a sample without lag in the window clears all but `data_lost`.
#[must_use]
pub fn status(row: &Row, lag: &Lag, window: Option<&KeyWindow>, context: StatusContext<'_>) -> Status {
    let records = match lag.unread() {
        None => return Status::Unknown,
        Some(_) if lag.data_lost => return Status::DataLost,
        Some(records) => records,
    };
    let window = window.filter(|window| window.is_of_log(lag.log_since));
    let within = |at: Ticks| context.now.saturating_sub(at) < context.window;
    let happened = |at: Option<NonZeroU32>| at.is_some_and(|at| within(at.get()));
    if records == 0 || window.is_some_and(|window| happened(window.without_lag)) {
        return Status::Ok;
    }
    let window_ms = i64::from(context.window) * 100;
    let ms_since_commit = ms_since_commit(row, context.load_began, context.now, context.now_at);
    let usual = match row.interval_ms {
        0 => UNKNOWN_INTERVAL_MS,
        // A gap of up to one and a half intervals is usual.
        interval => i64::from(interval) * 3 / 2,
    };
    if ms_since_commit > window_ms && ms_since_commit > usual {
        return if was_caught_up(row, lag, context) { Status::Ok } else { Status::Stopped };
    }
    let Some(window) = window else { return Status::Ok };
    if !within(window.moved) && ms_since_commit <= window_ms {
        Status::Stalled
    } else if happened(window.rewound) {
        Status::Rewind
    } else if happened(window.rose) && !happened(window.fell) && within(window.moved) {
        Status::Lagging
    } else {
        Status::Ok
    }
}

/// Returns whether a log end within the window was not beyond the commit, which is older than the window. Also works
/// for groups without a window, which have not committed since the load.
fn was_caught_up(row: &Row, lag: &Lag, context: StatusContext<'_>) -> bool {
    let Some((partition, next)) = lag.next else { return false };
    let from = context.now.saturating_sub(context.window);
    let counts = |taken: Ticks| taken >= row.applied && (taken > from || from == 0);
    // Log ends only rise, so the oldest sample is the lowest.
    context.ends.samples_of(partition).find(|(taken, _)| counts(*taken)).is_some_and(|(_, end)| end <= next)
}

#[cfg(test)]
mod tests;
