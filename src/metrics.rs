//! Prometheus text: the server's own counters, and each committed offset with log end and lag.
//!
//! What is not known has no sample; it is never 0.

use std::fmt::Write as _;

use crate::{
    facts::{Fact, facts},
    status,
    store::{
        Store,
        audit::Audit,
        cut::Cut,
        ends::to_f64,
        overlay::{Counter, Counters},
    },
};

/// Of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of the moment.
#[must_use]
pub fn render(store: &Store) -> String {
    let mut page = Page::default();
    own(&mut page, store);
    // Without a named cluster this does not fail.
    if let Ok(cut) = store.cut("", false) {
        partitions(&mut page, &cut);
        consumers(&mut page, &cut);
    }
    page.text
}

/// A page under construction.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"", if index == 0 { '{' } else { ',' });
            escape(text, &mut self.text);
            self.text.push('"');
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// Label values: backslash, quote and line feed (Prometheus text format 0.0.4).
fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn number(partition: &status::LogPartitionStatus) -> String {
    partition.log_partition.map(|number| number.to_string()).unwrap_or_default()
}

fn count(value: u64) -> f64 {
    to_f64(i64::try_from(value).unwrap_or(i64::MAX))
}

fn own(page: &mut Page, store: &Store) {
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
    gauge("offsetd_load_progress_ratio", "Of the initial load, 0 to 1.", &|of| of.progress());
    gauge("offsetd_offsets", "Committed offsets held.", &|of| {
        count(of.shards().iter().map(|shard| shard.len().1 as u64).sum())
    });
    gauge("offsetd_groups", "Groups held.", &|of| count(of.shards().iter().map(|shard| shard.len().0 as u64).sum()));
    let held = "offsetd_held_bytes";
    page.family(held, "gauge", "Memory of old versions, which only readers under way still see.");
    page.sample(held, &[], count(store.held().bytes() as u64));
    overlay(page, store);
    audit(page, store);
    progress(page, store);
}

fn overlay(page: &mut Page, store: &Store) {
    type Value = fn(&Counters) -> &Counter;
    let families: [(&str, &str, Value); 5] = [
        (
            "offsetd_transaction_calls_total",
            "Questions to coordinators about commits behind open transactions.",
            |of| &of.calls,
        ),
        ("offsetd_transaction_failures_total", "Of these, failed.", |of| &of.failures),
        (
            "offsetd_transaction_looks_total",
            "Questions for last stable offsets of log partitions that stand still.",
            |of| &of.looks,
        ),
        ("offsetd_transaction_shown_total", "Commits and deletions shown before a transaction ended.", |of| &of.shown),
        ("offsetd_transaction_dropped_total", "Records behind transactions left out for want of room.", |of| {
            &of.dropped
        }),
    ];
    for (name, help, value) in families {
        page.family(name, "counter", help);
        for cluster in store.clusters() {
            page.sample(name, &[("cluster", &cluster.name)], count(value(&cluster.overlay_counters).get()));
        }
    }
}

fn audit(page: &mut Page, store: &Store) {
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
            page.sample(name, &[("cluster", &cluster.name)], count(value(&cluster.audit).get()));
        }
    }
}

fn progress(page: &mut Page, store: &Store) {
    let partitions: Vec<_> = store
        .clusters()
        .iter()
        .map(|cluster| (&*cluster.name, status::log_partitions(cluster, &cluster.health(), &cluster.ends.current())))
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

fn partitions(page: &mut Page, cut: &Cut) {
    for (name, help, start) in [
        ("offsetd_partition_log_start_offset", "First offset of the partition's log.", true),
        ("offsetd_partition_log_end_offset", "High watermark of the partition.", false),
    ] {
        page.family(name, "gauge", help);
        for cluster in &cut.clusters {
            for topic in cluster.ends.topics() {
                for (partition, number) in topic.partitions.iter().zip(0..) {
                    let value = cluster.ends.value(*partition);
                    let offset = if start { value.log_start } else { value.log_end };
                    if offset >= 0 {
                        let number: i32 = number;
                        let labels = [
                            ("cluster", &*cluster.cluster.name),
                            ("topic", &topic.name),
                            ("partition", &number.to_string()),
                        ];
                        page.sample(name, &labels, to_f64(offset));
                    }
                }
            }
        }
    }
}

type Family = (&'static str, &'static str, fn(&Fact<'_>) -> Option<f64>);

const CONSUMER_FAMILIES: [Family; 4] = [
    ("offsetd_consumer_committed_offset", "The next offset that the group will read.", |fact| {
        Some(to_f64(fact.entry.row.committed_offset))
    }),
    ("offsetd_consumer_lag", "Records not yet committed; no sample while unknown.", |fact| {
        fact.lag().lag.ok().map(to_f64)
    }),
    ("offsetd_consumer_lag_seconds", "Age of the oldest unread record, estimated.", |fact| fact.lag_seconds()),
    ("offsetd_consumer_committed_timestamp_seconds", "When the commit was handled.", |fact| {
        Some(to_f64(fact.entry.row.committed_at) / 1000.0)
    }),
];

fn consumers(page: &mut Page, cut: &Cut) {
    // Derived once, written by family: the text format wants a family's samples together.
    let facts: Vec<Fact<'_>> =
        cut.clusters.iter().flat_map(|cluster| cluster.groups()).flat_map(|group| facts(cut, group)).collect();
    for (name, help, value) in CONSUMER_FAMILIES {
        page.family(name, "gauge", help);
        for fact in &facts {
            let Some(value) = value(fact) else { continue };
            let labels = [
                ("cluster", &*fact.group().cluster.cluster.name),
                ("group_id", &fact.group().group.id),
                ("topic", fact.entry.topic),
                ("partition", &fact.entry.row.partition.to_string()),
            ];
            page.sample(name, &labels, value);
        }
    }
    page.family("offsetd_consumer_status", "gauge", "1 for the status that the partition has.");
    for fact in &facts {
        let labels = [
            ("cluster", &*fact.group().cluster.cluster.name),
            ("group_id", &fact.group().group.id),
            ("topic", fact.entry.topic),
            ("partition", &fact.entry.row.partition.to_string()),
            ("status", fact.status().as_str()),
        ];
        page.sample("offsetd_consumer_status", &labels, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut page = Page::default();
        page.sample("m", &[("a", "x\"y\\z\nw")], 1.0);
        assert_eq!(page.text, "m{a=\"x\\\"y\\\\z\\nw\"} 1\n");
    }
}
