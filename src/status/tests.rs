use super::*;
use crate::{
    clock::Clock,
    config::{Config, Flags, Layers},
    source::kafka::Log,
    store::cluster::Fault,
};

#[test]
fn an_unanswered_cluster_is_awaited_with_the_reason() {
    let flags = Flags { bootstrap_servers: Some("h:1".to_owned()), ..Flags::default() };
    let layers = Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
    let clock = Clock::manual(0);
    let (cluster, _) = Log::open(Config::load(layers).unwrap().config.clusters.remove(0), &clock);
    let state = || super::sources(&cluster.own, &cluster.health(), &cluster.ends.current()).remove(0);
    // Brokers answer, but it is not known yet whether the topic exists.
    cluster.succeeded(&clock);
    let words = "brokers have not answered yet whether topic __consumer_offsets exists";
    assert!(describe(&cluster, &cluster.health()).ends_with(words));
    assert_eq!((state().state, state().behind()), ("loading", None));
    cluster.set_fault(Fault::Describe, Some("not authorized".to_owned()), &clock);
    assert!(describe(&cluster, &cluster.health()).ends_with("not authorized"));
    assert_eq!((state().state, state().last_error.as_deref()), ("failing", Some("not authorized")));
}
