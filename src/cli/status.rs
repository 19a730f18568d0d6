//! `offsetd status`: shows the clusters, the readiness and the load progress of a server.

use std::{collections::BTreeMap, io::Write};

use clap::Args;

use super::{
    Failure, OutputFormat, ServerArgs,
    connect::{call_failed, connect},
    output, show,
    text::{ColumnKind, ColumnOf, Table, count, duration, escape, fields, or_dash, time},
};
use crate::rpc::proto::{
    ClusterStatus, GetStatusRequest, GetStatusResponse, HistoryStore, LogPartitionStatus, SourceStatus,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  offsetd status
  offsetd status --partitions                     every partition of __consumer_offsets
  offsetd status --format json";

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show every partition of __consumer_offsets.
    #[arg(long)]
    pub partitions: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub format: OutputFormat,
    /// The server to query.
    #[command(flatten)]
    pub server: ServerArgs,
}

pub(super) async fn run(args: &StatusArgs) -> Result<(), Failure> {
    let mut client = connect(&args.server).await?;
    let status = client.get_status(GetStatusRequest {}).await.map_err(call_failed)?.into_inner();
    show(output(), args.format, &status, |out| write_text(out, &status, args.partitions))
}

fn write_text(out: &mut impl Write, status: &GetStatusResponse, partitions: bool) -> std::io::Result<()> {
    fields(
        out,
        &[
            ("server", Some(format!("offsetd {} ({})", status.version, status.git_revision))),
            ("started_at", time(status.started_at.as_ref())),
            ("ready", Some(if status.ready { "yes" } else { "no" }.to_owned())),
            ("awaited", (!status.awaited.is_empty()).then(|| status.awaited.join(", "))),
            ("history_store", status.history_store.as_ref().map(history_store)),
        ],
    )?;
    for cluster in &status.clusters {
        writeln!(out, "\ncluster {}", escape(&cluster.cluster))?;
        write_cluster(out, cluster)?;
        if cluster.sources.len() > 1 {
            Table::write_all(out, &SOURCES, &cluster.sources)?;
        }
        if partitions {
            Table::write_all(out, &PARTITIONS, &cluster.log_partitions)?;
        }
    }
    Ok(())
}

/// Returns the state of the history store: the last error, or the time up to which samples are written.
fn history_store(store: &HistoryStore) -> String {
    let skipped = match store.skipped.len() {
        0 => String::new(),
        count => format!(
            ", {count} files cannot be read: {}",
            escape(&store.skipped.keys().cloned().collect::<Vec<_>>().join(", "))
        ),
    };
    match &store.last_error {
        Some(error) => format!("failing: {}{skipped}", escape(error)),
        None => format!("written to {}{skipped}", or_dash(time(store.written_to.as_ref()))),
    }
}

fn write_cluster(out: &mut impl Write, cluster: &ClusterStatus) -> std::io::Result<()> {
    let left =
        cluster.remaining.as_ref().and_then(duration).filter(|_| !cluster.ready).map_or_else(String::new, |left| {
            format!(", about {} left", humantime::format_duration(std::time::Duration::from_secs(left.as_secs())))
        });
    let ready = if cluster.ready { "yes".to_owned() } else { format!("no: {}{left}", escape(&cluster.phase)) };
    let reachable = match (cluster.reachable, time(cluster.stale_since.as_ref())) {
        (true, _) => "yes".to_owned(),
        (false, None) => "no".to_owned(),
        (false, Some(since)) => format!("no, showing the last known state, of {since}"),
    };
    fields(
        out,
        &[
            ("  bootstrap_servers", Some(cluster.bootstrap_servers.clone())),
            ("  cluster_id", cluster.cluster_id.clone()),
            ("  brokers", cluster.brokers.map(|brokers| brokers.to_string())),
            ("  controller", cluster.controller.map(|controller| controller.to_string())),
            ("  mode", mode(cluster)),
            ("  reachable", Some(reachable)),
            ("  ready", Some(ready)),
            ("  groups", Some(groups(cluster))),
            ("  offsets", Some(cluster.offsets.to_string())),
            ("  log_partitions", Some(state_counts(cluster))),
            ("  behind", behind(cluster)),
            ("  read", Some(record_counts(&cluster.log_partitions))),
            ("  last_error", cluster.last_error.clone()),
        ],
    )
}

/// Returns the mode in which offsets are read and, if it is not the preferred mode, the reason.
fn mode(cluster: &ClusterStatus) -> Option<String> {
    let own = cluster.sources.first()?;
    let reason = own.mode_reason.as_ref().map_or_else(String::new, |reason| format!(": {}", escape(reason)));
    own.mode.as_ref().map(|mode| format!("{mode}{reason}"))
}

/// Returns the number of groups. If there are none, the text says whether any group has ever committed.
fn groups(cluster: &ClusterStatus) -> String {
    let is_fresh = cluster.ready && cluster.groups == 0 && cluster.log_partitions.iter().all(|of| of.records == 0);
    if is_fresh { "0: no group has committed yet".to_owned() } else { cluster.groups.to_string() }
}

/// Returns the number of log partitions in each state, for example `49 live, 1 failing`.
fn state_counts(cluster: &ClusterStatus) -> String {
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for partition in &cluster.log_partitions {
        *states.entry(partition.state.as_str()).or_default() += 1;
    }
    match states.len() {
        0 if cluster.ready => "none".to_owned(),
        0 => "unknown".to_owned(),
        _ => states.iter().map(|(state, number)| format!("{number} {state}")).collect::<Vec<_>>().join(", "),
    }
}

/// Returns the number of records between the position and the end of a log partition, if both are known.
fn partition_behind(partition: &LogPartitionStatus) -> Option<i128> {
    Some((i128::from(partition.end_offset?) - i128::from(partition.position?)).max(0))
}

/// Returns the number of records that are not applied yet. `None` if the cluster is ready and has no log partitions, as
/// in mode "admin".
fn behind(cluster: &ClusterStatus) -> Option<String> {
    let partitions = &cluster.log_partitions;
    let known: Vec<i128> = partitions.iter().filter_map(partition_behind).collect();
    let unknown = i128::try_from(partitions.len().saturating_sub(known.len())).ok()?;
    let sum = count(known.iter().sum::<i128>(), "record");
    match (known.len(), unknown) {
        (0, 0) if cluster.ready => None,
        (0, _) => Some("unknown".to_owned()),
        (_, 0) => Some(sum),
        (_, unknown) => Some(format!("{sum}, unknown of {}", count(unknown, "partition"))),
    }
}

/// Returns the numbers of records, tombstones, decode errors and records of unknown types, of all partitions together.
fn record_counts(partitions: &[LogPartitionStatus]) -> String {
    let sum = |field: fn(&LogPartitionStatus) -> u64| partitions.iter().map(|p| i128::from(field(p))).sum::<i128>();
    format!(
        "{}, {}, {}, {} of unknown types",
        count(sum(|p| p.records), "record"),
        count(sum(|p| p.tombstones), "tombstone"),
        count(sum(|p| p.decode_errors), "decode error"),
        sum(|p| p.unknown_types),
    )
}

const SOURCES: [ColumnOf<SourceStatus>; 12] = [
    (ColumnKind::Text, "source", |source| source.source.clone()),
    (ColumnKind::Text, "kind", |source| source.kind.clone()),
    (ColumnKind::Text, "state", |source| source.state.clone()),
    (ColumnKind::Number, "groups", |source| source.groups.to_string()),
    (ColumnKind::Number, "offsets", |source| source.offsets.to_string()),
    (ColumnKind::Number, "unmatched", |source| or_dash(source.unmatched)),
    (ColumnKind::Number, "malformed", |source| or_dash(source.malformed)),
    (ColumnKind::Number, "ambiguous", |source| or_dash(source.ambiguous)),
    (ColumnKind::Number, "forbidden", |source| or_dash(source.forbidden)),
    (ColumnKind::Text, "last_rejected", |source| or_dash(source.last_rejected.as_ref())),
    (ColumnKind::Text, "last_read_at", |source| or_dash(time(source.last_read_at.as_ref()))),
    (ColumnKind::Text, "last_error", |source| or_dash(source.last_error.as_ref())),
];

const PARTITIONS: [ColumnOf<LogPartitionStatus>; 12] = [
    (ColumnKind::Number, "log_partition", |partition| partition.log_partition.to_string()),
    (ColumnKind::Text, "state", |partition| partition.state.clone()),
    (ColumnKind::Number, "position", |partition| or_dash(partition.position)),
    (ColumnKind::Number, "target", |partition| or_dash(partition.target)),
    (ColumnKind::Number, "end_offset", |partition| or_dash(partition.end_offset)),
    (ColumnKind::Number, "behind", |partition| or_dash(partition_behind(partition))),
    (ColumnKind::Number, "records", |partition| partition.records.to_string()),
    (ColumnKind::Number, "tombstones", |partition| partition.tombstones.to_string()),
    (ColumnKind::Number, "errors", |partition| partition.decode_errors.to_string()),
    (ColumnKind::Number, "unknown", |partition| partition.unknown_types.to_string()),
    (ColumnKind::Text, "last_record_at", |partition| or_dash(time(partition.last_record_at.as_ref()))),
    (ColumnKind::Text, "last_error", |partition| or_dash(partition.last_error.as_ref())),
];

#[cfg(test)]
mod tests;
