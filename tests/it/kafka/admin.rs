//! Offsets by the Admin API, beside the log of the same broker.

use std::time::Duration;

use serde_json::{Value, json};

use super::broker::{Broker, Release};
use super::consumers_of_every_kind;
use super::driver::Driver;
use super::faults::{OFTEN, is, serve};
use crate::process::wait_for;
use crate::server::Server;

const LIMIT: Duration = Duration::from_secs(90);

/// What both ways tell of every committed offset.
const OFFSETS: &str = "SELECT group_id, topic, partition, committed_offset, leader_epoch, metadata FROM offsets \
    ORDER BY 1, 2, 3";
const LAG: &str = "SELECT group_id, topic, partition, committed_offset, lag, log_end_offset, member_id, client_id, client_host \
    FROM lag ORDER BY 1, 2, 3";
/// What both ways tell of every group of a protocol that librdkafka describes.
const GROUPS: &str = "SELECT group_id, kind, state, members, topics, partitions, lag FROM groups \
    WHERE kind IN ('classic', 'consumer', 'simple') ORDER BY 1";
const MEMBERS: &str = "SELECT group_id, member_id, client_id, client_host FROM members ORDER BY 1, 2";
const ASSIGNMENTS: &str = "SELECT group_id, member_id, topic, partition FROM assignments ORDER BY 1, 2, 3, 4";

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

#[test]
fn the_admin_api_tells_what_the_log_tells() {
    let release = Release::of("4.1");
    let broker = Broker::with_users(release, &["all", "hidden"]);
    let mut driver = Driver::of(&broker);
    for user in ["all", "hidden"] {
        driver.grant(user, "DESCRIBE", "group", "*");
        for topic in ["orders", "a.b-c_d", "idle"] {
            driver.grant(user, "READ", "topic", topic);
        }
    }
    driver.grant("all", "READ", "topic", "*");
    let consuming = consumers_of_every_kind(release, &mut driver);
    driver.alter("simple", "orders", 0, 3, "a text");
    driver.wait_caught_up(&consuming);

    let (_log, mut by_log) = serve(&with_mode(&broker.cluster_of_user("all"), "auto"));
    let (_admin, mut by_admin) = serve(&with_mode(&broker.cluster_of_user("all"), "admin"));
    // The log is refused to this user: without being told, offsetd takes the other way.
    let (_hidden, mut hidden) = serve(&with_mode(&broker.cluster_of_user("hidden"), "auto"));
    for server in [&mut by_log, &mut by_admin, &mut hidden] {
        server.wait_ready();
    }
    let mode = |mode: &str| json!([{"mode": mode}]);
    wait_for("the log", LIMIT, || is(&by_log, "SELECT mode FROM clusters", mode("log")));
    for server in [&by_admin, &hidden] {
        wait_for("the Admin API", LIMIT, || is(server, "SELECT mode FROM clusters", mode("admin")));
        for statement in [OFFSETS, LAG, GROUPS, MEMBERS, ASSIGNMENTS] {
            equal(&by_log, server, statement);
        }
    }
    let reason = hidden.sql_value("SELECT mode_reason FROM clusters");
    assert!(reason.as_str().is_some_and(|reason| reason.contains("not authorized")), "{reason}");
    let untold = "SELECT count(committed_at), count(log_partition), count(log_offset), count(expires_at) FROM offsets";
    let none = by_admin.sql(untold).remove(0);
    assert!(none.as_object().unwrap().values().all(|count| count == 0), "{none}");
    assert!(by_admin.sql_value("SELECT count(observed_at) FROM offsets").as_i64() > Some(0));

    // What changes: a commit, a new group, a deleted offset and a deleted group.
    driver.ask(&json!({"do": "traffic", "name": "traffic", "topics": ["orders", "a.b-c_d"]}));
    driver.alter("new", "orders", 1, 2, "");
    driver.ask(&json!({"do": "delete_group", "group": "simple"}));
    driver.stop("traffic");
    driver.wait_caught_up(&consuming);
    for statement in [OFFSETS, LAG, GROUPS] {
        equal(&by_log, &by_admin, statement);
        equal(&by_log, &hidden, statement);
    }
    // The latest of one group is asked for at once.
    driver.alter("new", "orders", 1, 9, "");
    let answer = by_admin.get("/v1/query?group_id=new&topic=orders&partition=1&freshness=latest");
    let entry: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(entry["entry"]["committed_offset"], 9, "{answer:?}");

    // Brokers leave groups out that a user may not describe: that is said, and deletes nothing.
    driver.revoke("hidden", "DESCRIBE", "group", "*");
    let refused = "SELECT last_error LIKE 'not authorized to describe groups%' AS refused, ready FROM clusters";
    wait_for("the missing right", LIMIT, || is(&hidden, refused, json!([{"refused": true, "ready": false}])));
    driver.grant("hidden", "DESCRIBE", "group", "*");
    let healthy = json!([{"last_error": null, "ready": true}]);
    wait_for("the right to count", LIMIT, || is(&hidden, "SELECT last_error, ready FROM clusters", healthy.clone()));
    equal(&by_log, &hidden, OFFSETS);
    assert_eq!(hidden.sql_value("SELECT count(*) FROM commits WHERE kind = 'tombstone' AND group_id <> 'simple'"), 0);
    for server in [by_log, by_admin, hidden] {
        server.stop_cleanly();
    }
}
