//! `clusters`: the clusters, and whether they can be reached.

use std::iter;

use super::super::{
    table::{By, Columns, Flow, Table, Unit},
    wanted::Wanted,
};
use crate::store::cut::ClusterCut;

pub(super) struct Clusters;

impl Table for Clusters {
    type Row<'a> = &'a ClusterCut;
    const NAME: &'static str = "clusters";
    const COMMENT: &'static str = "One row per cluster";
    const BY: By = By::Cluster;
    const SHOWS_UNLOADED: bool = true;

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("cluster", "Name that the operator gave the cluster", |row| &row.cluster.name)
            .text("bootstrap_servers", "As configured", |row| &row.cluster.config.bootstrap_servers)
            .optional_text("cluster_id", "Kafka's own id", |row| row.health.cluster_id.as_deref())
            .optional_int32("brokers", "Brokers", |row| row.health.brokers)
            .optional_int32("controller", "Broker id of the controller", |row| row.health.controller)
            .boolean("reachable", "The last attempt to reach it succeeded", |row| row.health.reachable)
            .boolean("ready", "Loaded: every log partition reached the end captured at the start", |row| {
                row.health.ready
            })
            .optional_text("last_error", "What the last failure said", |row| row.health.last_error.as_deref())
            .optional_string("history_error", "What fails where older samples are stored; NULL when nothing", |row| {
                row.cluster.older().and_then(|older| older.status().last_error)
            })
    }

    fn rows<'a>(unit: Unit<'a>, _: &'a Wanted, take: impl FnMut(&'a ClusterCut) -> Flow) -> Flow {
        iter::once(unit.cluster).try_for_each(take)
    }

    fn count(_: Unit<'_>) -> Option<usize> {
        Some(1)
    }
}
