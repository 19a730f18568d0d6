//! `offsetd watch`: a line a change.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::{
    Failure, ServerArgs, Style,
    connect::{call_failed, connect},
    output,
    text::{escape, now, time},
    write_json,
};
use crate::rpc::json as to_json;
use crate::rpc::proto::{
    GetStatusRequest, OffsetChange, OffsetFilter, Resync, StringFilter, WatchRequest, WatchResponse,
    string_filter::Match,
};

pub(super) const EXAMPLES: &str = "\
Lines: time, group, topic-partition, old → new offset (difference). Ctrl-C ends it.

Examples:
  offsetd watch
  offsetd watch --group orders --include-current
  offsetd watch --topic events --format json";

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Only this group.
    #[arg(long)]
    pub group: Option<String>,
    /// Only this topic.
    #[arg(long)]
    pub topic: Option<String>,
    /// Only this cluster.
    #[arg(long)]
    pub cluster: Option<String>,
    /// First show what is committed now.
    #[arg(long)]
    pub include_current: bool,
    /// How to show changes.
    #[arg(long, value_enum, default_value_t)]
    pub format: Style,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

pub(super) async fn run(args: &WatchArgs) -> Result<(), Failure> {
    tokio::select! {
        ended = follow(args) => ended,
        () = stopped() => Ok(()),
    }
}

/// SIGINT or SIGTERM.
async fn stopped() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn follow(args: &WatchArgs) -> Result<(), Failure> {
    let mut client = connect(&args.server).await?;
    let status = client.get_status(GetStatusRequest {}).await.map_err(call_failed)?.into_inner();
    let lines = Lines { style: args.format, clusters: status.clusters.len() > 1 };
    let exact = |name: &Option<String>| name.clone().map(|name| StringFilter { r#match: Some(Match::Exact(name)) });
    let request = WatchRequest {
        filter: Some(OffsetFilter {
            cluster: exact(&args.cluster),
            group_id: exact(&args.group),
            topic: exact(&args.topic),
            ..OffsetFilter::default()
        }),
        include_current: args.include_current,
        ..WatchRequest::default()
    };
    let mut changes = client.watch(request).await.map_err(call_failed)?.into_inner();
    let mut out = output();
    while let Some(message) = changes.message().await.map_err(call_failed)? {
        lines.write(&mut out, &message, &now())?;
        out.flush()?;
    }
    Err(Failure::Command("the server has ended the watch".to_owned()))
}

/// How changes are written.
struct Lines {
    style: Style,
    /// There are several clusters: name them.
    clusters: bool,
}

impl Lines {
    fn write(&self, out: &mut impl Write, message: &WatchResponse, now: &str) -> std::io::Result<()> {
        if let Some(resync) = &message.resync {
            match self.style {
                Style::Text => write_resync(out, resync, now)?,
                Style::Json => write_json(out, &json!({"resync": to_json::resync(resync)}))?,
            }
        }
        for change in &message.changes {
            match self.style {
                Style::Text => self.write_change(out, change, now)?,
                Style::Json => write_json(out, &to_json::change(change))?,
            }
        }
        match (message.current_complete, self.style) {
            (false, _) => Ok(()),
            (true, Style::Text) => writeln!(out, "{now}  -- these were the current offsets; changes follow"),
            (true, Style::Json) => write_json(out, &json!({"current_complete": true})),
        }
    }

    fn write_change(&self, out: &mut impl Write, change: &OffsetChange, now: &str) -> std::io::Result<()> {
        let Some(key) = change.new.as_ref().or(change.old.as_ref()) else { return Ok(()) };
        write!(out, "{}  ", at(change, now))?;
        if self.clusters {
            write!(out, "{}  ", escape(&key.cluster))?;
        }
        write!(out, "{}  {}-{}  ", escape(&key.group_id), escape(&key.topic), key.partition)?;
        let old = change.old.as_ref().map(|entry| entry.committed_offset);
        let new = change.new.as_ref().map(|entry| entry.committed_offset);
        match (old, new) {
            (_, Some(new)) if change.current => writeln!(out, "{new} (current)"),
            // The difference of any two 64-bit offsets fits in 128.
            (Some(old), Some(new)) => writeln!(out, "{old} → {new} ({:+})", i128::from(new) - i128::from(old)),
            (None, Some(new)) => writeln!(out, "{new} (new)"),
            (Some(old), None) => writeln!(out, "{old} → deleted"),
            (None, None) => writeln!(out),
        }
    }
}

/// When it was committed; a deletion carries no time, so that is when it was heard of.
fn at(change: &OffsetChange, now: &str) -> String {
    time(change.new.as_ref().and_then(|entry| entry.committed_at.as_ref())).unwrap_or_else(|| now.to_owned())
}

fn write_resync(out: &mut impl Write, resync: &Resync, now: &str) -> std::io::Result<()> {
    let place = resync.position.as_ref().map_or_else(String::new, |position| {
        format!(" of {} __consumer_offsets-{}", escape(&position.cluster), position.log_partition)
    });
    let missed = resync.missed.map_or_else(|| "changes".to_owned(), |missed| super::text::count(missed, "change"));
    let follows = if resync.full { "everything that still exists follows" } else { "what they led to follows" };
    writeln!(out, "{now}  -- resync: {missed}{place} missed; {follows}")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::rpc::proto::OffsetEntry;
    use crate::rpc::proto::ShardPosition;

    const NOW: &str = "2026-01-02T03:04:05.006Z";

    fn entry(offset: i64) -> Option<OffsetEntry> {
        Some(OffsetEntry {
            cluster: "demo".to_owned(),
            group_id: "g\u{1b}[0m".to_owned(),
            topic: "t".to_owned(),
            partition: 3,
            committed_offset: offset,
            committed_at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            ..OffsetEntry::default()
        })
    }

    fn change(old: Option<OffsetEntry>, new: Option<OffsetEntry>, current: bool) -> OffsetChange {
        let position = ShardPosition { log_partition: 7, sequence: 9, ..ShardPosition::default() };
        OffsetChange { position: Some(position), old, new, current }
    }

    fn message() -> WatchResponse {
        WatchResponse {
            changes: vec![
                change(None, entry(5), true),
                change(entry(100), entry(150), false),
                change(entry(150), entry(20), false),
                change(None, entry(1), false),
                change(entry(1), None, false),
            ],
            resync: Some(Resync { position: None, missed: Some(2), full: false }),
            current_complete: true,
            status_changes: vec![],
        }
    }

    fn written(style: Style, clusters: bool) -> String {
        let mut out = Vec::new();
        Lines { style, clusters }.write(&mut out, &message(), NOW).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_change_is_a_line() {
        let expected = "\
2026-01-02T03:04:05.006Z  -- resync: 2 changes missed; what they led to follows
2023-11-14T22:13:20Z  g\\u{1b}[0m  t-3  5 (current)
2023-11-14T22:13:20Z  g\\u{1b}[0m  t-3  100 → 150 (+50)
2023-11-14T22:13:20Z  g\\u{1b}[0m  t-3  150 → 20 (-130)
2023-11-14T22:13:20Z  g\\u{1b}[0m  t-3  1 (new)
2026-01-02T03:04:05.006Z  g\\u{1b}[0m  t-3  1 → deleted
2026-01-02T03:04:05.006Z  -- these were the current offsets; changes follow
";
        assert_eq!(written(Style::Text, false), expected);
        assert!(written(Style::Text, true).contains("Z  demo  g"));
    }

    #[test]
    fn every_change_is_an_object() {
        let lines: Vec<Value> =
            written(Style::Json, false).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0], json!({"resync": {"position": null, "missed": 2, "full": false}}));
        let offset = |line: &Value, which: &str| line[which]["committed_offset"].as_i64();
        let offsets: Vec<_> = lines[1..6].iter().map(|line| (offset(line, "old"), offset(line, "new"))).collect();
        let expected =
            [(None, Some(5)), (Some(100), Some(150)), (Some(150), Some(20)), (None, Some(1)), (Some(1), None)];
        assert_eq!(offsets, expected);
        assert_eq!((&lines[1]["current"], &lines[2]["position"]["sequence"]), (&json!(true), &json!(9)));
        assert_eq!(lines[6], json!({"current_complete": true}));
    }
}
