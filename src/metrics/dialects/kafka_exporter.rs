//! The dialect of kafka_exporter, as of `kafka_exporter.go` in version 1.9. All metrics are gauges. kafka_exporter
//! reports lag -1 for partitions without a commit; here they have no series.

use super::{
    super::family::{broker, group, group_topic, offset, partition, topic},
    *,
};

const BROKER: &[broker::Label] =
    &[("id", |row| number(row.broker.id)), ("address", |row| Cow::Owned(address(&row.broker.host, row.broker.port)))];
/// Formats an address as Go's `net.JoinHostPort`, which Sarama uses: an IPv6 address is in brackets.
fn address(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

const TOPIC: &[topic::Label] = &[("topic", |row| Cow::Borrowed(&row.topic.name))];
const PARTITION: &[partition::Label] =
    &[("topic", |row| Cow::Borrowed(&row.topic.name)), ("partition", |row| number(row.number))];
const GROUP: &[group::Label] = &[("consumergroup", |row| Cow::Borrowed(&row.group.group.id))];
const GROUP_TOPIC: &[group_topic::Label] =
    &[("consumergroup", |row| Cow::Borrowed(&row.group.group.id)), ("topic", |row| Cow::Borrowed(row.topic))];
const SHARED: &[offset::Label] = &[("consumergroup", group_of), ("topic", topic_of)];
const OWN: &[offset::Label] = &[("partition", partition_of)];

pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "kafka_brokers",
        "Number of Brokers in the Kafka Cluster.",
        FamilyRows::Cluster(&[], |row| row.placement.broker_count().map(|count| integer(count.into()))),
    ),
    gauge("kafka_broker_info", "Information about the Kafka Broker.", FamilyRows::Broker(BROKER, |_| Some(integer(1)))),
    gauge(
        "kafka_topic_partitions",
        "Number of partitions for this Topic",
        FamilyRows::Topic(TOPIC, |row| i64::try_from(row.topic.partitions.len()).ok().map(integer)),
    ),
    gauge(
        "kafka_topic_partition_current_offset",
        "Current Offset of a Broker at Topic/Partition",
        FamilyRows::Partition(PARTITION, |row| known(row.value.log_end)),
    ),
    gauge(
        "kafka_topic_partition_oldest_offset",
        "Oldest Offset of a Broker at Topic/Partition",
        FamilyRows::Partition(PARTITION, |row| known(row.value.log_start)),
    ),
    gauge(
        "kafka_topic_partition_leader",
        "Leader Broker ID of this Topic/Partition",
        FamilyRows::Partition(PARTITION, |row| row.partition.leader.map(|leader| integer(leader.into()))),
    ),
    gauge(
        "kafka_topic_partition_replicas",
        "Number of Replicas for this Topic/Partition",
        FamilyRows::Partition(PARTITION, |row| Some(integer(row.replicas?.count.into()))),
    ),
    gauge(
        "kafka_topic_partition_in_sync_replica",
        "Number of In-Sync Replicas for this Topic/Partition",
        FamilyRows::Partition(PARTITION, |row| Some(integer(row.replicas?.in_sync.into()))),
    ),
    gauge(
        "kafka_topic_partition_leader_is_preferred",
        "1 if Topic/Partition is using the Preferred Broker",
        FamilyRows::Partition(PARTITION, |row| Some(flag(row.replicas?.is_preferred_leader))),
    ),
    gauge(
        "kafka_topic_partition_under_replicated_partition",
        "1 if Topic/Partition is under Replicated",
        FamilyRows::Partition(PARTITION, |row| {
            let replicas = row.replicas?;
            Some(flag(replicas.in_sync < replicas.count))
        }),
    ),
    gauge(
        "kafka_consumergroup_current_offset",
        "Current Offset of a ConsumerGroup at Topic/Partition",
        FamilyRows::Offset(SHARED, OWN, |fact| Some(integer(fact.entry.row.committed_offset))),
    ),
    gauge(
        "kafka_consumergroup_lag",
        "Current Approximate Lag of a ConsumerGroup at Topic/Partition",
        FamilyRows::Offset(SHARED, OWN, |fact| fact.lag().lag.ok().map(integer)),
    ),
    gauge(
        "kafka_consumergroup_current_offset_sum",
        "Current Offset of a ConsumerGroup at Topic for all partitions",
        FamilyRows::GroupTopic(GROUP_TOPIC, |row| Some(integer(row.offsets))),
    ),
    gauge(
        "kafka_consumergroup_lag_sum",
        "Current Approximate Lag of a ConsumerGroup at Topic for all partitions",
        FamilyRows::GroupTopic(GROUP_TOPIC, |row| row.lag.map(integer)),
    ),
    gauge(
        "kafka_consumergroup_members",
        "Amount of members in a consumer group",
        FamilyRows::BareGroup(GROUP, |row| row.members.map(|members| integer(members.into()))),
    ),
    gauge(
        "kafka_consumergroupzookeeper_lag_zookeeper",
        "Current Approximate Lag(zookeeper) of a ConsumerGroup at Topic/Partition",
        FamilyRows::Nothing,
    ),
];
