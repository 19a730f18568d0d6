//! The current version of a cluster's topics and log ends, published by the poller.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::super::event::AppliedRevisions;
use super::{
    DELETED_AFTER, EndsSample, LogEnds, SAMPLE_SPAN, Topic, TopicMetadata,
    slots::Slots,
    value::{LogOffsets, OffsetAnswer, OffsetSpec},
};
use crate::{
    clock::Ticks,
    model::{Millis, Name, Uuid},
};

/// Maximum number of deleted topics that are remembered, for commits that outlive them.
const DELETED_KEPT: usize = 10_000;
/// Age beyond which a log end is left out of a sample, relative to the newest, in ticks.
const LATE: Ticks = 30;
/// Samples are an eighth of their age apart, so that about 60 of them cover the span.
const SAMPLE_SPACING: Ticks = 8;

/// The last response with topic ids, to which the next ids are compared.
#[derive(Clone, Debug, Default)]
pub struct IdsSeen {
    /// Time at which the request was sent.
    pub asked: Option<Ticks>,
    /// Applied revisions at that time.
    pub applied: AppliedRevisions,
}

/// Publishes versions of [`LogEnds`].
#[derive(Debug, Default)]
pub struct LogEndsBoard {
    current: ArcSwap<LogEnds>,
    /// Freed slots with the time. They are reused once no sample contains them.
    writer: Mutex<VecDeque<(u32, Ticks)>>,
}

impl LogEndsBoard {
    /// Returns the newest version.
    #[must_use]
    pub fn current(&self) -> Arc<LogEnds> {
        self.current.load_full()
    }

    fn update(&self, change: impl FnOnce(&mut LogEnds, &mut VecDeque<(u32, Ticks)>)) {
        let mut free = self.writer.lock();
        let mut next = LogEnds::clone(&self.current.load());
        change(&mut next, &mut free);
        next.version += 1;
        self.current.store(Arc::new(next));
    }

    /// Takes over the topics of a complete metadata response, which was requested at `now`.
    ///
    /// If a topic is found deleted, the facts that are `applied` belong to it and not to a later topic of the same
    /// name. Returns whether a topic that was missing is listed again: it may have been deleted and created again.
    pub fn set_topics(&self, listed: Vec<TopicMetadata>, now: Ticks, applied: &AppliedRevisions) -> bool {
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

    /// Sets whether brokers refuse to describe a topic that no list contains.
    pub fn set_refused(&self, name: &Name, refused: bool, now: Ticks) {
        let known = self.current.load().topic(name).map(|topic| topic.refused);
        if known.unwrap_or(false) == refused {
            return;
        }
        self.update(|ends, free| {
            let mut topics = BTreeMap::clone(&ends.topics);
            let mut slots = Slots { values: &mut ends.values, free, now, absent_at: None };
            let unseen = TopicMetadata { name: Name::clone(name), leaders: vec![] };
            let topic = slots.merge(topics.get(name), &unseen);
            if refused {
                topics.insert(Name::clone(name), Arc::new(Topic { refused, ..Topic::clone(&topic) }));
            } else {
                topics.remove(name);
            }
            ends.set(topics);
        });
    }

    /// Drops all topics and log ends, because another Kafka cluster answers at the addresses.
    pub(in super::super) fn clear(&self) {
        self.update(|ends, free| {
            *ends = LogEnds { version: ends.version, ..LogEnds::default() };
            free.clear();
        });
    }

    /// Takes over topic ids. If an id changed, commits below the revisions in `before` belong to the old topic. Returns
    /// whether an id changed.
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
                    // The logs of the new topic are younger than the last observation of the old ones.
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

    /// Takes over the responses to one request that was sent at `sent`. Returns whether a log was replaced.
    pub fn observe(&self, kind: OffsetSpec, answers: &[OffsetAnswer], sent: Ticks, sent_at: Millis) -> bool {
        let mut replaced = false;
        self.update(|ends, _| {
            for answer in answers {
                let Some(value) = ends.values.get(answer.slot as usize).filter(|value| sent >= value.since) else {
                    continue;
                };
                if let (OffsetSpec::High, Ok((end, _))) = (kind, answer.result)
                    && value.is_replaced_by(end)
                {
                    replaced = true;
                    ends.replace_log(answer.slot, sent, None);
                }
                let Some(value) = ends.values.get_mut(answer.slot as usize) else { continue };
                match (kind, answer.result) {
                    (OffsetSpec::Start, Ok((offset, _))) => value.log_start = offset,
                    (OffsetSpec::Stable, Ok((offset, _))) => {
                        value.last_stable = offset;
                        value.last_stable_at = sent_at;
                    }
                    (OffsetSpec::High, Ok((offset, epoch))) => {
                        if value.log_start > offset {
                            // These offsets belong to a log that no longer exists.
                            value.log_start = -1;
                            value.last_stable = -1;
                        }
                        *value = LogOffsets {
                            log_end: offset,
                            leader_epoch: epoch,
                            observed: sent,
                            observed_at: sent_at,
                            error: None,
                            ..*value
                        };
                    }
                    (OffsetSpec::High, Err(error)) => value.error = Some(error),
                    (OffsetSpec::Start | OffsetSpec::Stable, Err(_)) => {}
                }
            }
        });
        replaced
    }

    /// Replaces the trailing markers, by slot.
    pub fn set_trailing(&self, trailing: HashMap<u32, (i64, i64)>) {
        if *self.current.load().trailing != trailing {
            self.update(|ends, _| ends.trailing = Arc::new(trailing));
        }
    }

    /// Records that every leader has answered, or failed, once.
    pub fn set_loaded(&self) {
        if !self.current.load().loaded {
            self.update(|ends, _| ends.loaded = true);
        }
    }

    /// Adds a sample of the log ends of the last responses, and drops samples that are too close together. The time of
    /// the sample is that of the newest request, because the ends are at least as old.
    pub fn sample(&self, now: Ticks) {
        self.update(|ends, _| {
            let known = || ends.values.iter().filter(|value| value.log_end >= 0);
            if let Some(taken) = known().map(|value| value.observed).max() {
                let is_late = |value: &LogOffsets| taken.saturating_sub(value.observed) > LATE;
                let end = |value: &LogOffsets| if is_late(value) { LogOffsets::UNKNOWN.log_end } else { value.log_end };
                let sample = EndsSample { taken, ends: ends.values.iter().map(end).collect() };
                ends.samples.pop_if(|last| last.taken >= taken);
                ends.samples.push(Arc::new(sample));
            }
            thin(&mut ends.samples, now);
        });
    }
}

/// Drops samples older than the span, and those with neighbours that are closer together than an eighth of their age.
fn thin(samples: &mut Vec<Arc<EndsSample>>, now: Ticks) {
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
