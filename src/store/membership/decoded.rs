//! Conversion of decoded membership records into pieces.

use std::sync::Arc;

use super::{
    GroupKind,
    record::{AssignmentEntry, CurrentAssignment, GroupEpochs, GroupRecord, MemberInfo, Topology},
};
use crate::{
    decode::{Record, schema::*, wire::Array},
    model::{Name, Uuid},
};

/// Returns the group, protocol and content of a record of a type above 2; `None` for other records.
pub fn group_record<'a>(
    record: &Record<'a>,
    intern: &impl Fn(&str) -> Name,
) -> Option<(&'a str, GroupKind, GroupRecord)> {
    let group = record.group()?;
    let content = consumer(record, intern)
        .map(|content| (GroupKind::Consumer, content))
        .or_else(|| share(record, intern).map(|content| (GroupKind::Share, content)))
        .or_else(|| streams(record, intern).map(|content| (GroupKind::Streams, content)));
    content.map(|(kind, content)| (group, kind, content))
}

fn consumer(record: &Record<'_>, intern: &impl Fn(&str) -> Name) -> Option<GroupRecord> {
    Some(match record {
        Record::ConsumerGroupMetadata { value, .. } => GroupRecord::Group(value.map(|of| epochs(of.value.epoch))),
        Record::ConsumerGroupPartitionMetadata { value, .. } => {
            GroupRecord::TopicNames(value.map(|of| topic_names(of.value.topics, intern)))
        }
        Record::ConsumerGroupMemberMetadata { key, value } => {
            let info = value.map(|of| Arc::new(consumer_member(&of.value, intern)));
            GroupRecord::Member(intern(key.member_id), info)
        }
        Record::ConsumerGroupTargetAssignmentMetadata { value, .. } => {
            GroupRecord::AssignmentEpoch(value.map(|of| of.value.assignment_epoch))
        }
        Record::ConsumerGroupTargetAssignmentMember { key, value } => {
            GroupRecord::Target(intern(key.member_id), value.map(|of| target(of.value.topic_partitions)))
        }
        Record::ConsumerGroupCurrentMemberAssignment { key, value } => {
            let owned = |topics: Array<'_, TopicPartitions<'_>>| {
                topics.map(|of| AssignmentEntry::Topic(of.topic_id, of.partitions.to_vec()))
            };
            let current = value.map(|of| CurrentAssignment {
                epoch: of.value.member_epoch,
                state: of.value.state,
                assigned: owned(of.value.assigned_partitions),
                revoking: owned(of.value.partitions_pending_revocation),
            });
            GroupRecord::Current(intern(key.member_id), current.map(Arc::new))
        }
        Record::ConsumerGroupRegularExpression { key, value } => {
            let topics = value.map(|of| of.value.topics.iter().map(intern).collect());
            GroupRecord::Regex(intern(key.regular_expression), topics)
        }
        _ => return None,
    })
}

fn share(record: &Record<'_>, intern: &impl Fn(&str) -> Name) -> Option<GroupRecord> {
    Some(match record {
        Record::ShareGroupMetadata { value, .. } => GroupRecord::Group(value.map(|of| epochs(of.value.epoch))),
        Record::ShareGroupPartitionMetadata { value, .. } => {
            GroupRecord::TopicNames(value.map(|of| topic_names(of.value.topics, intern)))
        }
        Record::ShareGroupStatePartitionMetadata { value, .. } => {
            GroupRecord::TopicNames(value.map(|of| state_topics(&of.value, intern)))
        }
        Record::ShareGroupMemberMetadata { key, value } => {
            let info = value.map(|of| MemberInfo {
                rack_id: of.value.rack_id.map(intern),
                subscribed_topics: of.value.subscribed_topic_names.map(intern),
                ..info(of.value.client_id, of.value.client_host, intern)
            });
            GroupRecord::Member(intern(key.member_id), info.map(Arc::new))
        }
        Record::ShareGroupTargetAssignmentMetadata { value, .. } => {
            GroupRecord::AssignmentEpoch(value.map(|of| of.value.assignment_epoch))
        }
        Record::ShareGroupTargetAssignmentMember { key, value } => {
            GroupRecord::Target(intern(key.member_id), value.map(|of| target(of.value.topic_partitions)))
        }
        Record::ShareGroupCurrentMemberAssignment { key, value } => {
            let current = value.map(|of| CurrentAssignment {
                epoch: of.value.member_epoch,
                state: of.value.state,
                assigned: entries(of.value.assigned_partitions),
                revoking: vec![],
            });
            GroupRecord::Current(intern(key.member_id), current.map(Arc::new))
        }
        _ => return None,
    })
}

fn streams(record: &Record<'_>, intern: &impl Fn(&str) -> Name) -> Option<GroupRecord> {
    Some(match record {
        Record::StreamsGroupMetadata { value, .. } => {
            let validated = |epoch: i32| (epoch >= 0).then_some(epoch);
            GroupRecord::Group(value.map(|of| GroupEpochs {
                validated_topology_epoch: validated(of.value.validated_topology_epoch),
                ..epochs(of.value.epoch)
            }))
        }
        Record::StreamsGroupMemberMetadata { key, value } => {
            let info = value.map(|of| MemberInfo {
                instance_id: of.value.instance_id.map(intern),
                rack_id: of.value.rack_id.map(intern),
                rebalance_timeout_ms: known_timeout(of.value.rebalance_timeout_ms),
                ..info(of.value.client_id, of.value.client_host, intern)
            });
            GroupRecord::Member(intern(key.member_id), info.map(Arc::new))
        }
        Record::StreamsGroupTargetAssignmentMetadata { value, .. } => {
            GroupRecord::AssignmentEpoch(value.map(|of| of.value.assignment_epoch))
        }
        // Standby and warm-up tasks own no partitions: they only copy state.
        Record::StreamsGroupTargetAssignmentMember { key, value } => {
            let task =
                |of: TaskTarget<'_>| AssignmentEntry::Subtopology(intern(of.subtopology_id), of.partitions.to_vec());
            GroupRecord::Target(intern(key.member_id), value.map(|of| of.value.active_tasks.iter().map(task).collect()))
        }
        Record::StreamsGroupCurrentMemberAssignment { key, value } => {
            let tasks = |tasks: Array<'_, TaskIds<'_>>| {
                let task =
                    |of: TaskIds<'_>| AssignmentEntry::Subtopology(intern(of.subtopology_id), of.partitions.to_vec());
                tasks.map(task)
            };
            let current = value.map(|of| CurrentAssignment {
                epoch: of.value.member_epoch,
                state: of.value.state,
                assigned: tasks(of.value.active_tasks),
                revoking: tasks(of.value.active_tasks_pending_revocation),
            });
            GroupRecord::Current(intern(key.member_id), current.map(Arc::new))
        }
        Record::StreamsGroupTopology { value, .. } => {
            GroupRecord::Topology(value.map(|of| Arc::new(topology(&of.value, intern))))
        }
        _ => return None,
    })
}

fn epochs(epoch: i32) -> GroupEpochs {
    GroupEpochs { epoch, validated_topology_epoch: None }
}

fn known_timeout(timeout: i32) -> Option<i32> {
    (timeout >= 0).then_some(timeout)
}

fn info(client_id: &str, client_host: &str, intern: &impl Fn(&str) -> Name) -> MemberInfo {
    MemberInfo {
        instance_id: None,
        rack_id: None,
        client_id: intern(client_id),
        client_host: intern(client_host),
        subscribed_topics: vec![],
        subscribed_topic_regex: None,
        server_assignor: None,
        session_timeout_ms: None,
        rebalance_timeout_ms: None,
    }
}

fn consumer_member(of: &ConsumerGroupMemberMetadataValue<'_>, intern: &impl Fn(&str) -> Name) -> MemberInfo {
    MemberInfo {
        instance_id: of.instance_id.map(intern),
        rack_id: of.rack_id.map(intern),
        subscribed_topics: of.subscribed_topic_names.map(intern),
        // Null and "" both mean no regular expression.
        subscribed_topic_regex: of.subscribed_topic_regex.filter(|regex| !regex.is_empty()).map(intern),
        server_assignor: of.server_assignor.map(intern),
        session_timeout_ms: of.classic_member_metadata.map(|classic| classic.session_timeout_ms),
        rebalance_timeout_ms: known_timeout(of.rebalance_timeout_ms),
        ..info(of.client_id, of.client_host, intern)
    }
}

fn entries(topics: Array<'_, TopicPartition<'_>>) -> Vec<AssignmentEntry> {
    topics.map(|of| AssignmentEntry::Topic(of.topic_id, of.partitions.to_vec()))
}

fn target(topics: Array<'_, TopicPartition<'_>>) -> Arc<[AssignmentEntry]> {
    entries(topics).into()
}

fn topic_names(topics: Array<'_, TopicMetadata<'_>>, intern: &impl Fn(&str) -> Name) -> Arc<[(Uuid, Name)]> {
    topics.iter().map(|topic| (topic.topic_id, intern(topic.topic_name))).collect()
}

fn state_topics(of: &ShareGroupStatePartitionMetadataValue<'_>, intern: &impl Fn(&str) -> Name) -> Arc<[(Uuid, Name)]> {
    let topics = of.initializing_topics.iter().chain(of.initialized_topics.iter());
    topics.map(|topic| (topic.topic_id, intern(topic.topic_name))).collect()
}

fn topology(of: &StreamsGroupTopologyValue<'_>, intern: &impl Fn(&str) -> Name) -> Topology {
    let topics = |of: &Subtopology<'_>| {
        let sources = of.source_topics.iter().map(intern);
        sources.chain(of.repartition_source_topics.iter().map(|topic| intern(topic.name))).collect()
    };
    let subtopologies = of.subtopologies.iter().map(|each| (intern(each.subtopology_id), topics(&each))).collect();
    Topology { epoch: of.epoch, subtopologies }
}
