//! Membership of KIP-848, share and streams groups, which is in many records of several types.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use super::{
    Assigned, GroupKind, GroupState, Member, MemberExtras, Membership, TopicRef,
    record::{AssignmentEntry, CurrentAssignment, GroupEpochs, GroupRecord, MemberInfo, Topology},
};
use crate::model::{Name, Revision, Uuid};

/// The records of one group of one protocol.
#[derive(Clone, Debug)]
pub struct NextGeneration {
    /// Protocol of the group.
    pub kind: GroupKind,
    epochs: Option<(GroupEpochs, Revision)>,
    assignment_epoch: Option<i32>,
    members: BTreeMap<Name, Arc<MemberRecords>>,
    regexes: BTreeMap<Name, Arc<[Name]>>,
    topic_names: Option<Arc<[(Uuid, Name)]>>,
    topology: Option<Arc<Topology>>,
}

/// The records of one member.
#[derive(Clone, Debug, Default)]
struct MemberRecords {
    info: Option<Arc<MemberInfo>>,
    target: Option<Arc<[AssignmentEntry]>>,
    current: Option<Arc<CurrentAssignment>>,
}

impl NextGeneration {
    /// Creates a group without records.
    #[must_use]
    pub fn new(kind: GroupKind) -> Self {
        Self {
            kind,
            epochs: None,
            assignment_epoch: None,
            members: BTreeMap::new(),
            regexes: BTreeMap::new(),
            topic_names: None,
            topology: None,
        }
    }

    /// Returns whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let beside = self.regexes.is_empty() && self.topic_names.is_none() && self.topology.is_none();
        beside && !self.is_group()
    }

    /// Returns whether the records prove that the group exists. Records about topics alone do not.
    #[must_use]
    pub fn is_group(&self) -> bool {
        self.epochs.is_some() || !self.members.is_empty() || self.assignment_epoch.is_some()
    }

    /// Returns the revision of the group-level record.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.epochs.as_ref().map_or(Revision::NONE, |(_, revision)| *revision)
    }

    /// Applies a record.
    pub fn apply(&mut self, record: GroupRecord, revision: Revision) {
        match record {
            GroupRecord::Group(Some(epochs)) => self.epochs = Some((epochs, revision)),
            // The group is deleted, including records without a tombstone of their own.
            GroupRecord::Group(None) => *self = Self::new(self.kind),
            GroupRecord::AssignmentEpoch(epoch) => self.assignment_epoch = epoch,
            GroupRecord::Member(id, info) => self.member(id, |records| records.info = info),
            GroupRecord::Target(id, target) => self.member(id, |records| records.target = target),
            GroupRecord::Current(id, current) => self.member(id, |records| records.current = current),
            GroupRecord::Regex(regex, Some(topics)) => drop(self.regexes.insert(regex, topics)),
            GroupRecord::Regex(regex, None) => drop(self.regexes.remove(&regex)),
            GroupRecord::TopicNames(names) => self.topic_names = names,
            GroupRecord::Topology(topology) => self.topology = topology,
        }
    }

    fn member(&mut self, id: Name, change: impl FnOnce(&mut MemberRecords)) {
        let records = Arc::make_mut(self.members.entry(Name::clone(&id)).or_default());
        change(records);
        if records.info.is_none() && records.target.is_none() && records.current.is_none() {
            self.members.remove(&id);
        }
    }

    /// Derives the membership.
    #[must_use]
    pub fn membership(&self) -> Membership {
        let members: Vec<Member> = self
            .members
            .iter()
            .filter_map(|(id, records)| Some(self.one(id, records.info.as_ref()?, records)))
            .collect();
        Membership {
            kind: self.kind,
            state: self.state(&members),
            protocol_type: Some(Name::from(self.kind.as_str())),
            protocol: self.assignor(),
            epoch: self.epochs.as_ref().map(|(epochs, _)| epochs.epoch),
            leader_member_id: None,
            state_at: None,
            members: members.into(),
            are_members_known: true,
            topic_names: self.topic_names.clone(),
            revision: self.revision(),
            owners: OnceLock::new(),
        }
    }

    /// Derives the state as the broker does from the same records: `ConsumerGroup.maybeUpdateGroupState`,
    /// `StreamsGroup`, `ShareGroup`.
    fn state(&self, members: &[Member]) -> GroupState {
        let target = self.assignment_epoch.unwrap_or(0);
        let behind = |member: &Member| member.epoch != Some(target) || !is_settled(self.kind, member.extras().state);
        let group = self.epochs.as_ref();
        if members.is_empty() {
            GroupState::Empty
        } else if self.kind == GroupKind::Share {
            GroupState::Stable
        } else if group.is_some_and(|(epochs, _)| self.is_unvalidated(epochs)) {
            GroupState::NotReady
        } else if group.is_some_and(|(epochs, _)| epochs.epoch > target) {
            GroupState::Assigning
        } else if members.iter().any(behind) {
            GroupState::Reconciling
        } else {
            GroupState::Stable
        }
    }

    /// Returns whether the current topology is not validated. Brokers before 4.2 do not record that.
    fn is_unvalidated(&self, epochs: &GroupEpochs) -> bool {
        let validated = epochs.validated_topology_epoch;
        validated.is_some_and(|epoch| self.topology.as_ref().is_none_or(|topology| topology.epoch != epoch))
    }

    /// Returns the assignor that most members request (`ConsumerGroup.preferredServerAssignor`). The broker's default
    /// is not in the log.
    fn assignor(&self) -> Option<Name> {
        let mut votes: BTreeMap<&Name, usize> = BTreeMap::new();
        for info in self.members.values().filter_map(|records| records.info.as_ref()) {
            if let Some(assignor) = &info.server_assignor {
                *votes.entry(assignor).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(assignor, _)| Name::clone(assignor))
    }

    fn one(&self, id: &Name, info: &MemberInfo, records: &MemberRecords) -> Member {
        let current = records.current.as_deref();
        let found = info.subscribed_topic_regex.as_ref().and_then(|regex| self.regexes.get(regex));
        let mut subscribed: Vec<Name> = match self.kind {
            GroupKind::Streams => self.source_topics().cloned().collect(),
            _ => info.subscribed_topics.iter().chain(found.into_iter().flat_map(|topics| &**topics)).cloned().collect(),
        };
        subscribed.sort_unstable();
        subscribed.dedup();
        let extras = MemberExtras {
            instance_id: info.instance_id.clone(),
            rack_id: info.rack_id.clone(),
            state: member_state(self.kind, current.map(|current| current.state)),
            subscribed_topic_regex: info.subscribed_topic_regex.clone(),
            revoking: self.assigned(current.map(|current| &*current.revoking).unwrap_or_default()),
            target: Some(self.assigned(records.target.as_deref().unwrap_or_default())),
        };
        Member {
            member_id: Name::clone(id),
            client_id: Name::clone(&info.client_id),
            client_host: Name::clone(&info.client_host),
            session_timeout_ms: info.session_timeout_ms,
            rebalance_timeout_ms: info.rebalance_timeout_ms,
            // Without a record, the member has just joined (`ConsumerGroupMember`).
            epoch: Some(current.map_or(0, |current| current.epoch)),
            subscribed_topics: Some(subscribed.into()),
            assigned: Some(self.assigned(current.map(|current| &*current.assigned).unwrap_or_default()).into()),
            extras: extras.boxed(),
        }
    }

    fn source_topics(&self) -> impl Iterator<Item = &Name> {
        self.topology.iter().flat_map(|topology| &topology.subtopologies).flat_map(|(_, topics)| topics)
    }

    /// Returns assigned partitions. Tasks of a streams group stand for partitions of the source topics of their
    /// subtopology.
    fn assigned(&self, entries: &[AssignmentEntry]) -> Vec<Assigned> {
        let mut assigned = vec![];
        for entry in entries {
            match entry {
                AssignmentEntry::Topic(topic, partitions) => {
                    assigned.push(Assigned { topic: TopicRef::Id(*topic), partitions: partitions.as_slice().into() });
                }
                AssignmentEntry::Subtopology(id, partitions) => {
                    let subtopologies = self.topology.iter().flat_map(|topology| &topology.subtopologies);
                    for topic in subtopologies.filter(|(each, _)| each == id).flat_map(|(_, topics)| topics) {
                        let topic = TopicRef::Name(Name::clone(topic));
                        assigned.push(Assigned { topic, partitions: partitions.as_slice().into() });
                    }
                }
            }
        }
        assigned
    }
}

/// Returns the name of a `MemberState`. KIP-848 groups count from 0, streams groups from 1; share groups have only the
/// first state.
fn member_state(kind: GroupKind, state: Option<i8>) -> Option<&'static str> {
    let first = i8::from(kind == GroupKind::Streams);
    let number = state.unwrap_or(first).checked_sub(first);
    let (unrevoked, unreleased) = match kind {
        GroupKind::Streams => ("UnrevokedTasks", "UnreleasedTasks"),
        _ => ("UnrevokedPartitions", "UnreleasedPartitions"),
    };
    match number {
        Some(0) => Some(STABLE),
        Some(1) => Some(unrevoked),
        Some(2) => Some(unreleased),
        _ => Some("Unknown"),
    }
}

const STABLE: &str = "Stable";

fn is_settled(kind: GroupKind, state: Option<&str>) -> bool {
    kind == GroupKind::Share || state == Some(STABLE)
}

#[cfg(test)]
mod tests;
