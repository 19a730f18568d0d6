//! Commit × log end → lag, time lag and status. Pure functions; the rules are the contract's.

use crate::{
    clock::Ticks,
    model::{LagUnknown, Millis, Status},
    store::{
        ends::{EndError, EndValue, Ends, Partition, Topic, to_f64},
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
    /// Where it reads on.
    next: Option<(Partition, i64)>,
}

impl Lag {
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
pub fn lag(row: &Row, rare: Option<&Rare>, log_partition: i32, topic: Option<&Topic>, ends: &Ends, now: Ticks) -> Lag {
    let unknown = |reason, log_start, log_end| Lag {
        log_start,
        log_end,
        lag: Err(reason),
        data_lost: false,
        silent: false,
        next: None,
    };
    let partition =
        topic.zip(usize::try_from(row.partition).ok()).and_then(|(topic, number)| topic.partitions.get(number));
    if topic.is_some_and(|topic| topic.refused) {
        return unknown(LagUnknown::NotAuthorized, None, None);
    }
    let (Some(topic), Some(partition)) = (topic, partition) else {
        let gone = if ends.is_deleted(row.applied) { LagUnknown::TopicDeleted } else { LagUnknown::EndUnknown };
        return unknown(gone, None, None);
    };
    let value = ends.value(*partition);
    let (log_start, log_end) = (known(value.log_start), known(value.log_end));
    if is_earlier(row, rare, log_partition, topic, &value) {
        return unknown(LagUnknown::TopicRecreated, log_start, log_end);
    }
    let Some(end) = self::log_end(&value, now) else {
        let refused = value.error == Some(EndError::NotAuthorized);
        return unknown(if refused { LagUnknown::NotAuthorized } else { LagUnknown::EndUnknown }, log_start, None);
    };
    if row.committed_offset > end && value.observed > row.applied {
        return unknown(LagUnknown::AheadOfLog, log_start, log_end);
    }
    let data_lost = log_start.is_some_and(|start| row.committed_offset < start);
    let next = row.committed_offset.max(log_start.unwrap_or(0));
    let lag = end.saturating_sub(next).max(0);
    let silent = lag > 0 && lag <= ends.silent_tail(*partition).min(silent::LONGEST);
    Lag { log_start, log_end, lag: Ok(lag), data_lost, silent, next: Some((*partition, next)) }
}

/// The log end that counts, if one does.
#[must_use]
pub fn log_end(value: &EndValue, now: Ticks) -> Option<i64> {
    known(value.log_end).filter(|_| !is_lost(value, now))
}

fn known(offset: i64) -> Option<i64> {
    (offset >= 0).then_some(offset)
}

/// Nobody may answer or is there to answer, or the last answer is too old to count while it keeps failing.
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
fn is_earlier(row: &Row, rare: Option<&Rare>, log_partition: i32, topic: &Topic, value: &EndValue) -> bool {
    if let (Some(committed), Some(present)) = (rare.and_then(|rare| rare.topic_id), topic.id) {
        return committed != present;
    }
    let seen_before = |earlier: &std::collections::BTreeMap<i32, i64>| {
        earlier.get(&log_partition).is_some_and(|applied| row.log_offset < *applied)
    };
    topic.earlier.as_deref().is_some_and(seen_before)
        || (value.leader_epoch >= 0 && row.leader_epoch > value.leader_epoch && value.observed > row.applied)
}

/// Time since the log end, which is beyond `next`, passed it: interpolated between samples of the end; before the first
/// sample, extrapolated from the rate. `None` when nothing can tell.
fn seconds(next: i64, partition: Partition, ends: &Ends, now: Ticks) -> Option<f64> {
    let newest = ends.value(partition);
    let mut after = (newest.observed, newest.log_end);
    for sample in ends.samples.iter().rev().filter(|sample| sample.taken < newest.observed) {
        let Some(end) = sample.ends.get(partition.slot as usize).copied().and_then(known) else { continue };
        if end <= next {
            let part = to_f64(next - end) / to_f64(after.1.saturating_sub(end).max(1));
            let passed =
                f64::from(sample.taken) + part.clamp(0.0, 1.0) * f64::from(after.0.saturating_sub(sample.taken));
            return Some(((f64::from(now) - passed) / 10.0).max(0.0));
        }
        after = (sample.taken, end);
    }
    let (oldest, end) = after;
    let rate = ends.produce_rate(partition, Ticks::MAX).filter(|rate| *rate > 0.0)?;
    Some(f64::from(now.saturating_sub(oldest)) / 10.0 + to_f64(end.saturating_sub(next)) / rate)
}

/// What [`status`] needs to know besides the commit.
#[derive(Clone, Copy, Debug)]
pub struct StatusContext {
    /// Length of the window.
    pub window: Ticks,
    /// The cut's time, steady.
    pub now: Ticks,
    /// The cut's time.
    pub now_at: Millis,
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
pub fn status(row: &Row, lag: &Lag, window: Option<&KeyWindow>, context: StatusContext) -> Status {
    let records = match lag.lag {
        Err(_) => return Status::Unknown,
        Ok(_) if lag.data_lost => return Status::DataLost,
        Ok(_) if lag.silent => return Status::Ok,
        Ok(records) => records,
    };
    if records == 0 {
        return Status::Ok;
    }
    let window_ms = i64::from(context.window) * 100;
    let quiet = context.now_at.saturating_sub(row.committed_at);
    let usual = match row.interval_ms {
        0 => UNKNOWN_INTERVAL_MS,
        // Half as long again is not unusual yet.
        interval => i64::from(interval) * 3 / 2,
    };
    if quiet > window_ms && quiet > usual {
        return Status::Stopped;
    }
    let Some(window) = window else { return Status::Ok };
    let within = |at: Option<Ticks>| at.is_some_and(|at| context.now.saturating_sub(at) < context.window);
    if within(window.without_lag) {
        return Status::Ok;
    }
    if !within(Some(window.moved)) && quiet <= window_ms {
        Status::Stalled
    } else if within(window.rewound) {
        Status::Rewind
    } else if within(window.rose) && !within(window.fell) && within(Some(window.moved)) {
        Status::Lagging
    } else {
        Status::Ok
    }
}

#[cfg(test)]
mod tests;
