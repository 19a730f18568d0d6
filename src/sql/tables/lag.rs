//! `lag`: every committed offset with its lag and the owner of the partition.

use super::{Columns, Flow, ScanPredicate, Table, Unit, UnitKind};
use crate::facts::{Deriver, Fact};

pub(super) struct LagTable;

impl Table for LagTable {
    type Row<'a> = Fact<'a>;
    const NAME: &'static str = "lag";
    const COMMENT: &'static str = "One row per committed offset, with log ends, lag, status and owner";
    const UNIT: UnitKind = UnitKind::Offset;
    const ORDER: &'static [&'static str] = super::offsets::Offsets::ORDER;

    fn columns() -> Columns<Self> {
        super::offset_columns::<Self>(|row| (row.group(), row.entry))
            .optional_int64("log_start_offset", "First offset of the partition's log", |row| row.lag().log_start)
            .optional_int64("log_end_offset", "High watermark of the partition", |row| row.lag().log_end)
            .optional_int64("lag", "Uncommitted records; NULL if unknown", |row| row.lag().lag.ok())
            .optional_float("lag_seconds", "Estimated age of the oldest unread record (s)", |row| row.lag_seconds())
            .optional_text("lag_unknown", "Reason why lag is NULL", |row| {
                row.lag().lag.err().map(|reason| reason.as_str())
            })
            .optional_float("consume_rate", "Smoothed rate at which commits advance (records/s)", |row| {
                row.consume_rate()
            })
            .text("status", "ok, unknown, lagging, rewind, stalled, stopped or data_lost", |row| row.status().as_str())
            .optional_text("member_id", "Member id of the owner of the partition", |row| {
                row.owner().map(|owner| &*owner.member_id)
            })
            .optional_text("client_id", "client.id of the owner", |row| row.owner().map(|owner| &*owner.client_id))
            .optional_text("client_host", "Host of the owner, as the broker reports it", |row| {
                row.owner().map(|owner| &*owner.client_host)
            })
            .optional_float(
                "catch_up_seconds",
                "Time until lag is 0 at the current rates (s); NULL if it does not clearly shrink, or unknown",
                |row| row.catch_up_seconds(),
            )
            .boolean("active", "Whether the partition has an owner, or a commit within lag.active_within", |row| {
                row.is_active()
            })
            .time("observed_at", super::OBSERVED_AT, |row| row.observed_at())
            .optional_text(
                "owner_source",
                "Source of the owner, with the same group_id; NULL if it is the row's source, or without an owner",
                |row| row.owner_source().map(|source| &**source),
            )
    }

    fn rows<'a>(unit: Unit<'a>, predicate: &'a ScanPredicate, mut take: impl FnMut(Fact<'a>) -> Flow) -> Flow {
        let Some(group) = unit.group else { return Flow::Continue(()) };
        let deriver = Deriver::new(unit.cut, group);
        super::matching_entries(&unit, predicate, |position, entry| take(deriver.fact(position, entry)))
    }

    fn count(unit: Unit<'_>) -> Option<usize> {
        super::offsets::Offsets::count(unit)
    }
}
