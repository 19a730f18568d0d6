//! `sources`: the read progress of each source.

use super::{Columns, Flow, ScanPredicate, Table, Unit, UnitKind, count};
use crate::{status::LogPartitionStatus, store::source::ReadOutcome};

pub(super) struct Sources;

pub(super) struct Row<'a> {
    cluster: &'a str,
    status: LogPartitionStatus,
}

impl Row<'_> {
    /// Returns the outcome of the last complete poll of a store.
    fn read(&self) -> Option<&ReadOutcome> {
        self.status.last_read.as_deref()
    }
}

impl Table for Sources {
    type Row<'a> = Row<'a>;
    const NAME: &'static str = "sources";
    const COMMENT: &'static str = "Read progress of each source, and of each partition of a log";
    const UNIT: UnitKind = UnitKind::Source;
    const SHOWS_UNLOADED: bool = true;

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("cluster", "Name of the cluster in the configuration", |row| row.cluster)
            .text("source", "Source that stores the offsets; kafka is the cluster itself", |row| &row.status.source)
            .optional_int32(
                "log_partition",
                "Partition of __consumer_offsets; NULL for sources other than a log",
                |row| row.status.log_partition,
            )
            .text("state", "loading, live or failing", |row| row.status.state)
            .optional_int64("position", "Next offset to apply", |row| row.status.position)
            .optional_int64("target", "End offset at the start; loading ends there", |row| row.status.target)
            .optional_int64("end_offset", "High watermark", |row| row.status.end_offset)
            .optional_int64("last_stable_offset", "Offset up to which transactions are decided", |row| {
                row.status.last_stable_offset
            })
            .time(
                "open_transaction_since",
                "Time of the first record of an open transaction that blocks the reader (UTC)",
                |row| row.status.open_transaction_since,
            )
            .optional_int64("behind", "Records left to read: end_offset - position", |row| row.status.behind())
            .int64("records", "Number of records read", |row| count(row.status.records))
            .int64("tombstones", "Number of tombstones read", |row| count(row.status.tombstones))
            .int64("decode_errors", "Number of records that could not be decoded", |row| {
                count(row.status.decode_errors.values().sum::<u64>())
            })
            .int64("unknown_types", "Number of records of unknown types", |row| {
                count(row.status.unknown_types.values().sum::<u64>())
            })
            .time("last_record_at", "Time of the last record read (UTC)", |row| row.status.last_record_at)
            .optional_string("last_error", "Text of the last error", |row| row.status.last_error.clone())
            .text("kind", "Kind of the store", |row| &row.status.kind)
            .optional_text("mode", "Mode in which a Kafka cluster is read: log or admin", |row| row.status.mode)
            .optional_int64("entries", "Offsets in the last complete poll of a store", |row| {
                Some(count(row.read()?.entries))
            })
            .optional_int64("unmatched", "Keys in the last complete poll that do not match the layout", |row| {
                Some(count(row.read()?.unmatched))
            })
            .optional_int64("malformed", "Keys in the last complete poll without a valid offset", |row| {
                Some(count(row.read()?.malformed))
            })
            .optional_int64(
                "ambiguous",
                "Keys in the last complete poll that match the layout in several ways",
                |row| Some(count(row.read()?.ambiguous)),
            )
            .optional_int64(
                "forbidden",
                "Keys in the last complete poll that the store does not allow to read",
                |row| Some(count(row.read()?.forbidden)),
            )
            .optional_string("last_rejected", "Last key that was rejected; never its value", |row| {
                row.read()?.last_rejected.clone()
            })
            .time("last_read_at", "Time of the last complete poll (UTC)", |row| Some(row.read()?.read_at))
            .optional_float(
                "read_seconds",
                "Duration of the last complete poll (s); in admin mode, of a round over all groups",
                |row| Some(row.read()?.seconds),
            )
            .optional_float(
                "interval_seconds",
                "Time between polls (s); in admin mode, the longest time between two polls of a group",
                |row| Some(row.read()?.interval.as_secs_f64()),
            )
            .optional_text("location", "Place in the store that is read, such as the path of a znode", |row| {
                row.status.location.as_deref()
            })
    }

    fn rows<'a>(unit: Unit<'a>, _: &'a ScanPredicate, take: impl FnMut(Row<'a>) -> Flow) -> Flow {
        let cluster = &*unit.cluster.cluster.name;
        let sources = crate::status::sources(&unit.cluster.source, &unit.cluster.health, &unit.cluster.ends);
        sources.into_iter().map(move |status| Row { cluster, status }).try_for_each(take)
    }
}
