//! Error texts for missing rights, with the command that grants the right.

use crate::{config, model::OFFSETS_TOPIC};

/// Returns the error text for a user that may not describe `__consumer_offsets`.
pub(super) fn cannot_describe(cluster: &config::Cluster) -> String {
    format!("not authorized to describe {OFFSETS_TOPIC} (TOPIC_AUTHORIZATION_FAILED); {}", read_log(cluster))
}

/// Returns the error text for a user that may not read `__consumer_offsets`.
pub(super) fn cannot_read(cluster: &config::Cluster) -> String {
    format!("not authorized to read {OFFSETS_TOPIC} (TOPIC_AUTHORIZATION_FAILED); {}", read_log(cluster))
}

/// Returns the error text for brokers that list groups but report that the offsets topic does not exist.
pub(super) fn log_hidden(cluster: &config::Cluster, groups: usize) -> String {
    format!(
        "not authorized to describe {OFFSETS_TOPIC}: the brokers hide it, but they list {groups} groups; {}",
        read_log(cluster)
    )
}

/// Returns the error text for a user that may not list groups.
pub(super) fn cannot_list_groups(cluster: &config::Cluster, error: &str) -> String {
    format!(
        "not authorized to list groups ({error}), and there is no topic {OFFSETS_TOPIC}; {}",
        grant(cluster, "--operation Describe --cluster")
    )
}

/// Returns the error text for a coordinator that refuses to describe a known group, while brokers list no group.
pub(super) fn cannot_describe_groups(cluster: &config::Cluster, error: &str) -> String {
    format!("not authorized to describe groups ({error}); {}", grant(cluster, "--operation Describe --group '*'"))
}

fn read_log(cluster: &config::Cluster) -> String {
    // READ implies DESCRIBE.
    grant(cluster, &format!("--operation Read --topic {OFFSETS_TOPIC}"))
}

/// Returns the remedy with the command that grants a right.
pub(super) fn grant(cluster: &config::Cluster, right: &str) -> String {
    format!(
        "grant the right: kafka-acls.sh --bootstrap-server {} --add --allow-principal 'User:{}' {right}",
        cluster.bootstrap_servers,
        user(cluster)
    )
}

/// Returns the user's name as brokers know it, if the configuration contains it.
fn user(cluster: &config::Cluster) -> &str {
    if let Some(name) = cluster.kafka.get("sasl.username").or_else(|| cluster.kafka.get("sasl.user")) {
        return name;
    }
    match cluster.kafka.get("security.protocol").map(|protocol| protocol.to_ascii_lowercase()).as_deref() {
        None | Some("plaintext") => "ANONYMOUS",
        Some(_) => "NAME",
    }
}

#[cfg(test)]
mod tests;
