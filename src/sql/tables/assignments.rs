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
    topic: &'a Name,
    partition: i32,
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
            text("topic", "Topic name", |row| row.topic),
            int32("partition", "Partition of the topic", |row| row.partition),
            text("kind", "current, target or revoking", |_| "current"),
        ]
    }

    fn rows<'a>(unit: Unit<'a>, wanted: &Wanted, visit: &mut dyn FnMut(Row<'a>)) {
        super::groups(unit, wanted, &mut |group| {
            let members = group.group.membership.iter().flat_map(|membership| &membership.members);
            for member in members {
                let topics = member.assigned.iter().flatten().filter(|topic| wanted.topics.includes(&topic.topic));
                for assigned in topics {
                    let partitions = assigned.partitions.iter();
                    partitions.for_each(|partition| {
                        visit(Row { group, member, topic: &assigned.topic, partition: *partition });
                    });
                }
            }
        });
    }
}
