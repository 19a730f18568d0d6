//! Types 3 to 8 and 16: consumer groups (KIP-848). The layouts of Kafka 3.8 and later; those of the
//! early access in 3.6 and 3.7 have the same version number and are refused.

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
        /// Rises when members, subscriptions or topics change.
        "epoch" epoch: i32, 0..;
        tags {
            /// Of the subscribed topics; 0 is unknown (KIP-1101).
            "metadataHash" 0 metadata_hash: i64, 0.., or 0;
        }
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Value of types 4 (`ConsumerGroupPartitionMetadataValue.json`), until Kafka 4.0, and 9
    /// (`ShareGroupPartitionMetadataValue.json`), in Kafka 4.0 only.
    GroupPartitionMetadataValue<'a> {
        /// The subscribed topics.
        "topics" topics: Array<'a, TopicMetadata<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// A topic as the coordinator knew it, in types 4 and 9.
    TopicMetadata<'a> {
        /// Topic incarnation.
        "topicId" topic_id: Uuid, 0..;
        /// Topic name.
        "topicName" topic_name: &'a str, 0..;
        /// Number of partitions.
        "numPartitions" num_partitions: i32, 0..;
        /// Racks, if the coordinator wrote any.
        "partitionMetadata" partition_metadata: Array<'a, PartitionMetadata<'a>>, 0..;
    }
}

schema! {
    /// Where a partition's replicas are.
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
        /// Java's text of the address, usually with a leading `/`.
        "clientHost" client_host: &'a str, 0..;
        /// Topics subscribed to by name.
        "subscribedTopicNames" subscribed_topic_names: Array<'a, &'a str>, 0..;
        /// Topics subscribed to by pattern; null and empty are none.
        "subscribedTopicRegex" subscribed_topic_regex: Option<&'a str>, 0..;
        /// Rebalance timeout in ms; -1 is unknown.
        "rebalanceTimeoutMs" rebalance_timeout_ms: i32, 0.., or -1;
        /// The assignor that the member asks for.
        "serverAssignor" server_assignor: Option<&'a str>, 0..;
        tags {
            /// Of a member that speaks the classic protocol.
            "classicMemberMetadata" 0 classic_member_metadata: Option<ClassicMemberMetadata<'a>>, 0.., or None;
        }
    }
    versions 0..=0, flexible 0, embeds |_value| true;
}

schema! {
    /// What a classic member in a consumer group said when it joined.
    ClassicMemberMetadata<'a> {
        /// Session timeout in ms.
        "sessionTimeoutMs" session_timeout_ms: i32, 0..;
        /// By preference.
        "supportedProtocols" supported_protocols: Array<'a, ClassicProtocol<'a>>, 0..;
    }
    nullable Uvarint;
}

schema! {
    /// An assignor of a classic member.
    ClassicProtocol<'a> {
        /// Its name.
        "name" name: &'a str, 0..;
        /// What the member sent for it.
        "metadata" metadata: Embedded<'a, Subscription<'a>>, 0..;
    }
}

schema! {
    /// Value of types 6, 12 and 20 (`ConsumerGroupTargetAssignmentMetadataValue.json`, and those of share and streams
    /// groups).
    TargetAssignmentMetadataValue {
        /// Group epoch that the target assignment was computed for.
        "assignmentEpoch" assignment_epoch: i32, 0..;
        tags {
            /// When, in ms; 0 is unknown (KIP-1263).
            "assignmentTimestamp" 0 assignment_timestamp: i64, 0.., or 0;
        }
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Value of types 7 and 13 (`ConsumerGroupTargetAssignmentMemberValue.json`, `ShareGroupTargetAssignmentMemberValue.json`).
    TargetAssignmentMemberValue<'a> {
        /// What the member should own.
        "topicPartitions" topic_partitions: Array<'a, TopicPartition<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Partitions of a topic, in types 7, 13 and 14.
    TopicPartition<'a> {
        /// Topic incarnation.
        "topicId" topic_id: Uuid, 0..;
        /// Partition numbers.
        "partitions" partitions: Array<'a, i32>, 0..;
    }
}

schema! {
    /// Value of type 8 (`ConsumerGroupCurrentMemberAssignmentValue.json`).
    ConsumerGroupCurrentMemberAssignmentValue<'a> {
        /// Target assignment that the member reached; -2 is a static member that is away.
        "memberEpoch" member_epoch: i32, 0..;
        /// The one before.
        "previousMemberEpoch" previous_member_epoch: i32, 0..;
        /// 0 stable, 1 has partitions to give up, 2 waits for partitions of others.
        "state" state: i8, 0..;
        /// What the member owns.
        "assignedPartitions" assigned_partitions: Array<'a, TopicPartitions<'a>>, 0..;
        /// What it still owns and must give up.
        "partitionsPendingRevocation" partitions_pending_revocation: Array<'a, TopicPartitions<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Partitions of a topic that a member owns, in type 8.
    TopicPartitions<'a> {
        /// Topic incarnation.
        "topicId" topic_id: Uuid, 0..;
        /// Partition numbers.
        "partitions" partitions: Array<'a, i32>, 0..;
        tags {
            /// Since which epoch, in the order of the partitions (KIP-1251).
            "assignmentEpochs" 0 assignment_epochs: Option<Array<'a, i32>>, 0.., or None;
        }
    }
}

schema! {
    /// Key of type 16 (`ConsumerGroupRegularExpressionKey.json`).
    RegexKey<'a> {
        /// Group id.
        "groupId" group: &'a str, 0..;
        /// The pattern.
        "regularExpression" regular_expression: &'a str, 0..;
    }
}

schema! {
    /// Value of type 16 (`ConsumerGroupRegularExpressionValue.json`).
    ConsumerGroupRegularExpressionValue<'a> {
        /// Topic names that the pattern resolved to.
        "topics" topics: Array<'a, &'a str>, 0..;
        /// Of the cluster's metadata at that time.
        "version" version: i64, 0..;
        /// When, in ms.
        "timestamp" timestamp: i64, 0..;
    }
    versions 0..=0, flexible 0;
}
