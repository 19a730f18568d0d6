//! `partitions`: one row per topic-partition, with its log end.

use super::{Columns, Flow, ScanPredicate, Table, Unit, UnitKind};
use crate::{
    lag::RATE_OVER,
    store::{
        cut::SourceCut,
        ends::{EndError, LogOffsets, Partition, Topic},
    },
};

pub(super) struct Partitions;

pub(super) struct Row<'a> {
    cluster: &'a SourceCut,
    topic: &'a Topic,
    number: i32,
    partition: Partition,
    value: LogOffsets,
}

/// Returns an offset, or `None` for the negative value of an unknown one.
fn known(offset: i64) -> Option<i64> {
    (offset >= 0).then_some(offset)
}

impl Table for Partitions {
    type Row<'a> = Row<'a>;
    const NAME: &'static str = "partitions";
    const COMMENT: &'static str = "One row per topic-partition of each cluster, with or without consumers";
    const UNIT: UnitKind = UnitKind::Cluster;
    const ORDER: &'static [&'static str] = &["cluster", "topic", "partition"];

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("cluster", "Name of the cluster in the configuration", |row| &row.cluster.cluster.name)
            .text("topic", "Topic name", |row| &row.topic.name)
            .int32("partition", "Partition of the topic", |row| row.number)
            .optional_string("topic_id", "Topic id", |row| row.topic.id.map(|id| id.to_string()))
            .optional_int32("leader", "Broker id of the leader", |row| row.partition.leader)
            .optional_int64("log_start_offset", "First offset of the log", |row| known(row.value.log_start))
            .optional_int64("log_end_offset", "High watermark", |row| known(row.value.log_end))
            .optional_int64("last_stable_offset", "End of the log for read_committed consumers", |row| {
                known(row.value.last_stable)
            })
            .time("observed_at", "Time when log_end_offset was requested (UTC)", |row| {
                (row.value.log_end >= 0).then_some(row.value.observed_at)
            })
            .optional_float("produce_rate", "Rate of new records over the last minute (records/s)", |row| {
                row.cluster.ends.produce_rate(row.partition, RATE_OVER)
            })
            .optional_string(
                "error",
                "Why the last request for the log end failed; no_leader if the partition has no leader",
                |row| match row.value.error? {
                    EndError::NotAuthorized => Some("not_authorized".to_owned()),
                    EndError::NoLeader => Some("no_leader".to_owned()),
                    EndError::Other(code) => Some(format!("librdkafka error {code}")),
                },
            )
            .time("last_stable_observed_at", "Time of the request for last_stable_offset (UTC)", |row| {
                (row.value.last_stable >= 0).then_some(row.value.last_stable_at)
            })
    }

    fn rows<'a>(unit: Unit<'a>, predicate: &'a ScanPredicate, take: impl FnMut(Row<'a>) -> Flow) -> Flow {
        let cluster = unit.cluster;
        cluster
            .ends
            .topics()
            .filter(|topic| predicate.topics.includes(&topic.name))
            .flat_map(move |topic| {
                let partitions =
                    topic.partitions.iter().zip(0..).filter(|(_, number)| predicate.has_partition(*number));
                partitions.map(move |(partition, number)| {
                    let value = cluster.ends.value(*partition);
                    Row { cluster, topic, number, partition: *partition, value }
                })
            })
            .try_for_each(take)
    }

    fn count(unit: Unit<'_>) -> Option<usize> {
        Some(unit.cluster.ends.topics().map(|topic| topic.partitions.len()).sum())
    }
}
