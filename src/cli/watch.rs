//! `offsetd watch`: prints commits and deletions as they happen, one line each.

use std::io::Write;

use clap::Args;
use serde_json::json;
use tokio::signal::{
    ctrl_c,
    unix::{SignalKind, signal},
};

use super::{
    Failure, OutputFormat, ServerArgs,
    connect::{call_failed, connect},
    output,
    text::{escape, now, time},
    write_json,
};
use crate::rpc::proto::{
    GetStatusRequest, OffsetChange, OffsetFilter, Resync, StringFilter, WatchRequest, WatchResponse,
    string_filter::Match,
};

pub(super) const EXAMPLES: &str = "\
Each line contains: time, group, topic-partition, old → new offset (difference). Ctrl-C ends the command.

Examples:
  offsetd watch
  offsetd watch --group orders --include-current
  offsetd watch --topic events --format json";

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Show only this group.
    #[arg(long)]
    pub group: Option<String>,
    /// Show only this topic.
    #[arg(long)]
    pub topic: Option<String>,
    /// Show only this cluster.
    #[arg(long)]
    pub cluster: Option<String>,
    /// Show the current offsets first.
    #[arg(long)]
    pub include_current: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub format: OutputFormat,
    /// The server to query.
    #[command(flatten)]
    pub server: ServerArgs,
}

pub(super) async fn run(args: &WatchArgs) -> Result<(), Failure> {
    tokio::select! {
        ended = follow(args) => ended,
        signal = terminated() => Ok(signal?),
    }
}

/// Waits for SIGINT or SIGTERM.
async fn terminated() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

async fn follow(args: &WatchArgs) -> Result<(), Failure> {
    let mut client = connect(&args.server).await?;
    let status = client.get_status(GetStatusRequest {}).await.map_err(call_failed)?.into_inner();
    let lines = ChangeWriter { style: args.format, shows_cluster: status.clusters.len() > 1 };
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
    Err(Failure::Command("the server ended the watch".to_owned()))
}

/// Writes changes in the chosen format.
struct ChangeWriter {
    style: OutputFormat,
    /// Whether the cluster is shown, since the server has several.
    shows_cluster: bool,
}

impl ChangeWriter {
    fn write(&self, out: &mut impl Write, message: &WatchResponse, now: &str) -> std::io::Result<()> {
        if let Some(resync) = &message.resync {
            match self.style {
                OutputFormat::Text => write_resync(out, resync, now)?,
                OutputFormat::Json => write_json(out, &json!({"resync": resync}))?,
            }
        }
        for change in &message.changes {
            match self.style {
                OutputFormat::Text => self.write_change(out, change, now)?,
                OutputFormat::Json => write_json(out, change)?,
            }
        }
        match (message.current_complete, self.style) {
            (false, _) => Ok(()),
            (true, OutputFormat::Text) => writeln!(out, "{now}  -- end of the current offsets; changes follow"),
            (true, OutputFormat::Json) => write_json(out, &json!({"current_complete": true})),
        }
    }

    fn write_change(&self, out: &mut impl Write, change: &OffsetChange, now: &str) -> std::io::Result<()> {
        let Some(key) = change.new.as_ref().or(change.old.as_ref()) else { return Ok(()) };
        write!(out, "{}  ", time_of(change, now))?;
        if self.shows_cluster {
            write!(out, "{}  ", escape(&key.cluster))?;
        }
        write!(out, "{}  {}-{}  ", escape(&key.group_id), escape(&key.topic), key.partition)?;
        let old = change.old.as_ref().map(|entry| entry.committed_offset);
        let new = change.new.as_ref().map(|entry| entry.committed_offset);
        match (old, new) {
            (_, Some(new)) if change.current => writeln!(out, "{new} (current)"),
            // The difference of two 64-bit offsets needs 65 bits.
            (Some(old), Some(new)) => writeln!(out, "{old} → {new} ({:+})", i128::from(new) - i128::from(old)),
            (None, Some(new)) => writeln!(out, "{new} (new)"),
            (Some(old), None) => writeln!(out, "{old} → deleted"),
            (None, None) => writeln!(out),
        }
    }
}

/// Returns the time of the commit. A deletion has no time, so the time at which it was received is shown.
fn time_of(change: &OffsetChange, now: &str) -> String {
    time(change.new.as_ref().and_then(|entry| entry.committed_at.as_ref())).unwrap_or_else(|| now.to_owned())
}

fn write_resync(out: &mut impl Write, resync: &Resync, now: &str) -> std::io::Result<()> {
    let place = resync.position.as_ref().map_or_else(String::new, |position| {
        format!(" of {} __consumer_offsets-{}", escape(&position.cluster), position.log_partition)
    });
    let missed = resync.missed.map_or_else(|| "changes".to_owned(), |missed| super::text::count(missed, "change"));
    let follows = if resync.full { "all current offsets follow" } else { "the current offsets of their keys follow" };
    writeln!(out, "{now}  -- resync: {missed}{place} missed; {follows}")
}

#[cfg(test)]
mod tests;
