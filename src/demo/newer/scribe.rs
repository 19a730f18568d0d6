//! Writes what the coordinator of a broker would.

use super::{
    super::{
        DemoError,
        cast::GroupSpec,
        records::{live, subscription, topic_id},
        workload::{Moment, Sink, Topic},
    },
    Member, Owned, Protocol,
};
use crate::{
    decode::{
        Record,
        consumer_protocol::Embedded,
        schema::{
            ClassicMemberMetadata, ClassicProtocol, ConsumerGroupCurrentMemberAssignmentValue,
            ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataValue, ConsumerGroupPartitionMetadataValue,
            ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMemberValue,
            ConsumerGroupTargetAssignmentMetadataValue, Endpoint, GroupKey, MemberKey, RegexKey,
            ShareGroupCurrentMemberAssignmentValue, ShareGroupMemberMetadataValue, ShareGroupMetadataValue,
            ShareGroupStatePartitionMetadataValue, ShareGroupTargetAssignmentMemberValue,
            ShareGroupTargetAssignmentMetadataValue, StreamsGroupCurrentMemberAssignmentValue,
            StreamsGroupMemberMetadataValue, StreamsGroupMetadataValue, StreamsGroupTargetAssignmentMemberValue,
            StreamsGroupTargetAssignmentMetadataValue, StreamsGroupTopologyValue, Subtopology, TaskIds, TaskTarget,
            TopicMetadata, TopicPartition, TopicPartitions, TopicPartitionsInfo,
        },
        wire::{Array, Late},
    },
    model::Uuid,
};

/// Of the topics; what it is made of does not matter, as nobody can check it.
const METADATA_HASH: i64 = 6_467_042_814_127_918_425;
/// The only subtopology.
const SUBTOPOLOGY: &str = "0";

/// The coordinator of one group at one moment.
pub(super) struct Scribe<'a, S> {
    pub(super) protocol: Protocol,
    pub(super) spec: &'a GroupSpec,
    pub(super) number: u64,
    pub(super) now: Moment,
    pub(super) topics: &'a [Topic],
    pub(super) sink: &'a mut S,
}

impl<S: Sink> Scribe<'_, S> {
    fn write(&mut self, record: &Record<'_>) -> Result<(), DemoError> {
        self.sink.record(record)
    }

    fn key(&self) -> GroupKey<'static> {
        GroupKey { group: self.spec.id }
    }

    fn member_key<'m>(&self, member: &'m Member) -> MemberKey<'m> {
        MemberKey { group: self.spec.id, member_id: &member.id }
    }

    /// The topics of the group, with their index.
    fn own_topics(&self) -> impl Iterator<Item = (usize, &Topic)> {
        let names = self.spec.topics;
        self.topics.iter().enumerate().filter(|(_, topic)| names.contains(&topic.spec.name))
    }

    /// What one of so many members gets: neighbours, as the range assignor gives them.
    pub(super) fn portion(&self, index: usize, members: usize) -> Owned {
        let portion = |count: usize| -> Vec<i32> {
            let is_mine = |(at, _): &(usize, i32)| at * members / count == index;
            (0..count).zip(0..).filter(is_mine).map(|(_, partition)| partition).collect()
        };
        let counts: Vec<(usize, usize)> = match self.protocol {
            Protocol::Streams => {
                vec![(0, self.own_topics().map(|(_, topic)| topic.ends.len()).max().unwrap_or(0))]
            }
            _ => self.own_topics().map(|(topic, of)| (topic, of.ends.len())).collect(),
        };
        let portions = counts.into_iter().map(|(topic, count)| (topic, portion(count)));
        portions.filter(|(_, partitions)| !partitions.is_empty()).collect()
    }

    /// Topic ids and partitions of what a member owns.
    fn by_id<'o>(&self, owned: &'o Owned) -> Vec<(Uuid, &'o [i32])> {
        let id =
            |topic: &usize| self.topics.get(*topic).map_or_else(Default::default, |topic| topic_id(topic.spec.name));
        owned.iter().map(|(topic, partitions)| (id(topic), &**partitions)).collect()
    }

    /// The group itself.
    pub(super) fn group(&mut self, epoch: i32) -> Result<(), DemoError> {
        let key = self.key();
        self.write(&match self.protocol {
            Protocol::Names | Protocol::Pattern(_) => Record::ConsumerGroupMetadata {
                key,
                value: live(ConsumerGroupMetadataValue { epoch, metadata_hash: METADATA_HASH })?,
            },
            Protocol::Share => Record::ShareGroupMetadata {
                key,
                value: live(ShareGroupMetadataValue { epoch, metadata_hash: Late(Some(METADATA_HASH)) })?,
            },
            Protocol::Streams => Record::StreamsGroupMetadata {
                key,
                value: live(StreamsGroupMetadataValue { epoch, metadata_hash: METADATA_HASH, ..Default::default() })?,
            },
        })
    }

    /// The topics: their ids, or what a topology makes of them. Consumer groups have had them in
    /// records until Kafka 4.0, and still have them here, since the mock tells no ids.
    pub(super) fn topics(&mut self) -> Result<(), DemoError> {
        let key = self.key();
        let partitions: Vec<Vec<i32>> =
            self.own_topics().map(|(_, topic)| (0..topic.spec.partitions).collect()).collect();
        let own: Vec<&str> = self.own_topics().map(|(_, topic)| topic.spec.name).collect();
        match self.protocol {
            Protocol::Names | Protocol::Pattern(_) => {
                let topics: Vec<TopicMetadata<'_>> = self
                    .own_topics()
                    .map(|(_, topic)| TopicMetadata {
                        topic_id: topic_id(topic.spec.name),
                        topic_name: topic.spec.name,
                        num_partitions: topic.spec.partitions,
                        ..Default::default()
                    })
                    .collect();
                let value = ConsumerGroupPartitionMetadataValue { topics: Array::of(&topics) };
                self.write(&Record::ConsumerGroupPartitionMetadata { key, value: live(value)? })?;
                let Protocol::Pattern(regular_expression) = self.protocol else { return Ok(()) };
                let value = ConsumerGroupRegularExpressionValue {
                    topics: Array::of(&own),
                    version: 58,
                    timestamp: self.now.at,
                };
                let key = RegexKey { group: self.spec.id, regular_expression };
                self.write(&Record::ConsumerGroupRegularExpression { key, value: live(value)? })
            }
            Protocol::Share => {
                let topics: Vec<TopicPartitionsInfo<'_>> = own
                    .iter()
                    .zip(&partitions)
                    .map(|(name, partitions)| TopicPartitionsInfo {
                        topic_id: topic_id(name),
                        topic_name: name,
                        partitions: Array::of(partitions),
                    })
                    .collect();
                let value = ShareGroupStatePartitionMetadataValue {
                    initialized_topics: Array::of(&topics),
                    ..Default::default()
                };
                self.write(&Record::ShareGroupStatePartitionMetadata { key, value: live(value)? })
            }
            Protocol::Streams => {
                let parts =
                    [Subtopology { subtopology_id: SUBTOPOLOGY, source_topics: Array::of(&own), ..Default::default() }];
                let value = StreamsGroupTopologyValue { epoch: 0, subtopologies: Array::of(&parts) };
                self.write(&Record::StreamsGroupTopology { key, value: live(value)? })
            }
        }
    }

    /// A member that came, or is described again.
    pub(super) fn member(&mut self, member: &Member) -> Result<(), DemoError> {
        let key = self.member_key(member);
        let client_id = format!("{}-{}", self.spec.id, member.number);
        let client_host = format!("/10.0.{}.{}", self.number, member.number % 250 + 1);
        let rack = ["rack-a", "rack-b", "rack-c"].get(member.number % 3).copied();
        let metadata = subscription(self.spec.subscription, self.spec.topics);
        let protocols = [ClassicProtocol { name: "range", metadata: Embedded::new(&metadata) }];
        let classic = ClassicMemberMetadata { session_timeout_ms: 45_000, supported_protocols: Array::of(&protocols) };
        let (names, pattern) = match self.protocol {
            Protocol::Pattern(pattern) => (&[][..], pattern),
            _ => (self.spec.topics, ""),
        };
        self.write(&match self.protocol {
            Protocol::Names | Protocol::Pattern(_) => {
                let speaks_classic = self.protocol == Protocol::Names && member.number.is_multiple_of(3);
                let value = ConsumerGroupMemberMetadataValue {
                    rack_id: rack,
                    client_id: &client_id,
                    client_host: &client_host,
                    subscribed_topic_names: Array::of(names),
                    subscribed_topic_regex: Some(pattern),
                    rebalance_timeout_ms: 300_000,
                    server_assignor: (!speaks_classic).then_some("uniform"),
                    classic_member_metadata: speaks_classic.then_some(classic),
                    ..Default::default()
                };
                Record::ConsumerGroupMemberMetadata { key, value: live(value)? }
            }
            Protocol::Share => {
                let value = ShareGroupMemberMetadataValue {
                    rack_id: rack,
                    client_id: &client_id,
                    client_host: &client_host,
                    subscribed_topic_names: Array::of(names),
                };
                Record::ShareGroupMemberMetadata { key, value: live(value)? }
            }
            Protocol::Streams => {
                let value = StreamsGroupMemberMetadataValue {
                    rack_id: rack,
                    client_id: &client_id,
                    client_host: &client_host,
                    rebalance_timeout_ms: 300_000,
                    process_id: &client_id,
                    user_endpoint: Some(Endpoint { host: client_host.trim_start_matches('/'), port: 7070 }),
                    ..Default::default()
                };
                Record::StreamsGroupMemberMetadata { key, value: live(value)? }
            }
        })
    }

    /// What a member should own.
    pub(super) fn target(&mut self, member: &Member) -> Result<(), DemoError> {
        let key = self.member_key(member);
        let topics = plain(&self.by_id(&member.target));
        let tasks: Vec<TaskTarget<'_>> = member
            .target
            .iter()
            .map(|(_, partitions)| TaskTarget { subtopology_id: SUBTOPOLOGY, partitions: Array::of(partitions) })
            .collect();
        self.write(&match self.protocol {
            Protocol::Names | Protocol::Pattern(_) => {
                let value = ConsumerGroupTargetAssignmentMemberValue { topic_partitions: Array::of(&topics) };
                Record::ConsumerGroupTargetAssignmentMember { key, value: live(value)? }
            }
            Protocol::Share => {
                let value = ShareGroupTargetAssignmentMemberValue { topic_partitions: Array::of(&topics) };
                Record::ShareGroupTargetAssignmentMember { key, value: live(value)? }
            }
            Protocol::Streams => {
                let value =
                    StreamsGroupTargetAssignmentMemberValue { active_tasks: Array::of(&tasks), ..Default::default() };
                Record::StreamsGroupTargetAssignmentMember { key, value: live(value)? }
            }
        })
    }

    /// The epoch that the targets are of.
    pub(super) fn target_epoch(&mut self, assignment_epoch: i32) -> Result<(), DemoError> {
        let key = self.key();
        self.write(&match self.protocol {
            Protocol::Names | Protocol::Pattern(_) => {
                let value = ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch, ..Default::default() };
                Record::ConsumerGroupTargetAssignmentMetadata { key, value: live(value)? }
            }
            Protocol::Share => {
                let value = ShareGroupTargetAssignmentMetadataValue { assignment_epoch, ..Default::default() };
                Record::ShareGroupTargetAssignmentMetadata { key, value: live(value)? }
            }
            Protocol::Streams => {
                let value = StreamsGroupTargetAssignmentMetadataValue { assignment_epoch, ..Default::default() };
                Record::StreamsGroupTargetAssignmentMetadata { key, value: live(value)? }
            }
        })
    }

    /// What a member owns, and must give up.
    pub(super) fn current(&mut self, member: &Member) -> Result<(), DemoError> {
        let key = self.member_key(member);
        let (member_epoch, previous_member_epoch) = (member.epoch, member.previous_epoch);
        let (owned, revoking) = (self.by_id(&member.owned), self.by_id(&member.revoking));
        let shared = plain(&owned);
        let (owned, revoking) = (with_epochs(&owned), with_epochs(&revoking));
        let (tasks, revoking_tasks) = (task_ids(&member.owned), task_ids(&member.revoking));
        let state = member.state();
        self.write(&match self.protocol {
            Protocol::Names | Protocol::Pattern(_) => {
                let value = ConsumerGroupCurrentMemberAssignmentValue {
                    member_epoch,
                    previous_member_epoch,
                    state,
                    assigned_partitions: Array::of(&owned),
                    partitions_pending_revocation: Array::of(&revoking),
                };
                Record::ConsumerGroupCurrentMemberAssignment { key, value: live(value)? }
            }
            Protocol::Share => {
                let value = ShareGroupCurrentMemberAssignmentValue {
                    member_epoch,
                    previous_member_epoch,
                    state: 0,
                    assigned_partitions: Array::of(&shared),
                };
                Record::ShareGroupCurrentMemberAssignment { key, value: live(value)? }
            }
            Protocol::Streams => {
                let value = StreamsGroupCurrentMemberAssignmentValue {
                    member_epoch,
                    previous_member_epoch,
                    // Counted from 1 here.
                    state: state + 1,
                    active_tasks: Array::of(&tasks),
                    active_tasks_pending_revocation: Array::of(&revoking_tasks),
                    ..Default::default()
                };
                Record::StreamsGroupCurrentMemberAssignment { key, value: live(value)? }
            }
        })
    }

    /// A member that left: what it owns, should own, and is.
    pub(super) fn gone(&mut self, member: &Member) -> Result<(), DemoError> {
        let key = self.member_key(member);
        let records = match self.protocol {
            Protocol::Names | Protocol::Pattern(_) => [
                Record::ConsumerGroupCurrentMemberAssignment { key, value: None },
                Record::ConsumerGroupTargetAssignmentMember { key, value: None },
                Record::ConsumerGroupMemberMetadata { key, value: None },
            ],
            Protocol::Share => [
                Record::ShareGroupCurrentMemberAssignment { key, value: None },
                Record::ShareGroupTargetAssignmentMember { key, value: None },
                Record::ShareGroupMemberMetadata { key, value: None },
            ],
            Protocol::Streams => [
                Record::StreamsGroupCurrentMemberAssignment { key, value: None },
                Record::StreamsGroupTargetAssignmentMember { key, value: None },
                Record::StreamsGroupMemberMetadata { key, value: None },
            ],
        };
        records.iter().try_for_each(|record| self.write(record))
    }
}

/// As in types 7, 13 and 14.
fn plain<'o>(owned: &[(Uuid, &'o [i32])]) -> Vec<TopicPartition<'o>> {
    owned.iter().map(|(topic_id, of)| TopicPartition { topic_id: *topic_id, partitions: Array::of(of) }).collect()
}

/// As in type 8, whose epochs Kafka 4.1 leaves out.
fn with_epochs<'o>(owned: &[(Uuid, &'o [i32])]) -> Vec<TopicPartitions<'o>> {
    let topic = |(topic_id, of): &(Uuid, &'o [i32])| TopicPartitions {
        topic_id: *topic_id,
        partitions: Array::of(of),
        assignment_epochs: None,
    };
    owned.iter().map(topic).collect()
}

/// As in type 22.
fn task_ids(owned: &Owned) -> Vec<TaskIds<'_>> {
    owned
        .iter()
        .map(|(_, of)| TaskIds { subtopology_id: SUBTOPOLOGY, partitions: Array::of(of), assignment_epochs: None })
        .collect()
}
