//! `retention`: the distance of each committed offset from the records that Kafka has deleted.

use hashbrown::HashMap;

use super::{Columns, Flow, ScanPredicate, Table, Unit, UnitKind};
use crate::{
    facts::{Deriver, Fact},
    history::in_memory::StartRates,
    store::ends::to_f64,
};

pub(super) struct Retention;

pub(super) struct Row<'a> {
    fact: Fact<'a>,
    log_start_rate: Option<f64>,
}

impl Row<'_> {
    /// Returns the records between the log start and the committed offset; negative if records were deleted unread.
    fn margin(&self) -> Option<i64> {
        let lag = self.fact.lag();
        // Lag is known only if the commit and the log ends belong to the same topic incarnation.
        lag.lag.ok()?;
        Some(self.fact.entry.row.committed_offset.saturating_sub(lag.log_start?))
    }

    /// Returns the seconds until the log start reaches the committed offset, if it advances faster.
    fn loss_seconds(&self) -> Option<f64> {
        let margin = self.margin()?;
        if margin < 0 {
            return Some(0.0);
        }
        let gain = self.log_start_rate? - self.fact.consume_rate().unwrap_or(0.0);
        (gain > 0.0).then(|| to_f64(margin) / gain)
    }
}

impl Table for Retention {
    type Row<'a> = Row<'a>;
    const NAME: &'static str = "retention";
    const COMMENT: &'static str = "Distance of each committed offset from the records that Kafka has deleted";
    const UNIT: UnitKind = UnitKind::Offset;
    const ORDER: &'static [&'static str] = super::offsets::Offsets::ORDER;

    fn columns() -> Columns<Self> {
        super::offset_columns::<Self>(|row| (row.fact.group(), row.fact.entry))
            .optional_int64("log_start_offset", "First offset of the partition's log", |row| row.fact.lag().log_start)
            .optional_int64(
                "margin",
                "committed_offset - log_start_offset; negative if records were deleted unread; NULL if unknown",
                |row| row.margin(),
            )
            .optional_float(
                "log_start_rate",
                "Rate at which the log start advances, over the samples in memory (records/s)",
                |row| row.log_start_rate,
            )
            .optional_float("consume_rate", "Smoothed rate at which commits advance (records/s)", |row| {
                row.fact.consume_rate()
            })
            .optional_float(
                "loss_seconds",
                "Time until retention reaches the group at the current rates (s); NULL if it never does, or unknown",
                |row| row.loss_seconds(),
            )
            .time("expires_at", "Expiry time of commits with their own retention (UTC)", |row| {
                row.fact.entry.extras?.expires_at
            })
    }

    fn rows<'a>(unit: Unit<'a>, predicate: &'a ScanPredicate, mut take: impl FnMut(Row<'a>) -> Flow) -> Flow {
        let needs_rate = predicate.needs(&["log_start_rate", "loss_seconds"]);
        let Some(group) = unit.group else { return Flow::Continue(()) };
        let deriver = Deriver::new(unit.cut, group);
        let mut topics: HashMap<usize, StartRates> = HashMap::new();
        super::matching_entries(&unit, predicate, |position, entry| {
            let of_topic = || StartRates::new(group.source, entry.topic);
            let log_start_rate = needs_rate
                .then(|| topics.entry(entry.topic_index).or_insert_with(of_topic).of(entry.row.partition))
                .flatten();
            take(Row { fact: deriver.fact(position, entry), log_start_rate })
        })
    }

    fn count(unit: Unit<'_>) -> Option<usize> {
        super::offsets::Offsets::count(unit)
    }
}
