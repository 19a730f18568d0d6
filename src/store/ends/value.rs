//! What is known of one partition's log, and answers about it.

use crate::{clock::Ticks, model::Millis};

/// Why a log end could not be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndError {
    /// TOPIC_AUTHORIZATION_FAILED.
    NotAuthorized,
    /// The partition has no leader.
    NoLeader,
    /// Anything else, as librdkafka's error code.
    Other(i32),
}

/// What is known of one partition's log. -1 is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndValue {
    /// First offset of the log.
    pub log_start: i64,
    /// High watermark: the offset of the next record.
    pub log_end: i64,
    /// Last stable offset: what a read_committed consumer reaches.
    pub last_stable: i64,
    /// Leader epoch that came with the log end.
    pub leader_epoch: i32,
    /// When the question for `log_end` was sent: the answer is not older.
    pub observed: Ticks,
    /// The same, as wall-clock time.
    pub observed_at: Millis,
    /// Why the last question failed; `None` after an answer.
    pub error: Option<EndError>,
    /// When this process first saw the log: samples of its slot and questions from before concern another log.
    pub since: Ticks,
    /// A time at which the log did not exist yet, if one is known.
    pub absent_at: Option<Ticks>,
    /// When the log before this one was last seen, if this one took its place.
    pub(super) replaced_at: Option<Ticks>,
}

impl EndValue {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        log_start: -1,
        log_end: -1,
        last_stable: -1,
        leader_epoch: -1,
        observed: 0,
        observed_at: 0,
        error: None,
        since: 0,
        absent_at: None,
        replaced_at: None,
    };

    /// Whether an answer with this end is of another log than the answers before: ends do not go back in one log.
    pub(super) fn is_replaced_by(&self, end: i64) -> bool {
        end < self.log_end
    }
}

/// Which offset of a log to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndKind {
    /// First offset.
    Start,
    /// High watermark.
    High,
    /// Last stable offset.
    Stable,
}

/// An answer for one partition.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Slot of the partition.
    pub slot: u32,
    /// Offset and leader epoch (-1 is unknown).
    pub result: Result<(i64, i32), EndError>,
}
