//! `offsetd query`.

use std::io::Write;

use clap::Args;

use super::{
    Failure, ServerArgs, Style,
    connect::{call_failed, connect},
    output,
    text::{fields, time},
    write_json,
};
use crate::rpc::json;
use crate::rpc::proto::{Freshness, OffsetEntry, QueryRequest, QueryResponse};

pub(super) const EXAMPLES: &str = "\
Examples:
  offsetd query orders events 0
  offsetd query orders events 0 --latest          also what was committed this very moment
  offsetd query orders events 0 --format json";

/// Arguments of `query`.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// Consumer group.
    pub group: String,
    /// Topic.
    pub topic: String,
    /// Partition.
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: i32,
    /// Cluster; may be left out when the server has one.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub cluster: String,
    /// Ask Kafka first, so that every commit that was acknowledged before is in the answer.
    #[arg(long)]
    pub latest: bool,
    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    pub format: Style,
    /// Which server.
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
        freshness: if args.latest { Freshness::Latest } else { Freshness::Any }.into(),
        ..QueryRequest::default()
    };
    let answer = client.query(request).await.map_err(call_failed)?.into_inner();
    let mut out = output();
    write(&mut out, &answer, args.format)?;
    out.flush()?;
    Ok(())
}

fn write(out: &mut impl Write, answer: &QueryResponse, style: Style) -> std::io::Result<()> {
    let entry = answer.entry.clone().unwrap_or_default();
    match style {
        Style::Json => write_json(out, &json::query(answer)),
        Style::Text => {
            write_text(out, &entry)?;
            let clusters = answer.snapshot.iter().flat_map(|snapshot| &snapshot.clusters);
            let stale = clusters.filter(|c| c.cluster == entry.cluster).find_map(|c| time(c.stale_since.as_ref()));
            stale.map_or(Ok(()), |since| {
                writeln!(out, "The cluster is not reachable since {since}: this is the last known.")
            })
        }
    }
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
    let said = |text: &String| (!text.is_empty()).then(|| text.clone());
    fields(
        out,
        &[
            ("cluster", said(&entry.cluster)),
            ("source", said(&entry.source)),
            ("group_id", Some(entry.group_id.clone())),
            ("topic", Some(entry.topic.clone())),
            ("partition", Some(entry.partition.to_string())),
            ("committed_offset", Some(entry.committed_offset.to_string())),
            ("committed_at", time(entry.committed_at.as_ref())),
            ("log_start_offset", entry.log_start_offset.map(|offset| offset.to_string())),
            ("log_end_offset", entry.log_end_offset.map(|offset| offset.to_string())),
            ("lag", Some(lag)),
            ("lag_seconds", entry.lag_seconds.map(|seconds| format!("{seconds:.1}"))),
            ("status", said(&entry.status)),
            ("owner", owner),
            ("metadata", said(&entry.metadata)),
            ("leader_epoch", entry.leader_epoch.map(|epoch| epoch.to_string())),
            ("expires_at", time(entry.expires_at.as_ref())),
            ("topic_id", entry.topic_id.clone()),
            ("read in", at.map(|at| format!("__consumer_offsets {at}"))),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::proto::{LagUnknown, Owner, Snapshot};

    fn text(entry: OffsetEntry, style: Style) -> String {
        let mut out = Vec::new();
        let answer = QueryResponse {
            entry: Some(entry),
            snapshot: Some(Snapshot { id: "s1".to_owned(), ..Snapshot::default() }),
        };
        write(&mut out, &answer, style).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_known_stands_below_each_other() {
        let entry = OffsetEntry {
            cluster: "demo".to_owned(),
            group_id: "a\nb".to_owned(),
            topic: "t".to_owned(),
            partition: 3,
            committed_offset: 42,
            lag: Some(0),
            lag_seconds: Some(0.25),
            owner: Some(Owner {
                client_id: "c".to_owned(),
                client_host: "/h".to_owned(),
                member_id: "m".to_owned(),
                instance_id: None,
            }),
            ..OffsetEntry::default()
        };
        let expected = "\
cluster:           demo
group_id:          a\\nb
topic:             t
partition:         3
committed_offset:  42
lag:               0
lag_seconds:       0.2
owner:             c on /h (member m)
";
        assert_eq!(text(entry, Style::Text), expected);
    }

    #[test]
    fn an_unknown_lag_says_why() {
        let entry = OffsetEntry { lag_unknown: LagUnknown::AheadOfLog.into(), ..OffsetEntry::default() };
        assert!(text(entry.clone(), Style::Text).contains("unknown (ahead_of_log)"));
        let json: serde_json::Value = serde_json::from_str(&text(entry, Style::Json)).unwrap();
        assert_eq!((&json["lag"], &json["snapshot"]["id"]), (&serde_json::Value::Null, &serde_json::json!("s1")));
    }
}
