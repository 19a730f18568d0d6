//! Basic types that every module uses: names, ids, times, and reasons why a value is unknown.
//!
//! The terms are Kafka's own. An unknown value is `None` with a reason, never 0 or -1.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// A name from Kafka: of a group, topic, member or host. Shared and immutable.
pub type Name = Arc<str>;

/// Milliseconds since the Unix epoch, as Kafka stores times.
pub type Millis = i64;

/// The topic that holds committed offsets (`Topic.GROUP_METADATA_TOPIC_NAME`).
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The value of the `source` column for offsets read from `__consumer_offsets`.
pub const SOURCE_KAFKA: &str = "kafka";

/// Identity of a source of offsets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId {
    /// Configured name of the Kafka cluster that has the topics of the offsets.
    pub cluster: Name,
    /// [`SOURCE_KAFKA`], or the name of another offset store.
    pub name: Name,
}

/// How a source keeps its offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceKind {
    /// As a partitioned log: a shard is a partition, and a revision is the offset of a record.
    Log,
    /// As a table of current values: one shard with changes that are numbered when they are found.
    Table,
}

/// Position of a fact in the order of its shard: the offset of its record in a log, else the number of the change.
/// Strictly ascending within a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl Revision {
    /// The revision before every fact.
    pub const NONE: Self = Self(-1);
    /// The revision after every fact.
    pub const MAX: Self = Self(i64::MAX);

    /// Returns the next higher revision.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A Kafka UUID, used for topic ids. All zero means "none" (`Uuid.ZERO_UUID`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// Kafka's sentinel for "no id".
    pub const ZERO: Self = Self([0; 16]);

    /// Returns the id; `None` if it is the all-zero sentinel.
    #[must_use]
    pub fn known(self) -> Option<Self> {
        (self != Self::ZERO).then_some(self)
    }

    /// Parses Kafka's text form: URL-safe base64 without padding. Returns `None` for other texts.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

/// Writes Kafka's text form: URL-safe base64 without padding (`Uuid.toString`).
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

/// Why a lag is unknown (column `lag_unknown`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LagUnknown {
    /// The log end has not been fetched yet, or fetching it failed.
    EndUnknown,
    /// The broker refuses the request (ACL).
    NotAuthorized,
    /// The committed offset is beyond a log end that was observed after the commit.
    AheadOfLog,
    /// The commit belongs to an earlier topic of the same name.
    TopicRecreated,
    /// The topic or partition does not exist any more.
    TopicDeleted,
}

impl LagUnknown {
    /// Returns the name in SQL, JSON and metrics.
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

/// Status of a group on a partition, from a window of samples. In ascending order of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// The group keeps up, or there are too few samples to say otherwise.
    Ok,
    /// The lag is unknown.
    Unknown,
    /// The lag never fell while commits advanced.
    Lagging,
    /// The committed offset went back.
    Rewind,
    /// Commits arrive but do not advance, and there is lag.
    Stalled,
    /// No commit arrived for longer than the window and the usual interval, and there is lag.
    Stopped,
    /// The committed offset is below the log start: records were deleted unread.
    DataLost,
}

impl Status {
    /// Returns the name in SQL, JSON and metrics.
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

/// Returns Java's `String.hashCode`: over UTF-16 code units, wrapping at 32 bits.
#[must_use]
pub fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// Returns the partition of `__consumer_offsets` that holds a group's records; `None` if there are no partitions.
///
/// As `GroupCoordinatorService.partitionFor`: the absolute value of the hash, with 0 for `Integer.MIN_VALUE`
/// (`Utils.abs`), and not `hash & 0x7fffffff`.
#[must_use]
pub fn log_partition_for(group_id: &str, partitions: i32) -> Option<i32> {
    log_partition_of(java_hash(group_id), partitions)
}

/// Returns the log partition for the [`java_hash`] of a group id.
#[must_use]
pub fn log_partition_of(hash: i32, partitions: i32) -> Option<i32> {
    hash.checked_abs().unwrap_or(0).checked_rem(partitions)
}

/// Converts Kafka's milliseconds to nanoseconds, the unit of SQL timestamps. Returns `None` for 0 or less, which Kafka
/// treats as no time, and beyond the year 2262, which 64 bits cannot represent.
#[must_use]
pub fn nanos(at: Millis) -> Option<i64> {
    if at > 0 { at.checked_mul(1_000_000) } else { None }
}

/// Returns a time that interfaces can show; `None` if SQL shows NULL, see [`nanos`].
#[must_use]
pub fn shown(at: Millis) -> Option<Millis> {
    nanos(at).map(|_| at)
}

#[cfg(test)]
mod tests;
