//! The tables, one a file.

use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;

use super::{
    table::{AnyTable, By, Columns, Flow, Table, Unit},
    wanted::Wanted,
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
mod retention;
mod server;
mod sources;
mod status_changes;
mod topics;

/// All tables, by name.
pub(super) fn all() -> Vec<Arc<AnyTable>> {
    vec![
        AnyTable::of::<assignments::Assignments>(),
        AnyTable::of::<audit::AuditTable>(),
        AnyTable::of::<clusters::Clusters>(),
        AnyTable::of::<columns::ColumnsTable>(),
        AnyTable::of::<commits::Commits>(),
        AnyTable::of::<groups::Groups>(),
        history::table(),
        AnyTable::of::<lag::LagTable>(),
        AnyTable::of::<members::Members>(),
        AnyTable::of::<offsets::Offsets>(),
        AnyTable::of::<partitions::Partitions>(),
        AnyTable::of::<retention::Retention>(),
        AnyTable::of::<server::Server>(),
        AnyTable::of::<sources::Sources>(),
        AnyTable::of::<status_changes::StatusChanges>(),
        AnyTable::of::<topics::Topics>(),
    ]
}

/// A table or view as the catalog shows it.
#[derive(Clone, Debug)]
pub struct TableDescription {
    /// Its name.
    pub name: &'static str,
    /// What a row is.
    pub comment: &'static str,
    /// Its columns.
    pub schema: SchemaRef,
    /// Made of others.
    pub is_view: bool,
}

/// All tables and views, by name, for the table that lists their columns; the catalog tells them, which is made of these
/// tables.
static DESCRIBED: OnceLock<Vec<TableDescription>> = OnceLock::new();

/// Takes the descriptions of all tables and views, if they are not known.
pub(super) fn describe(all: impl FnOnce() -> Vec<TableDescription>) {
    DESCRIBED.get_or_init(all);
}

/// Gives the committed offsets of a unit that are wanted, with their positions in the group; ordered by
/// topic and partition if that is wanted.
fn entries<'a>(unit: &Unit<'a>, wanted: &Wanted, mut take: impl FnMut(usize, Entry<'a>) -> Flow) -> Flow {
    let Some(group) = unit.group.map(|group| &**group.group) else { return Flow::Continue(()) };
    let topics = &wanted.topics;
    if !topics.is_any() && !group.topic_names().any(|topic| topics.includes(topic)) {
        return Flow::Continue(());
    }
    let topics = topics.mask(group.topic_names());
    let takes = |entry: &Entry<'a>| {
        topics.as_ref().is_none_or(|topics| topics.get(entry.topic_index) == Some(&true))
            && wanted.has_partition(entry.row.partition)
    };
    let mut sorted: Vec<(usize, Entry<'a>)> = vec![];
    group.each_entry(unit.offsets.clone(), |position, entry| match takes(&entry) {
        false => Flow::Continue(()),
        true if wanted.sorted => {
            sorted.push((position, entry));
            Flow::Continue(())
        }
        true => take(position, entry),
    })?;
    sorted.sort_by_key(|(_, entry)| (entry.topic, entry.row.partition));
    sorted.into_iter().try_for_each(|(position, entry)| take(position, entry))
}

/// A count or a size, as large as SQL has numbers.
fn whole(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

const CLUSTER: (&str, &str) = ("cluster", "Name that the operator gave the cluster");
const SOURCE: (&str, &str) = ("source", "Where the group's offsets are kept; kafka is the cluster itself");
const OBSERVED_AT: &str =
    "When a look at the store first saw this value (UTC); NULL of a log, which tells committed_at";
const GROUP_ID: (&str, &str) = ("group_id", "Consumer group");

/// The columns that tables about groups begin with.
fn of_group<T: Table>(
    group: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> GroupCut<'r> + Copy + Send + Sync + 'static,
) -> Columns<T> {
    Columns::default()
        .text(CLUSTER.0, CLUSTER.1, move |row| &group(row).cluster.cluster.name)
        .text(SOURCE.0, SOURCE.1, move |row| &group(row).cluster.source.id.name)
        .text(GROUP_ID.0, GROUP_ID.1, move |row| &group(row).group.id)
}

/// The columns that tables about committed offsets begin with.
fn of_offset<T: Table>(
    offset: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> (GroupCut<'r>, Entry<'r>) + Copy + Send + Sync + 'static,
) -> Columns<T> {
    Columns::default()
        .text(CLUSTER.0, CLUSTER.1, move |row| &offset(row).0.cluster.cluster.name)
        .text(SOURCE.0, SOURCE.1, move |row| &offset(row).0.cluster.source.id.name)
        .text(GROUP_ID.0, GROUP_ID.1, move |row| &offset(row).0.group.id)
        .text("topic", "Topic name", move |row| offset(row).1.topic)
        .int32("partition", "Partition of the topic", move |row| offset(row).1.row.partition)
        .int64("committed_offset", "The next offset that the group will read", move |row| {
            offset(row).1.row.committed_offset
        })
        .time("committed_at", "When the coordinator handled the commit (UTC); not told by the Admin API", move |row| {
            Some(offset(row).1.row.committed_at)
        })
}
