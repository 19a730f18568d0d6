//! Benchmarks: `cargo run --release --features bench --bin bench NAME`; `--help` lists the names.
//!
//! Machines are noisy, so each comparison measures two things alternately, round by round, and reports their ratio.
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

#[path = "../mock.rs"]
mod mock;
#[path = "../synthetic.rs"]
mod synthetic;
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
#[command(after_help = names())]
struct Args {
    /// Names of the benchmarks to run, or the part before the slash, such as `store`. Default: all.
    #[arg(value_name = "NAME", value_parser = known_name)]
    names: Vec<String>,
    /// Also write the results to this file, as JSON.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
    /// Rounds of each comparison.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Run only the comparisons with this text in their description.
    #[arg(long, default_value = "")]
    only: String,
}

/// A benchmark that can be run by its name.
struct Benchmark {
    /// `part` or `part/subject`.
    name: &'static str,
    /// Description for `--help`.
    about: &'static str,
    run: fn(&mut Report),
}

const fn benchmark(name: &'static str, about: &'static str, run: fn(&mut Report)) -> Benchmark {
    Benchmark { name, about, run }
}

const BENCHMARKS: [Benchmark; 19] = [
    benchmark("store/parts", "one record, key or call: decode, apply, pin, read", store::micro::run),
    benchmark("store/growth", "the same with 8 times as many keys", store::growth::run),
    benchmark("store/busy", "a writer during scans and during queries", store::busy::run),
    benchmark("sql", "statements on a million offsets, compared with a DataFusion MemTable", sql::run),
    benchmark("serving/export", "a million offsets over Flight SQL, compared with prebuilt batches", serving::exports),
    benchmark("serving/watch", "one change, to 1,000 readers of Watch", serving::fan_out),
    benchmark("serving/query", "Query with 16 SQL clients and 50,000 commits/s", serving::mixed),
    benchmark("serving/pages", "Query with clients of pages and clients that do not read", serving::heavy),
    benchmark("history/sample", "one sample of a million offsets", history::sample),
    benchmark("history/sum", "12 samples of a million offsets as one series", history::sum),
    benchmark("history/memory", "bytes of the samples of one offset", history::memory),
    benchmark("history/week", "a week of one group from Parquet, compared with reading all files", history::week),
    benchmark("kafka/S", "load of 100,000 offsets, compared with librdkafka", |report| kafka::load(report, "S")),
    benchmark("kafka/T", "the same, each commit in a batch of its own", |report| kafka::load(report, "T")),
    benchmark("kafka/W", "the same with 65,000 groups", |report| kafka::load(report, "W")),
    benchmark("kafka/L", "the same with a million offsets", |report| kafka::load(report, "L")),
    benchmark("admin/S", "a round of 50 groups by the Admin API, compared with AdminClient", |report| {
        kafka::admin(report, "S")
    }),
    benchmark("admin/W", "the same with 65,000 groups", |report| kafka::admin(report, "W")),
    benchmark("kafka/partitions", "log ends of 100,000 partitions", kafka::partitions),
];

fn names() -> String {
    let line = |benchmark: &Benchmark| format!("  {:<18}{}\n", benchmark.name, benchmark.about);
    format!("Names:\n{}", BENCHMARKS.iter().map(line).collect::<String>())
}

/// Returns whether a benchmark has this name or belongs to this part.
fn is_named(benchmark: &Benchmark, name: &str) -> bool {
    benchmark.name == name || benchmark.name.split('/').next() == Some(name)
}

fn known_name(name: &str) -> Result<String, String> {
    let known = BENCHMARKS.iter().any(|benchmark| is_named(benchmark, name));
    if known { Ok(name.to_owned()) } else { Err("unknown benchmark; --help lists them".to_owned()) }
}

fn main() -> ExitCode {
    // This binary also contains the programs that it measures.
    match std::env::args().nth(1).as_deref() {
        Some("offsetd") => return offsetd(),
        Some("growth") => return store::growth::main(&std::env::args().nth(2).unwrap()),
        Some("floor") => return kafka::floor::main(std::env::args_os().skip(1)),
        _ => {}
    }
    let args = Args::parse();
    let mut report = Report::new(args.rounds, args.only);
    for benchmark in &BENCHMARKS {
        if args.names.is_empty() || args.names.iter().any(|name| is_named(benchmark, name)) {
            report.suite(benchmark.name);
            (benchmark.run)(&mut report);
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
