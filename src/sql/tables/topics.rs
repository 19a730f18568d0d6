//! `topics`: one row per topic, with the number of its groups.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{Columns, Flow, ScanPredicate, Table, Unit, UnitKind};
use crate::{
    facts::{is_active, ms_since_commit},
    lag::RATE_OVER,
    model::Name,
    store::{cut::SourceCut, ends::Topic},
};

pub(super) struct Topics;

pub(super) struct Row<'a> {
    cluster: &'a SourceCut,
    topic: &'a Topic,
    groups: i32,
    active_groups: i32,
}

impl Row<'_> {
    /// Returns the sum of the log ends; `None` while one of them is unknown.
    fn log_end_offset_sum(&self) -> Option<i64> {
        let ends = self.topic.partitions.iter().map(|partition| self.cluster.ends.value(*partition).log_end);
        ends.map(|end| (end >= 0).then_some(end)).try_fold(0_i64, |sum, end| Some(sum.saturating_add(end?)))
    }

    /// Returns the rate of new records of all partitions, in records per second.
    fn produce_rate(&self) -> Option<f64> {
        let ends = &self.cluster.ends;
        self.topic.partitions.iter().map(|partition| ends.produce_rate(*partition, RATE_OVER)).sum()
    }
}

impl Table for Topics {
    type Row<'a> = Row<'a>;
    const NAME: &'static str = "topics";
    const COMMENT: &'static str = "One row per topic of each cluster, with or without consumers";
    const UNIT: UnitKind = UnitKind::Cluster;
    const ORDER: &'static [&'static str] = &["cluster", "topic"];

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("cluster", "Name of the cluster in the configuration", |row| &row.cluster.cluster.name)
            .text("topic", "Topic name", |row| &row.topic.name)
            .optional_string("topic_id", "Topic id", |row| row.topic.id.map(|id| id.to_string()))
            .int32("partitions", "Number of partitions", |row| {
                i32::try_from(row.topic.partitions.len()).unwrap_or(i32::MAX)
            })
            .boolean("internal", "Whether it is an internal topic of Kafka", |row| row.topic.is_internal())
            .int32("groups", "Number of groups with a committed offset, over all sources", |row| row.groups)
            .int32("active_groups", "Number of active groups with a committed offset", |row| row.active_groups)
            .optional_int64("log_end_offset_sum", "Sum of the high watermarks; NULL if one is unknown", |row| {
                row.log_end_offset_sum()
            })
            .optional_float("produce_rate", "Rate of new records over the last minute (records/s)", |row| {
                row.produce_rate()
            })
    }

    fn rows<'a>(unit: Unit<'a>, predicate: &'a ScanPredicate, take: impl FnMut(Row<'a>) -> Flow) -> Flow {
        let cluster = unit.cluster;
        let readers = if predicate.needs(&["groups", "active_groups"]) { readers(unit) } else { HashMap::new() };
        cluster
            .ends
            .topics()
            .filter(|topic| predicate.topics.includes(&topic.name))
            .map(move |topic| {
                let (groups, active_groups) = readers.get(&topic.name).copied().unwrap_or_default();
                Row { cluster, topic, groups, active_groups }
            })
            .try_for_each(take)
    }

    fn count(unit: Unit<'_>) -> Option<usize> {
        Some(unit.cluster.ends.topics().count())
    }
}

/// Returns the number of groups and of active groups of each topic.
fn readers(unit: Unit<'_>) -> HashMap<&Name, (i32, i32)> {
    let mut readers: HashMap<&Name, (i32, i32)> = HashMap::new();
    let is_here = |cut: &&SourceCut| Arc::ptr_eq(&cut.cluster, &unit.cluster.cluster);
    for group in unit.cut.sources.iter().filter(is_here).flat_map(SourceCut::groups) {
        let last = group.group.entries().map(|entry| ms_since_commit(unit.cut, group, &entry)).min();
        let has_members = unit.cut.consuming_group_of(group).group.has_members();
        let active = is_active(has_members, last, unit.cut.settings.active_within);
        for (topic, _) in group.group.topic_counts() {
            let (groups, active_groups) = readers.entry(topic).or_default();
            *groups += 1;
            *active_groups += i32::from(active);
        }
    }
    readers
}
