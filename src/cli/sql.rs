//! `offsetd sql`: statements of the command line, of files or of a pipe, or a prompt.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};
use tonic::Request;

use super::{Failure, ServerArgs};
use crate::rpc::proto::{SqlFormat, SqlRequest, SqlValue, sql_value::Value};

mod answer;
mod command;
mod complete;
mod editor;
mod format;
mod input;
mod pager;
mod problem;
mod prompt;
mod session;

use session::{Next, Session};

pub(super) const EXAMPLES: &str = "\
Without a statement: a prompt on a terminal (\\? shows its commands), else statements are read from stdin. Several \
statements are separated by semicolons; they run in order, up to the first that fails. Commands of the prompt work in \
every input, as \\d, \\watch or \\copy; a line that starts with one ends with it.

Examples:
  offsetd sql \"SELECT group_id, topic, sum(lag) FROM lag GROUP BY 1, 2 ORDER BY 3 DESC\"
  offsetd sql 'SELECT * FROM offsets WHERE group_id = $1' --param orders --format json
  offsetd sql 'SELECT * FROM lag' --format parquet > lag.parquet
  offsetd sql -c '\\d lag' -c 'SELECT count(*) FROM lag'
  offsetd sql -f report.sql --timeout 5min
  offsetd sql < report.sql";

/// Arguments of `sql`.
#[derive(Debug, Args)]
pub struct SqlArgs {
    /// Read-only statements, separated by semicolons.
    pub statement: Option<String>,
    /// The same; may be given several times.
    #[arg(short = 'c', long = "command", value_name = "SQL", conflicts_with = "statement")]
    pub commands: Vec<String>,
    /// File with statements; - is standard input. May be given several times.
    #[arg(short = 'f', long = "file", value_name = "PATH", conflicts_with_all = ["statement", "commands"])]
    pub files: Vec<PathBuf>,
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
    #[arg(long, value_name = "30s", value_parser = humantime::parse_duration)]
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

pub(super) fn run(args: SqlArgs) -> Result<(), Failure> {
    let binary = matches!(args.format, Format::Arrow | Format::Parquet);
    if binary && io::stdout().is_terminal() {
        let problem = "--format arrow and parquet are not for terminals: redirect the output to a file";
        return Err(Failure::Usage(problem.to_owned()));
    }
    // A thread of its own cancels statements and answers pings while the user types or reads.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Internal(error.into()))?;
    let commands: Vec<&String> = args.statement.iter().chain(&args.commands).collect();
    let is_script = !commands.is_empty() || !args.files.is_empty();
    if !is_script && io::stdin().is_terminal() && io::stdout().is_terminal() {
        return prompt::run(&args, &runtime);
    }
    let mut session = Session::new(&args, &runtime, None);
    for command in commands {
        if session.script(None, command.as_bytes())? == Next::Leave {
            return Ok(());
        }
    }
    for file in &args.files {
        if session.file(file)? == Next::Leave {
            return Ok(());
        }
    }
    if !is_script {
        session.script(None, io::stdin().lock())?;
    }
    if !session.has_run() {
        return Err(Failure::Usage("no statement given: try `offsetd sql 'SELECT * FROM groups'`".to_owned()));
    }
    Ok(())
}

impl SqlArgs {
    /// The request, with the settings of the command line.
    fn request(&self, statement: &str) -> Request<SqlRequest> {
        let mut request = Request::new(SqlRequest {
            statement: statement.to_owned(),
            parameters: self.params.iter().map(|text| parameter(text)).collect(),
            format: SqlFormat::ArrowIpc.into(),
            max_rows: self.max_rows.unwrap_or(0),
            freshness: super::freshness(self.latest).into(),
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

#[cfg(test)]
mod tests;
