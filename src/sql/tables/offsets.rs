//! `offsets`: one row per committed offset.

use super::{Columns, Flow, ScanPredicate, Table, Unit, UnitKind};
use crate::{
    facts::observed_at,
    store::{
        cut::{Cut, GroupCut},
        group::Entry,
    },
};

pub(super) struct Offsets;

pub(super) struct Row<'a> {
    cut: &'a Cut,
    group: GroupCut<'a>,
    entry: Entry<'a>,
}

impl Table for Offsets {
    type Row<'a> = Row<'a>;
    const NAME: &'static str = "offsets";
    const COMMENT: &'static str = "One row per committed (cluster, source, group_id, topic, partition)";
    const UNIT: UnitKind = UnitKind::Offset;
    const ORDER: &'static [&'static str] = &["cluster", "group_id", "topic", "partition"];

    fn columns() -> Columns<Self> {
        super::offset_columns::<Self>(|row| (row.group, row.entry))
            .optional_int32("leader_epoch", "Leader epoch of the last consumed record", |row| {
                Some(row.entry.row.leader_epoch).filter(|epoch| *epoch >= 0)
            })
            .text("metadata", "Metadata text of the client, often empty", |row| {
                row.entry.extras.and_then(|extras| extras.metadata.as_deref()).unwrap_or_default()
            })
            .time("expires_at", "Expiry time of commits with their own retention (UTC); NULL in admin mode", |row| {
                row.entry.extras?.expires_at
            })
            .optional_string("topic_id", "Topic id in the commit, if any; NULL in admin mode", |row| {
                Some(row.entry.extras?.topic_id?.to_string())
            })
            .optional_int32(
                "log_partition",
                "Partition of __consumer_offsets that holds the commit; NULL in admin mode",
                |row| row.group.shard.key.partition(),
            )
            .optional_int64(
                "log_offset",
                "Offset of the commit's record in __consumer_offsets; NULL in admin mode",
                |row| row.group.shard.key.offset(row.entry.row.revision),
            )
            .time("observed_at", super::OBSERVED_AT, |row| observed_at(row.cut, row.group, &row.entry))
            .time(
                "first_seen_at",
                "Time when the group stored its first offset of the partition (UTC); NULL unless the store knows it, as \
                 ZooKeeper does",
                |row| row.entry.first_seen_at,
            )
    }

    fn rows<'a>(unit: Unit<'a>, predicate: &'a ScanPredicate, mut take: impl FnMut(Row<'a>) -> Flow) -> Flow {
        let Some(group) = unit.group else { return Flow::Continue(()) };
        let cut = unit.cut;
        super::matching_entries(&unit, predicate, |_, entry| take(Row { cut, group, entry }))
    }

    fn count(unit: Unit<'_>) -> Option<usize> {
        unit.group.map(|group| group.group.len())
    }
}
