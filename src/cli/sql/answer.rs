//! The answer to a statement, written as it comes.

use std::io::{self, Write};

use tonic::Request;

use super::{Format, format::Renderer};
use crate::{
    cli::{
        Failure,
        connect::{Client, call_failed},
        text::{Layout, count, duration, elapsed, escape},
    },
    rpc::proto::{SqlRequest, SqlStats, sql_response::Message},
};

/// How an answer is shown.
pub(super) struct Show {
    pub(super) format: Format,
    pub(super) layout: Layout,
    /// Whether the elapsed time is shown.
    pub(super) timing: bool,
    /// The option or command that shows values that a table shortens.
    pub(super) whole: &'static str,
}

/// Runs a statement and writes its answer as it comes. Returns the number of rows.
///
/// # Cancel safety
/// Dropped half-way, the server stops the statement; what was written stays written.
pub(super) async fn execute<W: Write + Send>(
    client: &mut Client,
    request: Request<SqlRequest>,
    out: W,
    show: &Show,
) -> Result<i64, Failure> {
    let mut answer = client.sql(request).await.map_err(call_failed)?.into_inner();
    let mut renderer = Renderer::new(show.format, show.layout, out);
    let mut stats = None;
    loop {
        let message = match answer.message().await {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(status) => {
                // What came before the error is shown; the exit status says that it is not all.
                renderer.abandon()?;
                return Err(call_failed(status));
            }
        };
        match message.message {
            Some(Message::Schema(schema)) => renderer.bytes(schema.arrow_ipc)?,
            Some(Message::Batch(batch)) => renderer.bytes(batch.arrow_ipc)?,
            Some(Message::Stats(mut last)) => {
                renderer.bytes(std::mem::take(&mut last.arrow_ipc))?;
                stats = Some(last);
            }
            None => {}
        }
    }
    let stats = stats.ok_or_else(|| Failure::Command("the answer broke off: it is not complete".to_owned()))?;
    let (mut out, shortened) = renderer.finish()?;
    match show.format {
        Format::Table => writeln!(out, "{}", footer(&stats, show, shortened))?,
        // Data only on stdout.
        _ => warn(&stats)?,
    }
    out.flush()?;
    Ok(stats.rows)
}

fn footer(stats: &SqlStats, show: &Show, shortened: bool) -> String {
    let mut text = count(stats.rows, "row");
    if stats.truncated {
        text.push_str(", cut off by --max-rows");
    }
    let took = stats.elapsed.as_ref().and_then(duration);
    if let (true, Some(took)) = (show.timing, took) {
        text = format!("{text}, {}", elapsed(took));
    }
    let mut footer = format!("({text})");
    let shortened = shortened.then(|| format!("shortened to fit: {} shows all", show.whole));
    for note in shortened.into_iter().chain(missing(stats)) {
        footer.push_str("; ");
        footer.push_str(&note);
    }
    footer
}

/// Clusters that are not in the answer.
fn missing(stats: &SqlStats) -> Option<String> {
    let names: Vec<_> = stats.incomplete_clusters.iter().map(|name| escape(name)).collect();
    (!names.is_empty()).then(|| format!("not loaded yet and left out: {}", names.join(", ")))
}

fn warn(stats: &SqlStats) -> io::Result<()> {
    let mut err = io::stderr();
    if stats.truncated {
        writeln!(err, "offsetd: the answer is cut off by --max-rows")?;
    }
    missing(stats).map_or(Ok(()), |missing| writeln!(err, "offsetd: {missing}"))
}
