use rdkafka::consumer::Consumer as _;

use super::*;
use crate::{
    clock::Clock,
    config::{Config, Flags, Layers},
    source::kafka::Log,
};

#[test]
fn one_client_is_reused_until_a_read_fails() {
    let flags = Flags { bootstrap_servers: Some("127.0.0.1:1".to_owned()), ..Flags::default() };
    let layers = Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
    let config = Config::load(layers).unwrap().config.clusters.remove(0);
    let connector = Connector::new(&config, CancellationToken::new());
    let (cluster, _) = Log::open(config, &Clock::manual(0));
    let mut reader = MarkerReader::new(cluster, connector);
    assert!(reader.client.is_none(), "there is nothing to read yet");
    let (first, second) = (reader.client().unwrap(), reader.client().unwrap());
    assert!(Arc::ptr_eq(first.context(), second.context()));
    reader.client = None;
    assert!(!Arc::ptr_eq(first.context(), reader.client().unwrap().context()));
}
