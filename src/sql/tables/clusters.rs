//! `clusters`: one row per cluster, with its reachability, load progress, history and audit.

use std::iter;

use super::{Columns, Flow, ScanPredicate, Table, Unit, UnitKind, count};
use crate::{
    model::SourceKind,
    status,
    store::cut::{Cut, SourceCut},
};

pub(super) struct Clusters;

pub(super) struct Row<'a> {
    cut: &'a Cut,
    of: &'a SourceCut,
}

impl Table for Clusters {
    type Row<'a> = Row<'a>;
    const NAME: &'static str = "clusters";
    const COMMENT: &'static str = "One row per cluster";
    const UNIT: UnitKind = UnitKind::Cluster;
    const SHOWS_UNLOADED: bool = true;

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("cluster", "Name of the cluster in the configuration", |row| &row.of.cluster.name)
            .text("bootstrap_servers", "Bootstrap servers in the configuration", |row| {
                &row.of.cluster.config.bootstrap_servers
            })
            .optional_text("cluster_id", "Cluster id that Kafka reports", |row| row.of.placement.cluster_id.as_deref())
            .optional_int32("brokers", "Number of brokers", |row| row.of.placement.broker_count())
            .optional_int32("controller", "Broker id of the controller", |row| row.of.placement.controller)
            .boolean("reachable", "Whether the last connection attempt succeeded", |row| row.of.health.reachable)
            .boolean(
                "ready",
                "Whether every log partition was read to its end at the start; false while a permission is missing",
                |row| row.of.health.ready,
            )
            .optional_text("last_error", "Text of the last error", |row| row.of.health.last_error.as_deref())
            .optional_string("history_error", "Last error of the history store; NULL if there is none", |row| {
                row.of.cluster.history_store().and_then(|older| older.status().last_error)
            })
            .optional_float("progress", "Progress of the load, from 0 to 1; NULL while it is unknown", |row| {
                row.of.source.progress()
            })
            .optional_float("remaining_seconds", "Estimated time to the end of the load (s)", |row| {
                row.of.source.remaining(row.cut.taken).map(|left| left.as_secs_f64())
            })
            .time(
                "history_written_to",
                "Samples are stored up to this time (UTC); NULL without a history store",
                |row| row.of.cluster.history_store().and_then(|older| older.status().written_to),
            )
            .time("stale_since", "Time since when the data is not updated (UTC); NULL if it is current", |row| {
                row.of.health.stale_since
            })
            .time("history_since", "Time of the oldest sample in memory (UTC)", |row| {
                row.of.samples.times().next().map(|(_, oldest)| oldest.at)
            })
            .int64("history_bytes", "Bytes of the samples in memory", |row| count(row.of.samples.bytes))
            .int64("audited_groups", "Groups compared with their coordinators", |row| {
                count(row.of.source.audit.groups.get())
            })
            .int64("audit_differences", "Current differences: see the table audit", |row| {
                count(row.of.source.audit.differences().len())
            })
            .text(
                "mode",
                "How committed offsets are read: log (__consumer_offsets) or admin (Kafka's Admin API)",
                |row| status::mode(row.of.source.kind()),
            )
            .optional_text("mode_reason", "Why this mode is used, if it was not the first choice", |row| {
                row.of.health.mode_reason.as_deref()
            })
            .optional_text(
                "audit_off_reason",
                "Why no groups are compared with their coordinators; NULL if they are",
                |row| match row.of.source.kind() {
                    SourceKind::Log => row.of.source.audit.off_reason(),
                    SourceKind::Table => Some("the offsets are those that the coordinators report"),
                },
            )
    }

    fn rows<'a>(unit: Unit<'a>, _: &'a ScanPredicate, take: impl FnMut(Row<'a>) -> Flow) -> Flow {
        iter::once(Row { cut: unit.cut, of: unit.cluster }).try_for_each(take)
    }

    fn count(_: Unit<'_>) -> Option<usize> {
        Some(1)
    }
}
