//! Checks of a cluster for `offsetd doctor`: what works, what fails, and how to fix it.
//!
//! Each check has its own timeout. A check is skipped if a check on which it depends failed.

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

/// Timeout of one request to the cluster.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Runs all checks of a cluster. Blocks, for about a minute at worst.
#[must_use]
pub fn examine(cluster: &config::Cluster, clock: &Clock) -> Report {
    let mut report = Report::default();
    let now = clock.now();
    match network::examine(&mut report, cluster) {
        None => skip(&mut report, "no broker is reachable", &["tls", "version", "sasl"]),
        Some(server) => {
            let stream = tls::examine(&mut report, cluster, &server, now);
            match stream {
                Some(stream) => version::examine(&mut report, &server, stream),
                None => skip(&mut report, "no connection to a broker", &["version"]),
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
            report.downgrade(&["log", "read_log"]);
            Check::works("mode", "", "admin: offsets are requested from coordinators, group by group")
        }
        (ReadMode::Admin, _, false) => Check::fails(
            "mode",
            "",
            "brokers list no groups",
            "grant the right to describe groups, or wait until a group exists",
        ),
        (ReadMode::Auto | ReadMode::Log, false, _) => {
            Check::fails("mode", "", "__consumer_offsets cannot be read", "fix the checks log and read_log")
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
