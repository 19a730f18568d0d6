//! Changes that brokers make to `__consumer_offsets` on their own: expiry, cleaning, leader changes.

use std::time::Duration;

use serde_json::json;

use super::broker::{Broker, Cluster, Release};
use super::compare::{between_while_moving, equal_at_rest, equal_once_ready};
use super::driver::{Driver, rows};
use super::faults::{cluster, is, serve};
use super::{consume, rows_of};
use crate::process::wait_for;
use crate::server::Server;

const LIMIT: Duration = Duration::from_secs(120);
/// One log partition that is cleaned continuously, and tombstones that are removed soon.
const CLEANED: &str = "offsets.topic.num.partitions=1
offsets.topic.segment.bytes=1048576
log.cleaner.backoff.ms=50
log.cleaner.min.cleanable.ratio=0.001
log.cleaner.delete.retention.ms=1
";

fn label(when: &str) -> String {
    format!("Kafka 4.1, {when}")
}

/// Appends more than a segment of commits for a few keys.
fn bulk(driver: &mut Driver, offset: i64) {
    driver.ask(&json!({"do": "append", "group": "bulk", "topic": "orders", "partitions": 10, "rounds": 2_000,
        "offset": offset}));
}

#[test]
fn offsets_that_expire_are_gone() {
    let mut broker = Broker::started_with(Release::of("4.1"), "offsets.retention.check.interval.ms=200\n");
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 2, 10);
    driver.alter("kept", "orders", 0, 1, "");
    let ten_days = 10 * 24 * 3600 * 1000_i64;
    for (group, age) in [("expires", ten_days), ("stays", 0)] {
        let append =
            json!({"do": "append", "group": group, "topic": "orders", "partitions": 2, "offset": 3, "age_ms": age});
        driver.ask(&append);
    }
    let server = Server::serve(&broker.bootstrap_servers());
    assert_eq!(rows_of(&server, "offsets", "expires"), 2, "expiry is not guessed");
    // The coordinator knows these offsets only after it has loaded the log.
    broker.stop();
    broker.start();
    wait_for("the expiry", LIMIT, || {
        let state = driver.state()?;
        let groups = super::driver::rows(&state, "groups").iter();
        if groups.clone().any(|group| group["group_id"] == "expires") { Err("still there".to_owned()) } else { Ok(()) }
    });
    equal_at_rest(&label("offsets expired"), &mut driver, &server);
    assert_eq!((rows_of(&server, "offsets", "expires"), rows_of(&server, "offsets", "stays")), (0, 2));
    server.stop_cleanly();
}

#[test]
fn a_log_that_is_cleaned_while_it_is_loaded_is_loaded_right() {
    let mut broker = Broker::started_with(Release::of("4.1"), CLEANED);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 10, 5);
    driver.alter("kept", "orders", 0, 1, "");
    let mut written = 0;
    for round in 0..3 {
        bulk(&mut driver, round * 2_000);
        written += 20_000;
        let server = Server::serve(&broker.bootstrap_servers());
        bulk(&mut driver, round * 2_000 + 1_000);
        written += 20_000;
        let last =
            "SELECT min(committed_offset) AS low, max(committed_offset) AS high FROM offsets WHERE group_id = 'bulk'";
        let expected = json!([{"low": round * 2_000 + 2_999, "high": round * 2_000 + 2_999}]);
        wait_for("the last commits", LIMIT, || {
            let found = serde_json::Value::from(server.try_sql(last)?);
            if found == expected { Ok(()) } else { Err(found.to_string()) }
        });
        server.stop_cleanly();
    }
    broker.stop();
    broker.start();
    let server = Server::serve(&broker.bootstrap_servers());
    equal_once_ready(&label("cleaned while it was loaded"), &mut driver, &server);
    let read = server.sql_value("SELECT sum(records) FROM sources").as_i64().unwrap();
    assert!(read < written / 2, "{read} of {written} records: the log was not cleaned, so nothing is tested");
    server.stop_cleanly();
}

#[test]
fn a_reader_that_stood_still_for_longer_than_tombstones_last_keeps_no_ghost() {
    let broker = Broker::started_with(Release::of("4.1"), CLEANED);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 10, 5);
    for group in ["ghost", "kept"] {
        driver.alter(group, "orders", 0, 1, "");
        driver.alter(group, "orders", 1, 2, "");
    }
    let config = format!("{}reload_after = \"1s\"\n", cluster(&broker));
    let (_config, mut server) = serve(&config);
    server.wait_ready();
    assert_eq!(rows_of(&server, "offsets", "ghost"), 2);

    server.pause();
    // This record answers the fetch that the reader has already sent.
    driver.alter("kept", "orders", 0, 3, "");
    driver.ask(&json!({"do": "delete_group", "group": "ghost"}));
    let mut round = 0;
    wait_for("the tombstones to be cleaned away", LIMIT, || {
        bulk(&mut driver, round);
        round += 1;
        let fresh = Server::serve(&broker.bootstrap_servers());
        let left = fresh.sql_value("SELECT sum(tombstones) FROM sources");
        fresh.stop_cleanly();
        if left == 0 { Ok(()) } else { Err(format!("{left} left")) }
    });
    server.resume();
    wait_for("the ghost to be removed", LIMIT, || {
        let rows = server.try_sql("SELECT group_id FROM offsets WHERE group_id = 'ghost'")?;
        if rows.is_empty() { Ok(()) } else { Err(format!("{rows:?}")) }
    });
    assert_eq!((rows_of(&server, "offsets", "kept"), rows_of(&server, "offsets", "bulk")), (2, 10));
    server.stop_cleanly();
}

#[test]
fn leaders_that_change_and_a_broker_that_is_down_lose_nothing() {
    let release = Release::of("4.1");
    let mut cluster = Cluster::started(release);
    let mut driver = Driver::at(release, &cluster.bootstrap_servers());
    for topic in ["orders", "payments"] {
        driver.ask(&json!({"do": "create", "topic": topic, "partitions": 6, "replicas": 3}));
        driver.ask(&json!({"do": "produce", "topic": topic, "records": 20}));
    }
    let topics = json!(["orders", "payments"]);
    for (name, group, protocol) in
        [("c-1", "classic", "classic"), ("c-2", "classic", "classic"), ("n-1", "new", "consumer")]
    {
        consume(&mut driver, json!({"name": name, "group": group, "topics": topics, "protocol": protocol}));
    }
    for number in 0..20 {
        driver.alter(&format!("admin {number}"), "orders", number % 6, 3, "");
    }
    let consuming = [("classic", 2), ("new", 1)];
    driver.wait_caught_up(&consuming);
    let server = Server::serve(&cluster.bootstrap_servers());
    equal_once_ready(&label("three brokers"), &mut driver, &server);
    assert_eq!(server.sql_value("SELECT brokers FROM clusters"), 3);

    for (number, crash) in [(1, true), (2, false)] {
        driver.ask(&json!({"do": "traffic", "name": "traffic", "topics": topics}));
        match crash {
            true => cluster.0[number].kill(),
            false => cluster.0[number].stop(),
        }
        driver.stop("traffic");
        driver.wait_caught_up(&consuming);
        equal_at_rest(&label("one broker of three down"), &mut driver, &server);
        driver.ask(&json!({"do": "traffic", "name": "traffic", "topics": topics}));
        between_while_moving(&label("commits with one broker down"), &mut driver, &server);
        // Leaders move back to this broker during commits.
        cluster.0[number].start();
        driver.stop("traffic");
        driver.wait_caught_up(&consuming);
        equal_at_rest(&label("three brokers again"), &mut driver, &server);
    }
    server.stop_cleanly();
    a_partition_without_a_leader_has_an_unknown_end_however_seldom_ends_are_asked_for(&mut cluster, &mut driver);
}

fn a_partition_without_a_leader_has_an_unknown_end_however_seldom_ends_are_asked_for(
    cluster: &mut Cluster,
    driver: &mut Driver,
) {
    // One partition per broker.
    driver.topic("single", 3, 50);
    for partition in 0..3 {
        driver.alter("g", "single", partition, 10, "");
    }
    let state = driver.state().unwrap();
    let leader = |row: &&serde_json::Value| row["topic"] == "single" && row["leader"] == 2;
    let lost = rows(&state, "partitions").iter().find(leader).expect("a partition on broker 2")["partition"].clone();
    let lag = "[lag]\npoll_interval = \"1h\"\nstart_interval = \"1h\"\nmetadata_interval = \"1s\"\n";
    let config = format!("{lag}[clusters.c]\nbootstrap_servers = {:?}\n", cluster.bootstrap_servers());
    let (_config, mut server) = serve(&config);
    server.wait_ready();
    let row = format!(
        "SELECT lag, log_end_offset, lag_unknown, status FROM lag WHERE topic = 'single' AND partition = {lost}"
    );
    let known = json!([{"lag": 40, "log_end_offset": 50, "lag_unknown": null, "status": "ok"}]);
    let unknown = json!([{"lag": null, "log_end_offset": null, "lag_unknown": "end_unknown", "status": "unknown"}]);
    wait_for("the end of the partition", LIMIT, || is(&server, &row, known.clone()));
    cluster.0[1].kill();
    wait_for("an unknown end", LIMIT, || is(&server, &row, unknown.clone()));
    let others = "SELECT DISTINCT lag, status FROM lag WHERE topic = 'single' AND lag IS NOT NULL";
    assert_eq!(serde_json::Value::from(server.sql(others)), json!([{"lag": 40, "status": "ok"}]));
    cluster.0[1].start();
    wait_for("the end to be known again", LIMIT, || is(&server, &row, known.clone()));
    server.stop_cleanly();
}
