//! `offsetd doctor`: checks the connection to each cluster and source, and shows how to fix what fails.

use std::{collections::BTreeMap, io::Write, process::ExitCode};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    Failure,
    serve::ClusterArgs,
    text::{escape, width},
};
use crate::{
    clock::Clock,
    config,
    source::{
        self,
        kafka::examine::{Outcome, Report, examine},
    },
};

pub(super) const EXAMPLES: &str = "\
Checks of a cluster:
  dns, tcp                    each address of bootstrap_servers
  tls                         the certificate of the broker and its expiry
  version                     the broker's version
  sasl                        the login, or that none is required
  advertised                  the addresses that the brokers advertise
  topics, group_list, groups  the rights to describe topics, to list groups and to describe groups
  log, read_log               __consumer_offsets, and the right to read it
  clock                       this machine's clock, compared with the newest record
  mode                        how committed offsets would be read
  cluster                     the right to describe the cluster

Each [sources.NAME] is checked too: whether it can be read. The command writes nothing and joins no group.

Results: ok; failed (offsetd needs it); warning (offsetd works with restrictions); skipped. Exit status: 0 if no check \
failed, else 1.

Examples:
  offsetd doctor --bootstrap-servers kafka:9092
  offsetd doctor --config offsetd.toml --format json";

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The configuration arguments of `serve`.
    #[command(flatten)]
    pub config: ClusterArgs,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub format: DoctorFormat,
}

/// The output format of `doctor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    /// One line per check.
    #[default]
    Table,
    /// One JSON object.
    Json,
}

/// The output in JSON.
#[derive(Serialize)]
struct DoctorReport<'a> {
    ok: bool,
    clusters: Vec<ClusterReport<'a>>,
    sources: Vec<SourceReport<'a>>,
}

/// The result for a `[sources.NAME]`: whether it can be read.
#[derive(Serialize)]
struct SourceReport<'a> {
    source: &'a str,
    kind: &'a str,
    cluster: &'a str,
    ok: bool,
    found: String,
}

impl<'a> SourceReport<'a> {
    /// Tries to read the source.
    fn examine(config: &'a config::Source) -> Self {
        // `examine` returns `None` only for an unknown kind, which the configuration has already rejected.
        let result = source::examine(config).map(|result| result.map_err(|error| error.to_string()));
        let (ok, found) = match result.unwrap_or_else(|| Err("unknown kind of source".to_owned())) {
            Ok(found) => (true, found),
            Err(error) => (false, error),
        };
        Self { source: &config.name, kind: &config.kind, cluster: &config.cluster, ok, found }
    }

    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Self { source, kind, cluster, ok, found } = self;
        writeln!(out, "source {} ({kind}, of cluster {})", escape(source), escape(cluster))?;
        let outcome = if *ok { Outcome::Works } else { Outcome::Failed };
        writeln!(out, "  {:<8} {}\n", outcome.word(), escape(found))
    }
}

/// The result for a cluster.
#[derive(Serialize)]
struct ClusterReport<'a> {
    cluster: &'a str,
    bootstrap_servers: &'a str,
    ok: bool,
    checks: Vec<CheckReport<'a>>,
}

/// The result of one check.
#[derive(Serialize)]
struct CheckReport<'a> {
    check: &'static str,
    object: &'a str,
    result: &'static str,
    found: &'a str,
    remedy: Option<&'a str>,
}

/// Examines all clusters, one after the other, and then the sources. The exit code is 1 if a check failed.
///
/// # Errors
/// Returns an error if the configuration is bad or the output cannot be written.
pub(super) fn run(
    args: &DoctorArgs,
    env: &BTreeMap<String, String>,
    out: &mut impl Write,
) -> Result<ExitCode, Failure> {
    let config = args.config.load(env)?.config;
    let clock = Clock::system();
    let mut reports = vec![];
    for cluster in &config.clusters {
        let report = examine(cluster, &clock);
        if args.format == DoctorFormat::Table {
            write_table(out, &cluster.name, &cluster.bootstrap_servers, &report)?;
            out.flush()?;
        }
        reports.push((cluster, report));
    }
    let sources: Vec<SourceReport<'_>> = config.sources.iter().map(SourceReport::examine).collect();
    let ok = reports.iter().all(|(_, report)| report.is_good()) && sources.iter().all(|source| source.ok);
    if args.format == DoctorFormat::Table {
        sources.iter().try_for_each(|source| source.write(out))?;
        out.flush()?;
    }
    if args.format == DoctorFormat::Json {
        let clusters = reports.iter().map(|(cluster, report)| ClusterReport {
            cluster: &cluster.name,
            bootstrap_servers: &cluster.bootstrap_servers,
            ok: report.is_good(),
            checks: checks(report),
        });
        serde_json::to_writer_pretty(&mut *out, &DoctorReport { ok, clusters: clusters.collect(), sources })
            .map_err(std::io::Error::from)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn checks(report: &Report) -> Vec<CheckReport<'_>> {
    let shown = report.checks.iter().map(|check| CheckReport {
        check: check.name,
        object: &check.object,
        result: check.outcome.word(),
        found: &check.found,
        remedy: check.remedy.as_deref(),
    });
    shown.collect()
}

/// Writes a line for each check, followed by its remedy if it has one.
fn write_table(out: &mut impl Write, name: &str, servers: &str, report: &Report) -> std::io::Result<()> {
    writeln!(out, "cluster {} ({})", escape(name), escape(servers))?;
    let objects: Vec<_> = report.checks.iter().map(|check| escape(&check.object)).collect();
    let object_width = objects.iter().map(|object| width(object)).max().unwrap_or(0);
    for (check, object) in report.checks.iter().zip(&objects) {
        let pad = " ".repeat(object_width.saturating_sub(width(object)));
        writeln!(out, "  {:<8} {:<11} {object}{pad}  {}", check.outcome.word(), check.name, escape(&check.found))?;
        if let Some(remedy) = &check.remedy {
            writeln!(out, "           → {}", escape(remedy))?;
        }
    }
    let failed = report.checks.iter().filter(|check| check.outcome == Outcome::Failed).count();
    match failed {
        0 => writeln!(out, "  no check failed\n"),
        1 => writeln!(out, "  1 check failed\n"),
        count => writeln!(out, "  {count} checks failed\n"),
    }
}

#[cfg(test)]
mod tests;
