use super::*;
use crate::{
    clock::Clock,
    config::{Config, Flags, Layers},
    store::{Store, cut::Settings},
};

#[test]
fn a_restarted_listener_keeps_the_published_shards_until_they_are_loaded_again() {
    let flags = Flags { bootstrap_servers: Some("127.0.0.1:1".to_owned()), ..Flags::default() };
    let layers = Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
    let config = Config::load(layers).unwrap().config.clusters.remove(0);
    let clock = Clock::manual(0);
    let connector = Connector::new(&config, CancellationToken::new());
    let (cluster, log) = Log::open(config, &clock);
    let settings = Settings { window: 1, active_within: 1, commits_kept: 1, watch_queue: 1 };
    let store = Arc::new(Store::new(vec![Arc::clone(&cluster)], clock, settings));
    let writer = SourceWriter::own(&store, &cluster);
    let listener = |shards| {
        let identity = Arc::new(Identity::new(CancellationToken::new()));
        Listener::new((writer.clone(), Arc::clone(&log)), connector.clone(), identity, shards).unwrap()
    };
    let first = listener(ExistingShards::Reload);
    assert_eq!((first.started, first.reloading.len()), (0, 0));
    (0..3).for_each(|number| writer.publish(&writer.new_shard(number)));
    let again = listener(ExistingShards::Reload);
    assert_eq!(again.started, 3, "the published shards are not replaced by empty ones");
    assert!(again.reloading.len() == 3 && again.reloading.values().all(Option::is_none), "all are loaded again");
    assert_eq!(cluster.own.shards().len(), 3);
    let continued = listener(ExistingShards::Continue);
    assert!(
        continued.started == 3 && continued.reloading.is_empty() && continued.renew_clients,
        "none is loaded again"
    );
}
