//! The server itself.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use super::page::Page;
use crate::{
    model::Name,
    status,
    store::{Store, audit::Audit, counter::Counter, ends::to_f64},
    work::Load,
};

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn number(partition: &status::LogPartitionStatus) -> String {
    partition.log_partition.map(|number| number.to_string()).unwrap_or_default()
}

pub(super) fn count(value: u64) -> f64 {
    to_f64(i64::try_from(value).unwrap_or(i64::MAX))
}

pub(super) fn write(page: &mut Page<'_>, store: &Store) {
    page.family("offsetd_build_info", "gauge", "Version of the server.");
    let build = [("version", env!("CARGO_PKG_VERSION")), ("revision", env!("OFFSETD_GIT_REVISION"))];
    page.sample("offsetd_build_info", &build, 1.0);
    let clusters = store.clusters();
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&crate::store::cluster::Cluster) -> f64| {
        page.family(name, "gauge", help);
        for cluster in clusters {
            page.sample(name, &[("cluster", &cluster.name)], value(cluster));
        }
    };
    gauge("offsetd_cluster_reachable", "The last attempt to reach the cluster succeeded.", &|of| {
        flag(of.health().reachable)
    });
    gauge("offsetd_cluster_ready", "The cluster is loaded.", &|of| flag(of.health().ready));
    gauge("offsetd_load_progress_ratio", "Of the initial load, 0 to 1.", &|of| of.own.progress());
    gauge("offsetd_offsets", "Committed offsets held.", &|of| {
        count(of.own.shards().iter().map(|shard| shard.len().1 as u64).sum())
    });
    gauge("offsetd_groups", "Groups held.", &|of| {
        count(of.own.shards().iter().map(|shard| shard.len().0 as u64).sum())
    });
    gauge("offsetd_history_bytes", "Memory of samples over time.", &|of| count(of.own.samples.current().bytes as u64));
    gauge(
        "offsetd_history_samples",
        "Samples in memory.",
        &|of| count(of.own.samples.current().moments().len() as u64),
    );
    let dropped = "offsetd_history_dropped_samples_total";
    page.family(dropped, "counter", "Samples dropped before their time, to stay within `history.max_bytes`.");
    for cluster in clusters {
        page.sample(dropped, &[("cluster", &cluster.name)], count(cluster.own.samples.current().dropped));
    }
    let held = "offsetd_held_bytes";
    page.family(held, "gauge", "Memory of old versions, which only readers under way still see.");
    page.sample(held, &[], count(store.held().bytes() as u64));
    work(page, store);
    history_store(page, store);
    counters(page, store);
    audit(page, store);
    progress(page, store);
}

fn work(page: &mut Page<'_>, store: &Store) {
    let status = store.work().status();
    for (name, kind, help, value) in [
        (
            "offsetd_sql_threads",
            "gauge",
            "Threads that run statements, pages and scrapes, or wait for some.",
            status.threads,
        ),
        (
            "offsetd_sql_threads_silent",
            "gauge",
            "Statements and calls that were cancelled and did not end: at most 4.",
            status.abandoned.len(),
        ),
    ] {
        page.family(name, kind, help);
        page.sample(name, &[], count(value as u64));
    }
    for (name, help, value) in [
        ("offsetd_unread_bytes", "Bytes of answers that are ready and not read yet.", &*store.work().unread.bytes),
        ("offsetd_watches", "Watches that are open.", &store.work().watches),
    ] {
        page.family(name, "gauge", help);
        page.sample(name, &[], count(value.load(Ordering::Relaxed) as u64));
    }
    let abandoned = "offsetd_work_abandoned_total";
    page.family(abandoned, "counter", "Statements and calls that did not end within 2 s of their cancellation.");
    page.sample(abandoned, &[], count(status.abandoned_total));
    type Value = fn(&Load) -> u64;
    let families: [(&str, &str, &str, Value); 4] = [
        ("offsetd_work_running", "gauge", "Statements and calls that run.", |of| of.running as u64),
        ("offsetd_work_waiting", "gauge", "Statements and calls that wait for their turn.", |of| of.waiting as u64),
        ("offsetd_work_unread", "gauge", "Answers that wait for their client to read.", |of| of.unread as u64),
        ("offsetd_work_refused_total", "counter", "Statements and calls that were refused for want of room.", |of| {
            of.refused
        }),
    ];
    for (name, kind, help, value) in families {
        page.family(name, kind, help);
        for load in &status.load {
            page.sample(name, &[("kind", load.kind.as_str())], count(value(load)));
        }
    }
}

/// Of the store of older samples, if there is one.
fn history_store(page: &mut Page<'_>, store: &Store) {
    let Some(older) = store.clusters().iter().find_map(|cluster| cluster.older()) else { return };
    let status = older.status();
    page.family("offsetd_history_store_up", "gauge", "The last attempt to store samples succeeded.");
    page.sample("offsetd_history_store_up", &[], flag(status.last_error.is_none()));
    for (name, kind, help, value) in [
        ("offsetd_history_store_failures_total", "counter", "Attempts to store samples that failed.", status.failures),
        ("offsetd_history_store_files_total", "counter", "Files of samples written.", status.files),
        ("offsetd_history_store_skipped_files", "gauge", "Files in the store that cannot be read.", status.unreadable),
    ] {
        page.family(name, kind, help);
        page.sample(name, &[], count(value));
    }
}

/// What sources count beside what all of them have.
fn counters(page: &mut Page<'_>, store: &Store) {
    type Samples = Vec<(Name, u64)>;
    let mut families: BTreeMap<&str, (&str, Samples)> = BTreeMap::new();
    for cluster in store.clusters() {
        for count in cluster.own.latest().counters() {
            let (_, samples) = families.entry(count.name).or_insert((count.help, vec![]));
            samples.push((Name::clone(&cluster.name), count.value));
        }
    }
    for (name, (help, samples)) in families {
        page.family(name, "counter", help);
        for (cluster, value) in samples {
            page.sample(name, &[("cluster", &cluster)], count(value));
        }
    }
}

fn audit(page: &mut Page<'_>, store: &Store) {
    type Value = fn(&Audit) -> &Counter;
    let families: [(&str, &str, Value); 4] = [
        ("offsetd_audit_groups_total", "Groups compared with what their coordinators say.", |of| &of.groups),
        ("offsetd_audit_offsets_total", "Committed offsets compared.", |of| &of.keys),
        ("offsetd_audit_skipped_total", "Groups that could not be compared.", |of| &of.skipped),
        ("offsetd_audit_differences_total", "Differences that outlived a second look.", |of| &of.found),
    ];
    for (name, help, value) in families {
        page.family(name, "counter", help);
        for cluster in store.clusters() {
            page.sample(name, &[("cluster", &cluster.name)], count(value(&cluster.own.audit).get()));
        }
    }
}

fn progress(page: &mut Page<'_>, store: &Store) {
    let partitions: Vec<_> = store
        .clusters()
        .iter()
        .map(|cluster| {
            (&*cluster.name, status::log_partitions(&cluster.own, &cluster.health(), &cluster.ends.current()))
        })
        .collect();
    let mut each = |name: &str, kind: &str, help: &str, value: &dyn Fn(&status::LogPartitionStatus) -> Option<f64>| {
        page.family(name, kind, help);
        for (cluster, partitions) in &partitions {
            for partition in partitions {
                if let Some(value) = value(partition) {
                    let number = number(partition);
                    page.sample(name, &[("cluster", cluster), ("log_partition", &number)], value);
                }
            }
        }
    };
    each("offsetd_log_records_total", "counter", "Records of __consumer_offsets read.", &|of| Some(count(of.records)));
    each("offsetd_log_tombstones_total", "counter", "Of these, deletions.", &|of| Some(count(of.tombstones)));
    each("offsetd_log_left_over_records_total", "counter", "Good records with bytes after their end.", &|of| {
        Some(count(of.with_left_over))
    });
    each("offsetd_log_position", "gauge", "The next offset to apply.", &|of| of.position.map(to_f64));
    each(
        "offsetd_log_open_transaction_since_seconds",
        "gauge",
        "Since when a transaction holds readers back.",
        &|of| of.open_transaction_since.map(|at| to_f64(at) / 1000.0),
    );
    each("offsetd_log_behind", "gauge", "High watermark less position.", &|of| of.behind().map(to_f64));
    let (errors, unknown) = ("offsetd_decode_errors_total", "offsetd_unknown_records_total");
    page.family(errors, "counter", "Records that did not decode, by fault.");
    for (cluster, of) in partitions.iter().flat_map(|(cluster, all)| all.iter().map(move |of| (cluster, of))) {
        let number = number(of);
        for (fault, total) in &of.decode_errors {
            page.sample(errors, &[("cluster", cluster), ("log_partition", &number), ("fault", fault)], count(*total));
        }
    }
    page.family(unknown, "counter", "Records of types that are not known, by type.");
    for (cluster, of) in partitions.iter().flat_map(|(cluster, all)| all.iter().map(move |of| (cluster, of))) {
        let number = number(of);
        for (kind, total) in &of.unknown_types {
            let kind = kind.to_string();
            page.sample(unknown, &[("cluster", cluster), ("log_partition", &number), ("type", &kind)], count(*total));
        }
    }
}
