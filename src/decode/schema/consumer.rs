//! Schemas of record types 3 to 8 and 16: consumer groups (KIP-848). The layouts are those of Kafka 3.8 and later. The
//! early access layouts of Kafka 3.6 and 3.7 have the same version number and are rejected.

use crate::{
    decode::{
        consumer_protocol::{Embedded, Subscription},
        wire::Array,
    },
    model::Uuid,
};

schema! {
    /// Value of type 3 (`ConsumerGroupMetadataValue.json`).
    ConsumerGroupMetadataValue {
        /// Group epoch, incremented when members, subscriptions or topics change.
        "epoch" epoch: i32, 0..;
        tags {
            /// Hash of the metadata of the subscribed topics; 0 means unknown (KIP-1101).
            "metadataHash" 0 metadata_hash: i64, 0.., or 0;
        }
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Value of type 4 (`ConsumerGroupPartitionMetadataValue.json`, written until Kafka 4.0) and of type 9
    /// (`ShareGroupPartitionMetadataValue.json`, written by Kafka 4.0 only).
    GroupPartitionMetadataValue<'a> {
        /// The subscribed topics.
        "topics" topics: Array<'a, TopicMetadata<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Metadata of a topic as the coordinator knew it, in types 4 and 9.
    TopicMetadata<'a> {
        /// Id of the topic.
        "topicId" topic_id: Uuid, 0..;
        /// Topic name.
        "topicName" topic_name: &'a str, 0..;
        /// Number of partitions.
        "numPartitions" num_partitions: i32, 0..;
        /// Racks per partition, if the coordinator wrote any.
        "partitionMetadata" partition_metadata: Array<'a, PartitionMetadata<'a>>, 0..;
    }
}

schema! {
    /// Racks of the replicas of a partition.
    PartitionMetadata<'a> {
        /// Partition of the topic.
        "partition" partition: i32, 0..;
        /// Racks of its replicas.
        "racks" racks: Array<'a, &'a str>, 0..;
    }
}

schema! {
    /// Value of type 5 (`ConsumerGroupMemberMetadataValue.json`).
    ConsumerGroupMemberMetadataValue<'a> {
        /// group.instance.id of a static member.
        "instanceId" instance_id: Option<&'a str>, 0..;
        /// client.rack.
        "rackId" rack_id: Option<&'a str>, 0..;
        /// client.id.
        "clientId" client_id: &'a str, 0..;
        /// Address of the client as Java prints it, usually with a leading `/`.
        "clientHost" client_host: &'a str, 0..;
        /// Names of the subscribed topics.
        "subscribedTopicNames" subscribed_topic_names: Array<'a, &'a str>, 0..;
        /// Regular expression of the subscribed topics; null and empty mean none.
        "subscribedTopicRegex" subscribed_topic_regex: Option<&'a str>, 0..;
        /// Rebalance timeout in ms; -1 means unknown.
        "rebalanceTimeoutMs" rebalance_timeout_ms: i32, 0.., or -1;
        /// The assignor that the member requests.
        "serverAssignor" server_assignor: Option<&'a str>, 0..;
        tags {
            /// Classic protocol data of a member that uses the classic protocol; else null.
            "classicMemberMetadata" 0 classic_member_metadata: Option<ClassicMemberMetadata<'a>>, 0.., or None;
        }
    }
    versions 0..=0, flexible 0, embeds |_value| true;
}

schema! {
    /// The data that a member with the classic protocol sent when it joined a consumer group.
    ClassicMemberMetadata<'a> {
        /// Session timeout in ms.
        "sessionTimeoutMs" session_timeout_ms: i32, 0..;
        /// Supported assignors in order of preference.
        "supportedProtocols" supported_protocols: Array<'a, ClassicProtocol<'a>>, 0..;
    }
    nullable Uvarint;
}

schema! {
    /// An assignor that a member with the classic protocol supports.
    ClassicProtocol<'a> {
        /// Name of the assignor.
        "name" name: &'a str, 0..;
        /// Subscription that the member sent for the assignor.
        "metadata" metadata: Embedded<'a, Subscription<'a>>, 0..;
    }
}

schema! {
    /// Value of types 6, 12 and 20 (`ConsumerGroupTargetAssignmentMetadataValue.json`, and the corresponding schemas of
    /// share and streams groups).
    TargetAssignmentMetadataValue {
        /// Group epoch that the target assignment was computed for.
        "assignmentEpoch" assignment_epoch: i32, 0..;
        tags {
            /// Time of the assignment, in ms since the epoch; 0 means unknown (KIP-1263).
            "assignmentTimestamp" 0 assignment_timestamp: i64, 0.., or 0;
        }
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Value of types 7 and 13 (`ConsumerGroupTargetAssignmentMemberValue.json`,
    /// `ShareGroupTargetAssignmentMemberValue.json`).
    TargetAssignmentMemberValue<'a> {
        /// Partitions that the member should own.
        "topicPartitions" topic_partitions: Array<'a, TopicPartition<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Partitions of one topic, in types 7, 13 and 14.
    TopicPartition<'a> {
        /// Id of the topic.
        "topicId" topic_id: Uuid, 0..;
        /// Partition numbers.
        "partitions" partitions: Array<'a, i32>, 0..;
    }
}

schema! {
    /// Value of type 8 (`ConsumerGroupCurrentMemberAssignmentValue.json`).
    ConsumerGroupCurrentMemberAssignmentValue<'a> {
        /// Epoch of the target assignment that the member reached; -2 means a static member that left temporarily.
        "memberEpoch" member_epoch: i32, 0..;
        /// The previous member epoch.
        "previousMemberEpoch" previous_member_epoch: i32, 0..;
        /// State: 0 stable, 1 must revoke partitions, 2 waits until other members release partitions.
        "state" state: i8, 0..;
        /// Partitions that the member owns.
        "assignedPartitions" assigned_partitions: Array<'a, TopicPartitions<'a>>, 0..;
        /// Partitions that the member still owns and must revoke.
        "partitionsPendingRevocation" partitions_pending_revocation: Array<'a, TopicPartitions<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Partitions of one topic that a member owns, in type 8.
    TopicPartitions<'a> {
        /// Id of the topic.
        "topicId" topic_id: Uuid, 0..;
        /// Partition numbers.
        "partitions" partitions: Array<'a, i32>, 0..;
        tags {
            /// Epoch in which each partition was assigned, in the order of the partitions (KIP-1251).
            "assignmentEpochs" 0 assignment_epochs: Option<Array<'a, i32>>, 0.., or None;
        }
    }
}

schema! {
    /// Key of type 16 (`ConsumerGroupRegularExpressionKey.json`).
    RegexKey<'a> {
        /// Group id.
        "groupId" group: &'a str, 0..;
        /// Regular expression of the subscription.
        "regularExpression" regular_expression: &'a str, 0..;
    }
}

schema! {
    /// Value of type 16 (`ConsumerGroupRegularExpressionValue.json`).
    ConsumerGroupRegularExpressionValue<'a> {
        /// Names of the topics that matched the regular expression.
        "topics" topics: Array<'a, &'a str>, 0..;
        /// Version of the cluster metadata at that time.
        "version" version: i64, 0..;
        /// Time of the resolution, in ms since the epoch.
        "timestamp" timestamp: i64, 0..;
    }
    versions 0..=0, flexible 0;
}
