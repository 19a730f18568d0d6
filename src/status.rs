//! How the server itself does: progress of each log partition, and readiness.

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
        ends::{EndError, Ends},
        shard::Shard,
        source::{Reading, Source},
    },
};

/// Version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The revision that it was built from.
pub const GIT_REVISION: &str = env!("OFFSETD_GIT_REVISION");

/// How far one log partition was read.
#[derive(Clone, Debug)]
pub struct LogPartitionStatus {
    /// `kafka`, or the name of another offset store.
    pub source: Name,
    /// What keeps the offsets.
    pub kind: Name,
    /// How they are read, of a Kafka cluster: `log` or `admin`.
    pub mode: Option<&'static str>,
    /// How the last look went, where the source is looked at as a whole.
    pub reading: Option<Arc<Reading>>,
    /// Partition of `__consumer_offsets`; `None` stands for all, while it is not known how many there are.
    pub log_partition: Option<i32>,
    /// `loading`, `live` or `failing`.
    pub state: &'static str,
    /// The next offset to apply.
    pub position: Option<i64>,
    /// The end captured at the start.
    pub target: Option<i64>,
    /// High watermark.
    pub end_offset: Option<i64>,
    /// Last stable offset.
    pub last_stable_offset: Option<i64>,
    /// Since when an open transaction holds readers back.
    pub open_transaction_since: Option<Millis>,
    /// Records read.
    pub records: u64,
    /// Records without a value.
    pub tombstones: u64,
    /// Records that did not decode, by fault.
    pub decode_errors: BTreeMap<&'static str, u64>,
    /// Records of unknown types, by type.
    pub unknown_types: BTreeMap<i16, u64>,
    /// Good records with bytes after their end.
    pub with_left_over: u64,
    /// Time of the last record.
    pub last_record_at: Option<Millis>,
    /// What keeps the partition from being read.
    pub last_error: Option<String>,
}

impl LogPartitionStatus {
    /// Records (and markers) not applied yet. A high watermark older than the position counts as 0.
    #[must_use]
    pub fn behind(&self) -> Option<i64> {
        Some(self.end_offset?.saturating_sub(self.position?).max(0))
    }
}

impl LogPartitionStatus {
    /// Of a cluster whose log partitions are not known yet.
    fn unknown(source: &Source, health: &Health) -> Self {
        Self {
            source: Name::clone(&source.id.name),
            kind: Name::clone(&source.store),
            mode: own_mode(source),
            reading: source.reading(),
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

/// The source of a cluster by log partition: one entry without a number until partitions are known.
#[must_use]
pub fn sources(source: &Source, health: &Health, ends: &Ends) -> Vec<LogPartitionStatus> {
    let partitions = log_partitions(source, health, ends);
    // None is known and none exists: there is nothing to say.
    if partitions.is_empty() && health.shards != Some(0) {
        return vec![LogPartitionStatus::unknown(source, health)];
    }
    partitions
}

/// The log partitions of a cluster, by number.
#[must_use]
pub fn log_partitions(source: &Source, health: &Health, ends: &Ends) -> Vec<LogPartitionStatus> {
    let topic = ends.topic(OFFSETS_TOPIC);
    source
        .shards()
        .iter()
        .map(|shard| {
            let number = shard.key.partition().and_then(|number| usize::try_from(number).ok());
            let partition = topic.zip(number).and_then(|(topic, number)| topic.partitions.get(number));
            let value = partition.map(|partition| ends.value(*partition));
            // Of a log that may not be read, or without a leader, nothing is known now.
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

/// How committed offsets of a Kafka cluster are read, by what its own source is.
#[must_use]
pub fn mode(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Log => "log",
        SourceKind::Table => "admin",
    }
}

/// The same, of a source that is the cluster's own.
fn own_mode(source: &Source) -> Option<&'static str> {
    (*source.id.name == *SOURCE_KAFKA).then(|| mode(source.kind()))
}

/// The state of a source: of a log, that of the worst of its partitions.
#[must_use]
pub fn state(source: &Source, health: &Health, ends: &Ends) -> &'static str {
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
    // A right that is missing for the topic is the reason for each partition.
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
    // What was applied is stable, whatever was last asked.
    let reached = |known: Option<i64>| known.map(|offset| offset.max(position));
    LogPartitionStatus {
        source: Name::clone(&shard.key.source.name),
        kind: Name::clone(&source.store),
        mode: own_mode(source),
        reading: source.reading(),
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

/// What readiness still waits for; empty when the server is ready.
///
/// Each cluster must be loaded, or have been failing for `ready_after` (unless it is `required`):
/// one dead cluster must not keep the healthy ones out of service. A source beside a cluster's own must be loaded if it is
/// `required`. One of all must be loaded in any case.
/// And the server must admit new statements and calls, see [`crate::work`].
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
        awaited.push(format!("work that does not end; restart the server: {}", work.abandoned.join("; ")));
    }
    awaited
}

/// The loaded clusters that have nothing to show, since no group has committed.
#[must_use]
pub fn fresh(store: &Store) -> Vec<String> {
    let is_fresh = |cluster: &&Arc<Cluster>| {
        cluster.health().ready && cluster.own.shards().iter().all(|shard| shard.progress.records() == 0)
    };
    let note = |cluster: &Arc<Cluster>| format!("cluster {}: no group has committed yet", cluster.name);
    let clusters = store.clusters();
    clusters.iter().filter(is_fresh).map(note).collect()
}

fn describe_source(source: &Source, health: &Health) -> String {
    let reason = health.last_error.as_deref().unwrap_or("not read yet");
    format!("source {}/{}: {reason}", source.id.cluster, source.id.name)
}

fn describe(cluster: &Cluster, health: &Health) -> String {
    let progress = cluster.own.progress();
    match &health.last_error {
        Some(error) => format!("cluster {}: {error}", cluster.name),
        None if health.shards.is_none() => {
            format!("cluster {}: no answer yet whether there is a topic {OFFSETS_TOPIC}", cluster.name)
        }
        None if progress >= 1.0 => format!("cluster {}: read; asking brokers for topics and log ends", cluster.name),
        None => format!("cluster {}: {:.0} % read", cluster.name, progress * 100.0),
    }
}

/// Memory of the process, where the system tells it as Linux does.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix("kB")?;
    kilobytes.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests;
