//! The command line: arguments → command → exit code.
//!
//! Client commands are ordinary users of the public gRPC interface. Everything is written through a `Write`: a pipe that
//! closes early ends a command quietly. Names that come from Kafka are hostile, so control characters are escaped in
//! everything that is not JSON, CSV, Arrow or Parquet.

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

/// Version and git revision.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("OFFSETD_GIT_REVISION"), ")");

/// Exit status of bad usage or configuration (`EX_USAGE`).
const EXIT_USAGE: u8 = 64;

const EXAMPLES: &str = "\
Examples:
  offsetd demo                                    a whole server on a mock Kafka
  offsetd serve --bootstrap-servers localhost:9092
  offsetd sql \"SELECT group_id, topic, sum(lag) FROM lag GROUP BY 1, 2 ORDER BY 3 DESC\"
  offsetd groups --active
  offsetd group orders
  offsetd watch --group orders

`offsetd COMMAND --help` shows more; `offsetd help sources|sizing|permissions` shows a guide. Exit status: 0, or 1 when a \
command fails, 2 for a bad line of the input of `decode`, 64 for bad usage or configuration, 70 for an internal failure.";

/// Live Kafka consumer offsets: SQL, gRPC, HTTP and Prometheus over `__consumer_offsets`.
#[derive(Debug, Parser)]
#[command(name = "offsetd", version = VERSION, after_help = EXAMPLES, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Args {
    /// Format of log lines (stderr). Set RUST_LOG to choose the level, as RUST_LOG=debug.
    #[arg(long, global = true, value_enum, default_value_t, env = "OFFSETD_LOG_FORMAT", help_heading = "Logging")]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole server on a mock Kafka with a workload. Needs nothing.
    #[command(after_help = serve::DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Run the server.
    #[command(after_help = serve::SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Run SQL on a server.
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
    /// Follow commits as they happen, until Ctrl-C.
    #[command(after_help = watch::EXAMPLES)]
    Watch(WatchArgs),
    /// Show clusters, readiness and progress of a server.
    #[command(after_help = status::EXAMPLES)]
    Status(StatusArgs),
    /// Decode records of __consumer_offsets, given as lines of hex key, TAB, hex value or read from a cluster → JSON lines.
    #[command(after_help = decode::EXAMPLES)]
    Decode(DecodeArgs),
    /// Check the configuration and show every value that is in force, and where it came from.
    #[command(after_help = check_config::EXAMPLES)]
    CheckConfig(CheckConfigArgs),
    /// Connect to each cluster, and show what works, what does not, and what to do about it.
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

/// How rows and objects are shown by commands other than `sql`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// For people.
    #[default]
    Text,
    /// JSON, with the field names of the gRPC interface.
    Json,
}

impl Args {
    /// Parses the command line.
    ///
    /// # Errors
    /// The exit code, after help, version or an error has been written: 0 or 64.
    pub fn parse_from<I, T>(args: I) -> Result<Self, ExitCode>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        // A statement may begin with a comment, which is no option.
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
            // There is no other place for a message that cannot be written.
            let _ = error.print();
            if error.exit_code() == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_USAGE) }
        })
    }
}

/// Runs a command to its end.
///
/// # Errors
/// [`Failure`], whose `report` writes the message and returns the exit code.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    let env = environment();
    match args.command {
        // The two that run the server; the rest are clients or need no server.
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

/// The environment, without names and values that are not UTF-8.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn output() -> BufWriter<Stdout> {
    BufWriter::new(io::stdout())
}

/// Runs a client command.
fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Internal(error.into()))?.block_on(command)
}

fn freshness(latest: bool) -> Freshness {
    if latest { Freshness::Latest } else { Freshness::Any }
}

/// Writes an answer as JSON, or as `text` writes it.
fn show<W: Write>(
    mut out: W,
    style: Style,
    answer: &impl Serialize,
    text: impl FnOnce(&mut W) -> io::Result<()>,
) -> Result<(), Failure> {
    match style {
        Style::Text => text(&mut out)?,
        Style::Json => write_json(&mut out, answer)?,
    }
    out.flush()?;
    Ok(())
}

/// Writes a message as JSON on a line.
fn write_json(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &view(message))?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests;
