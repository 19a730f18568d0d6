//! The offsetd binary: parses the command line, sets up logging and runs the command.

use std::{io::IsTerminal as _, process::ExitCode};

use offsetd::cli::{self, Args, LogFormat};
use tracing_subscriber::EnvFilter;

// librdkafka allocates in its own threads and frees in ours, and with glibc's malloc both would contend for one arena.
// The crate's feature replaces `malloc` in the whole process, so that C code uses jemalloc, too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = match Args::parse_from(std::env::args_os()) {
        Ok(args) => args,
        Err(code) => return code,
    };
    log_to_stderr(args.log_format);
    cli::run(args).unwrap_or_else(|failure| failure.report())
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,librdkafka=warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && cli::wants_colour());
    match format {
        LogFormat::Text => log.init(),
        // Log collectors expect the message and the fields at the top level.
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
