//! `sources`: how far offsetd itself has read.

use super::{By, Columns, Flow, Table, Unit, Wanted};
use crate::status::LogPartitionStatus;

pub(super) struct Sources;

pub(super) struct Row<'a> {
    cluster: &'a str,
    partition: LogPartitionStatus,
}

impl Table for Sources {
    type Row<'a> = Row<'a>;
    const NAME: &'static str = "sources";
    const COMMENT: &'static str = "How far offsetd has read each source, of a log each partition, and what it met";
    const BY: By = By::Source;
    const SHOWS_UNLOADED: bool = true;

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("cluster", "Name that the operator gave the cluster", |row| row.cluster)
            .text("source", "Where offsets are kept; kafka is the cluster itself", |row| &row.partition.source)
            .optional_int32(
                "log_partition",
                "Partition of __consumer_offsets; NULL of a source that is no log",
                |row| row.partition.log_partition,
            )
            .text("state", "loading, live or failing", |row| row.partition.state)
            .optional_int64("position", "The next offset to apply", |row| row.partition.position)
            .optional_int64("target", "The end captured at the start", |row| row.partition.target)
            .optional_int64("end_offset", "High watermark", |row| row.partition.end_offset)
            .optional_int64("last_stable_offset", "Where an open transaction holds readers back", |row| {
                row.partition.last_stable_offset
            })
            .time(
                "open_transaction_since",
                "Since when an open transaction holds readers back (UTC): the time of its first record",
                |row| row.partition.open_transaction_since,
            )
            .optional_int64("behind", "end_offset - position", |row| row.partition.behind())
            .int64("records", "Records read", |row| super::whole(row.partition.records))
            .int64("tombstones", "Of these, deletions", |row| super::whole(row.partition.tombstones))
            .int64("decode_errors", "Records that did not decode", |row| {
                super::whole(row.partition.decode_errors.values().sum::<u64>())
            })
            .int64("unknown_types", "Records of types that are not known", |row| {
                super::whole(row.partition.unknown_types.values().sum::<u64>())
            })
            .time("last_record_at", "Time of the last record read (UTC)", |row| row.partition.last_record_at)
            .optional_string("last_error", "What keeps it from being read", |row| row.partition.last_error.clone())
            .text("kind", "What keeps the offsets", |row| &row.partition.kind)
            .optional_text("mode", "How a Kafka cluster is read: log or admin", |row| row.partition.mode)
            .optional_int64("entries", "Offsets that the last complete look at a store found", |row| {
                Some(super::whole(row.partition.reading.as_ref()?.entries))
            })
            .optional_int64("unmatched", "Of that look: keys that the layout does not explain", |row| {
                Some(super::whole(row.partition.reading.as_ref()?.unmatched))
            })
            .optional_int64("malformed", "Of that look: keys that say no offset", |row| {
                Some(super::whole(row.partition.reading.as_ref()?.malformed))
            })
            .optional_int64("ambiguous", "Of that look: keys that the layout explains in several ways", |row| {
                Some(super::whole(row.partition.reading.as_ref()?.ambiguous))
            })
            .optional_int64("forbidden", "Of that look: keys that the store refuses to show", |row| {
                Some(super::whole(row.partition.reading.as_ref()?.forbidden))
            })
            .optional_string("last_rejected", "The last key that is no row; never its value", |row| {
                row.partition.reading.as_ref()?.last_rejected.clone()
            })
            .time("last_read_at", "When the store was last read to its end (UTC)", |row| {
                Some(row.partition.reading.as_ref()?.read_at)
            })
            .optional_float(
                "read_seconds",
                "How long that took (s); of the Admin API, the time of a round of all groups",
                |row| Some(row.partition.reading.as_ref()?.seconds),
            )
            .optional_float(
                "interval_seconds",
                "How often the store is read (s): of the Admin API, each group, as seldom as any",
                |row| Some(row.partition.reading.as_ref()?.interval.as_secs_f64()),
            )
    }

    fn rows<'a>(unit: Unit<'a>, _: &'a Wanted, take: impl FnMut(Row<'a>) -> Flow) -> Flow {
        let cluster = &*unit.cluster.cluster.name;
        let sources = crate::status::sources(&unit.cluster.source, &unit.cluster.health, &unit.cluster.ends);
        sources.into_iter().map(move |partition| Row { cluster, partition }).try_for_each(take)
    }
}
