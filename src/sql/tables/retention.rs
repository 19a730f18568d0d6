//! `retention`: how far each committed offset is from what Kafka has deleted.

use hashbrown::HashMap;

use super::{By, Columns, Flow, Table, Unit, Wanted};
use crate::{
    facts::{Deriver, Fact},
    history::tracks::StartRates,
    store::ends::to_f64,
};

pub(super) struct Retention;

pub(super) struct Row<'a> {
    fact: Fact<'a>,
    log_start_rate: Option<f64>,
}

impl Row<'_> {
    fn margin(&self) -> Option<i64> {
        let lag = self.fact.lag();
        // Of the same log.
        lag.lag.ok()?;
        Some(self.fact.entry.row.committed_offset.saturating_sub(lag.log_start?))
    }

    /// Time until the log start is where the group is, if it gains on it.
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
    const COMMENT: &'static str = "How far each committed offset is from records that Kafka has deleted";
    const BY: By = By::Offset;
    const ORDER: &'static [&'static str] = super::offsets::Offsets::ORDER;

    fn columns() -> Columns<Self> {
        super::of_offset::<Self>(|row| (row.fact.group(), row.fact.entry))
            .optional_int64("log_start_offset", "First offset of the partition's log", |row| row.fact.lag().log_start)
            .optional_int64(
                "margin",
                "committed_offset - log_start_offset; below 0, records were deleted unread; NULL when unknown",
                |row| row.margin(),
            )
            .optional_float(
                "log_start_rate",
                "Records per second that the log start advances, over the samples in memory",
                |row| row.log_start_rate,
            )
            .optional_float("consume_rate", "Records per second that commits advance, smoothed", |row| {
                row.fact.consume_rate()
            })
            .optional_float(
                "loss_seconds",
                "Time until retention overtakes the group, at the present rates (s); NULL when it will not, or unknown",
                |row| row.loss_seconds(),
            )
            .time("expires_at", "Of commits with a retention of their own: when the broker drops them (UTC)", |row| {
                row.fact.entry.rare?.expires_at
            })
    }

    fn rows<'a>(unit: Unit<'a>, wanted: &'a Wanted, mut take: impl FnMut(Row<'a>) -> Flow) -> Flow {
        let needs_rate = wanted.needs(&["log_start_rate", "loss_seconds"]);
        let Some(group) = unit.group else { return Flow::Continue(()) };
        let deriver = Deriver::new(unit.cut, group);
        let mut topics: HashMap<usize, StartRates> = HashMap::new();
        super::entries(&unit, wanted, |position, entry| {
            let of_topic = || StartRates::new(group.cluster, entry.topic);
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
