//! The command line: parses the arguments, runs a command and returns its exit code.
//!
//! The client commands use only the public gRPC interface. All output is written through a `Write`, so that a pipe that
//! is closed early ends a command without an error. Names that come from Kafka may contain any character, so control
//! characters are escaped in all output except JSON, CSV, Arrow and Parquet.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, BufWriter, Stdout, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::rpc::{json::view, proto::Freshness};

mod check_config;
mod connect;
mod decode;
mod doctor;
mod failure;
mod group;
mod groups;
mod help;
mod profile;
mod query;
mod serve;
mod sql;
mod status;
mod text;
mod watch;

pub use check_config::CheckConfigArgs;
pub use decode::DecodeArgs;
pub use doctor::{DoctorArgs, DoctorFormat};
pub use failure::Failure;
pub use group::GroupArgs;
pub use groups::GroupsArgs;
pub use help::{CompletionsArgs, HelpArgs, ManArgs};
pub use profile::ServerArgs;
pub use query::QueryArgs;
pub use serve::{ClusterArgs, DemoArgs, ServeArgs};
pub use sql::{Format, SqlArgs};
pub use status::StatusArgs;
pub use text::wants_colour;
pub use watch::WatchArgs;

/// The version and the git revision of this build.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("OFFSETD_GIT_REVISION"), ")");

/// The exit status for bad usage or a bad configuration (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;

const EXAMPLES: &str = "\
Examples:
  offsetd demo                                    the server on a mock Kafka cluster
  offsetd serve --bootstrap-servers localhost:9092
  offsetd sql \"SELECT group_id, topic, sum(lag) FROM lag GROUP BY 1, 2 ORDER BY 3 DESC\"
  offsetd groups --active
  offsetd group orders
  offsetd watch --group orders

`offsetd COMMAND --help` shows more; `offsetd help sources|sizing|permissions` shows a guide. Exit status: 0 on \
success, 1 if the command fails, 2 if an input line of `decode` is malformed, 64 for bad usage or configuration, 70 \
for an internal error.";

/// Live Kafka consumer offsets, served as SQL, gRPC, HTTP and Prometheus metrics.
#[derive(Debug, Parser)]
#[command(name = "offsetd", version = VERSION, after_help = EXAMPLES, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Args {
    /// Format of the log lines on stderr. RUST_LOG sets the level, for example RUST_LOG=debug.
    #[arg(long, global = true, value_enum, default_value_t, env = "OFFSETD_LOG_FORMAT", help_heading = "Logging")]
    pub log_format: LogFormat,
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Readable text.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server on a mock Kafka cluster with a workload. Needs no Kafka.
    #[command(after_help = serve::DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Run the server on one or more Kafka clusters.
    #[command(after_help = serve::SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Run SQL statements on a server, or open a SQL prompt.
    #[command(after_help = sql::EXAMPLES)]
    Sql(SqlArgs),
    /// Show one committed offset with its lag.
    #[command(after_help = query::EXAMPLES)]
    Query(QueryArgs),
    /// Show a consumer group: each partition with its offset, lag, status and owner.
    #[command(after_help = group::EXAMPLES)]
    Group(GroupArgs),
    /// List consumer groups.
    #[command(after_help = groups::EXAMPLES)]
    Groups(GroupsArgs),
    /// Print commits as they happen, until Ctrl-C.
    #[command(after_help = watch::EXAMPLES)]
    Watch(WatchArgs),
    /// Show the clusters, the readiness and the load progress of a server.
    #[command(after_help = status::EXAMPLES)]
    Status(StatusArgs),
    /// Decode records of __consumer_offsets, from standard input or from a cluster, to JSON lines.
    #[command(after_help = decode::EXAMPLES)]
    Decode(DecodeArgs),
    /// Check the configuration, and show each effective value with its origin.
    #[command(after_help = check_config::EXAMPLES)]
    CheckConfig(CheckConfigArgs),
    /// Check the connection to each cluster and source, and show how to fix what fails.
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(DoctorArgs),
    /// Show the help of a command, or a guide: sources, sizing, permissions.
    #[command(after_help = help::EXAMPLES)]
    Help(HelpArgs),
    /// Write completions for a shell to standard output.
    #[command(after_help = help::COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Write man pages to a directory.
    #[command(after_help = help::MAN_EXAMPLES)]
    Man(ManArgs),
}

/// The output format of the commands other than `sql`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Tables and readable text.
    #[default]
    Text,
    /// JSON, with the field names of the gRPC interface.
    Json,
}

impl Args {
    /// Parses the command line.
    ///
    /// # Errors
    /// Returns the exit code after it has written the help, the version (0) or an error (64).
    pub fn parse_from<I, T>(args: I) -> Result<Self, ExitCode>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        // A SQL statement may begin with a comment. A blank before it keeps clap from parsing it as an option.
        let is_comment = |argument: &OsString| {
            argument
                .to_str()
                .and_then(|text| text.strip_prefix("--"))
                .is_some_and(|rest| rest.starts_with(char::is_whitespace))
        };
        let args = args.into_iter().map(|argument| {
            let argument: OsString = argument.into();
            if !is_comment(&argument) {
                return argument;
            }
            let mut shifted = OsString::from(" ");
            shifted.push(argument);
            shifted
        });
        Self::try_parse_from(args).map_err(|error| {
            // If stderr cannot be written to, the error cannot be reported anywhere.
            let _ = error.print();
            if error.exit_code() == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_USAGE) }
        })
    }
}

/// Runs a command to its end.
///
/// # Errors
/// Returns the [`Failure`] of the command. [`Failure::report`] writes its message and returns its exit code.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    let env = environment();
    match args.command {
        // `demo` and `serve` run the server; the other commands are clients or need no server.
        Command::Demo(demo) => return serve::demo(&demo, &env),
        Command::Serve(serve) => return serve::serve(&serve, &env),
        Command::Doctor(doctor) => return doctor::run(&doctor, &env, &mut output()),
        Command::Sql(sql) => sql::run(sql)?,
        Command::Query(query) => block_on(query::run(&query))?,
        Command::Group(group) => block_on(group::run(&group))?,
        Command::Groups(groups) => block_on(groups::run(&groups))?,
        Command::Watch(watch) => block_on(watch::run(&watch))?,
        Command::Status(status) => block_on(status::run(&status))?,
        Command::Decode(decode) => decode::run(&decode, &env)?,
        Command::CheckConfig(check) => check_config::run(&check, &env, &mut output())?,
        Command::Help(help) => help::run(&help, &mut output())?,
        Command::Completions(completions) => help::completions(&completions, &mut output())?,
        Command::Man(man) => help::man(&man, &mut output())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the environment variables, without those that are not UTF-8.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Returns standard output with a buffer.
fn output() -> BufWriter<Stdout> {
    BufWriter::new(io::stdout())
}

/// Runs a client command on a single-threaded runtime.
fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Internal(error.into()))?.block_on(command)
}

/// Returns the freshness that the flag `--latest` selects.
fn freshness(latest: bool) -> Freshness {
    if latest { Freshness::Latest } else { Freshness::Any }
}

/// Writes a response as JSON, or as text with `text`.
fn show<W: Write>(
    mut out: W,
    style: OutputFormat,
    answer: &impl Serialize,
    text: impl FnOnce(&mut W) -> io::Result<()>,
) -> Result<(), Failure> {
    match style {
        OutputFormat::Text => text(&mut out)?,
        OutputFormat::Json => write_json(&mut out, answer)?,
    }
    out.flush()?;
    Ok(())
}

/// Writes a message as one line of JSON.
fn write_json(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &view(message))?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests;
