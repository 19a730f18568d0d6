//! `groups`: one row per group.

use super::{Columns, Flow, ScanPredicate, Table, Unit, UnitKind};
use crate::{
    facts::{GroupFact, SlowSums, bare_group, coordinator, group_sums},
    store::membership::Membership,
};

pub(super) struct Groups;

/// Columns that need a pass over all offsets of a group.
const SUMS: [&str; 7] =
    ["lag", "max_lag", "max_lag_seconds", "unknown_lag_partitions", "last_committed_at", "active", "status"];

/// Returns the membership of a row's group, if it is known.
fn membership<'r>(row: &'r GroupFact<'_>) -> Option<&'r Membership> {
    row.group.group.membership()
}

impl Table for Groups {
    type Row<'a> = GroupFact<'a>;
    const NAME: &'static str = "groups";
    const COMMENT: &'static str = "One row per group, with its totals";
    const UNIT: UnitKind = UnitKind::Group;
    const ORDER: &'static [&'static str] = &["cluster", "group_id"];

    fn columns() -> Columns<Self> {
        super::group_columns::<Self>(|row| row.group)
            .text("kind", "classic, consumer, share, streams or simple (offsets only)", |row| row.kind)
            .text("state", "State, as Kafka's tools name it, as far as the log shows it", |row| row.state)
            .optional_text("protocol_type", "Protocol type: consumer, connect, …", |row| {
                membership(row)?.protocol_type.as_deref()
            })
            .optional_text(
                "protocol",
                "Assignor; for KIP-848 groups the one that members name, NULL if the broker decides",
                |row| membership(row)?.protocol.as_deref(),
            )
            .optional_int32("epoch", "Generation (classic) or epoch (KIP-848); NULL in admin mode", |row| {
                membership(row)?.epoch
            })
            .optional_text("leader_member_id", "Member id of the leader; NULL in admin mode", |row| {
                membership(row)?.leader_member_id.as_deref()
            })
            .optional_int32("members", "Number of members; NULL if unknown", |row| row.members)
            .int32("topics", "Number of topics with a committed offset", |row| row.topics)
            .int32("partitions", "Number of partitions with a committed offset", |row| row.partitions)
            .optional_int64("lag", "Sum of the known lags", |row| row.lag)
            .optional_int64("max_lag", "Greatest known lag of a partition", |row| row.max_lag)
            .optional_float("max_lag_seconds", "Greatest known time lag of a partition (s)", |row| row.max_lag_seconds)
            .int32("unknown_lag_partitions", "Number of partitions with unknown lag", |row| row.unknown_lag_partitions)
            .time("last_committed_at", "Time of the newest commit (UTC); NULL in admin mode", |row| {
                row.last_committed_at
            })
            .boolean("active", "Whether the group committed within lag.active_within or has members", |row| row.active)
            .text("status", "Worst status of its partitions", |row| row.status.as_str())
            .time(
                "members_stale_since",
                "Time since when an open transaction hides changes of the members (UTC)",
                |row| row.group.group.members_stale_since(),
            )
            .optional_int32("coordinator", "Broker id of the group's coordinator", |row| coordinator(row.group))
            .optional_string(
                "offsets_kept_in",
                "Other sources that store offsets of this group id, if this group has members but no offsets",
                |row| row.offsets_kept_in(),
            )
    }

    fn rows<'a>(unit: Unit<'a>, predicate: &'a ScanPredicate, take: impl FnMut(GroupFact<'a>) -> Flow) -> Flow {
        let sums = SlowSums { seconds: predicate.needs(&["max_lag_seconds"]), status: predicate.needs(&["status"]) };
        let all = predicate.needs(&SUMS);
        let fact = move |group| if all { group_sums(unit.cut, group, sums) } else { bare_group(unit.cut, group) };
        unit.group.into_iter().map(fact).try_for_each(take)
    }

    fn count(unit: Unit<'_>) -> Option<usize> {
        unit.group.map(|_| 1)
    }
}
