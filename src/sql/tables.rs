//! The tables, one per file.

use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;

use super::{
    predicate::ScanPredicate,
    table::{AnyTable, Columns, Flow, Table, Unit, UnitKind},
};
use crate::store::{cut::GroupCut, group::Entry};

mod assignments;
mod audit;
mod clusters;
mod columns;
mod commits;
mod groups;
mod history;
mod lag;
mod members;
mod offsets;
mod partitions;
mod queries;
mod retention;
mod server;
mod sources;
mod status_changes;
mod topics;

/// Returns all tables, ordered by name.
pub(super) fn all() -> Vec<Arc<AnyTable>> {
    vec![
        AnyTable::of::<assignments::Assignments>(),
        AnyTable::of::<audit::AuditTable>(),
        AnyTable::of::<clusters::Clusters>(),
        AnyTable::of::<columns::ColumnsTable>(),
        AnyTable::of::<commits::Commits>(),
        AnyTable::of::<groups::Groups>(),
        AnyTable::of::<history::History>(),
        AnyTable::of::<lag::LagTable>(),
        AnyTable::of::<members::Members>(),
        AnyTable::of::<offsets::Offsets>(),
        AnyTable::of::<partitions::Partitions>(),
        AnyTable::of::<queries::Queries>(),
        AnyTable::of::<retention::Retention>(),
        AnyTable::of::<server::Server>(),
        AnyTable::of::<sources::Sources>(),
        AnyTable::of::<status_changes::StatusChanges>(),
        AnyTable::of::<topics::Topics>(),
    ]
}

/// The description of a table or view.
#[derive(Clone, Debug)]
pub struct TableDescription {
    /// Name of the table or view.
    pub name: &'static str,
    /// Meaning of a row.
    pub comment: &'static str,
    /// Columns.
    pub schema: SchemaRef,
    /// Whether it is a view.
    pub is_view: bool,
}

/// The descriptions of all tables and views, ordered by name, for the table `columns`. The catalog sets them, since it
/// is built from these tables.
static DESCRIPTIONS: OnceLock<Vec<TableDescription>> = OnceLock::new();

/// Sets the descriptions of all tables and views, unless they are set.
pub(super) fn set_descriptions(all: impl FnOnce() -> Vec<TableDescription>) {
    DESCRIPTIONS.get_or_init(all);
}

/// Calls `take` with the matching committed offsets of a unit and their positions in the group, ordered by topic and
/// partition if the scan is sorted.
fn matching_entries<'a>(
    unit: &Unit<'a>,
    predicate: &ScanPredicate,
    mut take: impl FnMut(usize, Entry<'a>) -> Flow,
) -> Flow {
    let Some(group) = unit.group.map(|group| &**group.group) else { return Flow::Continue(()) };
    let topics = &predicate.topics;
    if !topics.is_any() && !group.topic_names().any(|topic| topics.includes(topic)) {
        return Flow::Continue(());
    }
    let topics = topics.mask(group.topic_names());
    let takes = |entry: &Entry<'a>| {
        topics.as_ref().is_none_or(|topics| topics.get(entry.topic_index) == Some(&true))
            && predicate.has_partition(entry.row.partition)
    };
    let mut sorted: Vec<(usize, Entry<'a>)> = vec![];
    group.each_entry(unit.offsets.clone(), |position, entry| match takes(&entry) {
        false => Flow::Continue(()),
        true if predicate.sorted => {
            sorted.push((position, entry));
            Flow::Continue(())
        }
        true => take(position, entry),
    })?;
    sorted.sort_by_key(|(_, entry)| (entry.topic, entry.row.partition));
    sorted.into_iter().try_for_each(|(position, entry)| take(position, entry))
}

/// Returns a count or size, limited to the largest SQL integer.
fn count(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

const SOURCE: (&str, &str) = ("source", "Source that stores the group's offsets; kafka is the cluster itself");
const OBSERVED_AT: &str =
    "Time when a poll first saw this value (UTC); NULL when read from the log, which has committed_at";

/// Returns the first columns of tables about groups.
fn group_columns<T: Table>(
    group: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> GroupCut<'r> + Copy + Send + Sync + 'static,
) -> Columns<T> {
    Columns::default()
        .text("cluster", "Name of the cluster in the configuration", move |row| &group(row).source.cluster.name)
        .text(SOURCE.0, SOURCE.1, move |row| &group(row).source.source.id.name)
        .text("group_id", "Group id", move |row| &group(row).group.id)
}

/// Returns the first columns of tables about committed offsets.
fn offset_columns<T: Table>(
    offset: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> (GroupCut<'r>, Entry<'r>) + Copy + Send + Sync + 'static,
) -> Columns<T> {
    group_columns(move |row| offset(row).0)
        .text("topic", "Topic name", move |row| offset(row).1.topic)
        .int32("partition", "Partition of the topic", move |row| offset(row).1.row.partition)
        .int64("committed_offset", "Offset of the next record that the group reads", move |row| {
            offset(row).1.row.committed_offset
        })
        .time("committed_at", "Time when the coordinator handled the commit (UTC); NULL in admin mode", move |row| {
            Some(offset(row).1.row.committed_at)
        })
}
