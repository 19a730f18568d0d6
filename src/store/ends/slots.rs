//! Allocation of value slots to partitions.

use std::{collections::VecDeque, sync::Arc};

use super::{EndError, LogOffsets, Partition, SAMPLE_SPAN, Topic, TopicMetadata};
use crate::{clock::Ticks, model::Name};

/// Allocates slots while a metadata response is merged.
pub(super) struct Slots<'a> {
    pub(super) values: &'a mut Vec<LogOffsets>,
    pub(super) free: &'a mut VecDeque<(u32, Ticks)>,
    pub(super) now: Ticks,
    /// A time at which new partitions did not exist, if known.
    pub(super) absent_at: Option<Ticks>,
}

impl Slots<'_> {
    pub(super) fn merge(&mut self, known: Option<&Arc<Topic>>, metadata: &TopicMetadata) -> Arc<Topic> {
        let before = known.map(|topic| &*topic.partitions).unwrap_or_default();
        // A topic that was missing and has no known id may have been deleted and created again.
        let may_be_new = known.is_some_and(|topic| topic.missing_since.is_some() && topic.id.is_none());
        let kept = if may_be_new { &[] } else { before };
        // A topic that was refused or missing in one response may have existed all the time.
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
        self.mark_leaderless(&partitions);
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

    /// Marks the end of partitions without a leader as unknown. It stays unknown until the next leader has answered.
    fn mark_leaderless(&mut self, partitions: &[Partition]) {
        for partition in partitions.iter().filter(|partition| partition.leader.is_none()) {
            if let Some(value) = self.values.get_mut(partition.slot as usize) {
                value.error = Some(EndError::NoLeader);
            }
        }
    }

    fn acquire(&mut self, absent_at: Option<Ticks>) -> u32 {
        let unseen = LogOffsets { since: self.now, absent_at, ..LogOffsets::UNKNOWN };
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
                *value = LogOffsets::UNKNOWN;
            }
            self.free.push_back((partition.slot, self.now));
        }
    }
}
