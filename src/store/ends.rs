//! Topics and log ends of one cluster.
//!
//! [`LogEnds`] is one immutable version of them, which a cut holds. The poller publishes the next version in
//! [`LogEndsBoard`]. Values are in one flat list by slot, so that a new version is one copy of it, and a sample of all
//! log ends takes 8 bytes per partition.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::HashMap;

use crate::{
    clock::Ticks,
    model::{Name, OFFSETS_TOPIC, Uuid},
};

use super::event::AppliedRevisions;

mod board;
mod slots;
mod value;

pub use board::{IdsSeen, LogEndsBoard};
pub use value::{EndError, LogOffsets, OffsetAnswer, OffsetSpec};

/// A topic counts as deleted once two metadata refreshes, at least this many ticks apart, did not list it.
pub const DELETED_AFTER: Ticks = 100;
/// Maximum age of a sample of the log ends, in ticks: one hour.
const SAMPLE_SPAN: Ticks = 36_000;

/// A partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Broker id of the leader, if there is one.
    pub leader: Option<i32>,
    /// Index of its value.
    pub slot: u32,
}

/// A topic of the cluster.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Topic name.
    pub name: Name,
    /// Topic id, once known.
    pub id: Option<Uuid>,
    /// Partitions, by number.
    pub partitions: Vec<Partition>,
    /// Applied revisions when an earlier topic of this name was last seen. Commits below them belong to that topic.
    pub earlier: Option<Arc<AppliedRevisions>>,
    /// Whether brokers refuse to describe the topic (ACL). It is known from groups and has no partitions.
    pub refused: bool,
    /// Time of the metadata refresh that first missed the topic.
    missing_since: Option<Ticks>,
}

impl Topic {
    /// Returns whether this is one of Kafka's own topics (`Topic.INTERNAL_TOPICS`).
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(&*self.name, OFFSETS_TOPIC | "__transaction_state" | "__share_group_state")
    }
}

/// A topic in a metadata response.
#[derive(Clone, Debug)]
pub struct TopicMetadata {
    /// Topic name.
    pub name: Name,
    /// Leader of each partition, by number.
    pub leaders: Vec<Option<i32>>,
}

/// The log ends of all partitions at one moment.
#[derive(Debug)]
pub struct EndsSample {
    /// Time of the sample.
    pub taken: Ticks,
    /// Log ends by slot; -1 if unknown.
    pub ends: Vec<i64>,
}

/// One version of a cluster's topics and log ends.
#[derive(Clone, Debug, Default)]
pub struct LogEnds {
    /// Number of the version.
    pub version: u64,
    topics: Arc<BTreeMap<Name, Arc<Topic>>>,
    by_id: Arc<HashMap<Uuid, Name>>,
    /// Trailing markers by slot, as (offset of the first marker, log end); see [`super::trailing`].
    trailing: Arc<HashMap<u32, (i64, i64)>>,
    values: Vec<LogOffsets>,
    /// Samples of the log ends, oldest first; more recent samples are closer together.
    samples: Vec<Arc<EndsSample>>,
    /// Time of the newest complete list of topics.
    listed: Option<Ticks>,
    /// Time of the newest metadata refresh that counts for deletions.
    refreshed: Option<Ticks>,
    /// Time of the refresh before it, at least [`DELETED_AFTER`] earlier.
    confirmed: Option<Ticks>,
    /// Whether every leader has answered, or failed, once.
    pub loaded: bool,
    /// Deleted topics, with the revisions that were applied when the deletion was found.
    deleted: Arc<BTreeMap<Name, Arc<AppliedRevisions>>>,
}

impl LogEnds {
    /// Returns a topic by its name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// Returns the name of the topic that has this id now.
    #[must_use]
    pub fn topic_name(&self, id: Uuid) -> Option<&Name> {
        self.by_id.get(&id)
    }

    /// Returns the number of offsets before the current log end that are only transaction markers, as far as known.
    #[must_use]
    pub fn trailing_markers(&self, partition: Partition) -> i64 {
        let end = self.value(partition).log_end;
        self.trailing.get(&partition.slot).filter(|trailing| trailing.1 == end).map_or(0, |trailing| end - trailing.0)
    }

    /// Returns whether the log end has not moved since `since`, by the samples.
    #[must_use]
    pub fn is_unchanged(&self, partition: Partition, since: Ticks) -> bool {
        let mut before = self.samples_of(partition).rev().skip_while(|(taken, _)| *taken > since);
        before.next().is_some_and(|(_, end)| end == self.value(partition).log_end)
    }

    /// Returns the samples of the partition's current log, oldest first, as (time, log end).
    pub fn samples_of(&self, partition: Partition) -> impl DoubleEndedIterator<Item = (Ticks, i64)> + '_ {
        let (slot, since) = (partition.slot as usize, self.value(partition).since);
        let end = move |sample: &Arc<EndsSample>| sample.ends.get(slot).copied().filter(|end| *end >= 0);
        let of_log = self.samples.iter().filter(move |sample| sample.taken >= since);
        of_log.filter_map(move |sample| Some((sample.taken, end(sample)?)))
    }

    /// Resets the value of a slot, because another log has replaced the previous one. Samples taken, and requests sent,
    /// before `from` do not belong to the new log.
    fn replace_log(&mut self, slot: u32, from: Ticks, absent_at: Option<Ticks>) {
        let sampled = self.samples.last().map_or(0, |sample| sample.taken.saturating_add(1));
        let Some(value) = self.values.get_mut(slot as usize) else { return };
        let seen = (value.log_end >= 0).then_some(value.observed);
        *value = LogOffsets {
            since: from.max(sampled),
            absent_at,
            replaced_at: seen.or(value.replaced_at),
            ..LogOffsets::UNKNOWN
        };
        if self.trailing.contains_key(&slot) {
            Arc::make_mut(&mut self.trailing).remove(&slot);
        }
    }

    fn set(&mut self, topics: BTreeMap<Name, Arc<Topic>>) {
        let id = |topic: &Arc<Topic>| Some((topic.id?, Name::clone(&topic.name)));
        self.by_id = Arc::new(topics.values().filter_map(id).collect());
        self.topics = Arc::new(topics);
    }

    /// Returns the visible topics, ordered by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values().filter(|topic| !topic.refused)
    }

    /// Returns whether the last complete list of topics contains this one.
    #[must_use]
    pub fn is_listed(&self, name: &str) -> bool {
        self.topics.get(name).is_some_and(|topic| !topic.refused && topic.missing_since.is_none())
    }

    /// Returns the value of a partition. Without a leader, the log end is unknown, whatever an earlier leader answered.
    #[must_use]
    pub fn value(&self, partition: Partition) -> LogOffsets {
        let value = self.values.get(partition.slot as usize).copied().unwrap_or(LogOffsets::UNKNOWN);
        let error = if partition.leader.is_none() { Some(EndError::NoLeader) } else { value.error };
        LogOffsets { error, ..value }
    }

    /// Returns the time of the newest metadata refresh that counts for deletions.
    #[must_use]
    pub fn refreshed(&self) -> Option<Ticks> {
        self.refreshed
    }

    /// Returns whether a topic that is not in this version is deleted, for a commit applied at `commit_applied`: two
    /// refreshes after the commit, [`DELETED_AFTER`] apart, did not list the topic.
    #[must_use]
    pub fn is_deleted(&self, commit_applied: Ticks) -> bool {
        self.confirmed.is_some_and(|confirmed| commit_applied < confirmed)
    }

    /// Returns the records per second by which the partition grew, over the samples of the last `over` ticks.
    #[must_use]
    pub fn produce_rate(&self, partition: Partition, over: Ticks) -> Option<f64> {
        let newest = self.samples_of(partition).next_back()?;
        let from = newest.0.saturating_sub(over);
        let oldest = self.samples_of(partition).find(|(taken, _)| *taken >= from)?;
        let tenths = newest.0.checked_sub(oldest.0).filter(|tenths| *tenths > 0)?;
        Some(to_f64(newest.1.saturating_sub(oldest.1).max(0)) * 10.0 / f64::from(tenths))
    }
}

/// Converts an offset to a float, for rates and metrics. Exact below 2^53.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "rates and metrics are floats; offsets beyond 2^53 do not occur")]
pub fn to_f64(value: i64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;
