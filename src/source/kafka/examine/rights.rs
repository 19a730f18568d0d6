//! Checks of the user's rights on topics, groups and the cluster.

use rdkafka::consumer::Consumer as _;

use super::{
    super::{client::Client, ffi, now, rights::grant},
    TIMEOUT,
    report::{Check, Report},
};
use crate::{config, model::OFFSETS_TOPIC};

/// Checks that topics are visible. Brokers omit topics that the user may not describe, without an error.
pub(super) fn topics(report: &mut Report, cluster: &config::Cluster, client: &Client) {
    let all = || grant(cluster, "--operation Describe --topic '*'");
    let check = match client.metadata(None, TIMEOUT) {
        Err(error) => Check::fails("topics", "", error.to_string(), ""),
        Ok(metadata) => {
            let visible = metadata.topics().iter().filter(|topic| !topic.name().starts_with("__"));
            match visible.count() {
                0 => Check::fails(
                    "topics",
                    "",
                    "no topic is visible: either none exists, or the right is missing",
                    all(),
                ),
                count => Check::works(
                    "topics",
                    "",
                    format!("{count} topics are visible; topics without the right are not listed"),
                ),
            }
        }
    };
    // Without the right, only the lag is unknown; committed offsets are known.
    report.add(check.into_warning());
}

/// Checks that groups are listed. Returns the id of one group, if any is visible.
pub(super) fn groups(report: &mut Report, client: &Client) -> Option<String> {
    let listed = client.fetch_group_list(None, TIMEOUT);
    match listed {
        Ok(listed) => {
            let groups = listed.groups();
            let first = groups.first().map(|group| group.name().to_owned());
            report.add(Check::works("group_list", "", format!("{} groups are listed", groups.len())));
            first
        }
        Err(error) => {
            client.serve();
            let reason = client.context().last_error().unwrap_or_else(|| error.to_string());
            report.add(Check::fails("group_list", "", reason, "").into_warning());
            None
        }
    }
}

/// Checks that a coordinator returns the offsets of a group, as the transaction overlay and the audit require. The log
/// must exist, since `client` finds coordinators.
pub(super) fn group(report: &mut Report, cluster: &config::Cluster, client: &Client, group: &str) {
    let admin = ffi::Admin::new(client);
    let refused = |found: String| Check::fails("groups", "", found, grant(cluster, "--operation Describe --group '*'"));
    let check = if admin.committed(0, group, None, false) {
        let until = now() + TIMEOUT;
        let reply = loop {
            match admin.poll(until.saturating_duration_since(now())) {
                None if now() < until => continue,
                reply => break reply,
            }
        };
        match reply.map(|reply| reply.content) {
            Some(Ok(_)) => {
                Check::works("groups", "", format!("the coordinator of group {group:?} returns its offsets"))
            }
            Some(Err(error)) => refused(error.to_string()),
            None => refused(format!("the coordinator of group {group:?} did not answer")),
        }
    } else {
        Check::skipped("groups", "no group with a valid name exists")
    };
    report.add(check);
}

/// Checks whether the user may describe the cluster, which includes listing all groups.
pub(super) fn cluster(report: &mut Report, cluster: &config::Cluster, client: &Client) {
    let check = match ffi::may_describe_cluster(client, TIMEOUT) {
        Ok(true) => Check::works("cluster", "", "the user may describe the cluster, so all groups are listed"),
        Ok(false) => {
            let found =
                format!("only groups that the user may describe are listed; this matters if {OFFSETS_TOPIC} is hidden");
            Check::fails("cluster", "", found, grant(cluster, "--operation Describe --cluster"))
        }
        Err(error) => Check::fails("cluster", "", error.to_string(), ""),
    };
    report.add(check.into_warning());
}
