//! `members`: one row per member of a group.

use super::super::{
    table::{By, Column, Table, Unit, optional_int32, optional_text, text, text_list},
    wanted::Wanted,
};
use crate::store::{cut::GroupCut, membership::Member};

pub(super) struct Members;

pub(super) struct Row<'a> {
    group: GroupCut<'a>,
    member: &'a Member,
}

impl Table for Members {
    type Row<'a> = Row<'a>;
    const NAME: &'static str = "members";
    const COMMENT: &'static str = "One row per member of a group";
    const BY: By = By::Shard;

    fn columns() -> Vec<Column<Self>> {
        vec![
            text("cluster", "Name that the operator gave the cluster", |row| &row.group.cluster.cluster.name),
            text("group_id", "Consumer group", |row| &row.group.group.id),
            text("member_id", "Member", |row| &row.member.member_id),
            optional_text("instance_id", "group.instance.id of a static member", |row| {
                row.member.instance_id.as_deref()
            }),
            text("client_id", "client.id", |row| &row.member.client_id),
            text("client_host", "Host, as the broker recorded it", |row| &row.member.client_host),
            optional_text("rack_id", "client.rack", |row| row.member.rack_id.as_deref()),
            optional_int32("session_timeout_ms", "Session timeout", |row| row.member.session_timeout_ms),
            optional_int32("rebalance_timeout_ms", "Rebalance timeout", |row| row.member.rebalance_timeout_ms),
            optional_int32(
                "member_epoch",
                "Epoch that the member has reached; a classic group has its generation",
                |row| row.member.epoch,
            ),
            optional_text("state", "State of the member, of KIP-848, share and streams groups", |row| row.member.state),
            text_list("subscribed_topics", "Topics that the member asks for", |row| {
                row.member.subscribed_topics.as_deref()
            }),
            optional_text("subscribed_topic_regex", "Regular expression that the member subscribes to", |row| {
                row.member.subscribed_topic_regex.as_deref()
            }),
            optional_int32("assigned_partitions", "Partitions that the member owns", |row| {
                let assigned = row.group.assigned(row.member.assigned.as_ref()?);
                i32::try_from(assigned.map(|(_, partitions)| partitions.len()).sum::<usize>()).ok()
            }),
        ]
    }

    fn rows<'a>(unit: Unit<'a>, wanted: &Wanted, visit: &mut dyn FnMut(Row<'a>)) {
        super::groups(unit, wanted, &mut |group| {
            let Some(membership) = group.group.membership() else { return };
            membership.members.iter().for_each(|member| visit(Row { group, member }));
        });
    }
}
