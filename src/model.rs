//! Vocabulary that every module shares: names, ids, times, and why something is not known.
//!
//! Words are Kafka's own. Unknown is `None` with a reason, never 0 and never -1.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// A name as Kafka gave it: group, topic, member, host. Shared, immutable.
pub type Name = Arc<str>;

/// Milliseconds since the Unix epoch, as Kafka stores times.
pub type Millis = i64;

/// The topic that holds committed offsets (`Topic.GROUP_METADATA_TOPIC_NAME`).
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The value of the `source` column for offsets read from `__consumer_offsets`.
pub const SOURCE_KAFKA: &str = "kafka";

/// Names a source of offsets: where they are kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId {
    /// The name that the operator gave the Kafka cluster whose topics the offsets are about.
    pub cluster: Name,
    /// [`SOURCE_KAFKA`], or the name of another offset store.
    pub name: Name,
}

/// How a source keeps its offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceKind {
    /// In a partitioned log: a shard is a partition, a revision the offset of a record.
    Log,
    /// As a table of present values: one shard, whose changes are numbered as they are found.
    Table,
}

/// Position of a fact in the order of its shard: the offset of its record in a log, else the number of the change. Rises
/// strictly within a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl Revision {
    /// Before every fact.
    pub const NONE: Self = Self(-1);
    /// After every fact.
    pub const MAX: Self = Self(i64::MAX);

    /// The least revision after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A Kafka UUID: topic ids. All zero means "none" (`Uuid.ZERO_UUID`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// Kafka's sentinel for "no id".
    pub const ZERO: Self = Self([0; 16]);

    /// `None` for the all-zero sentinel.
    #[must_use]
    pub fn known(self) -> Option<Self> {
        (self != Self::ZERO).then_some(self)
    }

    /// Reads what Kafka prints: URL-safe base64 without padding. `None` when it is not that.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

/// As Kafka prints it: URL-safe base64 without padding (`Uuid.toString`).
impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a lag is not known (contract: `lag_unknown`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LagUnknown {
    /// The log end was not fetched yet, or fetching it failed.
    EndUnknown,
    /// The broker refuses to tell (ACL).
    NotAuthorized,
    /// Committed beyond a log end that was observed after the commit.
    AheadOfLog,
    /// The commit belongs to an earlier topic of the same name.
    TopicRecreated,
    /// The topic or the partition is gone.
    TopicDeleted,
}

impl LagUnknown {
    /// The name in SQL, JSON and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EndUnknown => "end_unknown",
            Self::NotAuthorized => "not_authorized",
            Self::AheadOfLog => "ahead_of_log",
            Self::TopicRecreated => "topic_recreated",
            Self::TopicDeleted => "topic_deleted",
        }
    }
}

/// How a group does on a partition, from a window of samples. Ordered: the greatest is the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Keeps up, or too little was seen to say otherwise of a known lag.
    Ok,
    /// The lag is not known.
    Unknown,
    /// The lag never fell while commits advanced.
    Lagging,
    /// The committed offset went back.
    Rewind,
    /// Commits come but do not advance, with lag.
    Stalled,
    /// No commit for longer than the window and than usual, with lag.
    Stopped,
    /// Committed below the log start: records were deleted unread.
    DataLost,
}

impl Status {
    /// The name in SQL, JSON and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Lagging => "lagging",
            Self::Rewind => "rewind",
            Self::Stalled => "stalled",
            Self::Stopped => "stopped",
            Self::DataLost => "data_lost",
        }
    }
}

/// Returns whether Kafka allows a topic of this name (`Topic.validate`).
#[must_use]
pub fn is_topic_name(name: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(is_valid)
}

/// `String.hashCode` of Java: over UTF-16 code units, wrapping at 32 bits.
#[must_use]
pub fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// The partition of `__consumer_offsets` that holds a group's records.
///
/// `GroupCoordinatorService.partitionFor`: the arithmetic absolute value of the hash, with
/// `Integer.MIN_VALUE` taken for 0 (`Utils.abs`), and not `hash & 0x7fffffff`.
/// `None` when there are no partitions.
#[must_use]
pub fn log_partition_for(group_id: &str, partitions: i32) -> Option<i32> {
    log_partition_of(java_hash(group_id), partitions)
}

/// The same, from [`java_hash`] of the group id.
#[must_use]
pub fn log_partition_of(hash: i32, partitions: i32) -> Option<i32> {
    hash.checked_abs().unwrap_or(0).checked_rem(partitions)
}

/// Kafka milliseconds as nanoseconds, the unit of SQL timestamps. `None` for what Kafka takes for no time (0 or less),
/// and beyond the year 2262, which 64 bits do not hold.
#[must_use]
pub fn nanos(at: Millis) -> Option<i64> {
    if at > 0 { at.checked_mul(1_000_000) } else { None }
}

/// A time as every interface shows it: `None` where SQL shows NULL, see [`nanos`].
#[must_use]
pub fn shown(at: Millis) -> Option<Millis> {
    nanos(at).map(|_| at)
}

#[cfg(test)]
mod tests;
