//! Offsets read with the Admin API, compared with those of the log of the same broker.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::broker::{Broker, Release};
use super::consumers_of_every_kind;
use super::driver::Driver;
use super::faults::{OFTEN, is, serve};
use super::proxy::Proxy;
use crate::mock::MockKafka;
use crate::process::{Process, wait_for};
use crate::server::Server;

on_each_release! { the_admin_api_tells_what_the_log_tells }

const LIMIT: Duration = Duration::from_secs(90);

/// Columns of committed offsets that both modes return.
const OFFSETS: &str = "SELECT group_id, topic, partition, committed_offset, leader_epoch, metadata FROM offsets \
    ORDER BY 1, 2, 3";
const LAG: &str = "SELECT group_id, topic, partition, committed_offset, lag, log_end_offset, member_id, client_id, client_host \
    FROM lag ORDER BY 1, 2, 3";
/// Columns of groups that both modes return, for the protocols that librdkafka describes.
const GROUPS: &str = "SELECT group_id, kind, state, members, topics, partitions, lag FROM groups \
    WHERE kind IN ('classic', 'consumer', 'simple') ORDER BY 1";
const MEMBERS: &str = "SELECT group_id, member_id, client_id, client_host FROM members ORDER BY 1, 2";
/// Columns that the Admin API does not return, by table: they are NULL, as their comments in `columns` state.
const NULL_COLUMNS: [(&str, &[&str]); 3] = [
    ("offsets", &["committed_at", "expires_at", "topic_id", "log_partition", "log_offset"]),
    ("groups", &["epoch", "leader_member_id", "last_committed_at"]),
    (
        "members",
        &[
            "rack_id",
            "session_timeout_ms",
            "rebalance_timeout_ms",
            "member_epoch",
            "state",
            "subscribed_topics",
            "subscribed_topic_regex",
        ],
    ),
];
const LOG: &str = "__consumer_offsets";
const MODE: &str = "SELECT mode FROM clusters";
const ASSIGNMENTS: &str = "SELECT group_id, member_id, topic, partition FROM assignments ORDER BY 1, 2, 3, 4";

const EMPTY: &str = "SELECT kind, state, members FROM groups WHERE group_id = 'kip-848'";

fn mode(mode: &str) -> Value {
    json!([{"mode": mode}])
}

fn with_mode(cluster: &str, mode: &str) -> String {
    format!("{OFTEN}{}", cluster.replacen('\n', &format!("\nmode = \"{mode}\"\n"), 1))
}

fn equal(by_log: &Server, by_admin: &Server, statement: &str) {
    wait_for(statement, LIMIT, || {
        let (left, right) = (by_log.try_sql(statement)?, by_admin.try_sql(statement)?);
        match left == right && !left.is_empty() {
            true => Ok(()),
            false => Err(format!("by the log\n{}\nby the Admin API\n{}", Value::from(left), Value::from(right))),
        }
    });
}

fn the_admin_api_tells_what_the_log_tells(release: Release) {
    let broker = Broker::with_users(release, &["all", "hidden"]);
    let mut driver = Driver::of(&broker);
    for user in ["all", "hidden"] {
        driver.grant(user, "DESCRIBE", "group", "*");
        for topic in ["orders", "a.b-c_d", "idle"] {
            driver.grant(user, "READ", "topic", topic);
        }
    }
    driver.grant("all", "READ", "topic", "*");
    let mut consuming = consumers_of_every_kind(release, &mut driver);
    driver.alter("simple", "orders", 0, 3, "a text");
    driver.wait_caught_up(&consuming);

    let (_log, mut by_log) = serve(&with_mode(&broker.cluster_of_user("all"), "auto"));
    let (_admin, mut by_admin) = serve(&with_mode(&broker.cluster_of_user("all"), "admin"));
    // The log is refused to this user, so offsetd uses the Admin API without being configured to.
    let (_hidden, mut hidden) = serve(&with_mode(&broker.cluster_of_user("hidden"), "auto"));
    for server in [&mut by_log, &mut by_admin, &mut hidden] {
        server.wait_ready();
    }
    wait_for("the log", LIMIT, || is(&by_log, MODE, mode("log")));
    for server in [&by_admin, &hidden] {
        wait_for("the Admin API", LIMIT, || is(server, MODE, mode("admin")));
        for statement in [OFFSETS, LAG, GROUPS, MEMBERS, ASSIGNMENTS] {
            equal(&by_log, server, statement);
        }
    }
    let reason = hidden.sql_value("SELECT mode_reason FROM clusters");
    assert!(reason.as_str().is_some_and(|reason| reason.contains("not authorized")), "{reason}");
    what_is_not_told_is_null_and_said(&by_admin);
    assert!(by_admin.sql_value("SELECT count(observed_at) FROM offsets").as_i64() > Some(0));
    let sources = "SELECT mode, entries = (SELECT count(*) FROM offsets) AS all, forbidden, malformed, \
        read_seconds >= 0 AND interval_seconds > 0 AND last_read_at IS NOT NULL AS told FROM sources";
    let whole = json!([{"mode": "admin", "all": true, "forbidden": 0, "malformed": 0, "told": true}]);
    wait_for("the result of the round", LIMIT, || is(&by_admin, sources, whole.clone()));

    // Changes: a commit, a new group, a deleted offset and a deleted group.
    driver.ask(&json!({"do": "traffic", "name": "traffic", "topics": ["orders", "a.b-c_d"]}));
    driver.alter("new", "orders", 1, 2, "");
    driver.ask(&json!({"do": "delete_group", "group": "simple"}));
    driver.stop("traffic");
    driver.wait_caught_up(&consuming);
    if consuming.iter().any(|(group, _)| *group == "kip-848") {
        driver.stop("new-1");
        consuming.retain(|(group, _)| *group != "kip-848");
        wait_for("the group to be empty", LIMIT, || {
            is(&by_admin, EMPTY, json!([{"kind": "consumer", "state": "Empty", "members": 0}]))
        });
    }
    for statement in [OFFSETS, LAG, GROUPS, MEMBERS] {
        equal(&by_log, &by_admin, statement);
        equal(&by_log, &hidden, statement);
    }
    // With `freshness=latest`, the group is polled immediately.
    driver.alter("new", "orders", 1, 9, "");
    let answer = by_admin.get("/v1/query?group_id=new&topic=orders&partition=1&freshness=latest");
    let entry: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(entry["entry"]["committed_offset"], 9, "{answer:?}");

    half_an_answer_is_marked_and_deletes_nothing(&mut driver, &by_log, &hidden);

    // Brokers omit groups that a user may not describe: this is reported, and deletes nothing.
    driver.revoke("hidden", "DESCRIBE", "group", "*");
    let refused = "SELECT last_error LIKE 'not authorized to describe groups%' AS refused, ready FROM clusters";
    wait_for("the missing right", LIMIT, || is(&hidden, refused, json!([{"refused": true, "ready": false}])));
    driver.grant("hidden", "DESCRIBE", "group", "*");
    let healthy = json!([{"last_error": null, "ready": true}]);
    wait_for("the right to take effect", LIMIT, || {
        is(&hidden, "SELECT last_error, ready FROM clusters", healthy.clone())
    });
    equal(&by_log, &hidden, OFFSETS);
    assert_eq!(
        hidden
            .sql_value("SELECT count(*) FROM commits WHERE kind = 'tombstone' AND group_id NOT IN ('simple', 'half')"),
        0
    );
    for server in [by_log, by_admin, hidden] {
        server.stop_cleanly();
    }
}

fn what_is_not_told_is_null_and_said(server: &Server) {
    for (table, columns) in NULL_COLUMNS {
        let counts: Vec<String> = columns.iter().map(|column| format!("count({column}) AS {column}")).collect();
        let told = server.sql(&format!("SELECT {} FROM {table}", counts.join(", "))).remove(0);
        assert!(told.as_object().unwrap().values().all(|count| count == 0), "{table}: {told}");
        let said = format!(
            "SELECT column_name FROM columns WHERE table_name = '{table}' \
             AND comment LIKE '%; NULL in admin mode' ORDER BY position"
        );
        let mut said: Vec<Value> = server.sql(&said).into_iter().map(|row| row["column_name"].clone()).collect();
        let mut untold: Vec<Value> = columns.iter().map(|column| json!(column)).collect();
        said.sort_by_key(Value::to_string);
        untold.sort_by_key(Value::to_string);
        assert_eq!(said, untold, "{table}");
    }
}

/// Coordinators omit the offsets of topics that the user may not describe.
fn half_an_answer_is_marked_and_deletes_nothing(driver: &mut Driver, by_log: &Server, by_admin: &Server) {
    const TOMBSTONES: &str = "SELECT count(*) AS n FROM commits WHERE kind = 'tombstone' AND topic = 'orders'";
    equal(by_log, by_admin, OFFSETS);
    let rows = by_admin.sql_value("SELECT count(*) FROM offsets WHERE topic = 'orders'");
    let tombstones = by_admin.sql(TOMBSTONES);
    driver.revoke("hidden", "READ", "topic", "orders");
    let marked = "SELECT forbidden, last_rejected LIKE '%/orders/%' AS named FROM sources";
    let all = json!([{"forbidden": rows, "named": true}]);
    wait_for("the rows to be marked", LIMIT, || is(by_admin, marked, all.clone()));
    // The other topic is still updated.
    driver.alter("half", "idle", 0, 1, "");
    let half = "SELECT committed_offset FROM offsets WHERE group_id = 'half'";
    wait_for("the other topic", LIMIT, || is(by_admin, half, json!([{"committed_offset": 1}])));
    assert_eq!(by_admin.sql(TOMBSTONES), tombstones, "omitted offsets are not deleted");
    equal(by_log, by_admin, OFFSETS);
    driver.grant("hidden", "READ", "topic", "orders");
    let unmarked = "SELECT forbidden, last_rejected FROM sources";
    wait_for("no marks", LIMIT, || is(by_admin, unmarked, json!([{"forbidden": 0, "last_rejected": null}])));
    // An offset that was really deleted is removed.
    driver.ask(&json!({"do": "delete_offsets", "group": "half", "offsets": [{"topic": "idle", "partition": 0}]}));
    wait_for("the deleted offset", LIMIT, || is(by_admin, half, json!([])));
    assert_eq!(by_admin.sql(TOMBSTONES), tombstones);
}

#[test]
fn a_switch_keeps_the_rows_until_the_other_way_is_loaded_and_tells_no_commits() {
    const GROUPS: usize = 12;
    let broker = Broker::with_users(Release::of("4.1"), &["u"]);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 2, 10);
    driver.grant("u", "DESCRIBE", "group", "*");
    driver.grant("u", "READ", "topic", "orders");
    for number in 0..GROUPS {
        driver.alter(&format!("g{number}"), "orders", 0, 3, "a text");
    }
    // So slow that a round takes seconds.
    let admin = "[clusters.c.admin]\ncalls_per_second = 4\nlist_interval = \"1s\"\nlog_interval = \"1s\"\n";
    let (_config, mut server) = serve(&format!("{}{admin}", with_mode(&broker.cluster_of_user("u"), "auto")));
    server.wait_ready();
    assert_eq!(Value::from(server.sql(MODE)), mode("admin"));
    let watched = tempfile::tempdir().unwrap();
    let mut watch = std::process::Command::new(env!("CARGO_BIN_EXE_offsetd"));
    watch.args(["watch", "--include-current", "--server", &format!("http://{}", server.address())]);
    let log = watched.path().join("log");
    let _watch = Process::spawn("watch", &watch, None, log.clone());
    let seen = |part: &str| {
        let text = std::fs::read_to_string(&log).unwrap();
        if text.contains(part) { Ok(()) } else { Err(text) }
    };
    wait_for("the watch", LIMIT, || seen("end of the current offsets"));

    let rows = server.sql(OFFSETS);
    assert_eq!(rows.len(), GROUPS);
    let done = AtomicBool::new(false);
    let stale = AtomicBool::new(false);
    thread::scope(|scope| {
        let (server, done, stale) = (&server, &done, &stale);
        let asker = scope.spawn(move || {
            wait_for("the switches", 4 * LIMIT, || {
                let found = server.try_sql(OFFSETS).unwrap_or_else(|error| panic!("not answered: {error}"));
                assert_eq!(found, rows, "the rows are shown all the time");
                let of = server.sql("SELECT stale_since IS NOT NULL AS stale, ready, mode FROM clusters").remove(0);
                assert_eq!(of["ready"], true, "{of}");
                stale.fetch_or(of["stale"] == true && of["mode"] == "log", Ordering::Relaxed);
                if done.load(Ordering::Relaxed) { Ok(()) } else { Err("not done".to_owned()) }
            });
        });
        let work = || switch_twice(&mut driver, server);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        asker.join().unwrap();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert!(stale.load(Ordering::Relaxed), "during the load by the Admin API, the rows of the log are stale");
    assert_eq!(server.sql_value("SELECT count(*) FROM commits"), 0, "a switch reports no commits");
    assert_eq!(server.sql_value("SELECT count(*) FROM status_changes"), 0);
    wait_for("the resync of the watch", LIMIT, || seen("resync"));
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(!text.contains("deleted") && !text.contains("(new)") && text.contains("(current)"), "{text}");

    it_goes_on_by_either_way(&mut driver, &server);
    wait_for("the change in the watch", LIMIT, || seen("5 → 6"));
    server.stop_cleanly();
}

/// Grants the user the right to read the log, and revokes it again.
fn switch_twice(driver: &mut Driver, server: &Server) {
    let told = "SELECT count(log_partition) = count(*) AS all, count(committed_at) > 0 AS at FROM offsets";
    let healthy = json!([{"last_error": null, "stale_since": null}]);
    for _ in 0..2 {
        driver.grant("u", "READ", "topic", LOG);
        wait_for("the log", LIMIT, || is(server, MODE, mode("log")));
        assert_eq!(Value::from(server.sql(told)), json!([{"all": true, "at": true}]));
        driver.revoke("u", "READ", "topic", LOG);
        wait_for("the Admin API", LIMIT, || is(server, MODE, mode("admin")));
        let state = "SELECT last_error, stale_since FROM clusters";
        wait_for("no failure", LIMIT, || is(server, state, healthy.clone()));
    }
}

fn it_goes_on_by_either_way(driver: &mut Driver, server: &Server) {
    let latest = |server: &Server, offset: i64| {
        let answer = server.get("/v1/query?group_id=g1&topic=orders&partition=0&freshness=latest");
        let entry: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(entry["entry"]["committed_offset"], offset, "{answer:?}");
    };
    driver.alter("g1", "orders", 0, 5, "");
    latest(server, 5);
    driver.grant("u", "READ", "topic", LOG);
    wait_for("the log", LIMIT, || is(server, MODE, mode("log")));
    driver.alter("g1", "orders", 0, 6, "");
    latest(server, 6);
    let news = "SELECT group_id, committed_offset FROM commits";
    assert_eq!(Value::from(server.sql(news)), json!([{"group_id": "g1", "committed_offset": 6}]));
}

#[test]
fn what_fails_is_told_with_the_reason_and_rows_stay() {
    // Credentials that the broker refuses.
    let broker = Broker::with_users(Release::of("4.1"), &["u"]);
    let bad = broker.cluster_of_user("u").replace("\"sasl.password\" = \"u\"", "\"sasl.password\" = \"other\"");
    let (_config, server) = serve(&with_mode(&bad, "admin"));
    wait_error(&server, "Authentication failed");
    server.stop_cleanly();
    drop(broker);

    // Brokers that do not implement a request: the mock cluster cannot list groups.
    let kafka = MockKafka::start(1).unwrap();
    let cluster = format!("[clusters.c]\nbootstrap_servers = {:?}\n", kafka.bootstrap_servers());
    let (_config, server) = serve(&with_mode(&cluster, "admin"));
    wait_error(&server, "brokers do not list groups");
    server.stop_cleanly();
    drop(kafka);

    // A broker that stops answering.
    let proxy = Proxy::new();
    let (broker, address) = Broker::started_behind(Release::of("4.1"), &proxy.address());
    proxy.set_target(&broker.bootstrap_servers());
    let mut driver = Driver::at(broker.release, &address);
    driver.topic("orders", 1, 10);
    driver.alter("g", "orders", 0, 3, "");
    let cluster = format!("[clusters.c]\nbootstrap_servers = {:?}\n", proxy.address());
    let (_config, mut server) = serve(&with_mode(&cluster, "admin"));
    server.wait_ready();
    let rows = server.sql(OFFSETS);
    assert_eq!(rows.len(), 1);
    proxy.pause();
    wait_for("the cluster to be unreachable", LIMIT, || {
        is(&server, "SELECT reachable FROM clusters", json!([{"reachable": false}]))
    });
    let answer = server.get("/v1/query?group_id=g&topic=orders&partition=0&freshness=latest");
    assert_ne!(answer.status, 200, "{answer:?}");
    wait_for("the row to be marked", LIMIT, || {
        is(&server, "SELECT malformed, last_rejected FROM sources", json!([{"malformed": 1, "last_rejected": "g"}]))
    });
    assert_eq!(server.sql(OFFSETS), rows, "the rows stay");
    driver.alter("g", "orders", 0, 4, "");
    proxy.resume();
    let state = "SELECT committed_offset, reachable, last_error FROM offsets JOIN clusters USING (cluster)";
    let healthy = json!([{"committed_offset": 4, "reachable": true, "last_error": null}]);
    wait_for("the cluster to answer", LIMIT, || is(&server, state, healthy.clone()));
    server.stop_cleanly();
}

fn wait_error(server: &Server, part: &str) {
    let state = format!("SELECT last_error LIKE '%{part}%' AS told, ready FROM clusters");
    wait_for(part, LIMIT, || match is(server, &state, json!([{"told": true, "ready": false}])) {
        Ok(()) => Ok(()),
        Err(_) => Err(server.sql_value("SELECT last_error FROM clusters").to_string()),
    });
}
