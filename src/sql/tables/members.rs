//! `members`: one row per member of a group.

use super::{Columns, Flow, ScanPredicate, Table, Unit, UnitKind};
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
    const UNIT: UnitKind = UnitKind::Group;
    const ORDER: &'static [&'static str] = &["cluster", "group_id"];

    fn columns() -> Columns<Self> {
        super::group_columns::<Self>(|row| row.group)
            .text("member_id", "Member id", |row| &row.member.member_id)
            .optional_text("instance_id", "group.instance.id of a static member", |row| {
                row.member.extras().instance_id.as_deref()
            })
            .text("client_id", "client.id", |row| &row.member.client_id)
            .text("client_host", "Host, as the broker reports it", |row| &row.member.client_host)
            .optional_text("rack_id", "client.rack; NULL in admin mode", |row| row.member.extras().rack_id.as_deref())
            .optional_int64("session_timeout_ms", "Session timeout (ms); NULL in admin mode", |row| {
                row.member.session_timeout_ms.map(i64::from)
            })
            .optional_int64(
                "rebalance_timeout_ms",
                "Time within which the member must rejoin (ms); NULL in admin mode",
                |row| row.member.rebalance_timeout_ms.map(i64::from),
            )
            .optional_int32(
                "member_epoch",
                "Epoch of the member; the generation for classic groups; NULL in admin mode",
                |row| row.member.epoch,
            )
            .optional_text(
                "state",
                "State of the member, for KIP-848, share and streams groups; NULL in admin mode",
                |row| row.member.extras().state,
            )
            .text_list("subscribed_topics", "Topics that the member subscribes to; NULL in admin mode", |row| {
                row.member.subscribed_topics.as_deref()
            })
            .optional_text(
                "subscribed_topic_regex",
                "Regular expression that the member subscribes to; NULL in admin mode",
                |row| row.member.extras().subscribed_topic_regex.as_deref(),
            )
            .optional_int32("assigned_partitions", "Number of partitions that the member owns", |row| {
                let assigned = row.group.assigned(row.member.assigned.as_ref()?);
                i32::try_from(assigned.map(|(_, partitions)| partitions.len()).sum::<usize>()).ok()
            })
    }

    fn rows<'a>(unit: Unit<'a>, _: &'a ScanPredicate, take: impl FnMut(Row<'a>) -> Flow) -> Flow {
        unit.group
            .into_iter()
            .flat_map(|group| members(group).map(move |member| Row { group, member }))
            .try_for_each(take)
    }
}

/// Returns the members of a group.
pub(super) fn members<'a>(group: GroupCut<'a>) -> impl Iterator<Item = &'a Member> + Send {
    group.group.membership().into_iter().flat_map(|membership| &membership.members)
}
