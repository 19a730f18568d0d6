use super::*;
use crate::{
    clock::Clock,
    config::{Config, Flags, Layers},
    model::Revision,
    source::kafka::Log,
    store::{cluster::Fault, source::LoadPhase, writer::SourceWriter},
};

fn open(clock: &Clock) -> Arc<Cluster> {
    let flags = Flags { bootstrap_servers: Some("h:1".to_owned()), ..Flags::default() };
    let layers = Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
    Log::open(Config::load(layers).unwrap().config.clusters.remove(0), clock).0
}

#[test]
fn progress_is_unknown_until_all_partitions_are_known_and_never_decreases() {
    let clock = Clock::manual(0);
    let cluster = open(&clock);
    let settings = *crate::history::tests::lab(1).store.settings();
    let store = Arc::new(Store::new(vec![Arc::clone(&cluster)], clock.clone(), settings));
    let writer = SourceWriter::own(&store, &cluster);
    let phase = || cluster.own.load_phase(&cluster.ends.current());
    let refused = || store.check_loaded(&cluster).unwrap_err().to_string();
    cluster.succeeded(&clock);
    assert_eq!((cluster.own.progress(), phase()), (None, LoadPhase::Partitions));
    // The number of partitions is known, but nothing of them: neither "0 of 0" nor 100 %.
    cluster.set_health(|health| health.shards = Some(2));
    assert_eq!((cluster.own.progress(), phase()), (None, LoadPhase::Partitions));
    assert!(refused().ends_with("is not loaded yet: requesting the partitions of __consumer_offsets"), "{}", refused());
    // The first of two partitions is read completely: of the whole, nothing is known.
    let load = |number, first, target, applied| {
        let shard = writer.new_shard(number);
        shard.target(Revision(first), Revision(target), 1);
        shard.reached(Revision(applied));
        writer.publish(&shard);
    };
    load(0, 0, 100, 100);
    assert_eq!((cluster.own.progress(), cluster.own.remaining(10)), (None, None));
    load(1, 0, 300, 100);
    clock.advance(10_000);
    assert_eq!((cluster.own.progress(), phase()), (Some(0.5), LoadPhase::Log(0.5)));
    assert_eq!(refused(), "cluster \"default\" is not loaded yet: 50 % of the log read, about 11 s left");
    assert!(describe(&cluster, &cluster.health()).ends_with(": 50 % of the log read"));
    // A partition is read again, and one is added.
    load(1, 0, 300, 0);
    assert_eq!(cluster.own.progress(), Some(0.5));
    cluster.set_health(|health| health.shards = Some(3));
    assert_eq!(cluster.own.progress(), Some(0.5));
    load(2, 0, 0, 0);
    load(1, 0, 300, 299);
    assert_eq!(phase().to_string(), "99 % of the log read");
    load(1, 0, 300, 300);
    assert_eq!((cluster.own.progress(), phase()), (Some(1.0), LoadPhase::LogEnds));
    assert!(refused().ends_with("is not loaded yet: log read; requesting log ends"), "{}", refused());
    writer.loaded();
    assert_eq!((cluster.own.progress(), phase()), (Some(1.0), LoadPhase::Loaded));
}

#[test]
fn an_unanswered_cluster_is_awaited_with_the_reason() {
    let clock = Clock::manual(0);
    let cluster = open(&clock);
    let state = || super::sources(&cluster.own, &cluster.health(), &cluster.ends.current()).remove(0);
    // Brokers answer, but it is not known yet whether the topic exists.
    cluster.succeeded(&clock);
    assert!(describe(&cluster, &cluster.health()).ends_with("requesting the partitions of __consumer_offsets"));
    assert_eq!((state().state, state().behind()), ("loading", None));
    cluster.set_fault(Fault::Describe, Some("not authorized".to_owned()), &clock);
    assert!(describe(&cluster, &cluster.health()).ends_with("not authorized"));
    assert_eq!((state().state, state().last_error.as_deref()), ("failing", Some("not authorized")));
}
