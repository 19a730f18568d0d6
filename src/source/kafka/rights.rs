//! Words for missing rights, with the command that grants them.

use crate::{config, model::OFFSETS_TOPIC};

/// The user may not describe `__consumer_offsets`.
pub(super) fn cannot_describe(cluster: &config::Cluster) -> String {
    format!("not authorized to describe {OFFSETS_TOPIC} (TOPIC_AUTHORIZATION_FAILED); {}", read_log(cluster))
}

/// The user may not read `__consumer_offsets`.
pub(super) fn cannot_read(cluster: &config::Cluster) -> String {
    format!("not authorized to read {OFFSETS_TOPIC} (TOPIC_AUTHORIZATION_FAILED); {}", read_log(cluster))
}

/// Brokers list groups, and say that there is no such topic.
pub(super) fn hidden(cluster: &config::Cluster, groups: usize) -> String {
    format!(
        "not authorized to describe {OFFSETS_TOPIC}: the brokers hide it, for they list {groups} groups; {}",
        read_log(cluster)
    )
}

/// The user may not list groups.
pub(super) fn cannot_list_groups(cluster: &config::Cluster, error: &str) -> String {
    format!(
        "not authorized to list groups ({error}), and there is no topic {OFFSETS_TOPIC}; {}",
        grant(cluster, "--operation Describe --cluster")
    )
}

fn read_log(cluster: &config::Cluster) -> String {
    // READ implies DESCRIBE.
    grant(cluster, &format!("--operation Read --topic {OFFSETS_TOPIC}"))
}

fn grant(cluster: &config::Cluster, right: &str) -> String {
    format!(
        "grant the right: kafka-acls.sh --bootstrap-server {} --add --allow-principal 'User:{}' {right}",
        cluster.bootstrap_servers,
        user(cluster)
    )
}

/// The user's name as brokers know it, where the configuration tells.
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
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Config, Flags, Sources};

    fn cluster(properties: &[(&str, &str)]) -> config::Cluster {
        let flags = Flags { bootstrap_servers: Some("h:1,i:2".to_owned()), ..Flags::default() };
        let sources = Sources { flags: &flags, env: &BTreeMap::new(), check_property: None };
        let mut cluster = Config::load(sources).unwrap().config.clusters.remove(0);
        cluster.kafka.extend(properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        cluster
    }

    #[test]
    fn a_missing_right_is_named_with_the_command_that_grants_it() {
        let command = "kafka-acls.sh --bootstrap-server h:1,i:2 --add --allow-principal 'User:alice' --operation Read \
                       --topic __consumer_offsets";
        let alice = cluster(&[("security.protocol", "SASL_SSL"), ("sasl.username", "alice"), ("sasl.password", "s")]);
        for (words, right) in [
            (cannot_describe(&alice), "describe __consumer_offsets"),
            (cannot_read(&alice), "read __consumer_offsets"),
            (hidden(&alice, 3), "they list 3 groups"),
        ] {
            assert!(
                words.starts_with("not authorized") && words.contains(right) && words.ends_with(command),
                "{words}"
            );
        }
        assert!(cannot_list_groups(&alice, "x").ends_with("'User:alice' --operation Describe --cluster"));
        assert!(cannot_read(&cluster(&[])).contains("'User:ANONYMOUS'"));
        assert!(cannot_read(&cluster(&[("security.protocol", "SSL")])).contains("'User:NAME'"), "the certificate's");
    }
}
