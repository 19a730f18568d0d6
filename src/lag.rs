//! Commit × log end → lag, time lag and status. Pure functions; the rules are the contract's.

use std::num::NonZeroU32;

use crate::{
    clock::Ticks,
    model::{LagUnknown, Millis, Status, shown},
    store::{
        ends::{EndError, EndValue, Ends, Partition, Topic, to_f64},
        event::{Applied, ShardKey},
        group::{GroupView, Rare, Row},
        silent,
        windows::KeyWindow,
    },
};

/// A partition that answered no question for so long counts as unknown, while others answer.
const STALE_AFTER: Ticks = 100;

/// Without a known interval between commits, none for so long is `stopped`.
const UNKNOWN_INTERVAL_MS: i64 = 3_600_000;

/// Produce rates are over the last minute.
pub const RATE_OVER: Ticks = 600;

/// How far behind a commit is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lag {
    /// First offset of the log.
    pub log_start: Option<i64>,
    /// High watermark.
    pub log_end: Option<i64>,
    /// Records, or why nobody knows.
    pub lag: Result<i64, LagUnknown>,
    /// Committed below the log start: records were deleted unread.
    pub data_lost: bool,
    /// Nothing but markers of transactions lies before the end: there is nothing to read.
    pub silent: bool,
    /// When the log was first seen, see [`EndValue::since`]; [`Ticks::MAX`] where there is none.
    pub log_since: Ticks,
    /// Where it reads on.
    next: Option<(Partition, i64)>,
}

impl Lag {
    /// Records to read, markers of transactions left out; `None` when the lag is not known.
    #[must_use]
    pub fn unread(&self) -> Option<i64> {
        self.lag.ok().map(|lag| if self.silent { 0 } else { lag })
    }

    /// Age of the oldest unread record, estimated; `None` when nothing can tell. Apart from the rest, since
    /// it looks through the samples of the log end.
    #[must_use]
    pub fn seconds(&self, ends: &Ends, now: Ticks) -> Option<f64> {
        let lag = self.lag.ok()?;
        if lag == 0 || self.silent {
            return Some(0.0);
        }
        let (partition, next) = self.next?;
        seconds(next, partition, ends, now)
    }
}

/// Lag of a commit. `topic` is the topic of that name in `ends`; `now` is the cut's time.
#[must_use]
#[inline]
pub fn lag(row: &Row, rare: Option<&Rare>, shard: &ShardKey, topic: Option<&Topic>, ends: &Ends, now: Ticks) -> Lag {
    let unknown = |reason, log_since, log_start, log_end| Lag {
        log_start,
        log_end,
        lag: Err(reason),
        data_lost: false,
        silent: false,
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
    if is_earlier(row, rare, shard, topic, &value) {
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
    let silent = lag > 0 && lag <= ends.silent_tail(*partition).min(silent::LONGEST);
    let next = Some((*partition, next));
    Lag { log_start, log_end, lag: Ok(lag), data_lost, silent, log_since: value.since, next }
}

/// The log end that counts, if one does.
#[must_use]
pub fn log_end(value: &EndValue, now: Ticks) -> Option<i64> {
    known(value.log_end).filter(|_| !is_lost(value, now))
}

fn known(offset: i64) -> Option<i64> {
    (offset >= 0).then_some(offset)
}

/// Returns whether the log end is unknown: the client may not ask, there is no leader, or the last answer is too old and
/// requests keep failing.
fn is_lost(value: &EndValue, now: Ticks) -> bool {
    match value.error {
        None => false,
        Some(EndError::NotAuthorized | EndError::NoLeader) => true,
        Some(EndError::Other(_)) => now.saturating_sub(value.observed) > STALE_AFTER,
    }
}

/// The commit belongs to an earlier topic of the same name: by its topic id; else by what was
/// applied when the earlier id was last seen; else by a leader epoch that the present topic, which
/// started at 0, has not reached.
fn is_earlier(row: &Row, rare: Option<&Rare>, shard: &ShardKey, topic: &Topic, value: &EndValue) -> bool {
    if let (Some(committed), Some(present)) = (rare.and_then(|rare| rare.topic_id), topic.id) {
        return committed != present;
    }
    let seen_before = |earlier: &Applied| earlier.get(shard).is_some_and(|applied| { row.revision } < *applied);
    topic.earlier.as_deref().is_some_and(seen_before)
        || (value.leader_epoch >= 0 && row.leader_epoch > value.leader_epoch && value.observed > row.applied)
}

/// How many times the span of the samples the time before them may be that is extrapolated: a rate tells nothing of a time
/// that was much longer than what it was measured over.
pub const MOST_EXTRAPOLATED: f64 = 10.0;

/// Time since the log end, which is beyond `next`, passed it: interpolated between samples of the end; before the first
/// sample, extrapolated from the rate, within the known age of the log. `None` when nothing can tell.
fn seconds(next: i64, partition: Partition, ends: &Ends, now: Ticks) -> Option<f64> {
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
        // The log was empty, and has been filled since.
        (None, Some(absent_at)) => Some(age(passed((absent_at, 0), after, next), now)),
        (None, None) => None,
    }
}

/// When a log end passed an offset (ticks), as if it had moved steadily between two samples.
fn passed(from: (Ticks, i64), to: (Ticks, i64), offset: i64) -> f64 {
    let part = to_f64(offset.saturating_sub(from.1)) / to_f64(to.1.saturating_sub(from.1).max(1));
    f64::from(from.0) + part.clamp(0.0, 1.0) * f64::from(to.0.saturating_sub(from.0))
}

/// Seconds since a time (ticks).
fn age(at: f64, now: Ticks) -> f64 {
    ((f64::from(now) - at) / 10.0).max(0.0)
}

/// Milliseconds since a commit, by the time that its record tells, but at least since this process saw the commit:
/// coordinators and clients may have put any time into the record. What was replayed was committed before `load_began`.
#[must_use]
pub fn quiet(row: &Row, load_began: Ticks, now: Ticks, now_at: Millis) -> Millis {
    let seen = i64::from(now.saturating_sub(row.applied.max(load_began))) * 100;
    shown(row.committed_at).map_or(seen, |at| now_at.saturating_sub(at).max(seen))
}

/// What [`status`] needs to know besides the commit.
#[derive(Clone, Copy, Debug)]
pub struct StatusContext<'a> {
    /// Log ends of the cluster.
    pub ends: &'a Ends,
    /// Length of the window.
    pub window: Ticks,
    /// The cut's time, steady.
    pub now: Ticks,
    /// The cut's time.
    pub now_at: Millis,
    /// When the load of the commit's shard began.
    pub load_began: Ticks,
}

/// What the status of a group is before its offsets are looked at, the worst of which counts: of a group that has none
/// nobody knows how it does.
#[must_use]
pub fn status_before_offsets(group: &GroupView) -> Status {
    if group.is_empty() { Status::Unknown } else { Status::Ok }
}

/// Status of a partition, by the rules of Burrow's evaluator as the contract refines them. The
/// worst that applies; a sample without lag in the window clears all but `data_lost`.
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
    let quiet = quiet(row, context.load_began, context.now, context.now_at);
    let usual = match row.interval_ms {
        0 => UNKNOWN_INTERVAL_MS,
        // Half as long again is not unusual yet.
        interval => i64::from(interval) * 3 / 2,
    };
    if quiet > window_ms && quiet > usual {
        return if was_caught_up(row, lag, context) { Status::Ok } else { Status::Stopped };
    }
    let Some(window) = window else { return Status::Ok };
    if !within(window.moved) && quiet <= window_ms {
        Status::Stalled
    } else if happened(window.rewound) {
        Status::Rewind
    } else if happened(window.rose) && !happened(window.fell) && within(window.moved) {
        Status::Lagging
    } else {
        Status::Ok
    }
}

/// Whether a log end within the window was not beyond a commit that is older than the window. Tells it also of groups
/// without a window of their own: those that committed nothing since the load.
fn was_caught_up(row: &Row, lag: &Lag, context: StatusContext<'_>) -> bool {
    let Some((partition, next)) = lag.next else { return false };
    let from = context.now.saturating_sub(context.window);
    let counts = |taken: Ticks| taken >= row.applied && (taken > from || from == 0);
    // Log ends only rise: the oldest is the least.
    context.ends.samples_of(partition).find(|(taken, _)| counts(*taken)).is_some_and(|(_, end)| end <= next)
}

#[cfg(test)]
mod tests;
