use std::collections::BTreeMap;

use super::*;
use crate::config::{Config, Flags, Layers};

#[test]
fn a_client_is_destroyed_when_it_is_dropped_but_not_at_the_end_of_the_process() {
    let flags = Flags { bootstrap_servers: Some("127.0.0.1:1".to_owned()), ..Flags::default() };
    let layers = Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
    let config = Config::load(layers).unwrap().config.clusters.remove(0);
    let ending = CancellationToken::new();
    let connector = Connector::new(&config, ending.clone());
    // librdkafka holds the receiver of its events until the client is destroyed.
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

#[test]
fn the_last_error_includes_the_logged_disconnect() {
    let down = || KafkaError::Global(RDKafkaErrorCode::AllBrokersDown);
    let events = Events::default();
    assert_eq!(events.last_error(), None);
    events.error(down(), "1/1 brokers are down");
    events.log(RDKafkaLogLevel::Error, "FAIL", "kafka:9092: Disconnected (after 1ms in state APIVERSION_QUERY)");
    let shown = events.last_error().unwrap();
    assert!(
        shown.starts_with("1/1 brokers are down: kafka:9092: Disconnected") && shown.ends_with(CLOSED_REMEDY),
        "{shown}"
    );
    events.log(RDKafkaLogLevel::Error, "FAIL", "kafka:9092: Disconnected (after 100ms in state UP)");
    assert!(events.last_error().unwrap().ends_with(CLOSED_REMEDY), "the broker requires a login");
    events.log(RDKafkaLogLevel::Error, "FAIL", "kafka:9092: Disconnected (after 90000ms in state UP)");
    assert!(events.last_error().unwrap().ends_with("in state UP)"), "a connection that worked had the right protocol");
    events.succeeded();
    events.error(KafkaError::Global(RDKafkaErrorCode::Authentication), "{\"status\":\"invalid_token\"}");
    assert!(events.last_error().unwrap().contains("check its audience"));
    // Without a token, the errors of brokers are only consequences.
    events.set_login_failure(Some("no token".to_owned()));
    assert_eq!(events.last_error().unwrap(), "no token");
    events.succeeded();
    assert_eq!(events.last_error(), None);
}
