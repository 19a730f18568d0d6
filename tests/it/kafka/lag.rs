//! Committed offsets below 0, recreated topics, and commit times ahead of the clock, on a real broker.

use serde_json::{Value, json};

use super::audit::audited;
use super::broker::{Broker, Release};
use super::compare::{equal_at_rest, equal_once_ready};
use super::driver::Driver;
use super::faults::{cluster, is, serve};
use super::transactions::{begin, end, neighbours, wait_held};
use super::{LIMIT, rows_of};
use crate::process::wait_for;
use crate::server::Server;

#[test]
fn a_committed_offset_below_zero_is_no_offset_as_for_kafkas_tools() {
    let broker = Broker::started(Release::of("4.1"));
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 2, 10);
    let [open, hidden] = &neighbours(2)[..] else { panic!() };
    for group in ["g", hidden] {
        driver.alter(group, "orders", 0, 4, "");
        driver.alter(group, "orders", 1, 5, "");
    }
    driver.raw_commit("g", "orders", 1, -1);
    driver.raw_commit("only", "orders", 0, -1);
    let audit = "[audit]\ninterval = \"500ms\"\ncalls_per_second = 100\n";
    let (_config, mut server) = serve(&format!("{audit}{}", cluster(&broker)));
    server.wait_ready();
    equal_once_ready("-1 in the log", &mut driver, &server);
    assert_eq!((rows_of(&server, "offsets", "g"), rows_of(&server, "lag", "only")), (1, 0));

    driver.raw_commit("g", "orders", 0, -1);
    driver.raw_commit("g", "orders", 1, 7);
    equal_at_rest("-1 while it is read", &mut driver, &server);
    let commits =
        "SELECT partition, kind, committed_offset, previous_offset FROM commits WHERE group_id = 'g' ORDER BY 1";
    let expected = json!([
        {"partition": 0, "kind": "tombstone", "committed_offset": null, "previous_offset": 4},
        {"partition": 1, "kind": "commit", "committed_offset": 7, "previous_offset": null}]);
    assert_eq!(Value::from(server.sql(commits)), expected);

    // The same behind an open transaction, where offsets come from the coordinator.
    begin(&mut driver, "left open", open, 5);
    driver.raw_commit(hidden, "orders", 0, -1);
    wait_held(&server, 1);
    let left = format!("SELECT partition FROM offsets WHERE group_id = '{hidden}'");
    wait_for("the offset to be gone", LIMIT, || is(&server, &left, json!([{"partition": 1}])));
    end(&mut driver, "left open", true);
    equal_at_rest("the transaction ended", &mut driver, &server);

    wait_for("30 groups to be compared", LIMIT, || match audited(&server) {
        30.. => Ok(()),
        groups => Err(format!("{groups} compared")),
    });
    assert_eq!(Value::from(server.sql("SELECT * FROM audit")), json!([]));
    server.stop_cleanly();
}

/// Two tests in one, on different groups and topics: the time that one needs passes during the other.
#[test]
fn what_is_told_of_a_log_is_told_of_this_log_and_by_this_clock() {
    let broker = Broker::started(Release::of("4.1"));
    let mut driver = Driver::of(&broker);
    // Records are produced to the first topic of this name for a while.
    let paced =
        |name: &str, per_second: i32| json!({"do": "paced", "name": name, "topic": "again", "per_second": per_second});
    driver.ask(&json!({"do": "create", "topic": "again", "partitions": 1}));
    driver.topic("orders", 1, 10);
    driver.ask(&paced("first", 200));
    // Creates `__consumer_offsets`.
    driver.alter("other", "orders", 0, 1, "");
    // Appended without the coordinator: a broker would not write this time.
    let day = 86_400_000_i64;
    driver.ask(&json!({"do": "append", "group": "ahead", "topic": "orders", "offset": 4, "age_ms": -day}));
    let quick = "[lag]\nmetadata_interval = \"1s\"\nsample_interval = \"500ms\"\nwindow = 4\nactive_within = \"2s\"\n";
    let (_config, mut server) = serve(&format!("{quick}{}", cluster(&broker)));
    server.wait_ready();
    driver.alter("g", "again", 0, 1, "");

    let status =
        "SELECT l.status, g.active FROM lag l JOIN groups g ON g.group_id = l.group_id WHERE l.group_id = 'ahead'";
    let lag = "SELECT lag_seconds > 10 AS old FROM lag WHERE group_id = 'g'";
    wait_for("the first topic to be ten seconds old", LIMIT, || is(&server, lag, json!([{"old": true}])));
    driver.stop("first");
    // By now the first topic was observed for some ten seconds, which is longer than the age of the second topic.
    let seen = server.sql_value("SELECT observed_at FROM partitions WHERE topic = 'again'");
    driver.ask(&json!({"do": "delete", "topic": "again"}));
    driver.ask(&json!({"do": "create", "topic": "again", "partitions": 1}));
    driver.ask(&paced("second", 33));
    driver.alter("g", "again", 0, 1, "");
    wait_for("a rate of the second topic", LIMIT, || again(&server, &seen));
    driver.stop("second");

    // The status depends on the time of observation. The usual interval of a single commit is an hour, so the group is
    // not stopped yet.
    wait_for("the group to be inactive", LIMIT, || is(&server, status, json!([{"status": "ok", "active": false}])));
    let shown = "SELECT committed_at > now() AS ahead FROM offsets WHERE group_id = 'ahead'";
    assert_eq!(Value::from(server.sql(shown)), json!([{"ahead": true}]));
    server.stop_cleanly();
}

/// Asserts for every answer that the lag is not older than the second topic, which did not exist yet when the first was
/// `seen`.
fn again(server: &Server, seen: &Value) -> Result<(), String> {
    let rows = server.try_sql(&format!(
        "SELECT l.lag, l.lag_seconds, date_part('epoch', now() - {seen}::timestamp) AS most, p.produce_rate, \
         p.log_end_offset, l.consume_rate, l.status FROM lag l \
         JOIN partitions p ON p.topic = l.topic AND p.partition = l.partition WHERE l.group_id = 'g'",
        seen = seen.to_string().replace('"', "'")
    ))?;
    let row = rows.first().ok_or("no row")?;
    if row["log_end_offset"].as_i64().is_none_or(|end| end >= 1500) {
        return Err(row.to_string());
    }
    let most = row["most"].as_f64().ok_or("no bound")?;
    if let Some(seconds) = row["lag_seconds"].as_f64() {
        // `most` has whole seconds, and times are kept in tenths of a second.
        assert!(seconds <= most + 1.2, "older than the topic: {row}");
    }
    match row["produce_rate"].as_f64() {
        Some(rate) if (rate - 33.0).abs() < 8.0 && !row["lag_seconds"].is_null() => Ok(()),
        _ => Err(row.to_string()),
    }
}
