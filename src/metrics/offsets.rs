//! The many: series of partitions, and of committed offsets.

use super::page::{Page, Value, start};
use crate::{
    facts::{Fact, facts},
    store::{cut::Cut, ends::to_f64},
};

pub(super) fn partitions(page: &mut Page<'_>, cut: &Cut) {
    for (name, help, is_start) in [
        ("offsetd_partition_log_start_offset", "First offset of the partition's log.", true),
        ("offsetd_partition_log_end_offset", "High watermark of the partition.", false),
    ] {
        page.family(name, "gauge", help);
        let mut begun = String::new();
        for (cluster, topic) in cut.clusters.iter().flat_map(|cut| cut.ends.topics().map(move |topic| (cut, topic))) {
            if !page.is_read() {
                return;
            }
            begun.clear();
            start(name, &[("cluster", &cluster.cluster.name), ("topic", &topic.name)], &mut begun);
            for (partition, number) in topic.partitions.iter().zip(0..) {
                let value = cluster.ends.value(*partition);
                let offset = if is_start { value.log_start } else { value.log_end };
                if offset >= 0 {
                    let mut digits = itoa::Buffer::new();
                    page.continued(&begun, &[("partition", digits.format::<i32>(number))], Value::Integer(offset));
                }
            }
        }
    }
}

/// Name, help, and what it says of an offset; no sample where that is not known.
type Family = (&'static str, &'static str, fn(&Fact<'_>) -> Option<Value>);

const FAMILIES: [Family; 5] = [
    ("offsetd_consumer_committed_offset", "The next offset that the group will read.", |fact| {
        Some(Value::Integer(fact.entry.row.committed_offset))
    }),
    ("offsetd_consumer_lag", "Records not yet committed; no sample while unknown.", |fact| {
        fact.lag().lag.ok().map(Value::Integer)
    }),
    ("offsetd_consumer_lag_seconds", "Age of the oldest unread record, estimated.", |fact| {
        fact.lag_seconds().map(Value::Float)
    }),
    ("offsetd_consumer_committed_timestamp_seconds", "When the commit was handled.", |fact| {
        Some(Value::Float(to_f64(fact.entry.row.committed_at) / 1000.0))
    }),
    (STATUS, "1 for the status that the partition has.", |_| Some(Value::Integer(1))),
];

const STATUS: &str = "offsetd_consumer_status";

/// A family at a time, as the format wants it: what a family says of an offset is derived as it is written.
pub(super) fn consumers(page: &mut Page<'_>, cut: &Cut) {
    // By topic of the group, and used again for the next group.
    let mut begun: Vec<String> = vec![];
    for (name, help, value) in FAMILIES {
        page.family(name, "gauge", help);
        for group in cut.clusters.iter().flat_map(|cluster| cluster.groups()) {
            if !page.is_read() {
                return;
            }
            begun.iter_mut().for_each(String::clear);
            for fact in facts(cut, group) {
                let Some(value) = value(&fact) else { continue };
                if begun.len() <= fact.entry.topic_index {
                    begun.resize_with(fact.entry.topic_index + 1, String::new);
                }
                let Some(begun) = begun.get_mut(fact.entry.topic_index) else { continue };
                if begun.is_empty() {
                    let cluster = &*group.cluster.cluster.name;
                    let labels = [("cluster", cluster), ("group_id", &group.group.id), ("topic", fact.entry.topic)];
                    start(name, &labels, begun);
                }
                let mut digits = itoa::Buffer::new();
                let partition = ("partition", digits.format(fact.entry.row.partition));
                if name == STATUS {
                    page.continued(begun, &[partition, ("status", fact.status().as_str())], value);
                } else {
                    page.continued(begun, &[partition], value);
                }
            }
        }
    }
}
