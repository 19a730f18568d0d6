//! `assignments`: which member holds which partition.

use super::super::{
    table::{By, Column, Table, Unit, int32, text},
    wanted::Wanted,
};
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
    const COMMENT: &'static str = "One row per partition that a member holds, should hold, or gives up";
    const BY: By = By::Shard;

    fn columns() -> Vec<Column<Self>> {
        vec![
            text("cluster", "Name that the operator gave the cluster", |row| &row.group.cluster.cluster.name),
            text("group_id", "Consumer group", |row| &row.group.group.id),
            text("member_id", "Member", |row| &row.member.member_id),
            text("topic", "Topic name", |row| &row.topic),
            int32("partition", "Partition of the topic", |row| row.partition),
            text("kind", "current, target or revoking", |row| row.kind),
        ]
    }

    fn rows<'a>(unit: Unit<'a>, wanted: &Wanted, visit: &mut dyn FnMut(Row<'a>)) {
        super::groups(unit, wanted, &mut |group| {
            for member in group.group.membership().iter().flat_map(|membership| &membership.members) {
                let kinds = [
                    ("current", member.assigned.as_deref()),
                    ("target", member.target.as_deref()),
                    ("revoking", Some(&*member.revoking)),
                ];
                for (kind, assigned) in kinds {
                    let assigned = group.assigned(assigned.unwrap_or_default());
                    for (topic, partitions) in assigned.filter(|(topic, _)| wanted.topics.includes(topic)) {
                        for partition in partitions {
                            visit(Row { group, member, topic: Name::clone(&topic), partition, kind });
                        }
                    }
                }
            }
        });
    }
}
