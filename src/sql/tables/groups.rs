//! `groups`: one row per group.

use super::{By, Columns, Flow, Table, Unit, Wanted};
use crate::{
    facts::{GroupFact, Sums, bare_group, coordinator, group_sums},
    store::membership::Membership,
};

pub(super) struct Groups;

/// Columns that take a look at each of a group's offsets.
const SUMS: [&str; 7] =
    ["lag", "max_lag", "max_lag_seconds", "unknown_lag_partitions", "last_committed_at", "active", "status"];

fn membership<'r>(row: &'r GroupFact<'_>) -> Option<&'r Membership> {
    row.group.group.membership()
}

impl Table for Groups {
    type Row<'a> = GroupFact<'a>;
    const NAME: &'static str = "groups";
    const COMMENT: &'static str = "One row per consumer group, with its sums";
    const BY: By = By::Group;
    const ORDER: &'static [&'static str] = &["cluster", "group_id"];

    fn columns() -> Columns<Self> {
        super::of_group::<Self>(|row| row.group)
            .text("kind", "classic, consumer, share, streams or simple (offsets only)", |row| row.kind)
            .text("state", "As Kafka's tools spell it, as far as the log proves it", |row| row.state)
            .optional_text("protocol_type", "consumer, connect, ...", |row| membership(row)?.protocol_type.as_deref())
            .optional_text(
                "protocol",
                "The assignor; of KIP-848 groups the one that members name, else NULL: the broker decides",
                |row| membership(row)?.protocol.as_deref(),
            )
            .optional_int32("epoch", "Generation (classic) or epoch (KIP-848); not told by the Admin API", |row| {
                membership(row)?.epoch
            })
            .optional_text("leader_member_id", "Member that leads; not told by the Admin API", |row| {
                membership(row)?.leader_member_id.as_deref()
            })
            .optional_int32("members", "Members; NULL where nobody tells", |row| row.members)
            .int32("topics", "Topics with a committed offset", |row| row.topics)
            .int32("partitions", "Partitions with a committed offset", |row| row.partitions)
            .optional_int64("lag", "Sum of the known lags", |row| row.lag)
            .optional_int64("max_lag", "Greatest known lag of a partition", |row| row.max_lag)
            .optional_float("max_lag_seconds", "Greatest known time lag of a partition (s)", |row| row.max_lag_seconds)
            .int32("unknown_lag_partitions", "Partitions whose lag is not known", |row| row.unknown_lag_partitions)
            .time("last_committed_at", "The newest commit (UTC); not told by the Admin API", |row| {
                row.last_committed_at
            })
            .boolean("active", "Committed lately, or has members", |row| row.active)
            .text("status", "The worst of its partitions", |row| row.status.as_str())
            .time(
                "members_stale_since",
                "Since when an open transaction hides what became of the members (UTC)",
                |row| row.group.group.members_stale_since(),
            )
            .optional_int32("coordinator", "Broker id of the group's coordinator", |row| coordinator(row.group))
            .optional_string(
                "offsets_kept_in",
                "Of a group that has members and no offsets here: the sources that keep its offsets, by group id",
                |row| row.offsets_kept_in(),
            )
    }

    fn rows<'a>(unit: Unit<'a>, wanted: &'a Wanted, take: impl FnMut(GroupFact<'a>) -> Flow) -> Flow {
        let sums = Sums { seconds: wanted.needs(&["max_lag_seconds"]), status: wanted.needs(&["status"]) };
        let all = wanted.needs(&SUMS);
        let fact = move |group| if all { group_sums(unit.cut, group, sums) } else { bare_group(unit.cut, group) };
        unit.group.into_iter().map(fact).try_for_each(take)
    }

    fn count(unit: Unit<'_>) -> Option<usize> {
        unit.group.map(|_| 1)
    }
}
