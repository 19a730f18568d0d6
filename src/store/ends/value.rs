//! Known offsets of one partition's log, and broker responses about them.

use crate::{clock::Ticks, model::Millis};

/// Why a log end could not be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndError {
    /// TOPIC_AUTHORIZATION_FAILED.
    NotAuthorized,
    /// The partition has no leader.
    NoLeader,
    /// Another error, as librdkafka's error code.
    Other(i32),
}

/// Known offsets of one partition's log. -1 stands for unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOffsets {
    /// First offset of the log.
    pub log_start: i64,
    /// High watermark: the offset of the next record.
    pub log_end: i64,
    /// Last stable offset: the end for a read_committed consumer.
    pub last_stable: i64,
    /// Time at which the request for `last_stable` was sent: it is sent less often than that for `log_end`.
    pub last_stable_at: Millis,
    /// Leader epoch in the response that had the log end.
    pub leader_epoch: i32,
    /// Time at which the request for `log_end` was sent. The response is not older.
    pub observed: Ticks,
    /// The same time on the wall clock.
    pub observed_at: Millis,
    /// Error of the last request; `None` if it succeeded.
    pub error: Option<EndError>,
    /// Time since which this log exists, as far as this process saw. Earlier samples and requests of the slot belong to
    /// another log.
    pub since: Ticks,
    /// A time at which the log did not exist, if known.
    pub absent_at: Option<Ticks>,
    /// Time at which the log that this one replaced was last seen.
    pub(super) replaced_at: Option<Ticks>,
}

impl LogOffsets {
    /// The value of a partition of which nothing is known.
    pub const UNKNOWN: Self = Self {
        log_start: -1,
        log_end: -1,
        last_stable: -1,
        last_stable_at: 0,
        leader_epoch: -1,
        observed: 0,
        observed_at: 0,
        error: None,
        since: 0,
        absent_at: None,
        replaced_at: None,
    };

    /// Returns whether a response with this log end belongs to another log: within one log, ends do not go back.
    pub(super) fn is_replaced_by(&self, end: i64) -> bool {
        end < self.log_end
    }
}

/// The offset to request in ListOffsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OffsetSpec {
    /// First offset.
    Start,
    /// High watermark.
    High,
    /// Last stable offset.
    Stable,
}

/// A broker's response for one partition.
#[derive(Clone, Copy, Debug)]
pub struct OffsetAnswer {
    /// Slot of the partition.
    pub slot: u32,
    /// Offset and leader epoch (-1 if unknown).
    pub result: Result<(i64, i32), EndError>,
}
