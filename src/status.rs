//! Status of the server: load progress of each log partition, and readiness.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    model::{Millis, Name, OFFSETS_TOPIC, SOURCE_KAFKA, SourceKind},
    store::{
        Store,
        cluster::{Cluster, Health},
        ends::{EndError, LogEnds},
        shard::Shard,
        source::{ReadOutcome, Source},
    },
};

/// Version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Git revision from which the program was built.
pub const GIT_REVISION: &str = env!("OFFSETD_GIT_REVISION");

/// Status of a log partition, or of a source that is not a log.
#[derive(Clone, Debug)]
pub struct LogPartitionStatus {
    /// Name of the source: `kafka`, or that of another offset store.
    pub source: Name,
    /// Kind of the offset store.
    pub kind: Name,
    /// The place in the store that is read, such as the path of a znode.
    pub location: Option<Name>,
    /// Read mode of a Kafka cluster's own source: `log` or `admin`.
    pub mode: Option<&'static str>,
    /// Outcome of the last complete read, of a source that is read as a whole.
    pub last_read: Option<Arc<ReadOutcome>>,
    /// Partition of `__consumer_offsets`; `None` stands for all partitions while their number is unknown.
    pub log_partition: Option<i32>,
    /// `loading`, `live` or `failing`.
    pub state: &'static str,
    /// Next offset to apply.
    pub position: Option<i64>,
    /// Log end that was captured at the start.
    pub target: Option<i64>,
    /// High watermark.
    pub end_offset: Option<i64>,
    /// Last stable offset.
    pub last_stable_offset: Option<i64>,
    /// Time since which an open transaction delays readers.
    pub open_transaction_since: Option<Millis>,
    /// Number of records read.
    pub records: u64,
    /// Number of tombstones.
    pub tombstones: u64,
    /// Number of records that did not decode, by fault.
    pub decode_errors: BTreeMap<&'static str, u64>,
    /// Number of records of unknown types, by type.
    pub unknown_types: BTreeMap<i16, u64>,
    /// Number of valid records with bytes after their end.
    pub with_left_over: u64,
    /// Time of the last record read.
    pub last_record_at: Option<Millis>,
    /// Why the partition cannot be read.
    pub last_error: Option<String>,
}

impl LogPartitionStatus {
    /// Returns the number of records and markers that are not applied yet. A high watermark below the position counts
    /// as 0.
    #[must_use]
    pub fn behind(&self) -> Option<i64> {
        Some(self.end_offset?.saturating_sub(self.position?).max(0))
    }
}

impl LogPartitionStatus {
    /// Returns the status of a source with unknown log partitions.
    fn unknown(source: &Source, health: &Health) -> Self {
        Self {
            source: Name::clone(&source.id.name),
            kind: Name::clone(&source.store),
            location: source.location.clone(),
            mode: own_mode(source),
            last_read: source.last_read(),
            log_partition: None,
            state: if health.reachable && health.faults.is_empty() { "loading" } else { "failing" },
            position: None,
            target: None,
            end_offset: None,
            last_stable_offset: None,
            open_transaction_since: None,
            records: 0,
            tombstones: 0,
            decode_errors: BTreeMap::new(),
            unknown_types: BTreeMap::new(),
            with_left_over: 0,
            last_record_at: None,
            last_error: health.last_error.clone(),
        }
    }
}

/// Returns the status of each log partition of a source; one entry without a number while the partitions are unknown.
#[must_use]
pub fn sources(source: &Source, health: &Health, ends: &LogEnds) -> Vec<LogPartitionStatus> {
    let partitions = log_partitions(source, health, ends);
    // If the partitions are known and there are none, the list is empty.
    if partitions.is_empty() && health.shards != Some(0) {
        return vec![LogPartitionStatus::unknown(source, health)];
    }
    partitions
}

/// Returns the status of the known log partitions of a source, by number.
#[must_use]
pub fn log_partitions(source: &Source, health: &Health, ends: &LogEnds) -> Vec<LogPartitionStatus> {
    let topic = ends.topic(OFFSETS_TOPIC);
    source
        .shards()
        .iter()
        .map(|shard| {
            let number = shard.key.partition().and_then(|number| usize::try_from(number).ok());
            let partition = topic.zip(number).and_then(|(topic, number)| topic.partitions.get(number));
            let value = partition.map(|partition| ends.value(*partition));
            // If the log cannot be read, or has no leader, its current end is unknown.
            let is_unknown = health.is_refused() || value.is_some_and(|of| of.error == Some(EndError::NoLeader));
            let known = |offset: Option<i64>| offset.filter(|offset| *offset >= 0 && !is_unknown);
            log_partition(
                (source, shard),
                health,
                known(value.map(|of| of.log_end)),
                known(value.map(|of| of.last_stable)),
            )
        })
        .collect()
}

/// Returns the read mode of a Kafka cluster's own source.
#[must_use]
pub fn mode(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Log => "log",
        SourceKind::Table => "admin",
    }
}

/// Returns the read mode, if this is a cluster's own source.
fn own_mode(source: &Source) -> Option<&'static str> {
    (*source.id.name == *SOURCE_KAFKA).then(|| mode(source.kind()))
}

/// Returns the state of a source: of a log, the worst state of its partitions.
#[must_use]
pub fn state(source: &Source, health: &Health, ends: &LogEnds) -> &'static str {
    let states: BTreeSet<&str> = sources(source, health, ends).iter().map(|of| of.state).collect();
    ["failing", "loading"].into_iter().find(|state| states.contains(state)).unwrap_or("live")
}

fn log_partition(
    (source, shard): (&Source, &Arc<Shard>),
    health: &Health,
    end_offset: Option<i64>,
    last_stable_offset: Option<i64>,
) -> LogPartitionStatus {
    let progress = &shard.progress;
    let (position, target) = (shard.applied().0, progress.target());
    // A missing right on the topic is the reason for all partitions.
    let last_error = progress.last_error().filter(|_| !health.is_refused());
    let is_loaded = match source.kind() {
        SourceKind::Log => target.is_some_and(|target| position >= target),
        SourceKind::Table => health.ready,
    };
    let state = if last_error.is_some() || !health.reachable || health.is_refused() {
        "failing"
    } else if is_loaded {
        "live"
    } else {
        "loading"
    };
    // Applied records are stable, even if the last observed ends are older.
    let reached = |known: Option<i64>| known.map(|offset| offset.max(position));
    LogPartitionStatus {
        source: Name::clone(&shard.key.source.name),
        kind: Name::clone(&source.store),
        location: source.location.clone(),
        mode: own_mode(source),
        last_read: source.last_read(),
        log_partition: shard.key.partition(),
        state,
        position: (position >= 0).then_some(position),
        target,
        end_offset: reached(end_offset),
        last_stable_offset: reached(last_stable_offset),
        open_transaction_since: progress.open_transaction_since(),
        records: progress.records(),
        tombstones: progress.tombstones(),
        decode_errors: progress.decode_errors(),
        unknown_types: progress.unknown_types(),
        with_left_over: progress.with_left_over(),
        last_record_at: progress.last_record_at(),
        last_error: last_error.or_else(|| health.last_error.clone()),
    }
}

/// Returns the clusters, sources and tasks that readiness waits for; empty if the server is ready.
///
/// Each cluster must be loaded, or have been failing for `ready_after` unless it is `required`: one dead cluster must
/// not keep the healthy ones out of service. Another source must be loaded only if it is `required`. At least one
/// source must be loaded. The server must also admit new statements and calls, see [`crate::work`].
#[must_use]
pub fn awaited(store: &Store, ready_after: Duration) -> Vec<String> {
    let now = store.clock.ticks();
    let mut awaited = vec![];
    let mut loaded = false;
    let clusters = store.clusters();
    for cluster in &*clusters {
        let health = cluster.health();
        loaded |= health.ready;
        let failing_for =
            health.failing_since.map(|since| Duration::from_millis(u64::from(now.saturating_sub(since)) * 100));
        let given_up = !cluster.config.required && failing_for.is_some_and(|time| time >= ready_after);
        if !health.ready && !given_up {
            awaited.push(describe(cluster, &health));
        }
        for source in cluster.sources().iter().skip(1) {
            let health = source.health();
            loaded |= health.ready;
            if source.required && !health.ready {
                awaited.push(describe_source(source, &health));
            }
        }
    }
    if awaited.is_empty() && !loaded {
        awaited.extend(clusters.iter().map(|cluster| describe(cluster, &cluster.health())));
    }
    let work = store.work().status();
    if work.is_full() {
        awaited.push(format!("cancelled work is still running; restart the server: {}", work.abandoned.join("; ")));
    }
    awaited
}

/// Returns a note for each loaded cluster that has no committed offsets.
#[must_use]
pub fn empty_clusters(store: &Store) -> Vec<String> {
    let is_empty = |cluster: &&Arc<Cluster>| {
        cluster.health().ready && cluster.own.shards().iter().all(|shard| shard.progress.records() == 0)
    };
    let note = |cluster: &Arc<Cluster>| format!("cluster {}: no group has committed yet", cluster.name);
    let clusters = store.clusters();
    clusters.iter().filter(is_empty).map(note).collect()
}

fn describe_source(source: &Source, health: &Health) -> String {
    let reason = health.last_error.as_deref().unwrap_or("not read yet");
    format!("source {}/{}: {reason}", source.id.cluster, source.id.name)
}

fn describe(cluster: &Cluster, health: &Health) -> String {
    match &health.last_error {
        Some(error) => format!("cluster {}: {error}", cluster.name),
        None => format!("cluster {}: {}", cluster.name, cluster.own.load_phase(&cluster.ends.current())),
    }
}

/// Returns the resident memory of the process, on systems with Linux's `/proc`.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix("kB")?;
    kilobytes.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests;
