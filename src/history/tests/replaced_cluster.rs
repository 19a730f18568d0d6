//! Tests of a Kafka cluster that is replaced by another one at the same address.

use super::*;

#[test]
fn a_new_cluster_drops_all_data_and_continues_the_sample_numbers() {
    let mut lab = lab(usize::MAX);
    lab.topics(&[("orders", 1)]);
    lab.end("orders", 0, 10);
    lab.commit("g", KEY, 4);
    lab.sample();
    lab.commit("g", KEY, 5);
    lab.sample();
    let cluster = lab.cluster();
    let next = cluster.own.samples.current().next();
    lab.store.forget(&cluster, "another cluster answers".to_owned());
    let cut = pin(&cluster, &cluster.own);
    assert_eq!((cut.health.ready, cut.health.last_error.as_deref()), (false, Some("another cluster answers")));
    assert!(cut.shards.is_empty() && cut.ends.topic("orders").is_none() && cut.windows.groups.is_empty());
    assert!(cut.samples.is_empty() && cut.samples.groups.is_empty() && cut.samples.topics.is_empty());
    assert_eq!(cut.samples.next(), next);

    // A group and a topic of the same names start with no samples.
    let writer = SourceWriter::own(&lab.store, &cluster);
    lab.shard = writer.new_shard(0);
    writer.publish(&lab.shard);
    cluster.set_health(|health| (health.ready, health.reachable) = (true, true));
    lab.topics(&[("orders", 1)]);
    lab.end("orders", 0, 1000);
    lab.commit("g", KEY, 900);
    lab.sample();
    assert_eq!((lab.committed("g", KEY), lab.lags("g", KEY)), (vec![Some(900)], vec![Some(Some(100))]));
    assert!(cluster.own.samples.current().changes.is_empty());
}
