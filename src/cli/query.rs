//! `offsetd query`: shows the committed offset of a group for one partition, with its lag.

use std::io::Write;

use clap::Args;

use super::{
    Failure, OutputFormat, ServerArgs,
    connect::{call_failed, connect},
    freshness, output, show,
    text::{fields, time},
};
use crate::rpc::json;
use crate::rpc::proto::{OffsetEntry, QueryRequest, QueryResponse};

pub(super) const EXAMPLES: &str = "\
Examples:
  offsetd query orders events 0
  offsetd query orders events 0 --latest          includes every commit that Kafka has acknowledged
  offsetd query orders events 0 --format json";

/// Arguments of `query`.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// Id of the consumer group.
    pub group: String,
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: i32,
    /// Name of the cluster. Not needed if only one cluster has the offset.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub cluster: String,
    /// Query Kafka first, so that the result contains every commit that was acknowledged before this command.
    #[arg(long)]
    pub latest: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub format: OutputFormat,
    /// The server to query.
    #[command(flatten)]
    pub server: ServerArgs,
}

pub(super) async fn run(args: &QueryArgs) -> Result<(), Failure> {
    let mut client = connect(&args.server).await?;
    let request = QueryRequest {
        cluster: args.cluster.clone(),
        group_id: args.group.clone(),
        topic: args.topic.clone(),
        partition: args.partition,
        freshness: freshness(args.latest).into(),
        ..QueryRequest::default()
    };
    let answer = client.query(request).await.map_err(call_failed)?.into_inner();
    show(output(), args.format, &answer, |out| write(out, &answer))
}

fn write(out: &mut impl Write, answer: &QueryResponse) -> std::io::Result<()> {
    let entry = answer.entry.clone().unwrap_or_default();
    write_text(out, &entry)?;
    let clusters = answer.snapshot.iter().flat_map(|snapshot| &snapshot.clusters);
    let stale = clusters.filter(|c| c.cluster == entry.cluster).find_map(|c| time(c.stale_since.as_ref()));
    stale.map_or(Ok(()), |since| {
        writeln!(out, "The cluster has been unreachable since {since}: this is the last known state.")
    })
}

fn write_text(out: &mut impl Write, entry: &OffsetEntry) -> std::io::Result<()> {
    let lag = match (entry.lag, json::lag_unknown(entry)) {
        (Some(lag), _) => lag.to_string(),
        (None, reason) => format!("unknown ({})", reason.unwrap_or("no reason given")),
    };
    let owner = entry.owner.as_ref().map(|owner| {
        let instance = owner.instance_id.as_ref().map_or_else(String::new, |id| format!(", instance {id}"));
        format!("{} on {} (member {}{instance})", owner.client_id, owner.client_host, owner.member_id)
    });
    let at = entry
        .log_partition
        .zip(entry.log_offset)
        .map(|(partition, offset)| format!("partition {partition}, offset {offset}"));
    let non_empty = |text: &String| (!text.is_empty()).then(|| text.clone());
    fields(
        out,
        &[
            ("cluster", non_empty(&entry.cluster)),
            ("source", non_empty(&entry.source)),
            ("group_id", Some(entry.group_id.clone())),
            ("topic", Some(entry.topic.clone())),
            ("partition", Some(entry.partition.to_string())),
            ("committed_offset", Some(entry.committed_offset.to_string())),
            ("committed_at", time(entry.committed_at.as_ref())),
            ("log_start_offset", entry.log_start_offset.map(|offset| offset.to_string())),
            ("log_end_offset", entry.log_end_offset.map(|offset| offset.to_string())),
            ("lag", Some(lag)),
            ("lag_seconds", entry.lag_seconds.map(|seconds| format!("{seconds:.1}"))),
            ("status", non_empty(&entry.status)),
            ("owner", owner),
            ("metadata", non_empty(&entry.metadata)),
            ("leader_epoch", entry.leader_epoch.map(|epoch| epoch.to_string())),
            ("expires_at", time(entry.expires_at.as_ref())),
            ("topic_id", entry.topic_id.clone()),
            ("read in", at.map(|at| format!("__consumer_offsets {at}"))),
        ],
    )
}

#[cfg(test)]
mod tests;
