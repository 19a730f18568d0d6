//! The dialect of Burrow, as of `core/internal/httpserver/prometheus.go` in version 1.9.

use super::{
    super::family::{group, offset, partition},
    *,
};
use crate::model::Status;

const GROUP: &[group::Label] =
    &[("cluster", |row| name(row.group.source)), ("consumer_group", |row| Cow::Borrowed(&row.group.group.id))];
const SHARED: &[offset::Label] = &[("cluster", cluster_of), ("consumer_group", group_of), ("topic", topic_of)];
const OWN: &[offset::Label] = &[("partition", partition_of)];
const PARTITION: &[partition::Label] = &[
    ("cluster", |row| name(row.cluster)),
    ("topic", |row| Cow::Borrowed(&row.topic.name)),
    ("partition", |row| number(row.number)),
];

/// Returns Burrow's number of a status: 1 OK, 2 WARN, 3 ERR, 4 STOP, 5 STALL, 6 REWIND. Unknown has no sample.
fn status(status: Status) -> Option<Value> {
    let number = match status {
        Status::Unknown => return None,
        Status::Ok => 1,
        Status::Lagging => 2,
        Status::DataLost => 3,
        Status::Stopped => 4,
        Status::Stalled => 5,
        Status::Rewind => 6,
    };
    Some(integer(number))
}

/// Returns Burrow's number of a group's status: OK, WARN, or ERR for anything worse.
fn group_status(of: Status) -> Option<Value> {
    match of {
        Status::Unknown | Status::Ok | Status::Lagging => status(of),
        Status::DataLost | Status::Stopped | Status::Stalled | Status::Rewind => status(Status::DataLost),
    }
}

pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "burrow_kafka_consumer_lag_total",
        "The sum of all partition current lag values for the group",
        FamilyRows::Group(GROUP, |row| row.lag.map(integer)),
    ),
    gauge(
        "burrow_kafka_consumer_status",
        "The status of the consumer group. It is calculated from the highest status for the individual partitions.",
        FamilyRows::Group(GROUP, |row| group_status(row.status)),
    ),
    gauge(
        "burrow_kafka_topic_partition_status",
        "The status of topic partition. It is calculated from the highest status for the individual partitions.",
        FamilyRows::Offset(SHARED, OWN, |fact| status(fact.status())),
    ),
    gauge(
        "burrow_kafka_consumer_current_offset",
        "Latest offset that Burrow is storing for this partition",
        FamilyRows::Offset(SHARED, OWN, |fact| Some(integer(fact.entry.row.committed_offset))),
    ),
    gauge(
        "burrow_kafka_consumer_partition_lag",
        "Number of messages the consumer group is behind by for a partition as reported by Burrow",
        FamilyRows::Offset(SHARED, OWN, |fact| fact.lag().lag.ok().map(integer)),
    ),
    gauge(
        "burrow_kafka_topic_partition_offset",
        "Latest offset the topic that Burrow is storing for this partition",
        FamilyRows::Partition(PARTITION, |row| known(row.value.log_end)),
    ),
];
