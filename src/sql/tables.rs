//! The tables, one a file.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::{
    table::{AnyTable, Typed, Unit},
    views,
};
use crate::store::cut::GroupCut;

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
        Arc::new(Typed::<columns::Columns>::new()),
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

/// The groups of a unit that are wanted: one look-up each where they are named.
fn groups<'a>(unit: Unit<'a>, wanted: &super::wanted::Wanted, visit: &mut dyn FnMut(GroupCut<'a>)) {
    let Some(shard) = unit.shard else { return };
    match wanted.groups.list() {
        None => unit.cluster.groups_of(shard).for_each(visit),
        Some(ids) => {
            let here = |group: &GroupCut<'_>| group.shard.key == shard.key;
            ids.filter_map(|id| unit.cluster.group(id)).filter(here).for_each(visit);
        }
    }
}
