//! Types 9 to 15: share groups (KIP-932). Their progress is not in this topic.

use super::TopicPartition;
use crate::{
    decode::wire::{Array, Late},
    model::Uuid,
};

schema! {
    /// Value of type 10 (`ShareGroupMemberMetadataValue.json`).
    ShareGroupMemberMetadataValue<'a> {
        /// client.rack.
        "rackId" rack_id: Option<&'a str>, 0..;
        /// client.id.
        "clientId" client_id: &'a str, 0..;
        /// Java's text of the address, usually with a leading `/`.
        "clientHost" client_host: &'a str, 0..;
        /// Topics subscribed to.
        "subscribedTopicNames" subscribed_topic_names: Array<'a, &'a str>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Value of type 11 (`ShareGroupMetadataValue.json`).
    ShareGroupMetadataValue {
        /// Rises when members, subscriptions or topics change.
        "epoch" epoch: i32, 0..;
        /// Of the subscribed topics. Kafka 4.0 wrote none, under the same version.
        "metadataHash" metadata_hash: Late<i64>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Value of type 14 (`ShareGroupCurrentMemberAssignmentValue.json`).
    ShareGroupCurrentMemberAssignmentValue<'a> {
        /// Target assignment that the member reached.
        "memberEpoch" member_epoch: i32, 0..;
        /// The one before.
        "previousMemberEpoch" previous_member_epoch: i32, 0..;
        /// As in type 8.
        "state" state: i8, 0..;
        /// What the member reads; not alone.
        "assignedPartitions" assigned_partitions: Array<'a, TopicPartition<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Value of type 15 (`ShareGroupStatePartitionMetadataValue.json`).
    ShareGroupStatePartitionMetadataValue<'a> {
        /// Topics whose share state is being created.
        "initializingTopics" initializing_topics: Array<'a, TopicPartitionsInfo<'a>>, 0..;
        /// Topics with share state.
        "initializedTopics" initialized_topics: Array<'a, TopicPartitionsInfo<'a>>, 0..;
        /// Topics whose share state is being deleted.
        "deletingTopics" deleting_topics: Array<'a, DeletingTopic<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Partitions of a topic with share state.
    TopicPartitionsInfo<'a> {
        /// Topic incarnation.
        "topicId" topic_id: Uuid, 0..;
        /// Topic name.
        "topicName" topic_name: &'a str, 0..;
        /// Partition numbers.
        "partitions" partitions: Array<'a, i32>, 0..;
    }
}

schema! {
    /// A topic whose share state is being deleted (`TopicInfo` in Kafka).
    DeletingTopic<'a> {
        /// Topic incarnation.
        "topicId" topic_id: Uuid, 0..;
        /// Topic name.
        "topicName" topic_name: &'a str, 0..;
    }
}
