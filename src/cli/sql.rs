//! `offsetd sql`: one statement, or a prompt.

use std::{
    io::{self, IsTerminal as _, Write},
    time::Duration,
};

use clap::{Args, ValueEnum};
use tonic::Request;

use super::{
    Failure, ServerArgs, block_on,
    connect::{Client, call_failed, connect},
    output,
    text::{Expanded, Layout, count, elapsed, escape},
};
use crate::rpc::proto::{
    Freshness, SqlFormat, SqlRequest, SqlStats, SqlValue, sql_response::Message, sql_value::Value,
};

mod complete;
mod format;
mod input;
mod prompt;

use format::Renderer;

pub(super) const EXAMPLES: &str = "\
Without a statement: a prompt on a terminal (\\? shows its commands), else the statement is read from stdin.

Examples:
  offsetd sql \"SELECT group_id, topic, sum(lag) FROM lag GROUP BY 1, 2 ORDER BY 3 DESC\"
  offsetd sql 'SELECT * FROM offsets WHERE group_id = $1' --param orders --format json
  offsetd sql 'SELECT * FROM lag' --format parquet > lag.parquet
  offsetd sql < report.sql --format csv --timeout 5min";

/// Arguments of `sql`.
#[derive(Debug, Args)]
pub struct SqlArgs {
    /// One read-only statement.
    // A statement may begin with a comment.
    #[arg(allow_hyphen_values = true, value_parser = statement)]
    pub statement: Option<String>,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Value of $1, then of $2, …: an integer, a float, true, false or null, else text. Quote it to force text: "'42'".
    #[arg(long = "param", value_name = "VALUE", allow_hyphen_values = true)]
    pub params: Vec<String>,
    /// Stop after this many rows.
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(i64).range(1..))]
    pub max_rows: Option<i64>,
    /// Give up after this time, as 30s.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,
    /// Ask Kafka first, so that every commit that was acknowledged before is in the answer.
    #[arg(long)]
    pub latest: bool,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// An array of objects.
    Json,
    /// An object a line.
    Ndjson,
    /// Comma-separated values with a header.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
}

/// An argument that looks like an option, in place of a statement.
#[derive(Debug, thiserror::Error)]
#[error("no such option; see --help")]
struct NoSuchOption;

fn statement(text: &str) -> Result<String, NoSuchOption> {
    match text.strip_prefix('-').map(|rest| rest.strip_prefix('-').map(|rest| rest.starts_with(char::is_whitespace))) {
        None | Some(Some(true)) => Ok(text.to_owned()),
        Some(None | Some(false)) => Err(NoSuchOption),
    }
}

pub(super) fn run(args: SqlArgs) -> Result<(), Failure> {
    let binary = matches!(args.format, Format::Arrow | Format::Parquet);
    if binary && io::stdout().is_terminal() {
        let problem = "--format arrow and parquet are not for terminals: redirect the output to a file";
        return Err(Failure::Usage(problem.to_owned()));
    }
    let statement = match &args.statement {
        Some(statement) => statement.clone(),
        None if io::stdin().is_terminal() && io::stdout().is_terminal() => return prompt::run(&args),
        None => read_statement()?,
    };
    let statement = statement.trim().trim_end_matches(';').trim_end();
    if statement.is_empty() {
        return Err(Failure::Usage("no statement given: try `offsetd sql 'SELECT * FROM groups'`".to_owned()));
    }
    block_on(async {
        let mut client = connect(&args.server).await?;
        let show = Show {
            format: args.format,
            layout: Layout::of_output(Expanded::Auto),
            timing: true,
            whole: "--format csv",
        };
        execute(&mut client, args.request(statement), output(), &show).await.map(drop)
    })
}

fn read_statement() -> Result<String, Failure> {
    io::read_to_string(io::stdin())
        .map_err(|error| Failure::Command(format!("cannot read the statement from stdin: {error}")))
}

impl SqlArgs {
    /// The request, with the settings of the command line.
    fn request(&self, statement: &str) -> Request<SqlRequest> {
        let mut request = Request::new(SqlRequest {
            statement: statement.to_owned(),
            parameters: self.params.iter().map(|text| parameter(text)).collect(),
            format: SqlFormat::ArrowIpc.into(),
            max_rows: self.max_rows.unwrap_or(0),
            freshness: if self.latest { Freshness::Latest } else { Freshness::Any }.into(),
            allow_partial: false,
        });
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        request
    }
}

/// A request of the program itself, about tables that do not change: without the limits of the command line.
fn request(statement: &str, parameters: Vec<SqlValue>) -> Request<SqlRequest> {
    Request::new(SqlRequest {
        statement: statement.to_owned(),
        parameters,
        format: SqlFormat::ArrowIpc.into(),
        allow_partial: true,
        ..SqlRequest::default()
    })
}

/// A parameter's type is guessed. Only what prints again as it was written is a number: a group called 007 stays text.
fn parameter(text: &str) -> SqlValue {
    let integer = text.parse::<i64>().ok().filter(|integer| integer.to_string() == text);
    let float = || {
        let digits = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
        let starts = text.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit());
        let zeros = text.trim_start_matches('-').starts_with('0') && !text.trim_start_matches('-').starts_with("0.");
        let float = starts && !zeros && text.contains(['.', 'e', 'E']) && text.chars().all(digits);
        float.then(|| text.parse::<f64>().ok()).flatten().filter(|float| float.is_finite())
    };
    let quoted = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
    let value = match (text, integer, quoted) {
        ("null" | "NULL", ..) => Value::NullValue(0),
        ("true", ..) => Value::BoolValue(true),
        ("false", ..) => Value::BoolValue(false),
        (_, Some(integer), _) => Value::Int64Value(integer),
        (_, _, Some(quoted)) => Value::StringValue(quoted.to_owned()),
        _ => float().map_or_else(|| Value::StringValue(text.to_owned()), Value::DoubleValue),
    };
    SqlValue { value: Some(value) }
}

/// How an answer is shown.
struct Show {
    format: Format,
    layout: Layout,
    /// Whether the elapsed time is shown.
    timing: bool,
    /// The option or command that shows values that a table shortens.
    whole: &'static str,
}

/// Runs a statement and writes its answer as it comes. Returns the number of rows.
///
/// # Cancel safety
/// Dropped half-way, the server stops the statement; what was written stays written.
async fn execute<W: Write + Send>(
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
    let took = stats.elapsed.as_ref().and_then(super::text::duration);
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

#[cfg(test)]
mod tests;
