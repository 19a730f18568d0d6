//! The server itself: tables of families.

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
        source::{Reading, Source},
    },
    work::Load,
};

/// Name, kind and help of a family, and its value for a row.
type Family<T> = (&'static str, &'static str, &'static str, fn(&T) -> f64);

/// Families with a sample for each cluster.
const CLUSTERS: [Family<Cluster>; 6] = [
    ("offsetd_cluster_reachable", "gauge", "The last attempt to reach the cluster succeeded.", |of| {
        flag(of.health().reachable)
    }),
    ("offsetd_cluster_ready", "gauge", "The cluster is loaded.", |of| flag(of.health().ready)),
    ("offsetd_audit_groups_total", "counter", "Groups compared with what their coordinators say.", |of| {
        count(of.own.audit.groups.get())
    }),
    ("offsetd_audit_offsets_total", "counter", "Committed offsets compared.", |of| count(of.own.audit.keys.get())),
    ("offsetd_audit_skipped_total", "counter", "Groups that could not be compared.", |of| {
        count(of.own.audit.skipped.get())
    }),
    ("offsetd_audit_differences_total", "counter", "Differences that outlived a second look.", |of| {
        count(of.own.audit.found.get())
    }),
];

/// Families with a sample for each source of a cluster.
const SOURCES: [Family<Source>; 8] = [
    ("offsetd_source_reachable", "gauge", "The last attempt to read the source succeeded.", |of| {
        flag(of.health().reachable)
    }),
    ("offsetd_source_ready", "gauge", "The source is loaded.", |of| flag(of.health().ready)),
    ("offsetd_load_progress_ratio", "gauge", "Of the initial load, 0 to 1.", |of| of.progress()),
    ("offsetd_offsets", "gauge", "Committed offsets held.", |of| {
        count(of.shards().iter().map(|shard| shard.len().1 as u64).sum())
    }),
    ("offsetd_groups", "gauge", "Groups held.", |of| count(of.shards().iter().map(|shard| shard.len().0 as u64).sum())),
    ("offsetd_history_bytes", "gauge", "Memory of samples over time.", |of| count(of.samples.current().bytes as u64)),
    ("offsetd_history_samples", "gauge", "Samples in memory.", |of| count(of.samples.current().moments().len() as u64)),
    (
        "offsetd_history_dropped_samples_total",
        "counter",
        "Samples dropped before their time, to stay within `history.max_bytes`.",
        |of| count(of.samples.current().dropped),
    ),
];

/// Families with a sample for each source that is read as a whole: of its last complete read.
const READINGS: [Family<Reading>; 7] = [
    ("offsetd_source_entries", "gauge", "Offsets that the last complete read found.", |of| count(of.entries)),
    ("offsetd_source_unmatched", "gauge", "Of that read: keys that the layout does not explain.", |of| {
        count(of.unmatched)
    }),
    ("offsetd_source_malformed", "gauge", "Of that read: keys that say no offset.", |of| count(of.malformed)),
    ("offsetd_source_ambiguous", "gauge", "Of that read: keys that the layout explains in several ways.", |of| {
        count(of.ambiguous)
    }),
    ("offsetd_source_forbidden", "gauge", "Of that read: keys that the store refuses to show.", |of| {
        count(of.forbidden)
    }),
    ("offsetd_source_last_read_timestamp_seconds", "gauge", "When that read ended.", |of| to_f64(of.read_at) / 1000.0),
    ("offsetd_source_read_seconds", "gauge", "How long that read took.", |of| of.seconds),
];

/// Families with a sample for each kind of work.
const KINDS_OF_WORK: [Family<Load>; 4] = [
    ("offsetd_work_running", "gauge", "Statements and calls that run.", |of| count(of.running as u64)),
    ("offsetd_work_waiting", "gauge", "Statements and calls that wait for their turn.", |of| count(of.waiting as u64)),
    ("offsetd_work_unread", "gauge", "Answers that wait for their client to read.", |of| count(of.unread as u64)),
    ("offsetd_work_refused_total", "counter", "Statements and calls that were refused for want of room.", |of| {
        count(of.refused)
    }),
];

/// The same as [`Family`], where the value may be unknown.
type PartitionFamily = (&'static str, &'static str, &'static str, fn(&LogPartitionStatus) -> Option<f64>);

/// Families with a sample for each log partition of which the value is known.
const LOG_PARTITIONS: [PartitionFamily; 6] = [
    ("offsetd_log_records_total", "counter", "Records of __consumer_offsets read.", |of| Some(count(of.records))),
    ("offsetd_log_tombstones_total", "counter", "Of these, deletions.", |of| Some(count(of.tombstones))),
    ("offsetd_log_left_over_records_total", "counter", "Good records with bytes after their end.", |of| {
        Some(count(of.with_left_over))
    }),
    ("offsetd_log_position", "gauge", "The next offset to apply.", |of| of.position.map(to_f64)),
    ("offsetd_log_open_transaction_since_seconds", "gauge", "Since when a transaction holds readers back.", |of| {
        of.open_transaction_since.map(|at| to_f64(at) / 1000.0)
    }),
    ("offsetd_log_behind", "gauge", "High watermark less position.", |of| of.behind().map(to_f64)),
];

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

pub(super) fn count(value: u64) -> f64 {
    to_f64(i64::try_from(value).unwrap_or(i64::MAX))
}

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
    for (name, kind, help, value) in READINGS {
        page.family(name, kind, help);
        for (source, reading) in sources.iter().filter_map(|source| Some((source, source.reading()?))) {
            page.sample(name, &of_source(&source.id), value(&reading));
        }
    }
    let restarts = "offsetd_part_restarts_total";
    page.family(
        restarts,
        "counter",
        "Parts of a cluster among several, such as east/listener, that ended and were started again.",
    );
    for (part, times) in sources.iter().flat_map(|source| source.restarts()) {
        page.sample(restarts, &[("part", &part)], count(times));
    }
    let held = "Memory of old versions, which only readers under way still see.";
    page.single("offsetd_held_bytes", "gauge", held, count(store.held().bytes() as u64));
    work(page, store);
    history_store(page, store);
    counters(page, store);
    progress(page, store);
}

fn of_source(id: &SourceId) -> [(&str, &str); 2] {
    [("cluster", &id.cluster), ("source", &id.name)]
}

fn work(page: &mut Page<'_>, store: &Store) {
    let (work, status) = (store.work(), store.work().status());
    let (unread, watches) = (work.unread.bytes.load(Ordering::Relaxed), work.watches.load(Ordering::Relaxed));
    let threads = "Threads that run statements, pages and scrapes, or wait for some.";
    let silent = "Statements and calls that were cancelled and did not end: at most 4.";
    let abandoned = "Statements and calls that did not end within 2 s of their cancellation.";
    let unread_help = "Bytes of answers that are ready and not read yet.";
    page.single("offsetd_sql_threads", "gauge", threads, count(status.threads as u64));
    page.single("offsetd_sql_threads_silent", "gauge", silent, count(status.abandoned.len() as u64));
    page.single("offsetd_unread_bytes", "gauge", unread_help, count(unread as u64));
    page.single("offsetd_watches", "gauge", "Watches that are open.", count(watches as u64));
    page.single("offsetd_work_abandoned_total", "counter", abandoned, count(status.abandoned_total));
    for (name, kind, help, value) in KINDS_OF_WORK {
        page.family(name, kind, help);
        for load in &status.load {
            page.sample(name, &[("kind", load.kind.as_str())], value(load));
        }
    }
}

/// Of the store of older samples, if there is one.
fn history_store(page: &mut Page<'_>, store: &Store) {
    let clusters = store.clusters();
    let Some(older) = clusters.iter().find_map(|cluster| cluster.older()) else { return };
    let status = older.status();
    let up = flag(status.last_error.is_none());
    page.single("offsetd_history_store_up", "gauge", "The last attempt to store samples succeeded.", up);
    for (name, kind, help, value) in [
        ("offsetd_history_store_failures_total", "counter", "Attempts to store samples that failed.", status.failures),
        ("offsetd_history_store_files_total", "counter", "Files of samples written.", status.files),
        ("offsetd_history_store_skipped_files", "gauge", "Files in the store that cannot be read.", status.unreadable),
    ] {
        page.single(name, kind, help, count(value));
    }
}

/// What sources count beside what all of them have.
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
    page.family(errors, "counter", "Records that did not decode, by fault.");
    for (cluster, number, of) in &partitions {
        for (fault, total) in &of.decode_errors {
            page.sample(errors, &[("cluster", cluster), ("log_partition", number), ("fault", fault)], count(*total));
        }
    }
    page.family(unknown, "counter", "Records of types that are not known, by type.");
    for (cluster, number, of) in &partitions {
        for (kind, total) in &of.unknown_types {
            let kind = kind.to_string();
            page.sample(unknown, &[("cluster", cluster), ("log_partition", number), ("type", &kind)], count(*total));
        }
    }
}
