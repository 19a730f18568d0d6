//! Applications as tutorials describe them: they read from Kafka and store their offsets elsewhere.

use std::time::Duration;

use serde_json::{Value, json};

use super::database::mariadb::Mariadb;
use super::redis::Redis;
use super::zookeeper::{NEW, ZooKeeper};
use crate::kafka::broker::{Broker, Release};
use crate::kafka::driver::Driver;
use crate::kafka::faults::{OFTEN, is, serve};
use crate::process::wait_for;

const LIMIT: Duration = Duration::from_secs(90);

/// A Spark job with a `group.id` of its own subscribes in Kafka, commits nothing there, and writes `untilOffset` of each
/// batch to the hash `kafka:topic:{topic}:{group}`.
#[test]
fn a_job_that_subscribes_in_kafka_and_stores_offsets_in_redis_has_lag_and_owners() {
    let broker = Broker::started(Release::of("4.1"));
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 2, 10);
    driver.ask(&json!({"do": "consume", "name": "executor-1", "group": "job", "topics": ["orders"], "commit": false}));
    let redis = Redis::start(&[]);
    redis.fill("HMSET kafka:topic:orders:job 0 4 1 7\n");
    let (_folder, mut server) = serve(&format!(
        "{OFTEN}[clusters.east]\nbootstrap_servers = '{}'\n[sources.redis]\nurl = '{}'\nlayout = 'spark-tutorial'\n",
        broker.bootstrap_servers(),
        redis.url()
    ));
    server.wait_ready();

    let sql = "SELECT source, partition, committed_offset, lag, client_id, owner_source FROM lag WHERE group_id = 'job' ORDER BY 2";
    let row = |partition: i32, offset: i64, lag: i64| {
        json!({"source": "redis", "partition": partition, "committed_offset": offset, "lag": lag,
               "client_id": "executor-1", "owner_source": "kafka"})
    };
    let shows = |sql: &str, rows: Value| wait_for("the rows", LIMIT, || is(&server, sql, rows.clone()));
    shows(sql, json!([row(0, 4, 6), row(1, 7, 3)]));
    redis.fill("HMSET kafka:topic:orders:job 0 10 1 10\n");
    shows(sql, json!([row(0, 10, 0), row(1, 10, 0)]));
    // The group in Kafka has members and no offsets, which is no problem.
    let groups = "SELECT source, members, status, offsets_kept_in FROM groups WHERE group_id = 'job' ORDER BY source";
    shows(
        groups,
        json!([
            {"source": "kafka", "members": 1, "status": "unknown", "offsets_kept_in": "redis"},
            {"source": "redis", "members": null, "status": "ok", "offsets_kept_in": null}
        ]),
    );
}

/// A high-level consumer with `dual.commit.enabled`: it is registered in ZooKeeper and commits there and to Kafka, where
/// commits of `commitAsync` come later.
#[test]
fn a_group_that_commits_to_kafka_and_to_zookeeper_is_shown_twice_and_compared() {
    let broker = Broker::started(Release::of("4.1"));
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 1, 10);
    driver.alter("dual", "orders", 0, 4, "");
    let zookeeper = ZooKeeper::started(NEW);
    let mut client = zookeeper.client(None);
    client.set("/consumers/dual/offsets/orders/0", "4");
    client.set("/consumers/dual/owners/orders/0", "dual_host-1700000000000-0a1b2c3d-0");
    let (_folder, mut server) = serve(&format!(
        "{OFTEN}[clusters.east]\nbootstrap_servers = '{}'\n{}",
        broker.bootstrap_servers(),
        zookeeper.source("zookeeper", "", "layout = 'consumers'")
    ));
    server.wait_ready();

    let shows = |sql: &str, rows: Value| wait_for("the rows", LIMIT, || is(&server, sql, rows.clone()));
    let lag = "SELECT source, committed_offset, lag, client_host FROM lag WHERE group_id = 'dual' ORDER BY 1";
    // Owners in ZooKeeper are lent to a group in Kafka only if the group keeps no offsets in ZooKeeper.
    let row = |source: &str, offset: i64, host: Option<&str>| json!({"source": source, "committed_offset": offset, "lag": 10 - offset, "client_host": host});
    shows(lag, json!([row("kafka", 4, None), row("zookeeper", 4, Some("host"))]));
    driver.alter("dual", "orders", 0, 9, "");
    client.set("/consumers/dual/offsets/orders/0", "7");
    shows(lag, json!([row("kafka", 9, None), row("zookeeper", 7, Some("host"))]));
    let differences =
        "SELECT source, committed_offset, other_source, other_committed_offset, difference FROM source_differences";
    let difference = json!({"source": "kafka", "committed_offset": 9, "other_source": "zookeeper",
                            "other_committed_offset": 7, "difference": 2});
    shows(differences, json!([difference]));
}

/// A job with a `group.id` of its own subscribes in Kafka, commits nothing there, and writes its results and offsets to
/// MySQL in one transaction.
#[test]
fn a_job_that_stores_offsets_in_mysql_with_its_results_shows_what_was_committed() {
    let broker = Broker::started(Release::of("4.1"));
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 1, 10);
    driver.ask(&json!({"do": "consume", "name": "worker-1", "group": "job", "topics": ["orders"], "commit": false}));
    let mariadb = Mariadb::start();
    mariadb.sql(
        "CREATE TABLE results (id BIGINT PRIMARY KEY, total BIGINT);
         CREATE TABLE job_offsets (topic VARCHAR(249), part INT, next BIGINT, PRIMARY KEY (topic, part));
         INSERT INTO job_offsets VALUES ('orders', 0, 0);",
    );
    let query = "SELECT 'job' AS group_id, topic, part AS `partition`, next AS committed_offset FROM job_offsets";
    let (_folder, mut server) = serve(&format!(
        "{OFTEN}[clusters.east]\nbootstrap_servers = '{}'\n{}",
        broker.bootstrap_servers(),
        mariadb.source("results", query, "interval = '100ms'")
    ));
    server.wait_ready();

    let shows = |offset: i64| {
        let sql = "SELECT source, committed_offset, lag, client_id, owner_source FROM lag WHERE group_id = 'job'";
        let row = json!([{"source": "results", "committed_offset": offset, "lag": 10 - offset, "client_id": "worker-1",
                          "owner_source": "kafka"}]);
        wait_for("the rows", LIMIT, || is(&server, sql, row.clone()));
    };
    shows(0);
    let batch = |id: i64, next: i64, end: &str| {
        mariadb.sql(&format!(
            "START TRANSACTION; INSERT INTO results VALUES ({id}, 1); UPDATE job_offsets SET next = {next}; {end};"
        ));
    };
    batch(1, 4, "COMMIT");
    shows(4);
    batch(2, 8, "ROLLBACK");
    batch(3, 6, "COMMIT");
    shows(6);
    let rewinds = "SELECT kind FROM commits WHERE source = 'results' AND committed_offset = 8";
    assert!(server.sql(rewinds).is_empty(), "a transaction that was rolled back is never shown");
}
