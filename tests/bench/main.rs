//! Benchmarks. `cargo run --release --features bench --bin bench -- [--json FILE] [--rounds N] [SUITE…]`
//!
//! Machines are noisy: every figure stands beside one of the same run, round by round in turn, and what counts is their
//! ratio. `SUITE` is one of those below; without any, all run.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark fails by panicking, and measures time"
)]

use std::process::ExitCode;

use clap::Parser;

#[path = "../made.rs"]
mod made;
mod history;
mod kafka;
mod measure;
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../it/process.rs"]
mod process;
#[path = "../recorded.rs"]
mod recorded;
mod serving;
mod sql;
mod store;

use measure::Report;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Debug, Parser)]
struct Args {
    /// What to run.
    suites: Vec<String>,
    /// Also write the results there, as JSON.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
    /// Rounds of each comparison.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Only comparisons whose name has this in it.
    #[arg(long, default_value = "")]
    only: String,
}

type Suite = fn(&mut Report);

const SUITES: [(&str, Suite); 5] = [
    ("store", store::run),
    ("sql", sql::run),
    ("serving", serving::run),
    ("history", history::run),
    ("kafka", kafka::run),
];

fn main() -> ExitCode {
    // This program is also what it measures.
    match std::env::args().nth(1).as_deref() {
        Some("offsetd") => return offsetd(),
        Some("growth") => return store::growth::main(&std::env::args().nth(2).unwrap()),
        Some("floor") => return kafka::floor::main(std::env::args_os().skip(1)),
        _ => {}
    }
    let args = Args::parse();
    let known: Vec<&str> = SUITES.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = args.suites.iter().find(|suite| !known.contains(&suite.as_str())) {
        eprintln!("no suite {unknown:?}; there are {}", known.join(", "));
        return ExitCode::from(64);
    }
    let mut report = Report::new(args.rounds, args.only);
    for (name, run) in SUITES {
        if args.suites.is_empty() || args.suites.iter().any(|suite| suite == name) {
            report.suite(name);
            run(&mut report);
        }
    }
    if let Some(path) = args.json {
        std::fs::write(path, report.json()).unwrap();
    }
    ExitCode::SUCCESS
}

fn offsetd() -> ExitCode {
    match offsetd::cli::Args::parse_from(std::env::args_os().skip(1)) {
        Ok(args) => offsetd::cli::run(args).unwrap_or_else(|failure| failure.report()),
        Err(code) => code,
    }
}
