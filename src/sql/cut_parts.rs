//! The parts of a cut that a scan reads: clusters, or shards of clusters.

use std::{collections::BTreeSet, iter};

use super::{
    predicate::ScanPredicate,
    table::{AnyTable, Unit, UnitKind, Units},
};
use crate::store::{
    cut::{Cut, GroupCut, SourceCut},
    group::ReadAhead,
    shard::ShardView,
};

/// A part of a cut that a scan reads as a whole or skips.
#[derive(Clone, Copy, Debug)]
pub(super) struct CutPart {
    cluster: usize,
    /// The shard, for tables that are read by group.
    shard: Option<usize>,
}

/// Returns the parts that may contain rows of a scan: matching clusters, or their shards with matching groups. Also
/// returns the number of all parts.
pub(super) fn matching_parts(cut: &Cut, table: &AnyTable, predicate: &ScanPredicate) -> (Vec<CutPart>, usize) {
    let unloaded = if table.shows_unloaded { &*cut.unloaded } else { &[] };
    let clusters = cut.sources.iter().chain(unloaded).enumerate();
    let clusters = clusters.take(if table.unit == UnitKind::Server { 1 } else { usize::MAX });
    let (mut parts, mut all) = (vec![], 0);
    for (cluster, of) in clusters {
        if table.unit == UnitKind::Cluster && !of.is_own() {
            continue;
        }
        let is_match = predicate.clusters.includes(&of.cluster.name);
        if !table.unit.is_group() {
            all += 1;
            parts.extend(is_match.then_some(CutPart { cluster, shard: None }));
            continue;
        }
        all += of.shards.len();
        if is_match {
            let shards = shards(of, predicate).map(|shard| CutPart { cluster, shard: Some(shard) });
            parts.extend(shards);
        }
    }
    (parts, all)
}

/// Returns the shards of a cluster that contain matching groups. If the groups are named, only shards that may hold
/// them are searched.
fn shards<'a>(cluster: &'a SourceCut, predicate: &'a ScanPredicate) -> impl Iterator<Item = usize> + 'a {
    let homes: Option<BTreeSet<i32>> =
        predicate.groups.list().map(|ids| ids.filter_map(|id| cluster.home_of(id)).collect());
    let has_match = move |shard: &ShardView| match &homes {
        Some(homes) if !cluster.may_hold(shard, homes) => false,
        None if predicate.groups.is_any() => !shard.groups.is_empty(),
        _ => groups(cluster, shard, predicate).next().is_some(),
    };
    let shards = cluster.shards.iter().enumerate();
    shards.filter(move |(_, shard)| has_match(shard)).map(|(at, _)| at)
}

fn cluster(cut: &Cut, part: CutPart) -> Option<&SourceCut> {
    cut.sources.get(part.cluster).or_else(|| cut.unloaded.get(part.cluster.checked_sub(cut.sources.len())?))
}

fn shard(cluster: &SourceCut, part: CutPart) -> Option<&ShardView> {
    Some(&**cluster.shards.get(part.shard?)?)
}

/// Returns an estimate of the work to read a part.
pub(super) fn weight(cut: &Cut, part: CutPart) -> usize {
    cluster(cut, part).and_then(|cluster| shard(cluster, part)).map_or(1, |shard| shard.groups.len())
}

/// Returns the number of rows of a table in a part, counting only the matching groups; `None` if it is not known.
pub(super) fn count(cut: &Cut, part: CutPart, predicate: &ScanPredicate, table: &AnyTable) -> Option<usize> {
    let all = || cluster(cut, part).and_then(|cluster| cluster.offsets_of(shard(cluster, part)?));
    let known = (table.unit == UnitKind::Offset && predicate.groups.is_any()).then(all).flatten();
    known.or_else(|| units(cut, part, predicate).map(|unit| (table.count)(unit)).sum())
}

/// Returns the units of a part that match; ordered by group if the scan is sorted.
pub(super) fn units<'a>(cut: &'a Cut, part: CutPart, predicate: &'a ScanPredicate) -> Units<'a> {
    let Some(cluster) = cluster(cut, part) else { return Box::new(iter::empty()) };
    let unit = move |group: Option<GroupCut<'a>>| Unit { cut, cluster, group, offsets: 0..usize::MAX };
    match shard(cluster, part) {
        None => Box::new(iter::once(unit(None))),
        Some(shard) => Box::new(groups(cluster, shard, predicate).map(move |group| unit(Some(group)))),
    }
}

/// Returns the units of several parts that match: split so that each has at most `rows` offsets, or, if the scan is
/// sorted, ordered by cluster and group.
pub(super) fn read<'a>(cut: &'a Cut, parts: &'a [CutPart], predicate: &'a ScanPredicate, rows: usize) -> Units<'a> {
    let units = parts.iter().flat_map(move |part| units(cut, *part, predicate));
    if !predicate.sorted {
        return Box::new(units.flat_map(move |unit| split(unit, rows)));
    }
    let mut units: Vec<Unit<'a>> = units.collect();
    units.sort_by_key(|unit| (&*unit.cluster.cluster.name, unit.group.map(|group| &*group.group.id)));
    Box::new(units.into_iter())
}

/// Splits a unit so that each part has at most `rows` offsets.
fn split(unit: Unit<'_>, rows: usize) -> impl Iterator<Item = Unit<'_>> + Send {
    let parts = unit.group.map_or(1, |group| group.group.len_at_most().div_ceil(rows).max(1));
    (0..parts).map(move |part| {
        let offsets = part.saturating_mul(rows)..(part + 1).saturating_mul(rows);
        Unit { offsets, ..unit.clone() }
    })
}

/// Returns the groups of a shard that match, with one lookup per group if they are named; ordered by id if the scan is
/// sorted.
fn groups<'a>(
    cluster: &'a SourceCut,
    shard: &'a ShardView,
    predicate: &'a ScanPredicate,
) -> Box<dyn Iterator<Item = GroupCut<'a>> + Send + 'a> {
    match predicate.groups.list() {
        Some(ids) => Box::new(ids.filter_map(move |id| cluster.group_of(shard, id))),
        None if predicate.groups.is_any() && !predicate.sorted => {
            let what = if predicate.topics.is_any() { ReadAhead::Offsets } else { ReadAhead::Topics };
            Box::new(cluster.unordered_groups_of(shard, what))
        }
        None => Box::new(cluster.groups_with_prefix(shard, predicate.groups.prefix())),
    }
}
