//! Log ends and topics of one cluster.
//!
//! [`Ends`] is one version, immutable, held by a cut. [`EndsBoard`] is where the poller publishes
//! the next one. Values lie in one flat list by slot, so that a version is one copy of it, and a
//! sample of all ends is 8 bytes a partition.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::HashMap;

use crate::{
    clock::Ticks,
    model::{Name, OFFSETS_TOPIC, Uuid},
};

use super::event::Applied;

mod board;
mod slots;
mod value;

pub use board::{EndsBoard, IdsSeen};
pub use value::{Answer, EndError, EndKind, EndValue};

/// Two metadata refreshes at least so far apart must miss a topic before it counts as deleted.
pub const DELETED_AFTER: Ticks = 100;
/// How far back samples of the log ends reach.
const SAMPLE_SPAN: Ticks = 36_000;

/// A partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Broker id of the leader, if there is one.
    pub leader: Option<i32>,
    /// Where its value stands.
    pub slot: u32,
}

/// A topic of the cluster.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Topic name.
    pub name: Name,
    /// Incarnation, once known.
    pub id: Option<Uuid>,
    /// Partitions, by number.
    pub partitions: Vec<Partition>,
    /// What the shards had applied when an earlier topic of this name was last seen: commits below
    /// belong to it.
    pub earlier: Option<Arc<Applied>>,
    /// The brokers refuse to tell anything of it (ACL): there are groups on it, and no partitions.
    pub refused: bool,
    /// The metadata refresh that first missed the topic.
    missing_since: Option<Ticks>,
}

impl Topic {
    /// One of Kafka's own (`Topic.INTERNAL_TOPICS`).
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(&*self.name, OFFSETS_TOPIC | "__transaction_state" | "__share_group_state")
    }
}

/// A topic as metadata tells it.
#[derive(Clone, Debug)]
pub struct TopicMetadata {
    /// Topic name.
    pub name: Name,
    /// Leader of each partition, by number.
    pub leaders: Vec<Option<i32>>,
}

/// The log end of every partition at one moment.
#[derive(Debug)]
pub struct Sample {
    /// When.
    pub taken: Ticks,
    /// By slot; -1 is not known.
    pub ends: Vec<i64>,
}

/// One version of a cluster's topics and log ends.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    /// Counts versions.
    pub version: u64,
    topics: Arc<BTreeMap<Name, Arc<Topic>>>,
    by_id: Arc<HashMap<Uuid, Name>>,
    /// By slot: from where to which end there is nothing to read, see [`super::silent`].
    silent: Arc<HashMap<u32, (i64, i64)>>,
    values: Vec<EndValue>,
    /// Oldest first, the nearer the denser.
    samples: Vec<Arc<Sample>>,
    /// The newest listing of topics.
    listed: Option<Ticks>,
    /// The newest metadata refresh.
    refreshed: Option<Ticks>,
    /// The newest refresh that is at least [`DELETED_AFTER`] older.
    confirmed: Option<Ticks>,
    /// Every leader has answered, or failed, once.
    pub loaded: bool,
    /// Topics that were deleted, with what the shards had applied then.
    deleted: Arc<BTreeMap<Name, Arc<Applied>>>,
}

impl Ends {
    /// A topic by its name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// Name of the topic that has the id now.
    #[must_use]
    pub fn topic_name(&self, id: Uuid) -> Option<&Name> {
        self.by_id.get(&id)
    }

    /// How many offsets before the present end hold nothing for a reader of committed records, as far as is known.
    #[must_use]
    pub fn silent_tail(&self, partition: Partition) -> i64 {
        let end = self.value(partition).log_end;
        self.silent.get(&partition.slot).filter(|silent| silent.1 == end).map_or(0, |silent| end - silent.0)
    }

    /// Whether the end of a partition has not moved for a while, by the samples.
    #[must_use]
    pub fn is_quiet(&self, partition: Partition, since: Ticks) -> bool {
        let mut before = self.samples_of(partition).rev().skip_while(|(taken, _)| *taken > since);
        before.next().is_some_and(|(_, end)| end == self.value(partition).log_end)
    }

    /// The samples of a partition's present log, oldest first: when each was taken, and the log end.
    pub fn samples_of(&self, partition: Partition) -> impl DoubleEndedIterator<Item = (Ticks, i64)> + '_ {
        let (slot, since) = (partition.slot as usize, self.value(partition).since);
        let end = move |sample: &Arc<Sample>| sample.ends.get(slot).copied().filter(|end| *end >= 0);
        let of_log = self.samples.iter().filter(move |sample| sample.taken >= since);
        of_log.filter_map(move |sample| Some((sample.taken, end(sample)?)))
    }

    /// Forgets what is known of the log in a slot, because another one took its place. No sample that was taken, and no
    /// question that was sent before `from` concerns the new log.
    fn replace_log(&mut self, slot: u32, from: Ticks, absent_at: Option<Ticks>) {
        let sampled = self.samples.last().map_or(0, |sample| sample.taken.saturating_add(1));
        let Some(value) = self.values.get_mut(slot as usize) else { return };
        let seen = (value.log_end >= 0).then_some(value.observed);
        *value = EndValue {
            since: from.max(sampled),
            absent_at,
            replaced_at: seen.or(value.replaced_at),
            ..EndValue::UNKNOWN
        };
        if self.silent.contains_key(&slot) {
            Arc::make_mut(&mut self.silent).remove(&slot);
        }
    }

    fn set(&mut self, topics: BTreeMap<Name, Arc<Topic>>) {
        let id = |topic: &Arc<Topic>| Some((topic.id?, Name::clone(&topic.name)));
        self.by_id = Arc::new(topics.values().filter_map(id).collect());
        self.topics = Arc::new(topics);
    }

    /// The topics that can be seen, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values().filter(|topic| !topic.refused)
    }

    /// Whether the last listing of topics showed this one.
    #[must_use]
    pub fn is_listed(&self, name: &str) -> bool {
        self.topics.get(name).is_some_and(|topic| !topic.refused && topic.missing_since.is_none())
    }

    /// The value of a partition. Without a leader nothing is known of its end, whatever was answered before.
    #[must_use]
    pub fn value(&self, partition: Partition) -> EndValue {
        let value = self.values.get(partition.slot as usize).copied().unwrap_or(EndValue::UNKNOWN);
        let error = if partition.leader.is_none() { Some(EndError::NoLeader) } else { value.error };
        EndValue { error, ..value }
    }

    /// The newest metadata refresh.
    #[must_use]
    pub fn refreshed(&self) -> Option<Ticks> {
        self.refreshed
    }

    /// Whether a topic that is not in this version is known to be gone, for a commit applied then:
    /// two refreshes after it, far enough apart, both without the topic.
    #[must_use]
    pub fn is_deleted(&self, commit_applied: Ticks) -> bool {
        self.confirmed.is_some_and(|confirmed| commit_applied < confirmed)
    }

    /// Records per second that the partition grew by over the last minute or so of samples.
    #[must_use]
    pub fn produce_rate(&self, partition: Partition, over: Ticks) -> Option<f64> {
        let newest = self.samples_of(partition).next_back()?;
        let from = newest.0.saturating_sub(over);
        let oldest = self.samples_of(partition).find(|(taken, _)| *taken >= from)?;
        let tenths = newest.0.checked_sub(oldest.0).filter(|tenths| *tenths > 0)?;
        Some(to_f64(newest.1.saturating_sub(oldest.1).max(0)) * 10.0 / f64::from(tenths))
    }
}

/// Offsets as floats, for rates and metrics. Exact below 2^53.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "rates and metrics are floats; offsets beyond 2^53 do not occur")]
pub fn to_f64(value: i64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;
