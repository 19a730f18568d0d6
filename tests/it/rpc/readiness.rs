//! GetStatus, and the answers of calls while clusters load, fail and recover.

use std::fs;

use offsetd::rpc::proto::{
    ClusterStatus, Freshness, GetActiveConsumerRequest, GetConsumerRequest, GetOffsetRequest, OffsetFilter,
    QueryRequest, SqlRequest, WatchRequest,
};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::json;
use tempfile::TempDir;
use tonic::{Code, Status};

use super::{assert_fails, exact, shop};
use crate::mock::{Commit, MockKafka};
use crate::process::wait_for;
use crate::support::{LIMIT, Lab, Setup, kafka, until};

/// An address that refuses connections.
const UNREACHABLE: &str = "127.0.0.1:1";

fn wait_cluster(lab: &Lab, what: &str, accepts: impl Fn(&ClusterStatus) -> bool) -> ClusterStatus {
    wait_for(what, LIMIT, || {
        let cluster = lab.status().clusters.remove(0);
        if accepts(&cluster) { Ok(cluster) } else { Err(format!("{cluster:?}")) }
    })
}

fn of(group: &str, cluster: &str) -> QueryRequest {
    let (cluster, group_id) = (cluster.to_owned(), group.to_owned());
    QueryRequest { cluster, group_id, topic: "orders".to_owned(), ..QueryRequest::default() }
}

fn query(lab: &Lab, request: QueryRequest) -> Result<i64, Status> {
    let answer = lab.block_on(lab.client().query(request))?;
    Ok(answer.into_inner().entry.unwrap().committed_offset)
}

#[track_caller]
fn assert_loading<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let status = assert_fails(answer, Code::Unavailable, &["not loaded yet: "]);
    let hint = status.metadata().get("retry-after-ms").expect("a hint when to retry");
    assert!(hint.to_str().unwrap().parse::<u64>().unwrap() > 0);
}

#[test]
fn status_tells_the_progress_of_each_log_partition() {
    let lab = shop();
    lab.commit("billing", "orders", 0, 95);
    lab.writer.delete_offset("gone", "vanished", 0).unwrap();
    lab.settle();
    let status = lab.status();
    assert!(status.ready && status.awaited.is_empty() && status.started_at.is_some());
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert!(!status.git_revision.is_empty());
    let cluster = wait_cluster(&lab, "the ends of the log", |cluster| {
        cluster.log_partitions.iter().all(|of| of.end_offset == of.position && of.last_stable_offset == of.position)
    });
    assert!(cluster.ready && cluster.reachable && cluster.last_error.is_none() && cluster.stale_since.is_none());
    assert_eq!((&*cluster.cluster, &*cluster.bootstrap_servers), ("default", lab.kafka.bootstrap_servers()));
    assert_eq!((cluster.brokers, cluster.groups, cluster.offsets), (Some(1), 4, 5));
    assert!(cluster.cluster_id.is_some());
    assert_eq!((cluster.progress, &*cluster.phase, cluster.remaining), (Some(1.0), "loaded", None));
    assert_eq!(cluster.log_partitions.len(), 5);
    assert!(cluster.log_partitions.iter().all(|of| of.state == "live" && of.target.is_some()));
    let sum = |count: fn(&offsetd::rpc::proto::LogPartitionStatus) -> u64| {
        cluster.log_partitions.iter().map(count).sum::<u64>()
    };
    assert_eq!((sum(|of| of.records), sum(|of| of.tombstones)), (11, 1));
    let number = usize::try_from(lab.writer.log_partition("billing").unwrap()).unwrap();
    let partition = &cluster.log_partitions[number];
    assert!(partition.target < partition.position && partition.last_record_at.is_some());
}

#[test]
fn bad_and_unknown_records_are_counted_and_stop_nothing() {
    let lab = Lab::new(1);
    let commit = Commit::new("g", "t", 0, 1, lab.clock.now());
    let (key, value) = (commit.key(), commit.value().unwrap());
    let raw = |key: Option<&[u8]>, value: Option<&[u8]>| lab.writer.write_raw(0, key, value).unwrap();
    raw(Some(&[0, 99, 1, 2]), Some(&[1]));
    raw(Some(&[0, 24, 0, 0]), None);
    raw(Some(&[0x7f, 0xff]), Some(&[]));
    raw(Some(&[]), Some(&value));
    raw(None, Some(&value));
    raw(Some(&key[..key.len() - 1]), Some(&value));
    raw(Some(&key), Some(&value[..value.len() - 1]));
    raw(Some(&key), Some(&[0x7f, 0xff]));
    raw(Some(&key), Some(&[]));
    raw(Some(&[0, 2, 0xff, 0xff]), Some(&[0, 3]));
    raw(None, None);
    // Valid, except for trailing bytes, which Kafka ignores as well.
    raw(Some(&[0, 15, 0, 0]), None);
    raw(Some(&key), Some(&[&value[..], &[1, 2]].concat()));
    lab.commit("g", "t", 0, 2);
    lab.settle();
    assert_eq!(lab.entry("g", "t", 0).committed_offset, 2);
    let rows = lab.sql("SELECT records, decode_errors, unknown_types, state, last_error FROM sources").rows;
    let expected = json!({"records": 14, "decode_errors": 8, "unknown_types": 3, "state": "live", "last_error": null});
    assert_eq!(rows, [expected]);
    let partition = &lab.status().clusters[0].log_partitions[0];
    assert_eq!((partition.decode_errors, partition.unknown_types), (8, 3));
    assert!(lab.status().ready);
    let metrics = lab.get("/metrics");
    let sample = r#"offsetd_log_left_over_records_total{cluster="default",log_partition="0"} 1"#;
    assert!(metrics.text().lines().any(|line| line == sample), "{}", metrics.text());
}

#[test]
fn without_the_topic_the_server_is_ready_and_empty_and_notices_when_it_comes() {
    let kafka = MockKafka::start(1).unwrap();
    kafka.create_topic("orders", 1).unwrap();
    let lab = Setup::default().ready(&kafka);
    let topics = |lab: &Lab| lab.sql("SELECT topic FROM topics ORDER BY topic").rows;
    assert_eq!(topics(&lab), [json!({"topic": "orders"})], "reading has not created the topic");
    assert_eq!(lab.sql("SELECT * FROM offsets").rows.len(), 0);
    assert_fails(lab.query("g", "orders", 0), Code::NotFound, &["no group"]);
    let request = GetOffsetRequest { freshness: Freshness::Latest.into(), ..GetOffsetRequest::default() };
    assert_eq!(lab.block_on(lab.client().get_offset(request)).unwrap().into_inner().entries.len(), 0);

    kafka.create_offsets_topic(3).unwrap();
    lab.commit("g", "orders", 0, 7);
    lab.writer.flush().unwrap();
    lab.wait_entry(("g", "orders", 0), |entry| entry.committed_offset == 7);
    assert!(lab.status().ready);
    assert_eq!(lab.sql("SELECT count(*) AS n FROM sources").rows, [json!({"n": 3})]);
}

#[test]
fn while_a_cluster_cannot_be_reached_calls_say_so_and_status_says_why() {
    let kafka = kafka(1);
    kafka.mock().unwrap().broker_down(1).unwrap();
    let lab = Setup::default().start(&kafka);
    let cluster = wait_cluster(&lab, "the failure", |cluster| cluster.last_error.is_some() && !cluster.reachable);
    assert!(!cluster.ready);
    let status = lab.status();
    assert!(!status.ready && status.awaited[0].contains("default"), "{:?}", status.awaited);
    assert_loading(query(&lab, of("g", "")));
    assert_loading(lab.block_on(lab.client().get_offset(GetOffsetRequest::default())));
    assert_loading(lab.block_on(lab.client().get_consumer(GetConsumerRequest::default())));
    assert_loading(lab.block_on(lab.client().get_active_consumer(GetActiveConsumerRequest::default())));
    assert_loading(lab.block_on(lab.client().watch(WatchRequest::default())));
    let select = |statement: &str| SqlRequest { statement: statement.to_owned(), ..SqlRequest::default() };
    assert_loading(lab.try_sql(select("SELECT * FROM lag")));
    // Tables about the server itself are available.
    assert_eq!(lab.sql("SELECT reachable, ready FROM clusters").rows, [json!({"reachable": false, "ready": false})]);
    assert_eq!(
        lab.sql("SELECT state, log_partition FROM sources").rows,
        [json!({"state": "failing", "log_partition": null})]
    );
    assert_eq!(lab.sql("SELECT 1 AS one").rows, [json!({"one": 1})]);
    let partial = SqlRequest { allow_partial: true, ..select("SELECT count(*) AS n FROM lag") };
    assert_eq!(lab.try_sql(partial).unwrap().rows, [json!({"n": 0})]);
    let partial = query(&lab, QueryRequest { allow_partial: true, ..of("g", "") });
    assert_fails(partial, Code::NotFound, &["no group"]);

    kafka.mock().unwrap().broker_up(1).unwrap();
    lab.commit("g", "orders", 0, 3);
    lab.writer.flush().unwrap();
    lab.wait_ready();
    lab.wait_entry(("g", "orders", 0), |entry| entry.committed_offset == 3);
}

#[test]
fn a_cluster_that_is_lost_is_served_stale_and_recovers_by_itself() {
    let lab = shop();
    let mock = lab.kafka.mock().unwrap();
    mock.broker_down(1).unwrap();
    let cluster = wait_cluster(&lab, "the loss", |cluster| !cluster.reachable);
    assert!(cluster.ready && cluster.stale_since.is_some() && cluster.last_error.is_some(), "{cluster:?}");
    assert!(cluster.log_partitions.iter().all(|of| of.state == "failing"));
    // A response that was already on its way when the broker stopped may briefly make the cluster reachable again.
    wait_for("the answer and the status to show the same time", LIMIT, || {
        let answer = lab.query("billing", "orders", 0).unwrap();
        assert_eq!(answer.entry.unwrap().committed_offset, 90);
        let (shown, status) = (answer.snapshot.unwrap().clusters.remove(0), lab.status().clusters.remove(0));
        let same = shown.stale_since.is_some() && shown.stale_since == status.stale_since;
        if same { Ok(()) } else { Err(format!("{shown:?}, {status:?}")) }
    });
    let answer = lab.sql("SELECT count(*) AS n FROM offsets");
    assert_eq!(answer.rows, [json!({"n": 6})]);
    assert!(answer.stats.snapshot.unwrap().clusters[0].stale_since.is_some());
    assert_eq!(lab.sql("SELECT ready, reachable FROM clusters").rows, [json!({"ready": true, "reachable": false})]);

    mock.broker_up(1).unwrap();
    wait_cluster(&lab, "the recovery", |cluster| {
        cluster.reachable && cluster.stale_since.is_none() && cluster.last_error.is_none()
    });
    lab.commit("billing", "orders", 0, 97);
    lab.writer.flush().unwrap();
    let entry = lab.wait_entry(("billing", "orders", 0), |entry| entry.committed_offset == 97);
    assert!(entry.log_offset.is_some());
    until("all log partitions to be live", || {
        lab.status().clusters[0].log_partitions.iter().all(|of| of.state == "live" && of.last_error.is_none())
    });
}

#[test]
fn latest_of_a_cluster_out_of_reach_is_unavailable() {
    let lab = shop();
    lab.kafka.mock().unwrap().broker_down(1).unwrap();
    wait_cluster(&lab, "the loss", |cluster| !cluster.reachable);
    let latest = i32::from(Freshness::Latest);
    let answer = query(&lab, QueryRequest { freshness: latest, ..of("billing", "") });
    assert_fails(answer, Code::Unavailable, &["latest"]);
    let request = GetOffsetRequest { freshness: latest, ..GetOffsetRequest::default() };
    assert_fails(lab.block_on(lab.client().get_offset(request)), Code::Unavailable, &["latest"]);
    let request = SqlRequest { statement: "SELECT 1 FROM lag".to_owned(), freshness: latest, ..SqlRequest::default() };
    assert_fails(lab.try_sql(request), Code::Unavailable, &["latest"]);
}

#[test]
fn latest_waits_until_a_log_partition_has_a_leader_again() {
    let lab = shop();
    // Some of these errors reach the poller.
    let moved = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 10];
    lab.kafka.mock().unwrap().request_errors(RDKafkaApiKey::ListOffsets, &moved);
    let latest = i32::from(Freshness::Latest);
    assert_eq!(query(&lab, QueryRequest { freshness: latest, ..of("billing", "") }).unwrap(), 90);
}

/// Starts a server with one reachable cluster, `alive`, and one that refuses connections, `dead`.
fn two_clusters() -> (Lab, TempDir) {
    let kafka = kafka(2);
    kafka.create_topic("orders", 1).unwrap();
    kafka.writer().commit(&Commit::new("g", "orders", 0, 5, 1_700_000_000_000)).unwrap();
    kafka.writer().flush().unwrap();
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("offsetd.toml");
    let servers = kafka.bootstrap_servers();
    let text = format!(
        "[clusters.alive]\nbootstrap_servers = \"{servers}\"\n[clusters.dead]\nbootstrap_servers = \"{UNREACHABLE}\"\n"
    );
    fs::write(&file, text).unwrap();
    let setup = Setup { config_file: Some(file), ..Setup::default() };
    let lab = setup.with("SERVER_READY_AFTER", "500ms").ready(&kafka);
    (lab, dir)
}

#[test]
fn a_dead_cluster_keeps_no_other_from_service_and_is_named_in_answers_about_all() {
    let (lab, _dir) = two_clusters();
    until("the living cluster", || lab.status().clusters.iter().any(|cluster| cluster.ready));
    let answer = lab.block_on(lab.client().get_offset(GetOffsetRequest::default())).unwrap().into_inner();
    assert_eq!((answer.entries.len(), &answer.incomplete_clusters[..]), (1, &["dead".to_owned()][..]));
    assert_eq!(answer.entries[0].cluster, "alive");
    let answer = lab.block_on(lab.client().get_consumer(GetConsumerRequest::default())).unwrap().into_inner();
    assert_eq!((answer.consumers.len(), answer.incomplete_clusters), (1, vec!["dead".to_owned()]));
    let answer = lab.sql("SELECT cluster, group_id FROM offsets");
    assert_eq!(answer.rows, [json!({"cluster": "alive", "group_id": "g"})]);
    assert_eq!(answer.stats.incomplete_clusters, ["dead"]);
    let rows = lab.sql("SELECT cluster, ready FROM clusters ORDER BY 1").rows;
    assert_eq!(rows, [json!({"cluster": "alive", "ready": true}), json!({"cluster": "dead", "ready": false})]);

    assert_eq!(query(&lab, of("g", "alive")).unwrap(), 5);
    assert_loading(query(&lab, of("g", "dead")));
    assert_eq!(query(&lab, of("g", "")).unwrap(), 5);
    // The cluster that is not loaded may have it.
    assert_loading(query(&lab, of("missing", "")));
    let named = OffsetFilter { cluster: exact("dead"), ..OffsetFilter::default() };
    let request = GetOffsetRequest { filter: Some(named), ..GetOffsetRequest::default() };
    assert_loading(lab.block_on(lab.client().get_offset(request.clone())));
    let partial = GetOffsetRequest { allow_partial: true, ..request };
    assert_eq!(lab.block_on(lab.client().get_offset(partial)).unwrap().into_inner().entries.len(), 0);
}
