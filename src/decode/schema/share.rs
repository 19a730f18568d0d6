//! Schemas of record types 9 to 15: share groups (KIP-932). The progress of share groups is not stored in
//! `__consumer_offsets`.

use super::TopicPartition;
use crate::{
    decode::wire::{Array, Unversioned},
    model::Uuid,
};

schema! {
    /// Value of type 10 (`ShareGroupMemberMetadataValue.json`).
    ShareGroupMemberMetadataValue<'a> {
        /// client.rack.
        "rackId" rack_id: Option<&'a str>, 0..;
        /// client.id.
        "clientId" client_id: &'a str, 0..;
        /// Address of the client as Java prints it, usually with a leading `/`.
        "clientHost" client_host: &'a str, 0..;
        /// Names of the subscribed topics.
        "subscribedTopicNames" subscribed_topic_names: Array<'a, &'a str>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Value of type 11 (`ShareGroupMetadataValue.json`).
    ShareGroupMetadataValue {
        /// Group epoch, incremented when members, subscriptions or topics change.
        "epoch" epoch: i32, 0..;
        /// Hash of the metadata of the subscribed topics. Kafka 4.0 omitted the field under the same version.
        "metadataHash" metadata_hash: Unversioned<i64>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Value of type 14 (`ShareGroupCurrentMemberAssignmentValue.json`).
    ShareGroupCurrentMemberAssignmentValue<'a> {
        /// Epoch of the target assignment that the member reached.
        "memberEpoch" member_epoch: i32, 0..;
        /// The previous member epoch.
        "previousMemberEpoch" previous_member_epoch: i32, 0..;
        /// State, with the same values as in type 8.
        "state" state: i8, 0..;
        /// Partitions that the member reads. Other members may read them too.
        "assignedPartitions" assigned_partitions: Array<'a, TopicPartition<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Value of type 15 (`ShareGroupStatePartitionMetadataValue.json`).
    ShareGroupStatePartitionMetadataValue<'a> {
        /// Topics with share state that is being created.
        "initializingTopics" initializing_topics: Array<'a, TopicPartitionsInfo<'a>>, 0..;
        /// Topics with share state.
        "initializedTopics" initialized_topics: Array<'a, TopicPartitionsInfo<'a>>, 0..;
        /// Topics with share state that is being deleted.
        "deletingTopics" deleting_topics: Array<'a, DeletingTopic<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Partitions of one topic that have share state.
    TopicPartitionsInfo<'a> {
        /// Id of the topic.
        "topicId" topic_id: Uuid, 0..;
        /// Topic name.
        "topicName" topic_name: &'a str, 0..;
        /// Partition numbers.
        "partitions" partitions: Array<'a, i32>, 0..;
    }
}

schema! {
    /// A topic with share state that is being deleted (`TopicInfo` in Kafka).
    DeletingTopic<'a> {
        /// Id of the topic.
        "topicId" topic_id: Uuid, 0..;
        /// Topic name.
        "topicName" topic_name: &'a str, 0..;
    }
}
