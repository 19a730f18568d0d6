use std::collections::BTreeMap;

use super::*;
use crate::config::{Config, Flags, Layers};

fn cluster(properties: &[(&str, &str)]) -> config::Cluster {
    let flags = Flags { bootstrap_servers: Some("h:1,i:2".to_owned()), ..Flags::default() };
    let layers = Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
    let mut cluster = Config::load(layers).unwrap().config.clusters.remove(0);
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
        (log_hidden(&alice, 3), "they list 3 groups"),
    ] {
        assert!(words.starts_with("not authorized") && words.contains(right) && words.ends_with(command), "{words}");
    }
    assert!(cannot_list_groups(&alice, "x").ends_with("'User:alice' --operation Describe --cluster"));
    assert!(cannot_read(&cluster(&[])).contains("'User:ANONYMOUS'"));
    assert!(cannot_read(&cluster(&[("security.protocol", "SSL")])).contains("'User:NAME'"), "the certificate's");
}
