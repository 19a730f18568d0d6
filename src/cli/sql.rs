//! `offsetd sql`: runs statements from the command line, from files or from standard input, or opens a prompt.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};
use tonic::Request;

use super::{Failure, ServerArgs};
use crate::rpc::proto::{SqlFormat, SqlRequest, SqlValue, sql_value::Value};

mod execute;
mod command;
mod complete;
mod editor;
mod format;
mod input;
mod output_file;
mod pager;
mod hints;
mod prompt;
mod session;

use session::{NextAction, Session};

pub(super) const EXAMPLES: &str = "\
Without a statement, the command opens a prompt on a terminal (\\? lists its commands), or else reads statements from \
standard input. Statements are separated by semicolons and run in order; the first error ends the command. Commands of \
the prompt, for example \\d, \\watch or \\copy, work in every input; the rest of the line belongs to the command.

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
    /// Read-only statements, separated by semicolons. May be repeated.
    #[arg(short = 'c', long = "command", value_name = "SQL", conflicts_with = "statement")]
    pub commands: Vec<String>,
    /// File with statements; - is standard input. May be repeated.
    #[arg(short = 'f', long = "file", value_name = "PATH", conflicts_with_all = ["statement", "commands"])]
    pub files: Vec<PathBuf>,
    /// Output format of the results.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Value of $1, then of $2, …: an integer, a float, true, false or null, else text. Quotes force text: "'42'".
    #[arg(long = "param", value_name = "VALUE", allow_hyphen_values = true)]
    pub params: Vec<String>,
    /// Return at most this number of rows.
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(i64).range(1..))]
    pub max_rows: Option<i64>,
    /// Time limit of a statement, for example 30s.
    #[arg(long, value_name = "30s", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,
    /// Query Kafka first, so that the result contains every commit that was acknowledged before the statement.
    #[arg(long)]
    pub latest: bool,
    /// The server to query.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// The output format of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// An array of JSON objects.
    Json,
    /// One JSON object per line.
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
        let problem = "--format arrow and parquet write binary data; redirect the output to a file";
        return Err(Failure::Usage(problem.to_owned()));
    }
    // A worker thread cancels statements and answers HTTP/2 pings while this thread waits for the user.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Internal(error.into()))?;
    let commands: Vec<&String> = args.statement.iter().chain(&args.commands).collect();
    let is_script = !commands.is_empty() || !args.files.is_empty();
    if !is_script && io::stdin().is_terminal() && io::stdout().is_terminal() {
        return prompt::run(&args, &runtime);
    }
    let mut session = Session::new(&args, &runtime, None);
    for command in commands {
        if session.script(None, command.as_bytes())? == NextAction::Exit {
            return Ok(());
        }
    }
    for file in &args.files {
        if session.file(file)? == NextAction::Exit {
            return Ok(());
        }
    }
    if !is_script {
        session.script(None, io::stdin().lock())?;
    }
    if !session.has_run() {
        return Err(Failure::Usage("no statement given; example: offsetd sql 'SELECT * FROM groups'".to_owned()));
    }
    Ok(())
}

impl SqlArgs {
    /// Returns the request for a statement, with the options of the command line.
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

/// Returns a request of the prompt itself, for names of tables and columns. The options of the command line do not
/// apply.
fn request(statement: &str, parameters: Vec<SqlValue>) -> Request<SqlRequest> {
    Request::new(SqlRequest {
        statement: statement.to_owned(),
        parameters,
        format: SqlFormat::ArrowIpc.into(),
        allow_partial: true,
        ..SqlRequest::default()
    })
}

/// Returns the value of a parameter, with a type guessed from its text. It is a number only if the number prints the
/// same: a group with the id 007 stays text.
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
