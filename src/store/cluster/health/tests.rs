use super::*;
use crate::config::{Config, Flags, Sources};

fn cluster(clock: &Clock) -> Cluster {
    let flags = Flags { bootstrap_servers: Some("h:1".to_owned()), ..Flags::default() };
    let sources = Sources { flags: &flags, env: &BTreeMap::new(), check_property: None };
    Cluster::new(Config::load(sources).unwrap().config.clusters.remove(0), clock)
}

#[test]
fn a_missing_right_makes_a_cluster_stale_and_not_ready_whatever_brokers_answer() {
    let clock = Clock::manual(5);
    let cluster = cluster(&clock);
    cluster.succeeded(&clock);
    cluster.set_health(|health| health.ready = true);
    cluster.set_fault(Fault::Read, Some("may not read".to_owned()), &clock);
    cluster.set_fault(Fault::Describe, Some("may not describe".to_owned()), &clock);
    cluster.succeeded(&clock);
    let health = cluster.health();
    assert!(!health.ready && health.reachable && health.is_refused());
    assert_eq!((health.last_error.as_deref(), health.stale_since), (Some("may not describe"), Some(clock.now())));

    cluster.failed("away".to_owned(), &clock);
    cluster.set_fault(Fault::Describe, None, &clock);
    assert_eq!(cluster.health().last_error.as_deref(), Some("poller: away"), "out of reach: that comes first");
    cluster.succeeded(&clock);
    assert_eq!(cluster.health().last_error.as_deref(), Some("may not read"));

    cluster.set_fault(Fault::Read, None, &clock);
    let health = cluster.health();
    assert_eq!((health.last_error.as_deref(), health.stale_since, health.failing_since), (None, None, None));
    assert!(!health.ready, "until the readers have caught up");
}

#[test]
fn a_part_neither_clears_nor_replaces_the_error_of_another() {
    let clock = Clock::manual(5);
    let cluster = cluster(&clock);
    let shown = || cluster.health().last_error.clone();
    assert_eq!(shown().as_deref(), Some("not connected yet"));
    cluster.succeeded(&clock);
    assert_eq!(shown(), None);
    cluster.set_fault(Fault::Start, Some("log partition 3: no leader".to_owned()), &clock);
    // The poller goes on to reach the cluster.
    cluster.succeeded(&clock);
    assert_eq!(shown().as_deref(), Some("listener: log partition 3: no leader"));
    assert!(cluster.health().failing_since.is_some());
    cluster.failed("connection refused".to_owned(), &clock);
    assert_eq!(shown().as_deref(), Some("poller: connection refused"), "the worst is shown");
    cluster.succeeded(&clock);
    assert_eq!(shown().as_deref(), Some("listener: log partition 3: no leader"));
    cluster.set_fault(Fault::Start, None, &clock);
    assert_eq!((shown(), cluster.health().failing_since), (None, None));
}
