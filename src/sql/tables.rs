//! The tables, one a file.

use std::{iter, sync::Arc};

use super::{
    table::{AnyTable, Typed, Unit},
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

/// The committed offsets of a unit's group that are wanted, with their positions in the group; ordered
/// by topic and partition if that is wanted.
fn entries<'a>(unit: Unit<'a>, wanted: &'a Wanted) -> Box<dyn Iterator<Item = (usize, Entry<'a>)> + Send + 'a> {
    let Some(group) = unit.group else { return Box::new(iter::empty()) };
    let entries = group.group.entries().enumerate();
    let entries: Box<dyn Iterator<Item = _> + Send> = match wanted.topics.mask(group.group.topic_names()) {
        None => Box::new(entries),
        Some(topics) if !topics.contains(&true) => return Box::new(iter::empty()),
        Some(topics) => Box::new(entries.filter(move |(_, entry)| topics.get(entry.topic_index) == Some(&true))),
    };
    let entries = entries.filter(|(_, entry)| wanted.has_partition(entry.row.partition));
    if !wanted.sorted {
        return Box::new(entries);
    }
    let mut entries: Vec<(usize, Entry<'a>)> = entries.collect();
    entries.sort_by_key(|(_, entry)| (entry.topic, entry.row.partition));
    Box::new(entries.into_iter())
}
