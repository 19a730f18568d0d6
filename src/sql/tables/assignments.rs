//! `assignments`: one row per partition and member.

use super::{Columns, Flow, ScanPredicate, Table, Unit, UnitKind, members::members};
use crate::{
    model::Name,
    store::{cut::GroupCut, membership::Member},
};

pub(super) struct Assignments;

pub(super) struct Row<'a> {
    group: GroupCut<'a>,
    member: &'a Member,
    topic: Name,
    partition: i32,
    kind: &'static str,
}

impl Table for Assignments {
    type Row<'a> = Row<'a>;
    const NAME: &'static str = "assignments";
    const COMMENT: &'static str = "One row per partition that a member owns, is to own, or must give up";
    const UNIT: UnitKind = UnitKind::Group;
    const ORDER: &'static [&'static str] = &["cluster", "group_id"];

    fn columns() -> Columns<Self> {
        super::group_columns::<Self>(|row| row.group)
            .text("member_id", "Member id", |row| &row.member.member_id)
            .text("topic", "Topic name", |row| &row.topic)
            .int32("partition", "Partition of the topic", |row| row.partition)
            .text("kind", "current (owned), target (to be owned) or revoking (to be given up)", |row| row.kind)
    }

    fn rows<'a>(unit: Unit<'a>, predicate: &'a ScanPredicate, take: impl FnMut(Row<'a>) -> Flow) -> Flow {
        let groups = unit.group.into_iter();
        groups
            .flat_map(move |group| members(group).flat_map(move |member| assigned_rows(group, member, predicate)))
            .try_for_each(take)
    }
}

/// Returns the partitions that a member owns, is to own, and must give up.
fn assigned_rows<'a>(
    group: GroupCut<'a>,
    member: &'a Member,
    predicate: &'a ScanPredicate,
) -> impl Iterator<Item = Row<'a>> + Send {
    let kinds = [
        ("current", member.assigned.as_deref()),
        ("target", member.extras().target.as_deref()),
        ("revoking", Some(&*member.extras().revoking)),
    ];
    kinds.into_iter().flat_map(move |(kind, assigned)| {
        let assigned = group.assigned(assigned.unwrap_or_default());
        assigned.filter(|(topic, _)| predicate.topics.includes(topic)).flat_map(move |(topic, partitions)| {
            let partitions = partitions.into_iter().filter(|partition| predicate.has_partition(*partition));
            partitions.map(move |partition| Row { group, member, topic: Name::clone(&topic), partition, kind })
        })
    })
}
