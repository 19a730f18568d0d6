//! Types 17 to 23: streams groups (KIP-1071). Their offsets are of type 1.

use crate::{decode::wire::Array, model::Uuid};

schema! {
    /// Value of type 17 (`StreamsGroupMetadataValue.json`).
    StreamsGroupMetadataValue<'a> {
        /// Rises when members, topology or topics change.
        "epoch" epoch: i32, 0..;
        /// Of the topics of the topology.
        "metadataHash" metadata_hash: i64, 0..;
        tags {
            /// Topology that was found to fit the topics; -1 is none (Kafka 4.2).
            "validatedTopologyEpoch" 0 validated_topology_epoch: i32, 0.., or -1;
            /// Settings of the last assignment (Kafka 4.2).
            "lastAssignmentConfigs" 1 last_assignment_configs: Option<Array<'a, KeyValue<'a>>>, 0.., or None;
            /// Topology whose description is stored; -1 is none (Kafka 4.4).
            "storedDescriptionTopologyEpoch" 2 stored_description_topology_epoch: i32, 0.., or -1;
            /// Topology whose description could not be stored; -1 is none (Kafka 4.4).
            "failedDescriptionTopologyEpoch" 3 failed_description_topology_epoch: i32, 0.., or -1;
        }
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// A setting or tag, in types 17, 19 and 23.
    KeyValue<'a> {
        /// Name.
        "key" key: &'a str, 0..;
        /// Value.
        "value" value: &'a str, 0..;
    }
}

schema! {
    /// Value of type 18 (`StreamsGroupPartitionMetadataValue.json`), never in a release.
    StreamsGroupPartitionMetadataValue<'a> {
        /// Topics of the topology.
        "topics" topics: Array<'a, StreamsTopicMetadata<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// A topic as the coordinator knew it, in type 18.
    StreamsTopicMetadata<'a> {
        /// Topic incarnation.
        "topicId" topic_id: Uuid, 0..;
        /// Topic name.
        "topicName" topic_name: &'a str, 0..;
        /// Number of partitions.
        "numPartitions" num_partitions: i32, 0..;
    }
}

schema! {
    /// Value of type 19 (`StreamsGroupMemberMetadataValue.json`).
    StreamsGroupMemberMetadataValue<'a> {
        /// group.instance.id of a static member.
        "instanceId" instance_id: Option<&'a str>, 0..;
        /// client.rack.
        "rackId" rack_id: Option<&'a str>, 0..;
        /// client.id.
        "clientId" client_id: &'a str, 0..;
        /// Java's text of the address, usually with a leading `/`.
        "clientHost" client_host: &'a str, 0..;
        /// Rebalance timeout in ms; -1 is unknown.
        "rebalanceTimeoutMs" rebalance_timeout_ms: i32, 0.., or -1;
        /// Topology that the member has.
        "topologyEpoch" topology_epoch: i32, 0..;
        /// The process, which may run several members.
        "processId" process_id: &'a str, 0..;
        /// application.server.
        "userEndpoint" user_endpoint: Option<Endpoint<'a>>, 0..;
        /// client.tag.*
        "clientTags" client_tags: Array<'a, KeyValue<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Where a process answers queries.
    Endpoint<'a> {
        /// Host name.
        "host" host: &'a str, 0..;
        /// Port.
        "port" port: u16, 0..;
    }
    nullable Byte;
}

schema! {
    /// Value of type 21 (`StreamsGroupTargetAssignmentMemberValue.json`).
    StreamsGroupTargetAssignmentMemberValue<'a> {
        /// Tasks that the member should run.
        "activeTasks" active_tasks: Array<'a, TaskTarget<'a>>, 0..;
        /// Tasks whose state it should follow.
        "standbyTasks" standby_tasks: Array<'a, TaskTarget<'a>>, 0..;
        /// Tasks whose state it should restore.
        "warmupTasks" warmup_tasks: Array<'a, TaskTarget<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Tasks of a subtopology, in type 21 (`TaskIds` in Kafka).
    TaskTarget<'a> {
        /// Subtopology.
        "subtopologyId" subtopology_id: &'a str, 0..;
        /// Partition numbers.
        "partitions" partitions: Array<'a, i32>, 0..;
    }
}

schema! {
    /// Value of type 22 (`StreamsGroupCurrentMemberAssignmentValue.json`).
    StreamsGroupCurrentMemberAssignmentValue<'a> {
        /// Target assignment that the member reached.
        "memberEpoch" member_epoch: i32, 0..;
        /// The one before.
        "previousMemberEpoch" previous_member_epoch: i32, 0..;
        /// 1 stable, 2 has tasks to give up, 3 waits for tasks of others: not as in type 8.
        "state" state: i8, 0..;
        /// Tasks that the member runs.
        "activeTasks" active_tasks: Array<'a, TaskIds<'a>>, 0..;
        /// Tasks whose state it follows.
        "standbyTasks" standby_tasks: Array<'a, TaskIds<'a>>, 0..;
        /// Tasks whose state it restores.
        "warmupTasks" warmup_tasks: Array<'a, TaskIds<'a>>, 0..;
        /// Tasks that it still runs and must give up.
        "activeTasksPendingRevocation" active_tasks_pending_revocation: Array<'a, TaskIds<'a>>, 0..;
        /// Likewise.
        "standbyTasksPendingRevocation" standby_tasks_pending_revocation: Array<'a, TaskIds<'a>>, 0..;
        /// Likewise.
        "warmupTasksPendingRevocation" warmup_tasks_pending_revocation: Array<'a, TaskIds<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Tasks of a subtopology that a member has, in type 22.
    TaskIds<'a> {
        /// Subtopology.
        "subtopologyId" subtopology_id: &'a str, 0..;
        /// Partition numbers.
        "partitions" partitions: Array<'a, i32>, 0..;
        tags {
            /// Since which epoch, in the order of the partitions (Kafka 4.2).
            "assignmentEpochs" 0 assignment_epochs: Option<Array<'a, i32>>, 0.., or None;
        }
    }
}

schema! {
    /// Value of type 23 (`StreamsGroupTopologyValue.json`).
    StreamsGroupTopologyValue<'a> {
        /// Number of this topology.
        "epoch" epoch: i32, 0..;
        /// Its parts.
        "subtopologies" subtopologies: Array<'a, Subtopology<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// A part of a topology: its tasks are the partitions of its topics.
    Subtopology<'a> {
        /// Its name in tasks.
        "subtopologyId" subtopology_id: &'a str, 0..;
        /// Topics read.
        "sourceTopics" source_topics: Array<'a, &'a str>, 0..;
        /// Patterns of topics read.
        "sourceTopicRegex" source_topic_regex: Array<'a, &'a str>, 0..;
        /// Topics that hold its state.
        "stateChangelogTopics" state_changelog_topics: Array<'a, TopicInfo<'a>>, 0..;
        /// Repartition topics written.
        "repartitionSinkTopics" repartition_sink_topics: Array<'a, &'a str>, 0..;
        /// Repartition topics read.
        "repartitionSourceTopics" repartition_source_topics: Array<'a, TopicInfo<'a>>, 0..;
        /// Topics that must have as many partitions as each other.
        "copartitionGroups" copartition_groups: Array<'a, CopartitionGroup<'a>>, 0..;
    }
}

schema! {
    /// A topic of the application's own.
    TopicInfo<'a> {
        /// Topic name.
        "name" name: &'a str, 0..;
        /// Number of partitions; 0 is what others have.
        "partitions" partitions: i32, 0..;
        /// Replication factor; 0 is the default of the brokers.
        "replicationFactor" replication_factor: i16, 0..;
        /// Settings of the topic.
        "topicConfigs" topic_configs: Array<'a, KeyValue<'a>>, 0..;
    }
}

schema! {
    /// Indexes into the lists of the same names of the subtopology.
    CopartitionGroup<'a> {
        /// Into its source topics.
        "sourceTopics" source_topics: Array<'a, i16>, 0..;
        /// Into its patterns.
        "sourceTopicRegex" source_topic_regex: Array<'a, i16>, 0..;
        /// Into its repartition topics.
        "repartitionSourceTopics" repartition_source_topics: Array<'a, i16>, 0..;
    }
}
