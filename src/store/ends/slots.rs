//! Where the values of partitions stand.

use std::{collections::VecDeque, sync::Arc};

use super::{EndError, EndValue, Partition, SAMPLE_SPAN, Topic, TopicMetadata};
use crate::{clock::Ticks, model::Name};

/// Gives partitions their slots.
pub(super) struct Slots<'a> {
    pub(super) values: &'a mut Vec<EndValue>,
    pub(super) free: &'a mut VecDeque<(u32, Ticks)>,
    pub(super) now: Ticks,
    /// When the partitions that are new were not there yet, if that is known.
    pub(super) absent_at: Option<Ticks>,
}

impl Slots<'_> {
    pub(super) fn merge(&mut self, known: Option<&Arc<Topic>>, metadata: &TopicMetadata) -> Arc<Topic> {
        let before = known.map(|topic| &*topic.partitions).unwrap_or_default();
        // A topic that was missing for a moment, and whose id is not known, may have been made anew.
        let may_be_new = known.is_some_and(|topic| topic.missing_since.is_some() && topic.id.is_none());
        let kept = if may_be_new { &[] } else { before };
        // A topic that was hidden, or missing in one answer, may have been there all the time.
        let absent_at = self.absent_at.filter(|_| !may_be_new && !known.is_some_and(|topic| topic.refused));
        let partitions: Vec<Partition> = metadata
            .leaders
            .iter()
            .enumerate()
            .map(|(number, leader)| Partition {
                leader: *leader,
                slot: kept.get(number).map_or_else(|| self.acquire(absent_at), |partition| partition.slot),
            })
            .collect();
        self.note_leaderless(&partitions);
        self.release(before.get(partitions.len().min(kept.len())..).unwrap_or_default());
        match known {
            Some(topic) if topic.partitions == partitions && topic.missing_since.is_none() => Arc::clone(topic),
            Some(topic) => Arc::new(Topic { partitions, refused: false, missing_since: None, ..Topic::clone(topic) }),
            None => Arc::new(Topic {
                name: Name::clone(&metadata.name),
                id: None,
                partitions,
                earlier: None,
                refused: false,
                missing_since: None,
            }),
        }
    }

    /// Also after a leader was found, the end is unknown until it has answered.
    fn note_leaderless(&mut self, partitions: &[Partition]) {
        for partition in partitions.iter().filter(|partition| partition.leader.is_none()) {
            if let Some(value) = self.values.get_mut(partition.slot as usize) {
                value.error = Some(EndError::NoLeader);
            }
        }
    }

    fn acquire(&mut self, absent_at: Option<Ticks>) -> u32 {
        let unseen = EndValue { since: self.now, absent_at, ..EndValue::UNKNOWN };
        let reusable = |freed: &Ticks| self.now.saturating_sub(*freed) > SAMPLE_SPAN;
        if let Some((slot, freed)) = self.free.pop_front() {
            if reusable(&freed) {
                if let Some(value) = self.values.get_mut(slot as usize) {
                    *value = unseen;
                }
                return slot;
            }
            self.free.push_front((slot, freed));
        }
        self.values.push(unseen);
        u32::try_from(self.values.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    pub(super) fn release(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            if let Some(value) = self.values.get_mut(partition.slot as usize) {
                *value = EndValue::UNKNOWN;
            }
            self.free.push_back((partition.slot, self.now));
        }
    }
}
