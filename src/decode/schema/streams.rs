//! Schemas of record types 17 to 23: streams groups (KIP-1071). Offsets of streams groups are records of type 1.

use crate::{decode::wire::Array, model::Uuid};

schema! {
    /// Value of type 17 (`StreamsGroupMetadataValue.json`).
    StreamsGroupMetadataValue<'a> {
        /// Group epoch, incremented when members, topology or topics change.
        "epoch" epoch: i32, 0..;
        /// Hash of the metadata of the topics in the topology.
        "metadataHash" metadata_hash: i64, 0..;
        tags {
            /// Epoch of the topology that was validated against the topics; -1 means none (Kafka 4.2).
            "validatedTopologyEpoch" 0 validated_topology_epoch: i32, 0.., or -1;
            /// Assignor settings of the last assignment (Kafka 4.2).
            "lastAssignmentConfigs" 1 last_assignment_configs: Option<Array<'a, KeyValue<'a>>>, 0.., or None;
            /// Epoch of the topology that has a stored description; -1 means none (Kafka 4.4).
            "storedDescriptionTopologyEpoch" 2 stored_description_topology_epoch: i32, 0.., or -1;
            /// Epoch of the topology with a description that could not be stored; -1 means none (Kafka 4.4).
            "failedDescriptionTopologyEpoch" 3 failed_description_topology_epoch: i32, 0.., or -1;
        }
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// A setting or client tag, in types 17, 19 and 23.
    KeyValue<'a> {
        /// Name.
        "key" key: &'a str, 0..;
        /// Value.
        "value" value: &'a str, 0..;
    }
}

schema! {
    /// Value of type 18 (`StreamsGroupPartitionMetadataValue.json`). No Kafka release writes it.
    StreamsGroupPartitionMetadataValue<'a> {
        /// Topics of the topology.
        "topics" topics: Array<'a, StreamsTopicMetadata<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Metadata of a topic as the coordinator knew it, in type 18.
    StreamsTopicMetadata<'a> {
        /// Id of the topic.
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
        /// Address of the client as Java prints it, usually with a leading `/`.
        "clientHost" client_host: &'a str, 0..;
        /// Rebalance timeout in ms; -1 means unknown.
        "rebalanceTimeoutMs" rebalance_timeout_ms: i32, 0.., or -1;
        /// Epoch of the topology that the member uses.
        "topologyEpoch" topology_epoch: i32, 0..;
        /// Id of the process, which may run several members.
        "processId" process_id: &'a str, 0..;
        /// The address in the client setting application.server.
        "userEndpoint" user_endpoint: Option<Endpoint<'a>>, 0..;
        /// The tags in the client settings client.tag.*.
        "clientTags" client_tags: Array<'a, KeyValue<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// The address at which a process answers interactive queries.
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
        /// Active tasks that the member should run.
        "activeTasks" active_tasks: Array<'a, TaskTarget<'a>>, 0..;
        /// Standby tasks that the member should run; a standby task replicates state.
        "standbyTasks" standby_tasks: Array<'a, TaskTarget<'a>>, 0..;
        /// Warm-up tasks that the member should run; a warm-up task restores state before it becomes active.
        "warmupTasks" warmup_tasks: Array<'a, TaskTarget<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Tasks of one subtopology, in type 21 (`TaskIds` in Kafka).
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
        /// Epoch of the target assignment that the member reached.
        "memberEpoch" member_epoch: i32, 0..;
        /// The previous member epoch.
        "previousMemberEpoch" previous_member_epoch: i32, 0..;
        /// State: 1 stable, 2 must revoke tasks, 3 waits until other members release tasks. The values differ from
        /// those of type 8.
        "state" state: i8, 0..;
        /// Active tasks that the member runs.
        "activeTasks" active_tasks: Array<'a, TaskIds<'a>>, 0..;
        /// Standby tasks that the member runs.
        "standbyTasks" standby_tasks: Array<'a, TaskIds<'a>>, 0..;
        /// Warm-up tasks that the member runs.
        "warmupTasks" warmup_tasks: Array<'a, TaskIds<'a>>, 0..;
        /// Active tasks that the member still runs and must revoke.
        "activeTasksPendingRevocation" active_tasks_pending_revocation: Array<'a, TaskIds<'a>>, 0..;
        /// Standby tasks that the member still runs and must revoke.
        "standbyTasksPendingRevocation" standby_tasks_pending_revocation: Array<'a, TaskIds<'a>>, 0..;
        /// Warm-up tasks that the member still runs and must revoke.
        "warmupTasksPendingRevocation" warmup_tasks_pending_revocation: Array<'a, TaskIds<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// Tasks of one subtopology that a member runs, in type 22.
    TaskIds<'a> {
        /// Subtopology.
        "subtopologyId" subtopology_id: &'a str, 0..;
        /// Partition numbers.
        "partitions" partitions: Array<'a, i32>, 0..;
        tags {
            /// Epoch in which each task was assigned, in the order of the partitions (Kafka 4.2).
            "assignmentEpochs" 0 assignment_epochs: Option<Array<'a, i32>>, 0.., or None;
        }
    }
}

schema! {
    /// Value of type 23 (`StreamsGroupTopologyValue.json`).
    StreamsGroupTopologyValue<'a> {
        /// Epoch of the topology.
        "epoch" epoch: i32, 0..;
        /// The subtopologies, which are executed independently of each other.
        "subtopologies" subtopologies: Array<'a, Subtopology<'a>>, 0..;
    }
    versions 0..=0, flexible 0;
}

schema! {
    /// A part of a topology. It has one task per partition of its topics.
    Subtopology<'a> {
        /// Id of the subtopology, by which tasks refer to it.
        "subtopologyId" subtopology_id: &'a str, 0..;
        /// Names of the source topics.
        "sourceTopics" source_topics: Array<'a, &'a str>, 0..;
        /// Regular expressions of the source topics.
        "sourceTopicRegex" source_topic_regex: Array<'a, &'a str>, 0..;
        /// Changelog topics of the state stores.
        "stateChangelogTopics" state_changelog_topics: Array<'a, TopicInfo<'a>>, 0..;
        /// Names of the repartition topics that the subtopology writes.
        "repartitionSinkTopics" repartition_sink_topics: Array<'a, &'a str>, 0..;
        /// Repartition topics that the subtopology reads.
        "repartitionSourceTopics" repartition_source_topics: Array<'a, TopicInfo<'a>>, 0..;
        /// Sets of topics that must have equal numbers of partitions.
        "copartitionGroups" copartition_groups: Array<'a, CopartitionGroup<'a>>, 0..;
    }
}

schema! {
    /// An internal topic of the application.
    TopicInfo<'a> {
        /// Topic name.
        "name" name: &'a str, 0..;
        /// Number of partitions; 0 means that it is derived from other topics.
        "partitions" partitions: i32, 0..;
        /// Replication factor; 0 means the default of the brokers.
        "replicationFactor" replication_factor: i16, 0..;
        /// Settings of the topic.
        "topicConfigs" topic_configs: Array<'a, KeyValue<'a>>, 0..;
    }
}

schema! {
    /// Topics that must have equal numbers of partitions, as indexes into the lists of the [`Subtopology`].
    CopartitionGroup<'a> {
        /// Indexes into the source topics.
        "sourceTopics" source_topics: Array<'a, i16>, 0..;
        /// Indexes into the regular expressions.
        "sourceTopicRegex" source_topic_regex: Array<'a, i16>, 0..;
        /// Indexes into the repartition topics that are read.
        "repartitionSourceTopics" repartition_source_topics: Array<'a, i16>, 0..;
    }
}
