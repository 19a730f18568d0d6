//! The parts of a cut that a scan reads: clusters, or shards of clusters.

use std::{collections::BTreeSet, iter};

use super::{
    table::{AnyTable, By, Unit, Units},
    wanted::Wanted,
};
use crate::store::{
    cut::{Cut, GroupCut, SourceCut},
    group::ReadAhead,
    shard::ShardView,
};

/// A part of a cut that a scan reads as a whole or skips.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    cluster: usize,
    /// The shard, for tables that are read by group.
    shard: Option<usize>,
}

/// Returns the parts that may contain rows of a scan: matching clusters, or their shards with matching groups. Also
/// returns the number of all parts.
pub(super) fn wanted(cut: &Cut, table: &AnyTable, wanted: &Wanted) -> (Vec<Place>, usize) {
    let unloaded = if table.shows_unloaded { &*cut.unloaded } else { &[] };
    let clusters = cut.clusters.iter().chain(unloaded).enumerate();
    let clusters = clusters.take(if table.by == By::Server { 1 } else { usize::MAX });
    let (mut places, mut all) = (vec![], 0);
    for (cluster, of) in clusters {
        if table.by == By::Cluster && !of.is_own() {
            continue;
        }
        let is_wanted = wanted.clusters.includes(&of.cluster.name);
        if !table.by.is_by_group() {
            all += 1;
            places.extend(is_wanted.then_some(Place { cluster, shard: None }));
            continue;
        }
        all += of.shards.len();
        if is_wanted {
            let shards = shards(of, wanted).map(|shard| Place { cluster, shard: Some(shard) });
            places.extend(shards);
        }
    }
    (places, all)
}

/// Returns the shards of a cluster that contain matching groups. If the groups are named, only shards that may hold
/// them are searched.
fn shards<'a>(cluster: &'a SourceCut, wanted: &'a Wanted) -> impl Iterator<Item = usize> + 'a {
    let homes: Option<BTreeSet<i32>> =
        wanted.groups.list().map(|ids| ids.filter_map(|id| cluster.home_of(id)).collect());
    let has_wanted = move |shard: &ShardView| match &homes {
        Some(homes) if !cluster.may_hold(shard, homes) => false,
        None if wanted.groups.is_any() => !shard.groups.is_empty(),
        _ => groups(cluster, shard, wanted).next().is_some(),
    };
    let shards = cluster.shards.iter().enumerate();
    shards.filter(move |(_, shard)| has_wanted(shard)).map(|(at, _)| at)
}

fn cluster(cut: &Cut, place: Place) -> Option<&SourceCut> {
    cut.clusters.get(place.cluster).or_else(|| cut.unloaded.get(place.cluster.checked_sub(cut.clusters.len())?))
}

fn shard(cluster: &SourceCut, place: Place) -> Option<&ShardView> {
    Some(&**cluster.shards.get(place.shard?)?)
}

/// Returns an estimate of the work to read a part.
pub(super) fn weight(cut: &Cut, place: Place) -> usize {
    cluster(cut, place).and_then(|cluster| shard(cluster, place)).map_or(1, |shard| shard.groups.len())
}

/// Returns the number of rows of a table in a part, counting only the matching groups; `None` if it is not known.
pub(super) fn count(cut: &Cut, place: Place, wanted: &Wanted, table: &AnyTable) -> Option<usize> {
    let all = || cluster(cut, place).and_then(|cluster| cluster.offsets_of(shard(cluster, place)?));
    let known = (table.by == By::Offset && wanted.groups.is_any()).then(all).flatten();
    known.or_else(|| units(cut, place, wanted).map(|unit| (table.count)(unit)).sum())
}

/// Returns the units of a part that match; ordered by group if the scan is sorted.
pub(super) fn units<'a>(cut: &'a Cut, place: Place, wanted: &'a Wanted) -> Units<'a> {
    let Some(cluster) = cluster(cut, place) else { return Box::new(iter::empty()) };
    let unit = move |group: Option<GroupCut<'a>>| Unit { cut, cluster, group, offsets: 0..usize::MAX };
    match shard(cluster, place) {
        None => Box::new(iter::once(unit(None))),
        Some(shard) => Box::new(groups(cluster, shard, wanted).map(move |group| unit(Some(group)))),
    }
}

/// Returns the units of several parts that match: split so that each has at most `rows` offsets, or, if the scan is
/// sorted, ordered by cluster and group.
pub(super) fn read<'a>(cut: &'a Cut, places: &'a [Place], wanted: &'a Wanted, rows: usize) -> Units<'a> {
    let units = places.iter().flat_map(move |place| units(cut, *place, wanted));
    if !wanted.sorted {
        return Box::new(units.flat_map(move |unit| parts(unit, rows)));
    }
    let mut units: Vec<Unit<'a>> = units.collect();
    units.sort_by_key(|unit| (&*unit.cluster.cluster.name, unit.group.map(|group| &*group.group.id)));
    Box::new(units.into_iter())
}

/// Splits a unit so that each part has at most `rows` offsets.
fn parts(unit: Unit<'_>, rows: usize) -> impl Iterator<Item = Unit<'_>> + Send {
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
    wanted: &'a Wanted,
) -> Box<dyn Iterator<Item = GroupCut<'a>> + Send + 'a> {
    match wanted.groups.list() {
        Some(ids) => Box::new(ids.filter_map(move |id| cluster.group_of(shard, id))),
        None if wanted.groups.is_any() && !wanted.sorted => {
            let what = if wanted.topics.is_any() { ReadAhead::Offsets } else { ReadAhead::Topics };
            Box::new(cluster.unordered_groups_of(shard, what))
        }
        None => Box::new(cluster.groups_with_prefix(shard, wanted.groups.prefix())),
    }
}
