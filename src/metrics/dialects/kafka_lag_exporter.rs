//! The dialect of Kafka Lag Exporter, as of `Metrics.scala` in version 0.8. It writes NaN for a missing value.

use super::{
    super::family::{cluster, group, group_topic, offset, partition},
    *,
};

const CLUSTER: &[cluster::Label] = &[("cluster_name", |row| name(row))];
const GROUP: &[group::Label] =
    &[("cluster_name", |row| name(row.group.source)), ("group", |row| Cow::Borrowed(&row.group.group.id))];
const GROUP_TOPIC: &[group_topic::Label] = &[
    ("cluster_name", |row| name(row.group.source)),
    ("group", |row| Cow::Borrowed(&row.group.group.id)),
    ("topic", |row| Cow::Borrowed(row.topic)),
];
const PARTITION: &[partition::Label] = &[
    ("cluster_name", |row| name(row.cluster)),
    ("topic", |row| Cow::Borrowed(&row.topic.name)),
    ("partition", |row| number(row.number)),
];
const SHARED: &[offset::Label] = &[("cluster_name", cluster_of), ("group", group_of), ("topic", topic_of)];
const OWN: &[offset::Label] = &[
    ("partition", partition_of),
    ("member_host", |fact| Cow::Borrowed(fact.owner().map_or("", |owner| &owner.client_host))),
    ("consumer_id", |fact| Cow::Borrowed(fact.owner().map_or("", |owner| &owner.member_id))),
    ("client_id", |fact| Cow::Borrowed(fact.owner().map_or("", |owner| &owner.client_id))),
];

fn count(value: Option<i64>) -> Option<Value> {
    Some(value.map_or(Value::Float(f64::NAN), integer))
}

fn seconds(value: Option<f64>) -> Option<Value> {
    Some(Value::Float(value.unwrap_or(f64::NAN)))
}

pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "kafka_partition_latest_offset",
        "Latest offset of a partition",
        FamilyRows::Partition(PARTITION, |row| known(row.value.log_end)),
    ),
    gauge(
        "kafka_partition_earliest_offset",
        "Earliest offset of a partition",
        FamilyRows::Partition(PARTITION, |row| known(row.value.log_start)),
    ),
    gauge(
        "kafka_consumergroup_group_offset",
        "Last group consumed offset of a partition",
        FamilyRows::Offset(SHARED, OWN, |fact| Some(integer(fact.entry.row.committed_offset))),
    ),
    gauge(
        "kafka_consumergroup_group_lag",
        "Group offset lag of a partition",
        FamilyRows::Offset(SHARED, OWN, |fact| count(fact.lag().lag.ok())),
    ),
    gauge(
        "kafka_consumergroup_group_lag_seconds",
        "Group time lag of a partition",
        FamilyRows::Offset(SHARED, OWN, |fact| seconds(fact.lag_seconds())),
    ),
    gauge(
        "kafka_consumergroup_group_max_lag",
        "Max group offset lag",
        FamilyRows::Group(GROUP, |row| count(row.max_lag)),
    ),
    gauge(
        "kafka_consumergroup_group_max_lag_seconds",
        "Max group time lag",
        FamilyRows::Group(GROUP, |row| seconds(row.max_lag_seconds)),
    ),
    gauge(
        "kafka_consumergroup_group_sum_lag",
        "Sum of group offset lag",
        FamilyRows::Group(GROUP, |row| count(row.lag)),
    ),
    gauge(
        "kafka_consumergroup_group_topic_sum_lag",
        "Sum of group offset lag across topic partitions",
        FamilyRows::GroupTopic(GROUP_TOPIC, |row| count(row.lag)),
    ),
    // offsetd does not poll groups, so there is no time to report.
    gauge(
        "kafka_consumergroup_poll_time_ms",
        "Group time poll time",
        FamilyRows::Cluster(CLUSTER, |_| Some(Value::Float(f64::NAN))),
    ),
];
