//! Log ends and topics of one cluster.
//!
//! [`Ends`] is one version, immutable, held by a cut. [`EndsBoard`] is where the poller publishes
//! the next one. Values lie in one flat list by slot, so that a version is one copy of it, and a
//! sample of all ends is 8 bytes a partition.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::{
    clock::Ticks,
    model::{Millis, Name, OFFSETS_TOPIC, Uuid},
};

mod forget;
mod refused;
mod slots;
mod value;

use slots::Slots;
pub use value::{Answer, EndError, EndKind, EndValue};

/// Two metadata refreshes at least so far apart must miss a topic before it counts as deleted.
pub const DELETED_AFTER: Ticks = 100;
/// Deleted topics that are remembered, for commits that outlive them.
const DELETED_KEPT: usize = 10_000;
/// How far back samples of the log ends reach.
const SAMPLE_SPAN: Ticks = 36_000;
/// What was answered so long before the rest is no part of a sample.
const LATE: Ticks = 30;
/// Samples lie about an eighth of their age apart: some 60 of them cover the span.
const SAMPLE_SPACING: Ticks = 8;

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
    pub earlier: Option<Arc<BTreeMap<i32, i64>>>,
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
    deleted: Arc<BTreeMap<Name, Arc<BTreeMap<i32, i64>>>>,
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

/// The last answer with topic ids: what a changed id is compared with.
#[derive(Clone, Debug, Default)]
pub struct IdsSeen {
    /// When it was asked for.
    pub asked: Option<Ticks>,
    /// What the shards had applied by then, by log partition.
    pub applied: BTreeMap<i32, i64>,
}

/// Publishes versions of [`Ends`].
#[derive(Debug, Default)]
pub struct EndsBoard {
    current: ArcSwap<Ends>,
    /// Slots that were freed, and when: used again once no sample knows them.
    writer: Mutex<VecDeque<(u32, Ticks)>>,
}

impl EndsBoard {
    /// The newest version.
    #[must_use]
    pub fn current(&self) -> Arc<Ends> {
        self.current.load_full()
    }

    fn update(&self, change: impl FnOnce(&mut Ends, &mut VecDeque<(u32, Ticks)>)) {
        let mut free = self.writer.lock();
        let mut next = Ends::clone(&self.current.load());
        change(&mut next, &mut free);
        next.version += 1;
        self.current.store(Arc::new(next));
    }

    /// Takes over the topics of a complete metadata answer.
    ///
    /// What the shards have `applied` when a topic is found deleted belongs to it, and not to a later one of its name.
    /// `now` is when the answer was asked for. Returns whether a topic that was missing is listed again: it may have been
    /// made anew.
    pub fn set_topics(&self, listed: Vec<TopicMetadata>, now: Ticks, applied: &BTreeMap<i32, i64>) -> bool {
        let mut returned = false;
        self.update(|ends, free| {
            let mut topics = BTreeMap::new();
            let mut deleted = vec![];
            let mut slots = Slots { values: &mut ends.values, free, now, absent_at: ends.listed };
            let listed: HashMap<Name, TopicMetadata> =
                listed.into_iter().map(|topic| (Name::clone(&topic.name), topic)).collect();
            for (name, known) in &*ends.topics {
                if !listed.contains_key(name) {
                    let since = known.missing_since.unwrap_or(now);
                    if known.refused {
                        topics.insert(Name::clone(name), Arc::clone(known));
                    } else if now.saturating_sub(since) >= DELETED_AFTER {
                        slots.release(&known.partitions);
                        deleted.push(Name::clone(name));
                    } else {
                        let missing = Topic { missing_since: Some(since), ..Topic::clone(known) };
                        topics.insert(Name::clone(name), Arc::new(missing));
                    }
                }
            }
            for (name, metadata) in listed {
                let known = ends.topics.get(&name);
                returned |= known.is_some_and(|topic| topic.missing_since.is_some());
                let mut topic = slots.merge(known, &metadata);
                if let Some(earlier) = ends.deleted.get(&name).filter(|_| !ends.topics.contains_key(&name)) {
                    topic = Arc::new(Topic { earlier: Some(Arc::clone(earlier)), ..Topic::clone(&topic) });
                    Arc::make_mut(&mut ends.deleted).remove(&name);
                }
                topics.insert(name, topic);
            }
            if !deleted.is_empty() {
                let applied = Arc::new(applied.clone());
                let known = Arc::make_mut(&mut ends.deleted);
                known.extend(deleted.into_iter().map(|name| (name, Arc::clone(&applied))));
                while known.len() > DELETED_KEPT {
                    known.pop_first();
                }
            }
            ends.set(topics);
            ends.listed = Some(now);
            if ends.refreshed.is_none_or(|before| now.saturating_sub(before) >= DELETED_AFTER) {
                ends.confirmed = ends.refreshed.replace(now);
            }
        });
        returned
    }

    /// Takes over topic ids. Where an id changed, what the shards had applied when the old one
    /// was last seen tells its commits from those of the new topic. Returns whether one changed.
    pub fn set_ids(&self, ids: &HashMap<Name, Uuid>, before: &IdsSeen, now: Ticks) -> bool {
        let mut replaced = false;
        self.update(|ends, _| {
            let mut topics = BTreeMap::clone(&ends.topics);
            for (name, id) in ids {
                let Some(topic) = topics.get_mut(name).filter(|topic| topic.id != Some(*id)) else { continue };
                let recreated = topic.id.is_some();
                let mut next = Topic { id: Some(*id), ..Topic::clone(topic) };
                if recreated {
                    replaced = true;
                    next.earlier = Some(Arc::new(before.applied.clone()));
                    // The new topic has logs of its own, which are younger than what was last seen of the old ones.
                    for partition in &next.partitions {
                        let absent_at = before.asked.max(ends.value(*partition).replaced_at);
                        ends.replace_log(partition.slot, now, absent_at);
                    }
                }
                *topic = Arc::new(next);
            }
            ends.set(topics);
        });
        replaced
    }

    /// Takes over answers to one question, sent at `sent`. Returns whether one is of another log than those before.
    pub fn observe(&self, kind: EndKind, answers: &[Answer], sent: Ticks, sent_at: Millis) -> bool {
        let mut replaced = false;
        self.update(|ends, _| {
            for answer in answers {
                let Some(value) = ends.values.get(answer.slot as usize).filter(|value| sent >= value.since) else {
                    continue;
                };
                if let (EndKind::High, Ok((end, _))) = (kind, answer.result)
                    && value.is_replaced_by(end)
                {
                    replaced = true;
                    ends.replace_log(answer.slot, sent, None);
                }
                let Some(value) = ends.values.get_mut(answer.slot as usize) else { continue };
                match (kind, answer.result) {
                    (EndKind::Start, Ok((offset, _))) => value.log_start = offset,
                    (EndKind::Stable, Ok((offset, _))) => value.last_stable = offset,
                    (EndKind::High, Ok((offset, epoch))) => {
                        if value.log_start > offset {
                            // Of a log that is no more.
                            value.log_start = -1;
                            value.last_stable = -1;
                        }
                        *value = EndValue {
                            log_end: offset,
                            leader_epoch: epoch,
                            observed: sent,
                            observed_at: sent_at,
                            error: None,
                            ..*value
                        };
                    }
                    (EndKind::High, Err(error)) => value.error = Some(error),
                    (EndKind::Start | EndKind::Stable, Err(_)) => {}
                }
            }
        });
        replaced
    }

    /// Replaces what is known of ends with nothing to read before them.
    pub fn set_silent(&self, silent: HashMap<u32, (i64, i64)>) {
        if *self.current.load().silent != silent {
            self.update(|ends, _| ends.silent = Arc::new(silent));
        }
    }

    /// Declares that every leader has answered, or failed, once.
    pub fn set_loaded(&self) {
        if !self.current.load().loaded {
            self.update(|ends, _| ends.loaded = true);
        }
    }

    /// Keeps a sample of all ends as the last answers told them, and lets go of older ones that lie too dense. Its time is
    /// that of the question: what was answered is as old as that.
    pub fn sample(&self, now: Ticks) {
        self.update(|ends, _| {
            let known = || ends.values.iter().filter(|value| value.log_end >= 0);
            if let Some(taken) = known().map(|value| value.observed).max() {
                let is_late = |value: &EndValue| taken.saturating_sub(value.observed) > LATE;
                let end = |value: &EndValue| if is_late(value) { EndValue::UNKNOWN.log_end } else { value.log_end };
                let sample = Sample { taken, ends: ends.values.iter().map(end).collect() };
                ends.samples.pop_if(|last| last.taken >= taken);
                ends.samples.push(Arc::new(sample));
            }
            thin(&mut ends.samples, now);
        });
    }
}

/// Drops samples beyond the span, and those whose neighbours lie closer than an eighth of the age.
fn thin(samples: &mut Vec<Arc<Sample>>, now: Ticks) {
    samples.retain(|sample| now.saturating_sub(sample.taken) <= SAMPLE_SPAN);
    let mut index = 1_usize;
    while let (Some(before), Some(this), Some(after)) =
        (index.checked_sub(1).and_then(|at| samples.get(at)), samples.get(index), samples.get(index + 1))
    {
        let age = now.saturating_sub(this.taken);
        if after.taken.saturating_sub(before.taken) <= age / SAMPLE_SPACING {
            samples.remove(index);
        } else {
            index += 1;
        }
    }
}

#[cfg(test)]
mod tests;
