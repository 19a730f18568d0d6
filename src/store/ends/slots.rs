//! Where the values of partitions stand.

use std::{collections::VecDeque, sync::Arc};

use super::{EndError, EndValue, Partition, SAMPLE_SPAN, Topic, TopicMetadata};
use crate::{clock::Ticks, model::Name};

/// Gives partitions their slots.
pub(super) struct Slots<'a> {
    pub(super) values: &'a mut Vec<EndValue>,
    pub(super) free: &'a mut VecDeque<(u32, Ticks)>,
    pub(super) now: Ticks,
}

impl Slots<'_> {
    pub(super) fn merge(&mut self, known: Option<&Arc<Topic>>, metadata: &TopicMetadata) -> Arc<Topic> {
        let known_partitions = known.map(|topic| &*topic.partitions).unwrap_or_default();
        let partitions: Vec<Partition> = metadata
            .leaders
            .iter()
            .enumerate()
            .map(|(number, leader)| Partition {
                leader: *leader,
                slot: known_partitions.get(number).map_or_else(|| self.acquire(), |partition| partition.slot),
            })
            .collect();
        self.note_leaderless(&partitions);
        self.release(known_partitions.get(partitions.len()..).unwrap_or_default());
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

    fn acquire(&mut self) -> u32 {
        let reusable = |freed: &Ticks| self.now.saturating_sub(*freed) > SAMPLE_SPAN;
        if let Some((slot, freed)) = self.free.pop_front() {
            if reusable(&freed) {
                return slot;
            }
            self.free.push_front((slot, freed));
        }
        self.values.push(EndValue::UNKNOWN);
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
