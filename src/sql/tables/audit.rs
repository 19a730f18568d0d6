//! `audit`: committed offsets that differ from those of Kafka's coordinators.

use super::{Columns, Flow, ScanPredicate, Table, Unit, UnitKind};
use crate::store::audit::{AuditKey, Difference};

pub(super) struct AuditTable;

pub(super) struct Row<'a> {
    cluster: &'a str,
    key: AuditKey,
    difference: Difference,
}

impl Table for AuditTable {
    type Row<'a> = Row<'a>;
    const NAME: &'static str = "audit";
    const COMMENT: &'static str = "Committed offsets that differ from those of Kafka's coordinators in two checks; normally empty. clusters.audit_off_reason says why a cluster is not checked";
    const UNIT: UnitKind = UnitKind::Source;

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("cluster", "Name of the cluster in the configuration", |row| row.cluster)
            .text("group_id", "Group id", |row| &row.key.0)
            .text("topic", "Topic name", |row| &row.key.1)
            .int32("partition", "Partition of the topic", |row| row.key.2)
            .optional_int64("committed_offset", "Offset in offsetd; NULL if it has none", |row| {
                row.difference.committed_offset
            })
            .optional_int64("kafka_offset", "Offset at the coordinator; equal if only metadata differs", |row| {
                row.difference.their_offset
            })
            .time("first_seen_at", "Time when the difference was first seen (UTC)", |row| {
                Some(row.difference.first_seen_at)
            })
            .time("checked_at", "Time when the difference was last seen (UTC)", |row| Some(row.difference.checked_at))
    }

    fn rows<'a>(unit: Unit<'a>, _: &'a ScanPredicate, take: impl FnMut(Row<'a>) -> Flow) -> Flow {
        let cluster = &unit.cluster.cluster;
        cluster
            .own
            .audit
            .differences()
            .into_iter()
            .map(|(key, difference)| Row { cluster: &cluster.name, key, difference })
            .try_for_each(take)
    }
}
