//! Applications as tutorials describe them: they read from Kafka and store their offsets elsewhere.

use std::time::Duration;

use serde_json::{Value, json};

use super::redis::Redis;
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
