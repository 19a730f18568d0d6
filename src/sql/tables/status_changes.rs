//! `status_changes`: changes of the status of groups.

use super::{Columns, Flow, ScanPredicate, Table, Unit, UnitKind};
use crate::{model::SourceId, store::samples::StatusChange};

pub(super) struct StatusChanges;

pub(super) struct Row<'a> {
    source: &'a SourceId,
    change: &'a StatusChange,
}

impl Table for StatusChanges {
    type Row<'a> = Row<'a>;
    const NAME: &'static str = "status_changes";
    const COMMENT: &'static str = "Changes of the status of groups in the last 24 h, from samples";
    const UNIT: UnitKind = UnitKind::Source;

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("cluster", "Name of the cluster in the configuration", |row| &row.source.cluster)
            .text(super::SOURCE.0, super::SOURCE.1, |row| &row.source.name)
            .text("group_id", "Group id", |row| &row.change.group)
            .text("from_status", "Status before, as in groups", |row| row.change.from.as_str())
            .text("to_status", "Status after, as in groups", |row| row.change.to.as_str())
            .time("at", "Time of the sample that showed the change (UTC)", |row| Some(row.change.at))
    }

    /// The newest changes come first.
    fn rows<'a>(unit: Unit<'a>, predicate: &'a ScanPredicate, take: impl FnMut(Row<'a>) -> Flow) -> Flow {
        let source = &unit.cluster.source.id;
        let changes = unit.cluster.samples.changes.iter().rev();
        let changes = changes.filter(|change| predicate.groups.includes(&change.group));
        changes.map(move |change| Row { source, change }).try_for_each(take)
    }

    fn count(unit: Unit<'_>) -> Option<usize> {
        Some(unit.cluster.samples.changes.len())
    }
}
