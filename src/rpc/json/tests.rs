use std::collections::HashMap;

use super::*;
use crate::rpc::proto::{
    ClusterSnapshot, ClusterStatus, Consumer, ConsumerEdge, GetStatusResponse, HistoryStore, LogPartitionStatus,
    OffsetChange, Owner, QueryResponse, Resync, ShardPosition, Snapshot, SourceStatus, TopicPartitions,
};

const BIG: i64 = 1 << 53;
const AT: Option<prost_types::Timestamp> = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 });
const AT_TEXT: &str = "2023-11-14T22:13:20.005Z";
/// [`BIG`] in JSON.
const BIG_TEXT: &str = "9007199254740992";

#[test]
fn large_integers_are_strings_and_unknown_is_null() {
    assert_eq!(int((1 << 53) - 1), json!(9_007_199_254_740_991_i64));
    assert_eq!(int(1 << 53), json!("9007199254740992"));
    assert_eq!(int(i64::MIN), json!("-9223372036854775808"));
    assert_eq!(uint(u64::MAX), json!("18446744073709551615"));
    let value = view(&OffsetEntry {
        lag_unknown: LagUnknown::TopicDeleted.into(),
        committed_offset: i64::MAX,
        ..OffsetEntry::default()
    });
    assert_eq!(value["lag"], Value::Null);
    assert_eq!(value["owner"], Value::Null);
    assert_eq!(value["lag_unknown"], "topic_deleted");
    assert_eq!(value["committed_offset"], "9223372036854775807");
}

#[test]
fn an_offset_has_every_field_under_its_name() {
    let owner = Owner { member_id: "m".to_owned(), client_id: "c".to_owned(), ..Owner::default() };
    let entry = OffsetEntry {
        group_id: "g".to_owned(),
        committed_offset: BIG,
        committed_at: AT,
        lag: Some(3),
        lag_seconds: Some(0.5),
        owner: Some(owner),
        log_offset: Some(BIG),
        ..OffsetEntry::default()
    };
    let clusters =
        vec![ClusterSnapshot { cluster: "east".to_owned(), complete: true, stale_since: AT, ..Default::default() }];
    let snapshot = Snapshot { id: "s".to_owned(), taken_at: AT, clusters };
    let entry_json = json!({
        "cluster": "", "source": "", "group_id": "g", "topic": "", "partition": 0, "committed_offset": BIG_TEXT,
        "committed_at": AT_TEXT, "leader_epoch": null, "metadata": "", "expires_at": null, "topic_id": null,
        "log_start_offset": null, "log_end_offset": null, "lag": 3, "lag_unknown": null, "lag_seconds": 0.5, "status": "",
        "owner": {"member_id": "m", "instance_id": null, "client_id": "c", "client_host": "", "source": null},
        "log_partition": null, "log_offset": BIG_TEXT, "observed_at": null,
    });
    let snapshot_json = json!({"id": "s", "taken_at": AT_TEXT, "clusters": [
        {"cluster": "east", "complete": true, "newest_record_at": null, "stale_since": AT_TEXT}]});
    let query = QueryResponse { entry: Some(entry.clone()), snapshot: Some(snapshot) };
    assert_eq!(view(&query), json!({"entry": entry_json, "snapshot": snapshot_json}));

    let position = ShardPosition { epoch: u64::MAX, sequence: 9, ..ShardPosition::default() };
    let position_json =
        json!({"cluster": "", "source": "", "log_partition": 0, "epoch": "18446744073709551615", "sequence": 9});
    let change = OffsetChange { position: Some(position.clone()), old: None, new: Some(entry), current: true };
    assert_eq!(view(&change), json!({"position": position_json, "old": null, "new": entry_json, "current": true}));
    let resync = Resync { position: Some(position), missed: Some(2), full: false };
    assert_eq!(view(&resync), json!({"position": position_json, "missed": 2, "full": false}));
}

#[test]
fn a_group_and_its_edges_have_every_field_under_its_name() {
    let topics = vec![TopicPartitions { topic: "t".to_owned(), partitions: 4 }];
    let group = Consumer { topics, lag: Some(BIG), last_committed_at: AT, epoch: Some(7), ..Consumer::default() };
    let group_json = json!({
        "cluster": "", "group_id": "", "kind": "", "state": "", "protocol_type": null, "protocol": null, "epoch": 7,
        "topics": [{"topic": "t", "partitions": 4}], "members": null, "lag": BIG_TEXT, "max_lag": null,
        "max_lag_seconds": null, "unknown_lag_partitions": 0, "last_committed_at": AT_TEXT, "active": false, "status": "",
        "members_stale_since": null, "source": "", "offsets_kept_in": null,
    });
    assert_eq!(view(&group), group_json);
    let edge = ConsumerEdge { partitions: vec![0, 2], lag: Some(1), ..ConsumerEdge::default() };
    let edge_json = json!({
        "cluster": "", "group_id": "", "topic": "", "owner": null, "partitions": [0, 2], "lag": 1,
        "last_committed_at": null, "source": "",
    });
    assert_eq!(view(&edge), edge_json);
}

#[test]
fn the_status_has_every_field_under_its_name_but_memory() {
    let partition = LogPartitionStatus { position: Some(BIG), records: 1 << 53, ..LogPartitionStatus::default() };
    let cluster = ClusterStatus {
        remaining: Some(prost_types::Duration { seconds: 61, nanos: 500_000_000 }),
        progress: Some(0.5),
        phase: "50 % of the log read".to_owned(),
        log_partitions: vec![partition],
        sources: vec![SourceStatus { last_read_at: AT, read_seconds: Some(0.5), ..SourceStatus::default() }],
        history_since: AT,
        ..ClusterStatus::default()
    };
    let skipped = HashMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
    let history_store = Some(HistoryStore { failures: 3, written_to: AT, skipped, ..HistoryStore::default() });
    let status = GetStatusResponse {
        clusters: vec![cluster],
        history_store,
        held_bytes: 5,
        resident_bytes: Some(6),
        ..GetStatusResponse::default()
    };
    let partition_json = json!({
        "log_partition": 0, "state": "", "position": BIG_TEXT, "target": null, "end_offset": null,
        "last_stable_offset": null, "records": BIG_TEXT, "tombstones": 0, "decode_errors": 0, "unknown_types": 0,
        "open_transaction_since": null, "last_record_at": null, "last_error": null,
    });
    let source_json = json!({
        "source": "", "kind": "", "mode": null, "mode_reason": null, "state": "", "reachable": false, "ready": false,
        "last_error": null, "stale_since": null, "groups": 0, "offsets": 0, "entries": null, "unmatched": null,
        "malformed": null, "ambiguous": null, "forbidden": null, "last_rejected": null, "last_read_at": AT_TEXT,
        "read_seconds": 0.5, "interval_seconds": null,
    });
    let cluster_json = json!({
        "cluster": "", "bootstrap_servers": "", "cluster_id": null, "brokers": null, "controller": null,
        "reachable": false, "ready": false, "progress": 0.5, "phase": "50 % of the log read", "remaining_seconds": 61.5, "last_error": null,
        "stale_since": null, "groups": 0, "offsets": 0, "audited_groups": 0, "audited_offsets": 0,
        "audit_differences": 0, "history_since": AT_TEXT, "history_bytes": 0, "history_dropped_samples": 0,
        "log_partitions": [partition_json], "sources": [source_json],
    });
    let status_json = json!({
        "ready": false, "awaited": [], "version": "", "git_revision": "", "started_at": null, "clusters": [cluster_json],
        "history_store": {
            "last_error": null, "failures": 3, "files_written": 0, "written_to": AT_TEXT, "skipped": {"a": "1", "b": "2"},
        },
    });
    // Compare as text, because the order of the fields matters.
    assert_eq!(view(&status).to_string(), status_json.to_string());
}
