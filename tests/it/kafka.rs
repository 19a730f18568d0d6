//! Tests on real Kafka brokers: offsetd's answers equal those of Kafka's own AdminClient, row by row.
//!
//! Every test runs on each release in `tests/broker/versions`, with a broker of its own. Only states that are not in
//! `__consumer_offsets` are left out (see `facts.rs`).

// Defined above the modules, because they use it, too.
macro_rules! on_each_release {
    ($($test:ident)*) => {
        mod release_4_1 { $(#[test] fn $test() { super::$test(super::Release::of("4.1")) })* }
        mod release_3_9 { $(#[test] fn $test() { super::$test(super::Release::of("3.9")) })* }
    };
}

mod admin;
mod audit;
pub(crate) mod broker;
mod compare;
mod doctor;
pub(crate) mod driver;
mod facts;
pub(crate) mod faults;
mod groups;
mod growth;
mod identity;
mod lag;
mod log;
mod login;
mod oauth;
mod proxy;
mod rights;
mod time;
mod transactions;

use std::time::Duration;

use serde_json::{Value, json};

use self::broker::{Broker, Release};
use self::compare::{between_while_moving, equal_at_rest, equal_once_ready};
use self::driver::Driver;
use crate::process::wait_for;
use crate::program::{offsetd, stdout};
use crate::server::Server;

const LIMIT: Duration = Duration::from_secs(90);

on_each_release! {
    every_row_equals_adminclient_at_rest_and_while_commits_go_on
    deleted_offsets_and_groups_leave_no_row
    an_aborted_commit_never_shows_and_a_committed_one_does
    an_outage_is_served_stale_and_recovered_from
    a_server_without_its_broker_is_not_ready_until_the_broker_comes
    a_fresh_cluster_is_ready_and_empty_and_not_written_to
    decode_reads_the_whole_log_without_aborted_commits_and_writes_nothing
}

fn every_row_equals_adminclient_at_rest_and_while_commits_go_on(release: Release) {
    let broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    let consuming = consumers_of_every_kind(release, &mut driver);
    commits_of_every_kind(&mut driver);
    driver.wait_caught_up(&consuming);

    let label = |when: &str| format!("Kafka {}, {when}", release.version());
    let server = Server::serve(&broker.bootstrap_servers());
    equal_once_ready(&label("loaded"), &mut driver, &server);

    driver.ask(&json!({"do": "traffic", "name": "traffic", "topics": ["orders", "a.b-c_d"]}));
    between_while_moving(&label("during commits"), &mut driver, &server);
    driver.stop("traffic");
    driver.wait_caught_up(&consuming);
    equal_at_rest(&label("commits ended"), &mut driver, &server);

    let answer = server.sql_value("SELECT cluster_id FROM clusters");
    assert_eq!(answer, driver.state().unwrap()["cluster_id"]);
    server.stop_cleanly();
}

/// Starts groups of real consumers; returns them with their numbers of members.
fn consumers_of_every_kind(release: Release, driver: &mut Driver) -> Vec<(&'static str, usize)> {
    driver.topic("orders", 3, 50);
    driver.topic("a.b-c_d", 2, 20);
    driver.topic("idle", 1, 1);
    let both = json!(["orders", "a.b-c_d"]);
    for command in [
        json!({"name": "range-1", "group": "range", "topics": both}),
        json!({"name": "range-2", "group": "range", "topics": both}),
        json!({"name": "klient ä", "group": "cooperative group", "topics": both, "assignor": "cooperative-sticky"}),
        json!({"name": "static-1", "group": "static", "topics": ["orders"], "instance_id": "instance.1"}),
        json!({"name": "static-2", "group": "static", "topics": ["orders"], "instance_id": "instance_2"}),
        // One more member than partitions: a member without any.
        json!({"name": "spare-1", "group": "spare", "topics": ["idle"], "assignor": "roundrobin"}),
        json!({"name": "spare-2", "group": "spare", "topics": ["idle"], "assignor": "roundrobin"}),
    ] {
        consume(driver, command);
    }
    let mut groups = vec![("range", 2), ("cooperative group", 1), ("static", 2), ("spare", 2)];
    if release.version().starts_with("4.") {
        consume(driver, json!({"name": "new-1", "group": "kip-848", "topics": both, "protocol": "consumer"}));
        groups.push(("kip-848", 1));
    }
    groups
}

/// Commits offsets without members: by manual assignment and by an administrator, with all characters that names may
/// contain.
fn commits_of_every_kind(driver: &mut Driver) {
    driver.ask(&json!({"do": "commit", "group": "manual", "offsets": [
        {"topic": "orders", "partition": 0, "offset": 7, "leader_epoch": 0, "metadata": "by hand"},
        {"topic": "a.b-c_d", "partition": 1, "offset": 20}]}));
    // The last is a string for which Java's Math.abs(hash) is negative; the first is the default of older clients.
    for group in ["", "grüp", "消费者", "😀", " two  spaces ", "a/b:c\n\"d\"'e'", "polygenelubricants"] {
        driver.alter(group, "orders", 1, 11, "métadonnées 😀 \"quoted\"\n");
    }
    // The maximum that a broker accepts: it counts UTF-16 units.
    driver.alter("4 KiB of metadata", "orders", 0, 1, &"m".repeat(4096));
    driver.alter("8 KiB of metadata", "orders", 0, 2, &"ä".repeat(4096));
    // Below the log start, and at zero.
    driver.alter("below the start", "orders", 2, 5, "");
    driver.alter("below the start", "idle", 0, 0, "");
    driver.ask(&json!({"do": "delete_records", "topic": "orders", "partition": 2, "before": 20}));
    // A consumer that has left: an empty classic group.
    consume(driver, json!({"name": "gone-1", "group": "gone", "topics": ["idle"]}));
    driver.wait_caught_up(&[("gone", 1)]);
    driver.stop("gone-1");
}

fn deleted_offsets_and_groups_leave_no_row(release: Release) {
    let broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 2, 10);
    for group in ["kept", "loses an offset", "löst sich auf"] {
        driver.alter(group, "orders", 0, 3, "");
        driver.alter(group, "orders", 1, 4, "");
    }
    consume(&mut driver, json!({"name": "classic-1", "group": "classic", "topics": ["orders"]}));
    driver.wait_caught_up(&[("classic", 1)]);
    driver.stop("classic-1");
    let label = |when: &str| format!("Kafka {}, {when}", release.version());
    let server = Server::serve(&broker.bootstrap_servers());
    equal_once_ready(&label("before deletions"), &mut driver, &server);

    let partition = json!([{"topic": "orders", "partition": 1}]);
    driver.ask(&json!({"do": "delete_offsets", "group": "loses an offset", "offsets": partition}));
    equal_at_rest(&label("an offset deleted"), &mut driver, &server);
    assert_eq!(rows_of(&server, "offsets", "loses an offset"), 1);

    for group in ["löst sich auf", "classic"] {
        driver.ask(&json!({"do": "delete_group", "group": group}));
    }
    // New topics and partitions are noticed as well.
    driver.topic("late", 1, 5);
    driver.ask(&json!({"do": "grow", "topic": "late", "partitions": 3}));
    driver.alter("late", "late", 2, 0, "");
    equal_at_rest(&label("groups deleted, a topic added"), &mut driver, &server);
    for group in ["löst sich auf", "classic"] {
        assert_eq!(rows_of(&server, "offsets", group) + rows_of(&server, "groups", group), 0, "{group}");
    }
    server.stop_cleanly();

    let server = Server::serve(&broker.bootstrap_servers());
    equal_once_ready(&label("tombstones loaded"), &mut driver, &server);
    server.stop_cleanly();
}

fn an_aborted_commit_never_shows_and_a_committed_one_does(release: Release) {
    let broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 1, 10);
    driver.alter("both", "orders", 0, 1, "");
    transaction(&mut driver, "early", "aborted early", 5, false);
    let server = Server::serve(&broker.bootstrap_servers());
    let label = |when: &str| format!("Kafka {}, {when}", release.version());

    transaction(&mut driver, "t1", "committed", 6, true);
    transaction(&mut driver, "t2", "aborted", 7, false);
    transaction(&mut driver, "t3", "both", 8, true);
    transaction(&mut driver, "t3", "both", 9, false);
    equal_at_rest(&label("transactions ended"), &mut driver, &server);
    assert_eq!(rows_of(&server, "offsets", "committed"), 1);
    // The offset is never shown, not even for a moment: the ring of commits would contain it.
    for group in ["aborted early", "aborted"] {
        let shown = rows_of(&server, "offsets", group) + rows_of(&server, "commits", group);
        assert_eq!(shown, 0, "{group}");
    }
    let seen = server.sql("SELECT committed_offset FROM commits WHERE group_id = 'both'");
    assert_eq!(Value::from(seen), json!([{"committed_offset": 8}]));
    server.stop_cleanly();
}

fn an_outage_is_served_stale_and_recovered_from(release: Release) {
    let mut broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 2, 10);
    consume(&mut driver, json!({"name": "member-1", "group": "members", "topics": ["orders"]}));
    driver.alter("admin", "orders", 1, 4, "before");
    driver.wait_caught_up(&[("members", 1)]);
    let server = Server::serve(&broker.bootstrap_servers());
    let label = |when: &str| format!("Kafka {}, {when}", release.version());
    equal_once_ready(&label("before outages"), &mut driver, &server);

    for (outage, crash) in [("crash", true), ("restart", false)] {
        let offsets = "SELECT group_id, topic, partition, committed_offset FROM offsets ORDER BY 1, 2, 3";
        let before = server.sql(offsets);
        if crash {
            broker.kill()
        } else {
            broker.stop()
        }
        wait_reachable(&server, false);
        assert_eq!(server.sql(offsets), before, "served during the outage");
        assert_eq!(server.get("/livez").status, 200);

        broker.start();
        wait_reachable(&server, true);
        driver.alter("admin", "orders", 1, 6, outage);
        driver.wait_caught_up(&[("members", 1)]);
        equal_at_rest(&label(&format!("after a {outage}")), &mut driver, &server);
    }
    server.stop_cleanly();
}

fn a_server_without_its_broker_is_not_ready_until_the_broker_comes(release: Release) {
    let mut broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 1, 10);
    driver.alter("admin", "orders", 0, 4, "");
    broker.stop();

    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("offsetd.toml");
    let text = format!("[clusters.east]\nbootstrap_servers = {:?}\n", broker.bootstrap_servers());
    std::fs::write(&config, text).unwrap();
    let mut server = Server::start(&["serve", "--config", config.to_str().unwrap()]);
    let answer = server.get("/readyz");
    assert_eq!(answer.status, 503, "{answer:?}");
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert!(body.to_string().contains("east"), "the cluster must be named: {body}");

    broker.start();
    server.wait_ready();
    wait_reachable(&server, true);
    let label = format!("Kafka {}, broker came late", release.version());
    equal_at_rest(&label, &mut driver, &server);
    server.stop_cleanly();
}

fn a_fresh_cluster_is_ready_and_empty_and_not_written_to(release: Release) {
    let broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 2, 10);
    let server = Server::serve(&broker.bootstrap_servers());
    let label = |when: &str| format!("Kafka {}, {when}", release.version());
    equal_once_ready(&label("fresh"), &mut driver, &server);
    assert_eq!(server.sql_value("SELECT count(*) FROM offsets"), 0);
    assert_eq!(server.sql_value("SELECT count(*) FROM groups"), 0);
    let state = driver.state().unwrap();
    let internal = |p: &Value| p["topic"] == "__consumer_offsets";
    assert!(!driver::rows(&state, "partitions").iter().any(internal), "reading created the topic");

    consume(&mut driver, json!({"name": "first-1", "group": "first", "topics": ["orders"]}));
    driver.wait_caught_up(&[("first", 1)]);
    equal_at_rest(&label("first group"), &mut driver, &server);
    assert_eq!(rows_of(&server, "offsets", "first"), 2);
    server.stop_cleanly();
}

fn decode_reads_the_whole_log_without_aborted_commits_and_writes_nothing(release: Release) {
    let broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 1, 10);
    let servers = broker.bootstrap_servers();
    let decode = |more: &[&str]| offsetd(&[&["decode", "--bootstrap-servers", &servers], more].concat(), "");
    let records = |more: &[&str]| -> Vec<Value> {
        stdout(&decode(more)).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let fresh = decode(&[]);
    assert_eq!(fresh.status.code(), Some(1), "{fresh:?}");
    let state = driver.state().unwrap();
    let internal = |p: &Value| p["topic"] == "__consumer_offsets";
    assert!(!driver::rows(&state, "partitions").iter().any(internal), "reading created the topic");

    consume(&mut driver, json!({"name": "classic-1", "group": "classic", "topics": ["orders"]}));
    let mut groups = vec![("classic", 1)];
    if release.version().starts_with("4.") {
        consume(&mut driver, json!({"name": "new-1", "group": "new", "topics": ["orders"], "protocol": "consumer"}));
        groups.push(("new", 1));
    }
    driver.wait_caught_up(&groups);
    // The log partition ends with transaction markers, which no reader receives.
    transaction(&mut driver, "t", "transactional", 6, true);
    transaction(&mut driver, "t", "transactional", 7, false);

    let all = records(&[]);
    assert!(all.iter().all(|record| record["error"].is_null() && record["unknown"].is_null()), "{all:?}");
    let of_classic = |record: &&Value| record["key"]["group"] == "classic" && record["type"] == 2;
    assert!(all.iter().filter(of_classic).count() > 0, "{all:?}");
    let committed = |group: &str| -> Vec<Value> {
        records(&["--group", group]).iter().map(|record| record["value"]["offset"].clone()).collect()
    };
    assert_eq!(committed("transactional"), [6]);
    if groups.len() == 2 {
        let kinds: Vec<Value> = records(&["--group", "new"]).iter().map(|record| record["type"].clone()).collect();
        assert!([3, 5, 6, 7, 8, 1].iter().all(|kind| kinds.contains(&json!(kind))), "{kinds:?}");
    }
}

fn consume(driver: &mut Driver, mut command: Value) {
    command["do"] = json!("consume");
    driver.ask(&command);
}

/// Commits an offset of orders/0 in a transaction, and ends the transaction.
fn transaction(driver: &mut Driver, name: &str, group: &str, offset: i64, commit: bool) {
    let offsets = json!([{"topic": "orders", "partition": 0, "offset": offset}]);
    driver.ask(&json!({"do": "begin", "name": name, "group": group, "offsets": offsets}));
    driver.ask(&json!({"do": "end", "name": name, "commit": commit}));
}

fn rows_of(server: &Server, table: &str, group: &str) -> i64 {
    let count = format!("SELECT count(*) FROM {table} WHERE group_id = '{group}'");
    server.sql_value(&count).as_i64().unwrap()
}

/// Waits until the server shows whether its cluster is reachable; an outage must come with an error.
fn wait_reachable(server: &Server, reachable: bool) {
    wait_for(&format!("reachable = {reachable}"), LIMIT, || {
        let clusters = server.try_sql("SELECT reachable, last_error FROM clusters")?;
        match clusters.as_slice() {
            [c] if c["reachable"] == reachable && (reachable || c["last_error"].is_string()) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}
