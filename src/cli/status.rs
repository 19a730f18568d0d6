//! `offsetd status`.

use std::{collections::BTreeMap, io::Write};

use clap::Args;

use super::{
    Failure, ServerArgs, Style,
    connect::{call_failed, connect},
    output,
    text::{Column, Table, count, duration, escape, fields, or_dash, time},
    write_json,
};
use crate::rpc::json;
use crate::rpc::proto::{ClusterStatus, GetStatusRequest, GetStatusResponse, HistoryStore, LogPartitionStatus};

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
    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    pub format: Style,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

pub(super) async fn run(args: &StatusArgs) -> Result<(), Failure> {
    let mut client = connect(&args.server).await?;
    let status = client.get_status(GetStatusRequest {}).await.map_err(call_failed)?.into_inner();
    let mut out = output();
    match args.format {
        Style::Text => write_text(&mut out, &status, args.partitions)?,
        Style::Json => write_json(&mut out, &json::status(&status))?,
    }
    out.flush()?;
    Ok(())
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
        if partitions {
            write_partitions(out, &cluster.log_partitions)?;
        }
    }
    Ok(())
}

/// How the store of older samples does.
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
    let ready = match (cluster.ready, cluster.remaining.as_ref().and_then(duration)) {
        (true, _) => "yes".to_owned(),
        (false, None) => format!("no, {:.1} % loaded", cluster.progress * 100.0),
        (false, Some(left)) => {
            let left = humantime::format_duration(std::time::Duration::from_secs(left.as_secs()));
            format!("no, {:.1} % loaded, about {left} left", cluster.progress * 100.0)
        }
    };
    let reachable = match (cluster.reachable, time(cluster.stale_since.as_ref())) {
        (true, _) => "yes".to_owned(),
        (false, None) => "no".to_owned(),
        (false, Some(since)) => format!("no, what is shown is the last known, of {since}"),
    };
    fields(
        out,
        &[
            ("  bootstrap_servers", Some(cluster.bootstrap_servers.clone())),
            ("  cluster_id", cluster.cluster_id.clone()),
            ("  brokers", cluster.brokers.map(|brokers| brokers.to_string())),
            ("  controller", cluster.controller.map(|controller| controller.to_string())),
            ("  reachable", Some(reachable)),
            ("  ready", Some(ready)),
            ("  groups", Some(groups(cluster))),
            ("  offsets", Some(cluster.offsets.to_string())),
            ("  log_partitions", Some(states(cluster))),
            ("  behind", behind(cluster)),
            ("  read", Some(counts(&cluster.log_partitions))),
            ("  last_error", cluster.last_error.clone()),
        ],
    )
}

/// How many groups there are; if none, whether any has committed.
fn groups(cluster: &ClusterStatus) -> String {
    let is_fresh = cluster.ready && cluster.groups == 0 && cluster.log_partitions.iter().all(|of| of.records == 0);
    if is_fresh { "0: no group has committed yet".to_owned() } else { cluster.groups.to_string() }
}

/// `49 live, 1 failing`
fn states(cluster: &ClusterStatus) -> String {
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

fn partition_behind(partition: &LogPartitionStatus) -> Option<i128> {
    Some((i128::from(partition.end_offset?) - i128::from(partition.position?)).max(0))
}

/// Records that are not applied yet. `None` when there is nothing to apply.
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

fn counts(partitions: &[LogPartitionStatus]) -> String {
    let sum = |field: fn(&LogPartitionStatus) -> u64| partitions.iter().map(|p| i128::from(field(p))).sum::<i128>();
    format!(
        "{}, {}, {}, {} of unknown types",
        count(sum(|p| p.records), "record"),
        count(sum(|p| p.tombstones), "tombstone"),
        count(sum(|p| p.decode_errors), "decode error"),
        sum(|p| p.unknown_types),
    )
}

fn write_partitions(out: &mut impl Write, partitions: &[LogPartitionStatus]) -> std::io::Result<()> {
    let numbers = ["position", "target", "end_offset", "behind", "records", "tombstones", "errors", "unknown"];
    let mut columns = vec![Column::right("log_partition"), Column::left("state")];
    columns.extend(numbers.map(Column::right));
    columns.extend(["last_record_at", "last_error"].map(Column::left));
    let mut table = Table::new(columns);
    for partition in partitions {
        let cells = vec![
            partition.log_partition.to_string(),
            partition.state.clone(),
            or_dash(partition.position),
            or_dash(partition.target),
            or_dash(partition.end_offset),
            or_dash(partition_behind(partition)),
            partition.records.to_string(),
            partition.tombstones.to_string(),
            partition.decode_errors.to_string(),
            partition.unknown_types.to_string(),
            or_dash(time(partition.last_record_at.as_ref())),
            or_dash(partition.last_error.as_ref()),
        ];
        table.row(out, cells)?;
    }
    table.finish(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> GetStatusResponse {
        let partition = |number, state: &str, position, end_offset| LogPartitionStatus {
            log_partition: number,
            state: state.to_owned(),
            position,
            end_offset,
            records: 10,
            ..LogPartitionStatus::default()
        };
        let cluster = ClusterStatus {
            cluster: "demo".to_owned(),
            progress: 0.425,
            remaining: Some(prost_types::Duration { seconds: 61, nanos: 5 }),
            log_partitions: vec![
                partition(0, "live", Some(5), Some(8)),
                partition(1, "live", Some(9), Some(8)),
                partition(2, "loading", None, Some(8)),
            ],
            last_error: Some("broker\rdown".to_owned()),
            ..ClusterStatus::default()
        };
        GetStatusResponse {
            awaited: vec!["demo: 42 %".to_owned()],
            clusters: vec![cluster],
            ..GetStatusResponse::default()
        }
    }

    #[test]
    fn a_loading_cluster_shows_its_progress() {
        let mut out = Vec::new();
        write_text(&mut out, &status(), false).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [
            "ready:    no\n",
            "awaited:  demo: 42 %\n",
            "no, 42.5 % loaded, about 1m 1s left\n",
            "2 live, 1 loading\n",
            "3 records, unknown of 1 partition\n",
            "30 records, 0 tombstones, 0 decode errors, 0 of unknown types\n",
            "broker\\rdown\n",
        ] {
            assert!(text.contains(part), "{part}\nnot in\n{text}");
        }
    }

    #[test]
    fn a_log_that_may_not_be_read_is_an_unknown_number_behind_and_a_fresh_one_is_said_to_be_so() {
        let text = |cluster: ClusterStatus| {
            let mut out = Vec::new();
            write_cluster(&mut out, &cluster).unwrap();
            String::from_utf8(out).unwrap()
        };
        let reason = "not authorized to read __consumer_offsets";
        let failing = LogPartitionStatus { state: "failing".to_owned(), ..LogPartitionStatus::default() };
        let refused = text(ClusterStatus {
            reachable: true,
            last_error: Some(reason.to_owned()),
            log_partitions: vec![failing.clone(), failing],
            ..ClusterStatus::default()
        });
        for part in ["2 failing\n", "behind:             unknown\n", reason] {
            assert!(refused.contains(part), "{part}\nnot in\n{refused}");
        }
        assert!(!refused.contains("no group has committed yet"));
        let not_listed = text(ClusterStatus { reachable: true, ..ClusterStatus::default() });
        assert!(
            not_listed.contains("log_partitions:     unknown\n")
                && not_listed.contains("behind:             unknown\n")
        );
        let fresh = text(ClusterStatus { ready: true, reachable: true, ..ClusterStatus::default() });
        assert!(fresh.contains("0: no group has committed yet\n"), "{fresh}");
    }

    #[test]
    fn every_partition_is_shown_when_asked_for() {
        let mut out = Vec::new();
        write_text(&mut out, &status(), true).unwrap();
        let text = String::from_utf8(out).unwrap();
        let words: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(words, ["2", "loading", "-", "-", "8", "-", "10", "0", "0", "0", "-", "-"]);
    }
}
