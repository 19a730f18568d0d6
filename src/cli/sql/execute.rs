//! Runs a statement and writes its result batch by batch.

use std::io::{self, Write};

use tonic::Request;

use super::{Format, format::Renderer};
use crate::{
    cli::{
        Failure,
        connect::{Client, call_failed},
        text::{TableLayout, count, duration, elapsed, escape},
    },
    rpc::proto::{SqlRequest, SqlStats, sql_response::Message},
};

/// The output options of a result.
pub(super) struct OutputOptions {
    pub(super) format: Format,
    pub(super) layout: TableLayout,
    /// Whether the elapsed time is shown.
    pub(super) timing: bool,
    /// The option or command that shows shortened values in full, for the hint below a table.
    pub(super) whole: &'static str,
}

/// Runs a statement and writes its result batch by batch. Returns the number of rows.
///
/// # Cancel safety
/// If the future is dropped, the server cancels the statement. The rows written so far remain.
pub(super) async fn execute<W: Write + Send>(
    client: &mut Client,
    request: Request<SqlRequest>,
    out: W,
    show: &OutputOptions,
) -> Result<i64, Failure> {
    let mut answer = client.sql(request).await.map_err(call_failed)?.into_inner();
    let mut renderer = Renderer::new(show.format, show.layout, out);
    let mut stats = None;
    loop {
        let message = match answer.message().await {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(status) => {
                // The rows before the error are shown. The exit status reports that the result is incomplete.
                renderer.finish_partial()?;
                return Err(call_failed(status));
            }
        };
        match message.message {
            Some(Message::Schema(schema)) => renderer.write_chunk(schema.arrow_ipc)?,
            Some(Message::Batch(batch)) => renderer.write_chunk(batch.arrow_ipc)?,
            Some(Message::Stats(mut last)) => {
                renderer.write_chunk(std::mem::take(&mut last.arrow_ipc))?;
                stats = Some(last);
            }
            None => {}
        }
    }
    let incomplete = || Failure::Command("the result is incomplete: the server ended it early".to_owned());
    let stats = stats.ok_or_else(incomplete)?;
    let (mut out, shortened) = renderer.finish()?;
    match show.format {
        Format::Table => writeln!(out, "{}", footer(&stats, show, shortened))?,
        // In the other formats, stdout contains only data.
        _ => warn(&stats)?,
    }
    out.flush()?;
    Ok(stats.rows)
}

/// Returns the line below a table: the number of rows, the time, and whether anything is missing or shortened.
fn footer(stats: &SqlStats, show: &OutputOptions, shortened: bool) -> String {
    let mut text = count(stats.rows, "row");
    if stats.truncated {
        text.push_str(", limited by --max-rows");
    }
    let took = stats.elapsed.as_ref().and_then(duration);
    if let (true, Some(took)) = (show.timing, took) {
        text = format!("{text}, {}", elapsed(took));
    }
    let mut footer = format!("({text})");
    let shortened = shortened.then(|| format!("values are shortened; {} shows them in full", show.whole));
    for note in shortened.into_iter().chain(missing(stats)) {
        footer.push_str("; ");
        footer.push_str(&note);
    }
    footer
}

/// Returns a note with the clusters that are not in the result, if there are any.
fn missing(stats: &SqlStats) -> Option<String> {
    let names: Vec<_> = stats.incomplete_clusters.iter().map(|name| escape(name)).collect();
    (!names.is_empty()).then(|| format!("not included, since not loaded yet: {}", names.join(", ")))
}

/// Writes a warning to stderr if rows or clusters are missing in the result.
fn warn(stats: &SqlStats) -> io::Result<()> {
    let mut err = io::stderr();
    if stats.truncated {
        writeln!(err, "offsetd: the result is limited by --max-rows; there are more rows")?;
    }
    missing(stats).map_or(Ok(()), |missing| writeln!(err, "offsetd: {missing}"))
}
