//! Another Kafka cluster behind the same address.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::broker::{Broker, CLUSTER_ID, Release};
use super::compare::equal_at_rest;
use super::driver::Driver;
use super::faults::{cluster, is, serve};
use crate::process::wait_for;
use crate::server::Server;

const LIMIT: Duration = Duration::from_secs(90);
/// Settings for polls that are rare by default: log starts and stable offsets, which are compared too, and samples.
const OFTEN: &str = "[lag]\nstart_interval = \"1s\"\nsample_interval = \"1s\"\n[history]\nstep = \"1s\"\n";
const OTHER_ID: &str = "b2Zmc2V0ZC10ZXN0LXR3bw";
const THIRD_ID: &str = "b2Zmc2V0ZC10ZXN0LXRyZQ";

/// Creates a topic with this number of records per partition, and groups with one commit each at offset 4.
fn fill(driver: &mut Driver, groups: &[String], records: i32) {
    driver.topic("orders", 2, records);
    for group in groups {
        driver.alter(group, "orders", 1, 4, "");
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

/// Queries offsets with their lag continuously during `work`. Each answer must belong to one cluster: all group ids
/// begin with the same letter, and the log end matches it.
fn while_never_mixed(server: &Server, clusters: &[(&str, i64)], work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    let is_of_one = |rows: &[Value]| {
        clusters.iter().any(|(prefix, end)| {
            rows.iter().all(|row| {
                let known = &row["log_end_offset"];
                row["group_id"].as_str().unwrap().starts_with(prefix) && (known.is_null() || known == end)
            })
        })
    };
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut answers = 0;
            while !done.load(Ordering::Relaxed) {
                // While a cluster is being loaded, queries are refused.
                if let Ok(rows) = server.try_sql("SELECT group_id, log_end_offset FROM lag") {
                    assert!(is_of_one(&rows), "of two clusters: {rows:?}");
                    answers += 1;
                }
                thread::yield_now();
            }
            answers
        });
        struct SetOnDrop<'a>(&'a AtomicBool);
        impl Drop for SetOnDrop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let ended = SetOnDrop(&done);
        work();
        drop(ended);
        assert!(reader.join().unwrap() > 10, "too few answers to tell");
    });
}

fn wait_groups(server: &Server, groups: &[String]) {
    let mut groups = groups.to_vec();
    groups.sort();
    let expected: Vec<Value> = groups.iter().map(|group| json!({"group_id": group})).collect();
    let shown = "SELECT group_id FROM groups ORDER BY group_id";
    wait_for("the groups of the cluster that answers now", LIMIT, || is(server, shown, Value::from(expected.clone())));
}

/// Starts a 4.1 broker with the groups g0 to g9 and leader epochs above those of a new cluster, and a server that has
/// loaded it.
fn first_cluster() -> (Broker, Driver, (TempDir, Server)) {
    let mut broker = Broker::started(Release::of("4.1"));
    let mut driver = Driver::of(&broker);
    fill(&mut driver, &names("g", 10), 10);
    for _ in 0..2 {
        broker.stop();
        broker.start();
    }
    let (config, mut server) = serve(&format!("{OFTEN}{}", cluster(&broker)));
    server.wait_ready();
    (broker, driver, (config, server))
}

#[test]
fn another_cluster_at_the_same_address_takes_the_place_of_the_one_before_without_a_mixture() {
    let (mut broker, mut driver, (_config, server)) = first_cluster();
    equal_at_rest("Kafka 4.1, the first cluster", &mut driver, &server);
    driver.alter("g0", "orders", 1, 4, "live");
    let kept = "SELECT count(*) > 0 AS some FROM history WHERE group_id = 'g0'";
    wait_for("samples of the first cluster", LIMIT, || is(&server, kept, json!([{"some": true}])));
    drop(driver);

    let new = names("h", 20);
    while_never_mixed(&server, &[("g", 10), ("h", 30)], || {
        broker.stop();
        broker.reformat(OTHER_ID, "offsets.topic.num.partitions=7\n");
        broker.start();
        fill(&mut Driver::of(&broker), &new, 30);
        wait_groups(&server, &new);
    });
    let mut driver = Driver::of(&broker);
    equal_at_rest("Kafka 4.1, another cluster with fewer log partitions", &mut driver, &server);
    assert_eq!(server.sql_value("SELECT cluster_id FROM clusters"), OTHER_ID);
    for table in ["commits", "history", "status_changes"] {
        let of_old = format!("SELECT count(*) FROM {table} WHERE group_id LIKE 'g%'");
        assert_eq!(server.sql_value(&of_old), 0, "{table} of the previous cluster");
    }
    // New records are read.
    driver.alter("h late", "orders", 0, 9, "");
    equal_at_rest("Kafka 4.1, another cluster, after a further commit", &mut driver, &server);
    drop(driver);

    // A cluster without groups, and so without `__consumer_offsets`.
    broker.stop();
    broker.reformat(THIRD_ID, "offsets.topic.num.partitions=50\n");
    broker.start();
    let state = "SELECT cluster_id, ready, reachable, last_error FROM clusters";
    let fresh = json!([{"cluster_id": THIRD_ID, "ready": true, "reachable": true, "last_error": null}]);
    wait_for("the fresh cluster", LIMIT, || is(&server, state, fresh.clone()));
    let mut driver = Driver::of(&broker);
    equal_at_rest("Kafka 4.1, a fresh cluster", &mut driver, &server);
    fill(&mut driver, &names("i", 3), 5);
    equal_at_rest("Kafka 4.1, no longer fresh, and more log partitions", &mut driver, &server);
    server.stop_cleanly();
}

#[test]
fn a_cluster_that_was_wiped_and_keeps_its_id_is_read_anew() {
    let (mut broker, mut driver, (_config, server)) = first_cluster();
    equal_at_rest("Kafka 4.1, before", &mut driver, &server);
    drop(driver);
    broker.stop();
    broker.reformat(CLUSTER_ID, "");
    broker.start();
    let new = names("h", 20);
    let mut driver = Driver::of(&broker);
    fill(&mut driver, &new, 30);
    wait_groups(&server, &new);
    equal_at_rest("Kafka 4.1, wiped", &mut driver, &server);
    server.stop_cleanly();
}
