//! Conversions from the model to protobuf messages.

use std::sync::Arc;

use super::proto;
use crate::{
    facts::{Fact, GroupFact},
    lag::Lag,
    model::{LagUnknown, Millis, SOURCE_KAFKA, Status, shown},
    status,
    store::{
        Store,
        cluster::Cluster,
        cut::Snapshot,
        ends::LogEnds,
        event::ShardKey,
        group::{Extras, Row},
        history_store::HistoryStore,
        membership::Member,
        source::Source,
    },
};

/// Returns milliseconds as a protobuf timestamp; `None` for times that are not shown (see [`shown`]).
pub(super) fn timestamp(at: Millis) -> Option<prost_types::Timestamp> {
    let at = shown(at)?;
    let nanos = i32::try_from(at.rem_euclid(1000)).unwrap_or(0) * 1_000_000;
    Some(prost_types::Timestamp { seconds: at.div_euclid(1000), nanos })
}

pub(super) fn owner(member: &Member) -> proto::Owner {
    proto::Owner {
        source: None,
        member_id: member.member_id.to_string(),
        instance_id: member.extras().instance_id.as_ref().map(ToString::to_string),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
    }
}

pub(super) fn owner_of(fact: &Fact<'_>) -> Option<proto::Owner> {
    let source = fact.owner_source().map(ToString::to_string);
    fact.owner().map(|member| proto::Owner { source, ..owner(member) })
}

/// The key of an offset.
#[derive(Clone, Copy)]
pub(super) struct EntryKey<'a> {
    pub(super) shard: &'a ShardKey,
    pub(super) group: &'a str,
    pub(super) topic: &'a str,
}

/// Returns an entry with the committed offset, without lag.
pub(super) fn committed(key: EntryKey<'_>, row: &Row, extras: Option<&Extras>) -> proto::OffsetEntry {
    proto::OffsetEntry {
        cluster: key.shard.source.cluster.to_string(),
        source: key.shard.source.name.to_string(),
        group_id: key.group.to_owned(),
        topic: key.topic.to_owned(),
        partition: row.partition,
        committed_offset: row.committed_offset,
        committed_at: timestamp(row.committed_at),
        leader_epoch: Some(row.leader_epoch).filter(|epoch| *epoch >= 0),
        metadata: extras.and_then(|extras| extras.metadata.as_deref()).unwrap_or_default().to_owned(),
        expires_at: extras.and_then(|extras| extras.expires_at).and_then(timestamp),
        topic_id: extras.and_then(|extras| extras.topic_id).map(|id| id.to_string()),
        log_partition: key.shard.partition(),
        log_offset: key.shard.offset(row.revision),
        ..proto::OffsetEntry::default()
    }
}

/// Adds lag, status and owner to an entry.
pub(super) fn derived(
    entry: &mut proto::OffsetEntry,
    lag: &Lag,
    seconds: Option<f64>,
    status: Status,
    owner: Option<proto::Owner>,
) {
    entry.log_start_offset = lag.log_start;
    entry.log_end_offset = lag.log_end;
    entry.lag = lag.lag.ok();
    entry.lag_unknown = lag.lag.err().map_or(0, |reason| lag_unknown(reason) as i32);
    entry.lag_seconds = seconds;
    status.as_str().clone_into(&mut entry.status);
    entry.owner = owner;
}

pub(super) fn from_fact(fact: &Fact<'_>) -> proto::OffsetEntry {
    let group = fact.group();
    let key = EntryKey { shard: &group.shard.key, group: &group.group.id, topic: fact.entry.topic };
    let mut entry = committed(key, fact.entry.row, fact.entry.extras);
    derived(&mut entry, fact.lag(), fact.lag_seconds(), fact.status(), owner_of(fact));
    entry.observed_at = fact.observed_at().and_then(timestamp);
    entry
}

fn lag_unknown(reason: LagUnknown) -> proto::LagUnknown {
    match reason {
        LagUnknown::EndUnknown => proto::LagUnknown::EndUnknown,
        LagUnknown::NotAuthorized => proto::LagUnknown::NotAuthorized,
        LagUnknown::AheadOfLog => proto::LagUnknown::AheadOfLog,
        LagUnknown::TopicRecreated => proto::LagUnknown::TopicRecreated,
        LagUnknown::TopicDeleted => proto::LagUnknown::TopicDeleted,
    }
}

pub(super) fn snapshot(snapshot: &Snapshot) -> proto::Snapshot {
    proto::Snapshot {
        id: snapshot.id.clone(),
        taken_at: timestamp(snapshot.taken_at),
        clusters: snapshot
            .clusters
            .iter()
            .map(|cluster| proto::ClusterSnapshot {
                cluster: cluster.cluster.to_string(),
                complete: cluster.complete,
                newest_record_at: cluster.newest_record_at.and_then(timestamp),
                stale_since: cluster.stale_since.and_then(timestamp),
            })
            .collect(),
    }
}

pub(super) fn incomplete(snapshot: &Snapshot) -> Vec<String> {
    snapshot.incomplete.iter().map(ToString::to_string).collect()
}

pub(super) fn consumer(fact: &GroupFact<'_>) -> proto::Consumer {
    let membership = fact.group.group.membership();
    let mut topics: Vec<proto::TopicPartitions> = fact
        .group
        .group
        .topic_counts()
        .map(|(topic, count)| proto::TopicPartitions {
            topic: topic.to_string(),
            partitions: i32::try_from(count).unwrap_or(i32::MAX),
        })
        .collect();
    topics.sort_by(|left, right| left.topic.cmp(&right.topic));
    proto::Consumer {
        cluster: fact.group.source.cluster.name.to_string(),
        group_id: fact.group.group.id.to_string(),
        source: fact.group.source.source.id.name.to_string(),
        kind: fact.kind.to_owned(),
        state: fact.state.to_owned(),
        topics,
        members: fact.members,
        lag: fact.lag,
        unknown_lag_partitions: fact.unknown_lag_partitions,
        last_committed_at: fact.last_committed_at.and_then(timestamp),
        active: fact.active,
        status: fact.status.as_str().to_owned(),
        protocol_type: membership.and_then(|of| of.protocol_type.as_ref()).map(ToString::to_string),
        protocol: membership.and_then(|of| of.protocol.as_ref()).map(ToString::to_string),
        epoch: membership.and_then(|of| of.epoch),
        max_lag: fact.max_lag,
        max_lag_seconds: fact.max_lag_seconds,
        members_stale_since: fact.group.group.members_stale_since().and_then(timestamp),
        offsets_kept_in: fact.offsets_kept_in(),
    }
}

pub(super) fn cluster_status(store: &Store, cluster: &Arc<Cluster>) -> proto::ClusterStatus {
    let health = cluster.health();
    let (ends, placement) = (cluster.ends.current(), cluster.placement.load());
    let (own, samples) = (&cluster.own, cluster.own.samples.current());
    let shards = cluster.sources().into_iter().flat_map(|source| source.shards());
    let sizes = shards.map(|shard| shard.len()).fold((0, 0), |sum, len| (sum.0 + len.0, sum.1 + len.1));
    proto::ClusterStatus {
        cluster: cluster.name.to_string(),
        bootstrap_servers: cluster.config.bootstrap_servers.clone(),
        progress: own.progress(),
        phase: own.load_phase(&ends).to_string(),
        remaining: own.remaining(store.clock.ticks()).and_then(|left| left.try_into().ok()),
        log_partitions: status::log_partitions(own, &health, &ends).iter().filter_map(log_partition).collect(),
        groups: u64::try_from(sizes.0).unwrap_or(u64::MAX),
        offsets: u64::try_from(sizes.1).unwrap_or(u64::MAX),
        audited_groups: own.audit.groups.get(),
        audited_offsets: own.audit.keys.get(),
        audit_differences: u64::try_from(own.audit.differences().len()).unwrap_or(u64::MAX),
        history_since: samples.times().next().and_then(|(_, oldest)| timestamp(oldest.at)),
        history_bytes: u64::try_from(samples.bytes).unwrap_or(u64::MAX),
        history_dropped_samples: samples.dropped,
        cluster_id: placement.cluster_id.clone(),
        brokers: placement.broker_count(),
        controller: placement.controller,
        reachable: health.reachable,
        ready: health.ready,
        last_error: health.last_error.clone(),
        stale_since: health.stale_since.and_then(timestamp),
        sources: cluster.sources().iter().map(|source| source_status(source, &ends)).collect(),
    }
}

fn source_status(source: &Source, ends: &LogEnds) -> proto::SourceStatus {
    let (health, reading, kind) = (source.health(), source.last_read(), source.kind());
    let reading = reading.as_deref();
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let sizes = source.shards().iter().map(|shard| shard.len()).fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
    proto::SourceStatus {
        source: source.id.name.to_string(),
        kind: source.store.to_string(),
        mode: (*source.id.name == *SOURCE_KAFKA).then(|| status::mode(kind).to_owned()),
        mode_reason: health.mode_reason.clone(),
        state: status::state(source, &health, ends).to_owned(),
        reachable: health.reachable,
        ready: health.ready,
        last_error: health.last_error.clone(),
        stale_since: health.stale_since.and_then(timestamp),
        groups: count(sizes.0),
        offsets: count(sizes.1),
        entries: reading.map(|of| of.entries),
        unmatched: reading.map(|of| of.unmatched),
        malformed: reading.map(|of| of.malformed),
        ambiguous: reading.map(|of| of.ambiguous),
        forbidden: reading.map(|of| of.forbidden),
        last_rejected: reading.and_then(|of| of.last_rejected.clone()),
        last_read_at: reading.and_then(|of| timestamp(of.read_at)),
        read_seconds: reading.map(|of| of.seconds),
        interval_seconds: reading.map(|of| of.interval.as_secs_f64()),
    }
}

pub(super) fn history_store(store: &dyn HistoryStore) -> proto::HistoryStore {
    let status = store.status();
    proto::HistoryStore {
        last_error: status.last_error,
        failures: status.failures,
        files_written: status.files,
        written_to: status.written_to.and_then(timestamp),
        skipped: status.skipped.into_iter().collect(),
    }
}

fn log_partition(partition: &status::LogPartitionStatus) -> Option<proto::LogPartitionStatus> {
    Some(proto::LogPartitionStatus {
        log_partition: partition.log_partition?,
        state: partition.state.to_owned(),
        position: partition.position,
        target: partition.target,
        end_offset: partition.end_offset,
        last_stable_offset: partition.last_stable_offset,
        records: partition.records,
        tombstones: partition.tombstones,
        decode_errors: partition.decode_errors.values().sum(),
        unknown_types: partition.unknown_types.values().sum(),
        last_record_at: partition.last_record_at.and_then(timestamp),
        open_transaction_since: partition.open_transaction_since.and_then(timestamp),
        last_error: partition.last_error.clone(),
    })
}
