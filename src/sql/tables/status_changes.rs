//! `status_changes`: when the status of a group became another.

use super::{By, Columns, Flow, Table, Unit, Wanted};
use crate::{model::SourceId, store::samples::StatusChange};

pub(super) struct StatusChanges;

pub(super) struct Row<'a> {
    source: &'a SourceId,
    change: &'a StatusChange,
}

impl Table for StatusChanges {
    type Row<'a> = Row<'a>;
    const NAME: &'static str = "status_changes";
    const COMMENT: &'static str = "Changes of the status of groups in the last 24 h, as samples noticed them";
    const BY: By = By::Source;

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("cluster", "Name that the operator gave the cluster", |row| &row.source.cluster)
            .text(super::SOURCE.0, super::SOURCE.1, |row| &row.source.name)
            .text("group_id", "Consumer group", |row| &row.change.group)
            .text("from_status", "As in groups", |row| row.change.from.as_str())
            .text("to_status", "As in groups", |row| row.change.to.as_str())
            .time("at", "When it was noticed (UTC)", |row| Some(row.change.at))
    }

    /// Newest first.
    fn rows<'a>(unit: Unit<'a>, wanted: &'a Wanted, take: impl FnMut(Row<'a>) -> Flow) -> Flow {
        let source = &unit.cluster.source.id;
        let changes = unit.cluster.samples.changes.iter().rev();
        let changes = changes.filter(|change| wanted.groups.includes(&change.group));
        changes.map(move |change| Row { source, change }).try_for_each(take)
    }

    fn count(unit: Unit<'_>) -> Option<usize> {
        Some(unit.cluster.samples.changes.len())
    }
}
