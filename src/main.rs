//! offsetd: live Kafka consumer offsets. See the library for the map.

use std::{io::IsTerminal as _, process::ExitCode};

use offsetd::cli::{self, Args, LogFormat};
use tracing_subscriber::EnvFilter;

// librdkafka allocates in its threads and frees in ours: with glibc's malloc the two fight for one
// arena. The crate's feature takes over `malloc` of the whole process, so that C uses it, too.
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
        // The message and the fields stand at the top, where collectors of logs expect them.
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
