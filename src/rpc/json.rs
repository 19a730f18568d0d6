//! Protobuf messages as JSON: the field names of the gRPC interface, unknown as null, times RFC 3339, 64-bit integers
//! as numbers below 2^53, else as strings.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use crate::{
    model,
    rpc::proto::{
        ClusterStatus, Consumer, ConsumerEdge, GetStatusResponse, HistoryStore, LagUnknown, LogPartitionStatus,
        OffsetChange, OffsetEntry, Owner, QueryResponse, Resync, ShardPosition, Snapshot,
    },
};

/// RFC 3339, UTC. `None` when unset or beyond the calendar.
pub fn time(at: Option<&prost_types::Timestamp>) -> Option<String> {
    let at = at?;
    let at = DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?)?;
    Some(at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// A protobuf duration, when it is one and not negative.
pub fn duration(time: &prost_types::Duration) -> Option<Duration> {
    Some(Duration::new(u64::try_from(time.seconds).ok()?, u32::try_from(time.nanos).ok()?))
}

/// The first integer that a double cannot tell from its neighbour.
const EXACT: u64 = 1 << 53;

/// A number below 2^53, else text: readers of JSON often have only doubles.
#[must_use]
pub fn int(value: i64) -> Value {
    if value.unsigned_abs() < EXACT { json!(value) } else { json!(value.to_string()) }
}

/// As [`int`].
#[must_use]
pub fn uint(value: u64) -> Value {
    if value < EXACT { json!(value) } else { json!(value.to_string()) }
}

fn opt(value: Option<i64>) -> Value {
    value.map_or(Value::Null, int)
}

/// The name in SQL, JSON and metrics; `None` when the lag is known.
pub fn lag_unknown(entry: &OffsetEntry) -> Option<&'static str> {
    let reason = match entry.lag_unknown() {
        LagUnknown::Unspecified => return None,
        LagUnknown::EndUnknown => model::LagUnknown::EndUnknown,
        LagUnknown::NotAuthorized => model::LagUnknown::NotAuthorized,
        LagUnknown::AheadOfLog => model::LagUnknown::AheadOfLog,
        LagUnknown::TopicRecreated => model::LagUnknown::TopicRecreated,
        LagUnknown::TopicDeleted => model::LagUnknown::TopicDeleted,
    };
    Some(reason.as_str())
}

/// A committed offset.
#[must_use]
pub fn entry(entry: &OffsetEntry) -> Value {
    json!({
        "cluster": entry.cluster,
        "source": entry.source,
        "group_id": entry.group_id,
        "topic": entry.topic,
        "partition": entry.partition,
        "committed_offset": int(entry.committed_offset),
        "committed_at": time(entry.committed_at.as_ref()),
        "leader_epoch": entry.leader_epoch,
        "metadata": entry.metadata,
        "expires_at": time(entry.expires_at.as_ref()),
        "topic_id": entry.topic_id,
        "log_start_offset": opt(entry.log_start_offset),
        "log_end_offset": opt(entry.log_end_offset),
        "lag": opt(entry.lag),
        "lag_unknown": lag_unknown(entry),
        "lag_seconds": entry.lag_seconds,
        "status": entry.status,
        "owner": owner(entry.owner.as_ref()),
        "log_partition": entry.log_partition,
        "log_offset": opt(entry.log_offset),
    })
}

fn owner(owner: Option<&Owner>) -> Value {
    owner.map_or(Value::Null, |owner| {
        json!({
            "member_id": owner.member_id,
            "instance_id": owner.instance_id,
            "client_id": owner.client_id,
            "client_host": owner.client_host,
        })
    })
}

/// An answer of Query.
#[must_use]
pub fn query(answer: &QueryResponse) -> Value {
    json!({"entry": answer.entry.as_ref().map(entry), "snapshot": answer.snapshot.as_ref().map(snapshot)})
}

/// A change that Watch tells.
#[must_use]
pub fn change(change: &OffsetChange) -> Value {
    json!({
        "position": change.position.as_ref().map(position),
        "old": change.old.as_ref().map(entry),
        "new": change.new.as_ref().map(entry),
        "current": change.current,
    })
}

/// What a Watch missed.
#[must_use]
pub fn resync(resync: &Resync) -> Value {
    json!({
        "position": resync.position.as_ref().map(position),
        "missed": resync.missed.map(uint),
        "full": resync.full,
    })
}

fn position(position: &ShardPosition) -> Value {
    json!({
        "cluster": position.cluster,
        "source": position.source,
        "log_partition": position.log_partition,
        "epoch": uint(position.epoch),
        "sequence": uint(position.sequence),
    })
}

/// What an answer was read from.
#[must_use]
pub fn snapshot(snapshot: &Snapshot) -> Value {
    let cluster = |cluster: &crate::rpc::proto::ClusterSnapshot| {
        json!({
            "cluster": cluster.cluster,
            "complete": cluster.complete,
            "newest_record_at": time(cluster.newest_record_at.as_ref()),
            "stale_since": time(cluster.stale_since.as_ref()),
        })
    };
    json!({
        "id": snapshot.id,
        "taken_at": time(snapshot.taken_at.as_ref()),
        "clusters": snapshot.clusters.iter().map(cluster).collect::<Vec<_>>(),
    })
}

/// A group.
#[must_use]
pub fn consumer(group: &Consumer) -> Value {
    let topics = group.topics.iter().map(|topic| json!({"topic": topic.topic, "partitions": topic.partitions}));
    json!({
        "cluster": group.cluster,
        "group_id": group.group_id,
        "kind": group.kind,
        "state": group.state,
        "protocol_type": group.protocol_type,
        "protocol": group.protocol,
        "epoch": group.epoch,
        "topics": topics.collect::<Vec<_>>(),
        "members": group.members,
        "lag": opt(group.lag),
        "max_lag": opt(group.max_lag),
        "max_lag_seconds": group.max_lag_seconds,
        "unknown_lag_partitions": group.unknown_lag_partitions,
        "last_committed_at": time(group.last_committed_at.as_ref()),
        "active": group.active,
        "status": group.status,
        "members_stale_since": time(group.members_stale_since.as_ref()),
    })
}

/// An edge of the graph of active groups.
#[must_use]
pub fn edge(edge: &ConsumerEdge) -> Value {
    json!({
        "cluster": edge.cluster,
        "group_id": edge.group_id,
        "topic": edge.topic,
        "owner": owner(edge.owner.as_ref()),
        "partitions": edge.partitions,
        "lag": opt(edge.lag),
        "last_committed_at": time(edge.last_committed_at.as_ref()),
    })
}

/// The state of the server.
#[must_use]
pub fn status(status: &GetStatusResponse) -> Value {
    json!({
        "ready": status.ready,
        "awaited": status.awaited,
        "version": status.version,
        "git_revision": status.git_revision,
        "started_at": time(status.started_at.as_ref()),
        "clusters": status.clusters.iter().map(cluster).collect::<Vec<_>>(),
        "history_store": status.history_store.as_ref().map(history_store),
    })
}

fn history_store(store: &HistoryStore) -> Value {
    json!({
        "last_error": store.last_error,
        "failures": uint(store.failures),
        "files_written": uint(store.files_written),
        "written_to": time(store.written_to.as_ref()),
        "skipped": store.skipped,
    })
}

fn cluster(cluster: &ClusterStatus) -> Value {
    json!({
        "cluster": cluster.cluster,
        "bootstrap_servers": cluster.bootstrap_servers,
        "cluster_id": cluster.cluster_id,
        "brokers": cluster.brokers,
        "controller": cluster.controller,
        "reachable": cluster.reachable,
        "ready": cluster.ready,
        "progress": cluster.progress,
        "remaining_seconds": cluster.remaining.as_ref().and_then(duration).map(|time| time.as_secs_f64()),
        "last_error": cluster.last_error,
        "stale_since": time(cluster.stale_since.as_ref()),
        "groups": uint(cluster.groups),
        "offsets": uint(cluster.offsets),
        "audited_groups": uint(cluster.audited_groups),
        "audited_offsets": uint(cluster.audited_offsets),
        "audit_differences": uint(cluster.audit_differences),
        "history_since": time(cluster.history_since.as_ref()),
        "history_bytes": uint(cluster.history_bytes),
        "history_dropped_samples": uint(cluster.history_dropped_samples),
        "log_partitions": cluster.log_partitions.iter().map(log_partition).collect::<Vec<_>>(),
    })
}

fn log_partition(partition: &LogPartitionStatus) -> Value {
    json!({
        "log_partition": partition.log_partition,
        "state": partition.state,
        "position": opt(partition.position),
        "target": opt(partition.target),
        "end_offset": opt(partition.end_offset),
        "last_stable_offset": opt(partition.last_stable_offset),
        "records": uint(partition.records),
        "tombstones": uint(partition.tombstones),
        "decode_errors": uint(partition.decode_errors),
        "unknown_types": uint(partition.unknown_types),
        "open_transaction_since": time(partition.open_transaction_since.as_ref()),
        "last_record_at": time(partition.last_record_at.as_ref()),
        "last_error": partition.last_error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_integers_are_strings_and_unknown_is_null() {
        assert_eq!(int((1 << 53) - 1), json!(9_007_199_254_740_991_i64));
        assert_eq!(int(1 << 53), json!("9007199254740992"));
        assert_eq!(int(i64::MIN), json!("-9223372036854775808"));
        assert_eq!(uint(u64::MAX), json!("18446744073709551615"));
        let value = entry(&OffsetEntry {
            lag_unknown: LagUnknown::TopicDeleted.into(),
            committed_offset: i64::MAX,
            ..OffsetEntry::default()
        });
        assert_eq!(value["lag"], Value::Null);
        assert_eq!(value["owner"], Value::Null);
        assert_eq!(value["lag_unknown"], "topic_deleted");
        assert_eq!(value["committed_offset"], "9223372036854775807");
    }
}
