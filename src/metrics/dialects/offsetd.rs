//! The dialect of offsetd itself.

use super::{
    super::family::{offset, partition},
    *,
};
use crate::{model::shown, store::ends::to_f64};

const PARTITION: &[partition::Label] = &[
    ("cluster", |row| name(row.cluster)),
    ("topic", |row| Cow::Borrowed(&row.topic.name)),
    ("partition", |row| number(row.number)),
];

const SHARED: &[offset::Label] =
    &[("cluster", cluster_of), ("source", source_of), ("group_id", group_of), ("topic", topic_of)];

const OWN: &[offset::Label] = &[("partition", partition_of)];
const WITH_STATUS: &[offset::Label] =
    &[("partition", partition_of), ("status", |fact| Cow::Borrowed(fact.status().as_str()))];

const fn of_partition(name: &'static str, help: &'static str, get: partition::Get) -> Family {
    gauge(name, help, FamilyRows::Partition(PARTITION, get))
}

const fn of_offset(name: &'static str, help: &'static str, own: &'static [offset::Label], get: offset::Get) -> Family {
    gauge(name, help, FamilyRows::Offset(SHARED, own, get))
}

pub(super) const FAMILIES: &[Family] = &[
    of_partition("offsetd_partition_log_start_offset", "First offset of the partition's log.", |row| {
        known(row.value.log_start)
    }),
    of_partition("offsetd_partition_log_end_offset", "High watermark of the partition.", |row| {
        known(row.value.log_end)
    }),
    of_offset("offsetd_consumer_committed_offset", "Offset of the next record that the group reads.", OWN, |fact| {
        Some(integer(fact.entry.row.committed_offset))
    }),
    of_offset("offsetd_consumer_lag", "Uncommitted records; no sample while unknown.", OWN, |fact| {
        fact.lag().lag.ok().map(integer)
    }),
    of_offset("offsetd_consumer_lag_seconds", "Estimated age of the oldest unread record in seconds.", OWN, |fact| {
        fact.lag_seconds().map(Value::Float)
    }),
    of_offset(
        "offsetd_consumer_committed_timestamp_seconds",
        "Unix time in seconds when the coordinator handled the commit.",
        OWN,
        |fact| shown(fact.entry.row.committed_at).map(|at| Value::Float(to_f64(at) / 1000.0)),
    ),
    of_offset("offsetd_consumer_status", "1 for the partition's current status.", WITH_STATUS, |_| Some(integer(1))),
];
