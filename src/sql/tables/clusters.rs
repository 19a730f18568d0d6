//! `clusters`: the clusters, whether they can be reached, how far they are loaded, and what the audit says.

use std::iter;

use super::{By, Columns, Flow, Table, Unit, Wanted};
use crate::{
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
    const BY: By = By::Cluster;
    const SHOWS_UNLOADED: bool = true;

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("cluster", "Name that the operator gave the cluster", |row| &row.of.cluster.name)
            .text("bootstrap_servers", "As configured", |row| &row.of.cluster.config.bootstrap_servers)
            .optional_text("cluster_id", "Kafka's own id", |row| row.of.placement.cluster_id.as_deref())
            .optional_int32("brokers", "Brokers", |row| row.of.placement.broker_count())
            .optional_int32("controller", "Broker id of the controller", |row| row.of.placement.controller)
            .boolean("reachable", "The last attempt to reach it succeeded", |row| row.of.health.reachable)
            .boolean(
                "ready",
                "Loaded: every log partition reached the end captured at the start. Not while a right is missing",
                |row| row.of.health.ready,
            )
            .optional_text("last_error", "What the last failure said", |row| row.of.health.last_error.as_deref())
            .optional_string("history_error", "What fails where older samples are stored; NULL when nothing", |row| {
                row.of.cluster.older().and_then(|older| older.status().last_error)
            })
            .float("progress", "How much of the load is done, from 0 to 1", |row| row.of.source.progress())
            .optional_float("remaining_seconds", "Estimated time to the end of the load (s)", |row| {
                row.of.source.remaining(row.cut.taken).map(|left| left.as_secs_f64())
            })
            .time("history_written_to", "Up to when samples are stored; NULL without a store", |row| {
                row.of.cluster.older().and_then(|older| older.status().written_to)
            })
            .time("stale_since", "Since when what is shown is the last known (UTC)", |row| row.of.health.stale_since)
            .time("history_since", "Time of the oldest sample in memory (UTC)", |row| {
                row.of.samples.moments().next().map(|(_, oldest)| oldest.at)
            })
            .int64("history_bytes", "Memory of the samples", |row| super::whole(row.of.samples.bytes))
            .int64("audited_groups", "Groups that were compared with what coordinators say", |row| {
                super::whole(row.of.source.audit.groups.get())
            })
            .int64("audit_differences", "Differences that there are now: see audit", |row| {
                super::whole(row.of.source.audit.differences().len())
            })
            .text("mode", "How committed offsets are read: log, or admin (Kafka's Admin API)", |row| {
                status::mode(row.of.source.kind())
            })
            .optional_text("mode_reason", "Why in this way, where it was not the first choice", |row| {
                row.of.health.mode_reason.as_deref()
            })
    }

    fn rows<'a>(unit: Unit<'a>, _: &'a Wanted, take: impl FnMut(Row<'a>) -> Flow) -> Flow {
        iter::once(Row { cut: unit.cut, of: unit.cluster }).try_for_each(take)
    }

    fn count(_: Unit<'_>) -> Option<usize> {
        Some(1)
    }
}
