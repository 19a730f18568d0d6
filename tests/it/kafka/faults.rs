//! Failures around `__consumer_offsets` and the topics that groups commit to, on real brokers.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::broker::{Broker, Release};
use super::compare::{equal_at_rest, equal_once_ready};
use super::driver::Driver;
use super::proxy::Proxy;
use super::{consume, rows_of};
use crate::process::wait_for;
use crate::server::Server;

const LIMIT: Duration = Duration::from_secs(90);
const LOG: &str = "__consumer_offsets";

/// Settings that poll more often than the defaults, so that tests are quick.
pub(crate) const OFTEN: &str = "[lag]\nmetadata_interval = \"1s\"\nstart_interval = \"1s\"\n";

macro_rules! on_releases {
    ($($module:ident $line:literal { $($test:ident)* })*) => {
        $(mod $module { $(#[test] fn $test() { super::$test(super::Release::of($line)) })* })*
    };
}

on_releases! {
    release_4_1 "4.1" {
        log_partitions_added_later_are_read
        a_log_that_was_made_anew_is_read_again
        a_log_partition_that_was_lost_is_read_again
        a_log_that_is_gone_leaves_no_rows_and_may_come_back_with_fewer_partitions
        lag_is_never_a_wrong_number
        a_marker_after_the_last_record_is_no_lag_in_time
        a_topic_hidden_by_an_acl_is_not_authorized_and_comes_back
        a_dead_cluster_does_not_hold_back_the_other
        a_broker_that_answers_nothing_is_shown_unreachable_and_is_recovered_from
        a_crash_during_the_load_is_survived
        properties_reach_librdkafka
    }
    release_3_9 "3.9" {
        a_log_that_was_made_anew_is_read_again
        lag_is_never_a_wrong_number
    }
}

fn log_partitions_added_later_are_read(release: Release) {
    let mut broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 3, 10);
    // By Java's hash, the first two groups move to other old partitions, "2" moves to a new one, and "bulk 1" stays.
    for group in ["moves", "loses a row", "2", "bulk 1"] {
        driver.alter(group, "orders", 0, 1, "old");
        driver.alter(group, "orders", 1, 2, "old");
    }
    consume(&mut driver, json!({"name": "member-1", "group": "members", "topics": ["orders"]}));
    driver.wait_caught_up(&[("members", 1)]);
    let (_config, server) = serve_often(&broker);
    let label = |when: &str| format!("Kafka {}, {when}", release.version());
    equal_once_ready(&label("50 log partitions"), &mut driver, &server);

    driver.ask(&json!({"do": "grow", "topic": LOG, "partitions": 60}));
    let live = "SELECT count(DISTINCT log_partition) AS n FROM sources WHERE state = 'live'";
    wait_for("60 log partitions", LIMIT, || is(&server, live, json!([{"n": 60}])));
    // Coordinators read the number of log partitions when they start.
    broker.stop();
    broker.start();
    driver.alter("moves", "orders", 0, 3, "new");
    driver.alter("moves", "orders", 1, 4, "new");
    driver.alter("loses a row", "orders", 0, 5, "new");
    driver.alter("2", "orders", 0, 6, "new");
    driver.alter("first seen now", "orders", 2, 7, "new");
    driver.ask(&json!({"do": "produce", "topic": "orders", "records": 5}));
    driver.wait_caught_up(&[("members", 1)]);
    equal_at_rest(&label("60 log partitions"), &mut driver, &server);
    assert_eq!(rows_of(&server, "offsets", "loses a row"), 1, "the partition of the hash takes precedence");
    let beyond = "SELECT count(*) > 0 FROM offsets WHERE log_partition >= 50";
    assert_eq!(server.sql_value(beyond), true, "no group is in a new partition, so nothing is tested");
    server.stop_cleanly();
}

fn a_log_that_was_made_anew_is_read_again(release: Release) {
    let broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 2, 10);
    for offset in 0..5 {
        driver.alter("comes back", "orders", 0, offset, "old");
        driver.alter("is gone", "orders", 1, offset, "old");
    }
    let (_config, server) = serve_often(&broker);
    let label = |when: &str| format!("Kafka {}, {when}", release.version());
    equal_once_ready(&label("the first log"), &mut driver, &server);

    while_queried(&server, || {
        driver.ask(&json!({"do": "delete", "topic": LOG}));
        equal_at_rest(&label("the log deleted"), &mut driver, &server);
        driver.alter("comes back", "orders", 0, 3, "new");
        driver.alter("is new", "orders", 1, 4, "new");
        equal_at_rest(&label("the log recreated"), &mut driver, &server);
        // Recreated again without a pause, and grown beyond the end of the previous log.
        driver.ask(&json!({"do": "delete", "topic": LOG}));
        for offset in 0..9 {
            driver.alter("comes back", "orders", 1, offset, "newer");
        }
        equal_at_rest(&label("the log recreated and longer"), &mut driver, &server);
    });
    assert_eq!(rows_of(&server, "offsets", "comes back"), 1);
    driver.alter("comes back", "orders", 0, 5, "newest");
    equal_at_rest(&label("after a further commit"), &mut driver, &server);
    server.stop_cleanly();
}

fn a_log_partition_that_was_lost_is_read_again(release: Release) {
    let mut broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 2, 10);
    for offset in 0..5 {
        driver.alter("lost", "orders", 0, offset, "old");
        driver.alter("lost", "orders", 1, offset, "old");
        driver.alter("kept", "orders", 0, offset, "");
    }
    let (_config, server) = serve_often(&broker);
    let label = |when: &str| format!("Kafka {}, {when}", release.version());
    equal_once_ready(&label("before a loss"), &mut driver, &server);
    let home = "SELECT DISTINCT log_partition FROM offsets WHERE group_id = 'lost'";
    let lost = i32::try_from(server.sql_value(home).as_i64().unwrap()).unwrap();

    while_queried(&server, || {
        for (when, commits) in [("shorter than before", 1), ("longer than before", 9)] {
            broker.stop();
            broker.lose(LOG, lost);
            broker.start();
            for offset in 0..commits {
                driver.alter("lost", "orders", 0, offset, "new");
            }
            equal_at_rest(&label(&format!("a partition lost, now {when}")), &mut driver, &server);
            assert_eq!(rows_of(&server, "offsets", "lost"), 1, "orders/1 is gone");
            assert_eq!(rows_of(&server, "offsets", "kept"), 1);
        }
    });
    server.stop_cleanly();
}

fn a_log_that_is_gone_leaves_no_rows_and_may_come_back_with_fewer_partitions(release: Release) {
    let mut broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 2, 10);
    let groups: Vec<String> = (0..30).map(|number| format!("group {number}")).collect();
    for group in &groups {
        driver.alter(group, "orders", 0, 4, "old");
    }
    let (_config, server) = serve_often(&broker);
    let label = |when: &str| format!("Kafka {}, {when}", release.version());
    equal_once_ready(&label("50 log partitions"), &mut driver, &server);

    driver.ask(&json!({"do": "delete", "topic": LOG}));
    let left = "SELECT count(*) AS n FROM sources WHERE log_partition IS NOT NULL";
    wait_for("no log partitions", LIMIT, || is(&server, left, json!([{"n": 0}])));
    assert_eq!(server.sql_value("SELECT count(*) FROM offsets"), 0);

    driver.ask(&json!({"do": "create", "topic": LOG, "partitions": 10}));
    // Coordinators read the number of log partitions when they start.
    broker.stop();
    broker.start();
    for group in groups.iter().step_by(2) {
        driver.alter(group, "orders", 1, 5, "new");
    }
    equal_at_rest(&label("10 log partitions"), &mut driver, &server);
    wait_for("10 log partitions", LIMIT, || is(&server, left, json!([{"n": 10}])));
    assert_eq!(server.sql_value("SELECT count(*) FROM offsets"), 15);
    // Recreated immediately with fewer partitions; its last partitions never come back.
    driver.ask(&json!({"do": "delete", "topic": LOG}));
    driver.ask(&json!({"do": "create", "topic": LOG, "partitions": 3}));
    broker.stop();
    broker.start();
    for group in groups.iter().step_by(3) {
        driver.alter(group, "orders", 0, 6, "newer");
    }
    wait_for("3 log partitions", LIMIT, || is(&server, left, json!([{"n": 3}])));
    equal_at_rest(&label("3 log partitions"), &mut driver, &server);
    assert_eq!(server.sql_value("SELECT count(*) FROM offsets"), 10);
    server.stop_cleanly();
}

fn lag_is_never_a_wrong_number(release: Release) {
    let broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("cut", 1, 10);
    driver.topic("gone", 1, 10);
    driver.topic("again", 1, 10);
    for topic in ["cut", "gone", "again"] {
        driver.alter("g", topic, 0, 4, "");
    }
    driver.alter("ahead", "cut", 0, 11, "");
    driver.alter("ahead", "gone", 0, 10, "");
    let (_config, server) = serve_often(&broker);
    let label = |when: &str| format!("Kafka {}, {when}", release.version());
    equal_once_ready(&label("intact"), &mut driver, &server);
    let row = |group: &str, topic: &str, expected: Value| {
        let sql = format!(
            "SELECT lag, lag_unknown, status FROM lag WHERE group_id = '{group}' AND topic = '{topic}' ORDER BY 1"
        );
        wait_for(&format!("{group} on {topic}"), LIMIT, || is(&server, &sql, expected.clone()));
    };
    row("g", "cut", json!([{"lag": 6, "lag_unknown": null, "status": "ok"}]));
    row("ahead", "cut", json!([{"lag": null, "lag_unknown": "ahead_of_log", "status": "unknown"}]));

    driver.ask(&json!({"do": "delete_records", "topic": "cut", "partition": 0, "before": 7}));
    row("g", "cut", json!([{"lag": 3, "lag_unknown": null, "status": "data_lost"}]));
    // Brokers delete the offsets together with the topic.
    driver.ask(&json!({"do": "delete", "topic": "gone"}));
    equal_at_rest(&label("a topic deleted"), &mut driver, &server);
    row("g", "gone", json!([]));
    // Recreated, and shorter than the offset that is then committed.
    driver.ask(&json!({"do": "delete_records", "topic": "again", "partition": 0, "before": 8}));
    row("g", "again", json!([{"lag": 2, "lag_unknown": null, "status": "data_lost"}]));
    driver.ask(&json!({"do": "delete", "topic": "again"}));
    driver.topic("again", 1, 2);
    driver.alter("g", "again", 0, 9, "stale");
    row("g", "again", json!([{"lag": null, "lag_unknown": "ahead_of_log", "status": "unknown"}]));
    driver.alter("g", "again", 0, 0, "right");
    equal_at_rest(&label("a topic recreated"), &mut driver, &server);
    row("g", "again", json!([{"lag": 2, "lag_unknown": null, "status": "ok"}]));

    // A commit that no broker would accept is appended to the log. The coordinator does not know it, so it also
    // outlives the topic.
    driver.ask(&json!({"do": "append", "group": "past", "topic": "stale", "offset": 4}));
    row("past", "stale", json!([{"lag": null, "lag_unknown": "topic_deleted", "status": "unknown"}]));
    driver.topic("stale", 1, 10);
    row("past", "stale", json!([{"lag": 6, "lag_unknown": null, "status": "ok"}]));
    let id = "SELECT count(topic_id) AS n FROM topics WHERE topic = 'stale'";
    wait_for("the id of stale", LIMIT, || is(&server, id, json!([{"n": 1}])));
    driver.ask(&json!({"do": "delete", "topic": "stale"}));
    driver.topic("stale", 1, 20);
    row("past", "stale", json!([{"lag": null, "lag_unknown": "topic_recreated", "status": "unknown"}]));
    server.stop_cleanly();
}

fn a_marker_after_the_last_record_is_no_lag_in_time(release: Release) {
    let broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 2, 10);
    driver.ask(&json!({"do": "produce_transaction", "topic": "orders", "partition": 0, "records": 5}));
    // Partition 0 has 15 records and a marker.
    driver.alter("at the marker", "orders", 0, 15, "");
    driver.alter("before a record", "orders", 0, 14, "");
    driver.alter("no marker", "orders", 1, 9, "");
    let often = OFTEN.replace("[lag]\n", "[lag]\nsample_interval = \"1s\"\n");
    let (_config, mut server) = serve(&format!("{often}{}", cluster(&broker)));
    server.wait_ready();
    let rows = "SELECT group_id, lag, lag_seconds = 0 AS in_time, status FROM lag ORDER BY 1";
    // The end is older than the samples and nothing is produced, so the age of the end is unknown.
    let expected = json!([
        {"group_id": "at the marker", "lag": 1, "in_time": true, "status": "ok"},
        {"group_id": "before a record", "lag": 2, "in_time": null, "status": "ok"},
        {"group_id": "no marker", "lag": 1, "in_time": null, "status": "ok"},
    ]);
    wait_for("the poll of the log end", LIMIT, || is(&server, rows, expected.clone()));

    // The next log end is polled as well.
    driver.ask(&json!({"do": "produce", "topic": "orders", "records": 1}));
    let behind = "SELECT lag, lag_seconds > 0 AS behind FROM lag WHERE group_id = 'at the marker'";
    wait_for("the next record", LIMIT, || is(&server, behind, json!([{"lag": 2, "behind": true}])));
    server.stop_cleanly();
}

fn a_topic_hidden_by_an_acl_is_not_authorized_and_comes_back(release: Release) {
    let broker = Broker::started_with(
        release,
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         allow.everyone.if.no.acl.found=true\n",
    );
    let mut driver = Driver::of(&broker);
    for topic in ["hidden", "seen"] {
        driver.topic(topic, 2, 10);
        driver.alter("g", topic, 1, 3, "");
    }
    let (_config, server) = serve_often(&broker);
    let label = |when: &str| format!("Kafka {}, {when}", release.version());
    equal_once_ready(&label("nothing hidden"), &mut driver, &server);

    let lag = "SELECT topic, lag, lag_unknown FROM lag ORDER BY topic";
    driver.ask(&json!({"do": "deny_describe", "topic": "hidden"}));
    driver.ask(&json!({"do": "produce", "topic": "seen", "records": 5}));
    let hidden = json!([
        {"topic": "hidden", "lag": null, "lag_unknown": "not_authorized"},
        {"topic": "seen", "lag": 12, "lag_unknown": null}]);
    wait_for("the topic to be hidden", LIMIT, || is(&server, lag, hidden.clone()));
    // The topic stays listed as not authorized, however long brokers omit it.
    let rounds = "SELECT min(observed_at) AS at FROM partitions WHERE topic = 'seen'";
    for _ in 0..12 {
        let before = server.sql(rounds);
        wait_for("another poll of the log ends", LIMIT, || match server.sql(rounds) {
            now if now == before => Err(format!("{now:?}")),
            _ => Ok(()),
        });
        assert_eq!(Value::from(server.sql(lag)), hidden);
    }
    driver.ask(&json!({"do": "allow_describe", "topic": "hidden"}));
    equal_at_rest(&label("the topic visible again"), &mut driver, &server);
    let shown = json!([
        {"topic": "hidden", "lag": 7, "lag_unknown": null},
        {"topic": "seen", "lag": 12, "lag_unknown": null}]);
    assert_eq!(Value::from(server.sql(lag)), shown);
    server.stop_cleanly();
}

fn a_dead_cluster_does_not_hold_back_the_other(release: Release) {
    let broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 2, 10);
    driver.alter("g", "orders", 1, 3, "");
    // No process listens on port 1.
    let clusters = |ready_after: &str| {
        format!(
            "[server]\nready_after = {ready_after:?}\n[clusters.dead]\nbootstrap_servers = \"127.0.0.1:1\"\n\
             [clusters.alive]\nbootstrap_servers = {:?}\n",
            broker.bootstrap_servers()
        )
    };
    let (_config, server) = serve(&clusters("1h"));
    for table in ["clusters", "sources"] {
        let named = format!("SELECT DISTINCT cluster FROM {table} ORDER BY 1");
        assert_eq!(Value::from(server.sql(&named)), json!([{"cluster": "alive"}, {"cluster": "dead"}]), "immediately");
    }
    let answer = server.get("/readyz");
    assert!(answer.status == 503 && answer.body.contains("dead"), "the dead cluster is still awaited: {answer:?}");
    server.stop_cleanly();

    let (_config, mut server) = serve(&clusters("1s"));
    server.wait_ready();
    let label = format!("Kafka {}, next to a dead cluster", release.version());
    equal_at_rest(&label, &mut driver, &server);

    let request = ureq::post(format!("http://{}/v1/sql", server.address()));
    let answer = request.send("SELECT * FROM offsets").unwrap();
    assert_eq!(answer.headers()["offsetd-incomplete-clusters"], "dead");
    let clusters = server.sql("SELECT cluster, reachable, ready, last_error FROM clusters ORDER BY 1");
    assert_eq!(clusters[0], json!({"cluster": "alive", "reachable": true, "ready": true, "last_error": null}));
    assert_eq!((&clusters[1]["reachable"], &clusters[1]["ready"]), (&json!(false), &json!(false)));
    wait_for("the reason", LIMIT, || {
        let reason = server.sql_value("SELECT last_error FROM clusters WHERE cluster = 'dead'");
        if reason.as_str().is_some_and(|reason| reason.contains("refused")) { Ok(()) } else { Err(reason.to_string()) }
    });
    server.stop_cleanly();
}

fn a_broker_that_answers_nothing_is_shown_unreachable_and_is_recovered_from(release: Release) {
    let proxy = Proxy::new();
    let (broker, direct) = Broker::started_behind(release, &proxy.address());
    proxy.set_target(&broker.bootstrap_servers());
    let mut driver = Driver::at(release, &direct);
    driver.topic("orders", 2, 10);
    driver.alter("g", "orders", 1, 3, "");
    let often = OFTEN.replace("[lag]\n", "[lag]\nrequest_timeout = \"2s\"\n");
    let (_config, mut server) = serve(&format!("{often}[clusters.c]\nbootstrap_servers = {:?}\n", proxy.address()));
    server.wait_ready();
    let label = |when: &str| format!("Kafka {}, {when}", release.version());
    equal_once_ready(&label("before the network stops"), &mut driver, &server);

    let committed = "SELECT committed_offset FROM offsets";
    for (number, cuts) in [(4, false), (5, true)] {
        let before = server.sql_value(committed);
        proxy.pause();
        if cuts {
            proxy.cut();
        }
        let reachable = "SELECT reachable FROM clusters";
        wait_for("the cluster to be shown unreachable", LIMIT, || {
            is(&server, reachable, json!([{"reachable": false}]))
        });
        driver.alter("g", "orders", 1, number, "");
        assert_eq!(server.sql_value(committed), before, "the last value stays");
        assert_eq!(server.get("/livez").status, 200);
        proxy.resume();
        equal_at_rest(&label("the network works again"), &mut driver, &server);
        wait_for("the cluster to be shown reachable", LIMIT, || is(&server, reachable, json!([{"reachable": true}])));
    }
    server.stop_cleanly();
}

fn a_crash_during_the_load_is_survived(release: Release) {
    let mut broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 50, 3);
    driver.alter("g", "orders", 1, 3, "");
    for group in ["bulk 1", "bulk 2", "bulk 3"] {
        driver.ask(&json!({"do": "append", "group": group, "topic": "orders", "partitions": 50, "rounds": 1500}));
    }
    // Small fetches, so that the load takes a while.
    let kafka = "[clusters.c.kafka]\n\"fetch.max.bytes\" = 1024\n\"fetch.message.max.bytes\" = 1024\n\
                 \"message.max.bytes\" = 1000\n\"queued.min.messages\" = 1\n";
    let (_config, mut server) = serve(&format!("{}{kafka}", cluster(&broker)));
    let progress = "SELECT sum(position) AS position, sum(target) AS target FROM sources WHERE position > 100";
    let caught = wait_for("the load to begin", LIMIT, || match server.sql(progress).as_slice() {
        [row] if row["position"].is_number() => Ok(row.clone()),
        rows => Err(format!("{rows:?}")),
    });
    broker.kill();
    assert_eq!(server.get("/readyz").status, 503);
    let left = |row: &Value| row["target"].as_i64().unwrap() - row["position"].as_i64().unwrap();
    assert!(left(&caught) > 10_000, "loaded before the crash: {caught}");
    broker.start();
    server.wait_ready();
    // After a crash, a coordinator may show loaded offsets only after the next write.
    for group in ["bulk 1", "bulk 2", "bulk 3"] {
        driver.alter(group, "orders", 0, 2, "");
    }
    let label = format!("Kafka {}, crashed during the load", release.version());
    equal_at_rest(&label, &mut driver, &server);
    server.stop_cleanly();
}

fn properties_reach_librdkafka(release: Release) {
    let broker = Broker::started(release);
    let servers = broker.bootstrap_servers();
    for (property, named) in
        [("no.such.property=1", "no.such.property"), ("security.protocol=PLAIN", "security.protocol")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offsetd"));
        let out = command.args(["serve", "--bootstrap-servers", &servers, "-X", property]).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(64), "{property}: {said}");
        assert!(said.contains(named), "{property}: {said}");
    }
    let server = Server::start(&["serve", "--bootstrap-servers", &servers, "-X", "security.protocol=SSL"]);
    wait_for("the reason", LIMIT, || {
        let answer = server.get("/readyz");
        assert_eq!(answer.status, 503);
        if answer.body.contains("SSL") { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    server.stop_cleanly();
}

/// Returns `Ok` if the statement has this answer.
pub(crate) fn is(server: &Server, sql: &str, expected: Value) -> Result<(), String> {
    let found = Value::from(server.try_sql(sql)?);
    if found == expected { Ok(()) } else { Err(format!("{found}, not {expected}")) }
}

/// Queries the offsets continuously during `work`: they are returned, or the server refuses with 503.
fn while_queried(server: &Server, work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let mut answers = 0;
            wait_for("the work to be done", 5 * LIMIT, || {
                if let Err(error) = server.try_sql("SELECT * FROM lag") {
                    assert!(error.contains("status: 503"), "{error}");
                }
                answers += 1;
                if done.load(Ordering::Relaxed) { Ok(()) } else { Err("not done".to_owned()) }
            });
            answers
        });
        let _done = SetOnDrop(&done);
        work();
        done.store(true, Ordering::Relaxed);
        let answers = asker.join().unwrap();
        assert!(answers > 10, "only {answers} answers");
    });
}

/// Sets the flag when dropped, so that a failed `work` ends the threads next to it.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(super) fn cluster(broker: &Broker) -> String {
    format!("[clusters.c]\nbootstrap_servers = {:?}\n", broker.bootstrap_servers())
}

/// Starts a server with this configuration file; returns as soon as it accepts connections.
pub(crate) fn serve(config: &str) -> (TempDir, Server) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("offsetd.toml");
    std::fs::write(&path, config).unwrap();
    let server = Server::start(&["serve", "--config", path.to_str().unwrap()]);
    (dir, server)
}

fn serve_often(broker: &Broker) -> (TempDir, Server) {
    let (dir, mut server) = serve(&format!("{OFTEN}{}", cluster(broker)));
    server.wait_ready();
    (dir, server)
}
