use std::collections::BTreeMap;

use super::*;
use crate::config::{Config, Flags, Sources};

#[test]
fn a_client_is_destroyed_when_it_is_dropped_but_not_at_the_end_of_the_process() {
    let flags = Flags { bootstrap_servers: Some("127.0.0.1:1".to_owned()), ..Flags::default() };
    let sources = Sources { flags: &flags, env: &BTreeMap::new(), check_property: None };
    let config = Config::load(sources).unwrap().config.clusters.remove(0);
    let ending = CancellationToken::new();
    let connector = Connector::new(&config, ending.clone());
    // librdkafka holds what takes its events until it is destroyed.
    let is_left = |client: Client| {
        let events = Arc::downgrade(client.context());
        drop(client);
        events.upgrade().is_some()
    };
    let (first, second) = (connector.connect().unwrap(), connector.connect().unwrap());
    let clone = first.clone();
    assert!(is_left(first), "another clone is in use");
    assert!(!is_left(clone));
    ending.cancel();
    assert!(is_left(second));
}
