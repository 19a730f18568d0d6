//! Examines a cluster step by step, for `offsetd doctor`: what works, what does not, and what to do.
//!
//! Each step has its own timeout. A step is skipped where one before it failed that it builds on.

use std::time::Duration;

mod report;
mod network;
mod certificate;
mod tls;
mod version;
mod login;
mod rights;
mod log;

pub use report::{Check, Outcome, Report};

use crate::{
    clock::Clock,
    config::{self, ReadMode},
    model::Millis,
};

/// Bound of one question.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Examines a cluster. Blocks, for a minute or so at worst.
#[must_use]
pub fn examine(cluster: &config::Cluster, clock: &Clock) -> Report {
    let mut report = Report::default();
    let now = clock.now();
    match network::examine(&mut report, cluster) {
        None => skip(&mut report, "no broker can be reached", &["tls", "version", "sasl"]),
        Some(server) => {
            let stream = tls::examine(&mut report, cluster, &server, now);
            match stream {
                Some(stream) => version::examine(&mut report, &server, stream),
                None => skip(&mut report, "no connection to ask on", &["version"]),
            }
            if let Some(client) = login::examine(&mut report, cluster) {
                examine_rights(&mut report, cluster, &client, now);
                return report;
            }
        }
    }
    skip(
        &mut report,
        "offsetd cannot log in",
        &["advertised", "log", "read_log", "topics", "group_list", "groups", "cluster", "clock", "mode"],
    );
    report
}

fn examine_rights(report: &mut Report, cluster: &config::Cluster, client: &super::client::Client, now: Millis) {
    rights::topics(report, cluster, client);
    let group = rights::groups(report, client);
    let sees_groups = group.is_some();
    let reads_log = log::examine(report, cluster, client, now, group);
    let check = match (cluster.mode, reads_log, sees_groups) {
        (ReadMode::Auto | ReadMode::Log, true, _) => {
            Check::works("mode", "", "log: offsets are read from __consumer_offsets")
        }
        (ReadMode::Auto | ReadMode::Admin, _, true) => {
            report.does_not_need(&["log", "read_log"]);
            Check::works("mode", "", "admin: coordinators are asked for offsets, group by group")
        }
        (ReadMode::Admin, _, false) => {
            Check::fails("mode", "", "no group is listed", "grant the right to describe groups, or wait for a group")
        }
        (ReadMode::Auto | ReadMode::Log, false, _) => {
            Check::fails("mode", "", "__consumer_offsets cannot be read", "see the checks log and read_log")
        }
    };
    report.add(check);
    rights::cluster(report, cluster, client);
}

fn skip(report: &mut Report, why: &str, names: &[&'static str]) {
    for name in names {
        report.add(Check::skipped(name, why));
    }
}
