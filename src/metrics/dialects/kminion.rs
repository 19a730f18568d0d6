//! The dialect of KMinion, as of `prometheus/exporter.go` in version 2.3, without its metrics of log directories and
//! end-to-end messages. Labels that Kafka's metadata does not contain (rack, broker version, configuration) are empty.

use super::{
    super::family::{TopicRow, broker, cluster, group, group_topic, offset, partition, topic},
    *,
};
use crate::{
    facts::{GroupFact, coordinator},
    store::{
        ends::LogOffsets,
        membership::{GroupState, Member},
    },
};

const CLUSTER: &[cluster::Label] = &[
    ("broker_count", |row| row.placement.broker_count().map_or(Cow::Borrowed(""), number)),
    ("cluster_id", |row| Cow::Borrowed(row.placement.cluster_id.as_deref().unwrap_or_default())),
    ("cluster_version", |_| Cow::Borrowed("")),
    ("controller_id", |row| row.placement.controller.map_or(Cow::Borrowed(""), number)),
];
const BROKER: &[broker::Label] = &[
    ("address", |row| Cow::Borrowed(&row.broker.host)),
    ("broker_id", |row| number(row.broker.id)),
    ("is_controller", |row| {
        Cow::Borrowed(if row.cluster.placement.controller == Some(row.broker.id) { "true" } else { "false" })
    }),
    ("port", |row| number(row.broker.port)),
    ("rack_id", |_| Cow::Borrowed("")),
];
const TOPIC: &[topic::Label] = &[("topic_name", |row| Cow::Borrowed(&row.topic.name))];
const TOPIC_INFO: &[topic::Label] = &[
    ("topic_name", |row| Cow::Borrowed(&row.topic.name)),
    ("partition_count", |row| Cow::Owned(row.topic.partitions.len().to_string())),
    ("replication_factor", |row| {
        let replicas = row.cluster.placement.replicas(&row.topic.name, 0);
        Cow::Owned(replicas.map_or_else(String::new, |replicas| replicas.count.to_string()))
    }),
    ("cleanup_policy", |_| Cow::Borrowed("")),
];
const PARTITION: &[partition::Label] =
    &[("topic_name", |row| Cow::Borrowed(&row.topic.name)), ("partition_id", |row| number(row.number))];
const GROUP: &[group::Label] = &[("group_id", |row| Cow::Borrowed(&row.group.group.id))];
const GROUP_INFO: &[group::Label] = &[
    ("group_id", |row| Cow::Borrowed(&row.group.group.id)),
    ("protocol", |row| {
        Cow::Borrowed(row.group.group.membership().and_then(|of| of.protocol.as_deref()).unwrap_or_default())
    }),
    ("protocol_type", |row| {
        Cow::Borrowed(row.group.group.membership().and_then(|of| of.protocol_type.as_deref()).unwrap_or_default())
    }),
    ("state", |row| Cow::Borrowed(row.state)),
    ("coordinator_id", |row| coordinator(row.group).map_or(Cow::Borrowed(""), number)),
];
const GROUP_TOPIC: &[group_topic::Label] =
    &[("group_id", |row| Cow::Borrowed(&row.group.group.id)), ("topic_name", |row| Cow::Borrowed(row.topic))];
const SHARED: &[offset::Label] = &[("group_id", group_of), ("topic_name", topic_of)];
const OWN: &[offset::Label] = &[("partition_id", partition_of)];

/// Returns the sum over all partitions, or `None` if one is unknown.
fn sum(row: &TopicRow<'_>, get: fn(&LogOffsets) -> i64) -> Option<Value> {
    let values = row.topic.partitions.iter().map(|partition| get(&row.cluster.ends.value(*partition)));
    values.map(|value| (value >= 0).then_some(value)).try_fold(0_i64, |sum, value| sum.checked_add(value?)).map(integer)
}

/// Returns the number of members without assigned partitions.
fn empty_members(row: &GroupFact<'_>) -> i64 {
    let members = row.group.group.membership().map(|membership| &*membership.members).unwrap_or_default();
    let is_empty = |member: &&Member| member.assigned.iter().flatten().all(|assigned| assigned.partitions.is_empty());
    i64::try_from(members.iter().filter(is_empty).count()).unwrap_or(i64::MAX)
}

pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "kminion_exporter_up",
        "Build info about this Prometheus Exporter. Gauge value is 0 if one or more scrapes have failed.",
        FamilyRows::Cluster(&[("version", |_| Cow::Borrowed(env!("CARGO_PKG_VERSION")))], |row| {
            Some(flag(row.health.reachable))
        }),
    ),
    counter(
        "kminion_exporter_offset_consumer_records_consumed_total",
        "The number of offset records that have been consumed by the internal offset consumer",
        FamilyRows::Cluster(&[], |row| {
            let records: u64 = row.source.shards().iter().map(|shard| shard.progress.records()).sum();
            i64::try_from(records).ok().map(integer)
        }),
    ),
    gauge(
        "kminion_kafka_cluster_info",
        "Kafka cluster information",
        FamilyRows::Cluster(CLUSTER, |_| Some(integer(1))),
    ),
    gauge("kminion_kafka_broker_info", "Kafka broker information", FamilyRows::Broker(BROKER, |_| Some(integer(1)))),
    gauge(
        "kminion_kafka_topic_info",
        "Info labels for a given topic",
        FamilyRows::Topic(TOPIC_INFO, |_| Some(integer(1))),
    ),
    gauge(
        "kminion_kafka_topic_partition_low_water_mark",
        "Partition Low Water Mark",
        FamilyRows::Partition(PARTITION, |row| known(row.value.log_start)),
    ),
    gauge(
        "kminion_kafka_topic_partition_high_water_mark",
        "Partition High Water Mark",
        FamilyRows::Partition(PARTITION, |row| known(row.value.log_end)),
    ),
    gauge(
        "kminion_kafka_topic_low_water_mark_sum",
        "Sum of all the topic's partition low water marks",
        FamilyRows::Topic(TOPIC, |row| sum(row, |value| value.log_start)),
    ),
    gauge(
        "kminion_kafka_topic_high_water_mark_sum",
        "Sum of all the topic's partition high water marks",
        FamilyRows::Topic(TOPIC, |row| sum(row, |value| value.log_end)),
    ),
    gauge(
        "kminion_kafka_consumer_group_info",
        "Consumer Group info metrics. It will report 1 if the group is in the stable state, otherwise 0.",
        FamilyRows::BareGroup(GROUP_INFO, |row| Some(flag(row.state == GroupState::Stable.as_str()))),
    ),
    gauge(
        "kminion_kafka_consumer_group_members",
        "Consumer Group member count metrics.",
        FamilyRows::BareGroup(GROUP, |row| row.members.map(|members| integer(members.into()))),
    ),
    gauge(
        "kminion_kafka_consumer_group_empty_members",
        "Members of a group to which no partition is assigned",
        FamilyRows::BareGroup(GROUP, |row| Some(integer(empty_members(row)))),
    ),
    gauge(
        "kminion_kafka_consumer_group_topic_members",
        "Members of a group that have partitions of the topic",
        FamilyRows::GroupTopic(GROUP_TOPIC, |row| Some(integer(row.assigned().0))),
    ),
    gauge(
        "kminion_kafka_consumer_group_topic_assigned_partitions",
        "Partitions of the topic that are assigned to members of the group",
        FamilyRows::GroupTopic(GROUP_TOPIC, |row| Some(integer(row.assigned().1))),
    ),
    gauge(
        "kminion_kafka_consumer_group_topic_offset_sum",
        "The sum of all committed group offsets across all partitions in a topic",
        FamilyRows::GroupTopic(GROUP_TOPIC, |row| Some(integer(row.offsets))),
    ),
    gauge(
        "kminion_kafka_consumer_group_topic_lag",
        "The number of messages a consumer group is lagging behind across all partitions in a topic",
        FamilyRows::GroupTopic(GROUP_TOPIC, |row| row.lag.map(integer)),
    ),
    gauge(
        "kminion_kafka_consumer_group_topic_partition_lag",
        "The number of messages a consumer group is lagging behind the latest offset of a partition",
        FamilyRows::Offset(SHARED, OWN, |fact| fact.lag().lag.ok().map(integer)),
    ),
    counter(
        "kminion_kafka_consumer_group_offset_commits_total",
        "The number of offsets committed by a group, since the load",
        FamilyRows::BareGroup(GROUP, |row| i64::try_from(row.group.group.live_commits).ok().map(integer)),
    ),
];
