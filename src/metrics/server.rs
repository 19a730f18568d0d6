//! The server's own metrics.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use super::page::Page;
use crate::{
    model::SourceId,
    status::{self, LogPartitionStatus},
    store::{
        Store,
        cluster::Cluster,
        ends::to_f64,
        source::{ReadOutcome, Source},
    },
    work::KindLoad,
};

/// Name, kind and help text of a family, and the function that returns its value for a row.
type ServerFamily<T> = (&'static str, &'static str, &'static str, fn(&T) -> f64);

/// Families with one sample for each cluster.
const CLUSTERS: [ServerFamily<Cluster>; 6] = [
    ("offsetd_cluster_reachable", "gauge", "Whether the last connection attempt succeeded.", |of| {
        flag(of.health().reachable)
    }),
    ("offsetd_cluster_ready", "gauge", "Whether the cluster is loaded.", |of| flag(of.health().ready)),
    ("offsetd_audit_groups_total", "counter", "Groups compared with their coordinators.", |of| {
        count(of.own.audit.groups.get())
    }),
    ("offsetd_audit_offsets_total", "counter", "Committed offsets compared with their coordinators.", |of| {
        count(of.own.audit.keys.get())
    }),
    ("offsetd_audit_skipped_total", "counter", "Groups that could not be compared.", |of| {
        count(of.own.audit.skipped.get())
    }),
    ("offsetd_audit_differences_total", "counter", "Differences that a second check confirmed.", |of| {
        count(of.own.audit.found.get())
    }),
];

/// Families with one sample for each source.
const SOURCES: [ServerFamily<Source>; 7] = [
    ("offsetd_source_reachable", "gauge", "Whether the last attempt to read the source succeeded.", |of| {
        flag(of.health().reachable)
    }),
    ("offsetd_source_ready", "gauge", "Whether the source is loaded.", |of| flag(of.health().ready)),
    ("offsetd_offsets", "gauge", "Committed offsets in memory.", |of| {
        count(of.shards().iter().map(|shard| shard.len().1 as u64).sum())
    }),
    ("offsetd_groups", "gauge", "Groups in memory.", |of| {
        count(of.shards().iter().map(|shard| shard.len().0 as u64).sum())
    }),
    ("offsetd_history_bytes", "gauge", "Bytes of the samples in memory.", |of| {
        count(of.samples.current().bytes as u64)
    }),
    ("offsetd_history_samples", "gauge", "Samples in memory.", |of| count(of.samples.current().times().len() as u64)),
    (
        "offsetd_history_dropped_samples_total",
        "counter",
        "Samples dropped early to stay within `history.max_bytes`.",
        |of| count(of.samples.current().dropped),
    ),
];

/// Families with one sample for each polled source, from its last complete poll.
const READINGS: [ServerFamily<ReadOutcome>; 7] = [
    ("offsetd_source_entries", "gauge", "Offsets in the last complete poll.", |of| count(of.entries)),
    ("offsetd_source_unmatched", "gauge", "Keys in the last complete poll that do not match the layout.", |of| {
        count(of.unmatched)
    }),
    ("offsetd_source_malformed", "gauge", "Keys in the last complete poll without a valid offset.", |of| {
        count(of.malformed)
    }),
    (
        "offsetd_source_ambiguous",
        "gauge",
        "Keys in the last complete poll that match the layout in several ways.",
        |of| count(of.ambiguous),
    ),
    (
        "offsetd_source_forbidden",
        "gauge",
        "Keys in the last complete poll that the store does not allow to read.",
        |of| count(of.forbidden),
    ),
    (
        "offsetd_source_last_read_timestamp_seconds",
        "gauge",
        "Unix time in seconds when the last complete poll ended.",
        |of| to_f64(of.read_at) / 1000.0,
    ),
    ("offsetd_source_read_seconds", "gauge", "Duration of the last complete poll in seconds.", |of| of.seconds),
];

/// Families with one sample for each kind of work.
const KINDS_OF_WORK: [ServerFamily<KindLoad>; 4] = [
    ("offsetd_work_running", "gauge", "Running statements and calls.", |of| count(of.running as u64)),
    ("offsetd_work_waiting", "gauge", "Statements and calls in the queue.", |of| count(of.waiting as u64)),
    ("offsetd_work_unread", "gauge", "Statements and calls that wait for their client to read.", |of| {
        count(of.unread as u64)
    }),
    ("offsetd_work_refused_total", "counter", "Statements and calls refused because the queue was full.", |of| {
        count(of.refused)
    }),
];

/// A [`ServerFamily`] with a value that may be unknown.
type PartitionFamily = (&'static str, &'static str, &'static str, fn(&LogPartitionStatus) -> Option<f64>);

/// Families with one sample for each log partition, if the value is known.
const LOG_PARTITIONS: [PartitionFamily; 6] = [
    ("offsetd_log_records_total", "counter", "Records read from __consumer_offsets.", |of| Some(count(of.records))),
    ("offsetd_log_tombstones_total", "counter", "Tombstones read from __consumer_offsets.", |of| {
        Some(count(of.tombstones))
    }),
    ("offsetd_log_left_over_records_total", "counter", "Decoded records with extra bytes at their end.", |of| {
        Some(count(of.with_left_over))
    }),
    ("offsetd_log_position", "gauge", "Offset of the next record of __consumer_offsets to apply.", |of| {
        of.position.map(to_f64)
    }),
    (
        "offsetd_log_open_transaction_since_seconds",
        "gauge",
        "Unix time in seconds of the first record of an open transaction that blocks the reader.",
        |of| of.open_transaction_since.map(|at| to_f64(at) / 1000.0),
    ),
    (
        "offsetd_log_behind",
        "gauge",
        "Records of __consumer_offsets left to read: high watermark minus position.",
        |of| of.behind().map(to_f64),
    ),
];

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

pub(super) fn count(value: u64) -> f64 {
    to_f64(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Writes the server's own metrics.
pub(super) fn write(page: &mut Page<'_>, store: &Store) {
    page.family("offsetd_build_info", "gauge", "Version of the server.");
    let build = [("version", env!("CARGO_PKG_VERSION")), ("revision", env!("OFFSETD_GIT_REVISION"))];
    page.sample("offsetd_build_info", &build, 1.0);
    for (name, kind, help, value) in CLUSTERS {
        page.family(name, kind, help);
        for cluster in &*store.clusters() {
            page.sample(name, &[("cluster", &cluster.name)], value(cluster));
        }
    }
    let sources: Vec<Arc<Source>> = store.clusters().iter().flat_map(|cluster| cluster.sources()).collect();
    for (name, kind, help, value) in SOURCES {
        page.family(name, kind, help);
        sources.iter().for_each(|source| page.sample(name, &of_source(&source.id), value(source)));
    }
    let ratio = "offsetd_load_progress_ratio";
    page.family(ratio, "gauge", "Progress of the initial load, from 0 to 1; missing while it is unknown.");
    for (source, part) in sources.iter().filter_map(|source| Some((source, source.progress()?))) {
        page.sample(ratio, &of_source(&source.id), part);
    }
    for (name, kind, help, value) in READINGS {
        page.family(name, kind, help);
        for (source, reading) in sources.iter().filter_map(|source| Some((source, source.last_read()?))) {
            page.sample(name, &of_source(&source.id), value(&reading));
        }
    }
    let restarts = "offsetd_part_restarts_total";
    page.family(restarts, "counter", "Restarts of a task of a cluster, for instance east/listener.");
    for (part, times) in sources.iter().flat_map(|source| source.restarts()) {
        page.sample(restarts, &[("part", &part)], count(times));
    }
    let held = "Retained bytes: old versions that only readers still use.";
    page.single("offsetd_held_bytes", "gauge", held, count(store.pins().bytes() as u64));
    work(page, store);
    history_store(page, store);
    counters(page, store);
    progress(page, store);
}

fn of_source(id: &SourceId) -> [(&str, &str); 2] {
    [("cluster", &id.cluster), ("source", &id.name)]
}

/// Writes the metrics of admitted work.
fn work(page: &mut Page<'_>, store: &Store) {
    let (work, status) = (store.work(), store.work().status());
    let (unread, watches) = (work.unread.bytes.load(Ordering::Relaxed), work.watches.load(Ordering::Relaxed));
    let threads = "Threads for statements, calls and scrapes, idle ones included.";
    let silent = "Cancelled statements and calls that are still running, at most 4.";
    let abandoned = "Statements and calls that did not end within 2 s of their cancellation.";
    let unread_help = "Bytes of answers that clients have not read yet.";
    page.single("offsetd_sql_threads", "gauge", threads, count(status.threads as u64));
    page.single("offsetd_sql_threads_silent", "gauge", silent, count(status.abandoned.len() as u64));
    page.single("offsetd_unread_bytes", "gauge", unread_help, count(unread as u64));
    page.single("offsetd_watches", "gauge", "Open watches.", count(watches as u64));
    page.single("offsetd_work_abandoned_total", "counter", abandoned, count(status.abandoned_total));
    for (name, kind, help, value) in KINDS_OF_WORK {
        page.family(name, kind, help);
        for load in &status.load {
            page.sample(name, &[("kind", load.kind.as_str())], value(load));
        }
    }
}

/// Writes the metrics of the history store, if there is one.
fn history_store(page: &mut Page<'_>, store: &Store) {
    let clusters = store.clusters();
    let Some(older) = clusters.iter().find_map(|cluster| cluster.history_store()) else { return };
    let status = older.status();
    let up = flag(status.last_error.is_none());
    page.single(
        "offsetd_history_store_up",
        "gauge",
        "Whether the last attempt to write to the history store succeeded.",
        up,
    );
    for (name, kind, help, value) in [
        (
            "offsetd_history_store_failures_total",
            "counter",
            "Failed attempts to write samples to the history store.",
            status.failures,
        ),
        ("offsetd_history_store_files_total", "counter", "Files written to the history store.", status.files),
        (
            "offsetd_history_store_skipped_files",
            "gauge",
            "Files of the history store that cannot be read.",
            status.unreadable,
        ),
    ] {
        page.single(name, kind, help, count(value));
    }
}

/// Writes the counters that only some sources have.
fn counters(page: &mut Page<'_>, store: &Store) {
    type Samples = Vec<(SourceId, u64)>;
    let mut families: BTreeMap<&str, (&str, Samples)> = BTreeMap::new();
    for source in store.clusters().iter().flat_map(|cluster| cluster.sources()) {
        for count in source.latest().counters() {
            let (_, samples) = families.entry(count.name).or_insert((count.help, vec![]));
            samples.push((source.id.clone(), count.value));
        }
    }
    for (name, (help, samples)) in families {
        page.family(name, "counter", help);
        for (source, value) in samples {
            page.sample(name, &of_source(&source), count(value));
        }
    }
}

/// Writes the read progress of each log partition.
fn progress(page: &mut Page<'_>, store: &Store) {
    let of_cluster =
        |cluster: &'_ Cluster| status::log_partitions(&cluster.own, &cluster.health(), &cluster.ends.current());
    let clusters = store.clusters();
    let statuses: Vec<_> = clusters.iter().map(|cluster| (&*cluster.name, of_cluster(cluster))).collect();
    let number = |of: &LogPartitionStatus| of.log_partition.map(|number| number.to_string()).unwrap_or_default();
    let partitions: Vec<(&str, String, &LogPartitionStatus)> = statuses
        .iter()
        .flat_map(|(cluster, statuses)| statuses.iter().map(move |of| (*cluster, number(of), of)))
        .collect();
    for (name, kind, help, value) in LOG_PARTITIONS {
        page.family(name, kind, help);
        for (cluster, number, of) in &partitions {
            if let Some(value) = value(of) {
                page.sample(name, &[("cluster", cluster), ("log_partition", number)], value);
            }
        }
    }
    let (errors, unknown) = ("offsetd_decode_errors_total", "offsetd_unknown_records_total");
    page.family(errors, "counter", "Records that could not be decoded, by fault.");
    for (cluster, number, of) in &partitions {
        for (fault, total) in &of.decode_errors {
            page.sample(errors, &[("cluster", cluster), ("log_partition", number), ("fault", fault)], count(*total));
        }
    }
    page.family(unknown, "counter", "Records of unknown types, by type.");
    for (cluster, number, of) in &partitions {
        for (kind, total) in &of.unknown_types {
            let kind = kind.to_string();
            page.sample(unknown, &[("cluster", cluster), ("log_partition", number), ("type", &kind)], count(*total));
        }
    }
}
