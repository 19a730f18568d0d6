//! Where the poller publishes the next version of a cluster's topics and log ends.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::super::event::Applied;
use super::{
    DELETED_AFTER, Ends, SAMPLE_SPAN, Sample, Topic, TopicMetadata,
    slots::Slots,
    value::{Answer, EndKind, EndValue},
};
use crate::{
    clock::Ticks,
    model::{Millis, Name, Uuid},
};

/// Deleted topics that are remembered, for commits that outlive them.
const DELETED_KEPT: usize = 10_000;
/// What was answered so long before the rest is no part of a sample.
const LATE: Ticks = 30;
/// Samples lie about an eighth of their age apart: some 60 of them cover the span.
const SAMPLE_SPACING: Ticks = 8;

/// The last answer with topic ids: what a changed id is compared with.
#[derive(Clone, Debug, Default)]
pub struct IdsSeen {
    /// When it was asked for.
    pub asked: Option<Ticks>,
    /// What the shards had applied by then.
    pub applied: Applied,
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
    pub fn set_topics(&self, listed: Vec<TopicMetadata>, now: Ticks, applied: &Applied) -> bool {
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

    /// Notes whether the brokers refuse to tell anything of a topic that no listing shows.
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

    /// Drops all topics and ends, since another Kafka cluster has taken the place of the one that was read.
    pub(in super::super) fn clear(&self) {
        self.update(|ends, free| {
            *ends = Ends { version: ends.version, ..Ends::default() };
            free.clear();
        });
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
