//! `audit`: committed offsets that Kafka's coordinators tell otherwise.

use super::{By, Columns, Flow, Table, Unit, Wanted};
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
    const COMMENT: &'static str =
        "Committed offsets that Kafka's coordinators tell otherwise, seen twice; empty when all is well";
    const BY: By = By::Source;

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("cluster", "Name that the operator gave the cluster", |row| row.cluster)
            .text("group_id", "Consumer group", |row| &row.key.0)
            .text("topic", "Topic name", |row| &row.key.1)
            .int32("partition", "Partition of the topic", |row| row.key.2)
            .optional_int64("committed_offset", "The offset here; NULL where there is none", |row| {
                row.difference.committed_offset
            })
            .optional_int64("kafka_offset", "What the coordinator says; the same where only metadata differs", |row| {
                row.difference.their_offset
            })
            .time("first_seen_at", "When it was first seen (UTC)", |row| Some(row.difference.first_seen_at))
            .time("checked_at", "When it was last seen (UTC)", |row| Some(row.difference.checked_at))
    }

    fn rows<'a>(unit: Unit<'a>, _: &'a Wanted, take: impl FnMut(Row<'a>) -> Flow) -> Flow {
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
