//! The tables, one a file.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::{
    table::{AnyTable, Typed, Unit},
    views,
    wanted::Wanted,
};
use crate::store::group::Entry;

mod assignments;
mod audit;
mod clusters;
mod columns;
mod commits;
mod groups;
mod lag;
mod members;
mod offsets;
mod partitions;
mod sources;
mod topics;

/// All tables, by name.
pub(super) fn all() -> Vec<Arc<dyn AnyTable>> {
    vec![
        Arc::new(Typed::<assignments::Assignments>::new()),
        Arc::new(Typed::<audit::AuditTable>::new()),
        Arc::new(Typed::<clusters::Clusters>::new()),
        Arc::new(Typed::<columns::ColumnsTable>::new()),
        Arc::new(Typed::<commits::Commits>::new()),
        Arc::new(Typed::<groups::Groups>::new()),
        Arc::new(Typed::<lag::LagTable>::new()),
        Arc::new(Typed::<members::Members>::new()),
        Arc::new(Typed::<offsets::Offsets>::new()),
        Arc::new(Typed::<partitions::Partitions>::new()),
        Arc::new(Typed::<sources::Sources>::new()),
        Arc::new(Typed::<topics::Topics>::new()),
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

/// All tables and views, by name.
pub(super) fn described() -> Vec<TableDescription> {
    let table = |table: Arc<dyn AnyTable>| (table.name(), table.comment(), table.schema(), false);
    let view = |view: &views::View| (view.name(), view.comment(), view.schema(), true);
    let all = all().into_iter().map(table).chain(views::all().iter().map(view));
    let all = all.map(|(name, comment, schema, is_view)| TableDescription { name, comment, schema, is_view });
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|table| table.name);
    all
}

/// The committed offsets of a unit that are wanted, with their positions in the group; ordered by
/// topic and partition if that is wanted.
fn entries<'a>(unit: Unit<'a>, wanted: &'a Wanted) -> impl Iterator<Item = (usize, Entry<'a>)> + Send {
    let group = unit.group.map(|group| &**group.group);
    let topics = group.and_then(|group| wanted.topics.mask(group.topic_names()));
    let none = topics.as_ref().is_some_and(|topics| !topics.contains(&true));
    let offsets = unit.offsets;
    let entries = group.filter(|_| !none).into_iter().flat_map(move |group| group.entries_at(offsets.clone()));
    let entries = entries.filter(move |(_, entry)| {
        topics.as_ref().is_none_or(|topics| topics.get(entry.topic_index) == Some(&true))
            && wanted.has_partition(entry.row.partition)
    });
    let (now, mut sorted) = if wanted.sorted { (None, entries.collect()) } else { (Some(entries), vec![]) };
    sorted.sort_by_key(|(_, entry)| (entry.topic, entry.row.partition));
    now.into_iter().flatten().chain(sorted)
}
