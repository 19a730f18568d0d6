//! `commits`: the most recent commits and deletions.

use super::{Columns, Flow, ScanPredicate, Table, Unit, UnitKind};
use crate::store::{commits::CommitEvent, shard::ShardView};

pub(super) struct Commits;

pub(super) struct Row<'a> {
    shard: &'a ShardView,
    event: &'a CommitEvent,
}

impl Table for Commits {
    type Row<'a> = Row<'a>;
    const NAME: &'static str = "commits";
    const COMMENT: &'static str = "The most recent commits since the load; rewinds and deletions of the last 24 h";
    const UNIT: UnitKind = UnitKind::Source;

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("cluster", "Name of the cluster in the configuration", |row| &row.shard.key.source.cluster)
            .text(super::SOURCE.0, super::SOURCE.1, |row| &row.shard.key.source.name)
            .text("group_id", "Group id", |row| &row.event.group)
            .text("topic", "Topic name", |row| &row.event.topic)
            .int32("partition", "Partition of the topic", |row| row.event.partition)
            .optional_int64("committed_offset", "Committed offset; NULL for a tombstone", |row| {
                row.event.committed_offset
            })
            .optional_int64("previous_offset", "Previous committed offset, if there was one", |row| {
                row.event.previous_offset
            })
            .time("committed_at", "Time when the coordinator handled it (UTC)", |row| Some(row.event.committed_at))
            .optional_int32("log_partition", "Partition of __consumer_offsets", |row| row.shard.key.partition())
            .optional_int64("log_offset", "Offset of the record in __consumer_offsets", |row| {
                row.shard.key.offset(row.event.revision)
            })
            .text("kind", "commit or tombstone", |row| {
                if row.event.committed_offset.is_some() { "commit" } else { "tombstone" }
            })
    }

    /// The newest commits come first.
    fn rows<'a>(unit: Unit<'a>, predicate: &'a ScanPredicate, take: impl FnMut(Row<'a>) -> Flow) -> Flow {
        let shards = unit.cluster.shards.iter();
        let mut rows: Vec<Row<'a>> = shards
            .flat_map(|shard| shard.commits.iter().map(move |event| Row { shard, event }))
            .filter(|row| predicate.groups.includes(&row.event.group) && predicate.topics.includes(&row.event.topic))
            .filter(|row| predicate.has_partition(row.event.partition))
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.event.applied_at, row.event.revision)));
        rows.into_iter().try_for_each(take)
    }

    fn count(unit: Unit<'_>) -> Option<usize> {
        Some(unit.cluster.shards.iter().map(|shard| shard.commits.iter().count()).sum())
    }
}
