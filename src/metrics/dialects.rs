//! The dialects, one per file: tables of metric families.

use std::borrow::Cow;

use super::{
    family::{Family, FamilyRows, Text},
    page::Value,
};
use crate::{facts::Fact, store::cut::SourceCut};

mod burrow;
mod kafka_exporter;
mod kafka_lag_exporter;
mod kminion;
mod offsetd;

/// A dialect.
pub(super) struct Dialect {
    pub(super) name: &'static str,
    /// Whether series have a cluster label. Otherwise a scrape must select one cluster.
    pub(super) names_clusters: bool,
    /// Whether the server's own metrics are included.
    pub(super) has_server_metrics: bool,
    pub(super) families: &'static [Family],
}

impl std::fmt::Debug for Dialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All dialects; the first one is offsetd's own.
pub(super) const DIALECTS: &[Dialect] = &[
    Dialect { name: "offsetd", names_clusters: true, has_server_metrics: true, families: offsetd::FAMILIES },
    Dialect { name: "kminion", names_clusters: false, has_server_metrics: false, families: kminion::FAMILIES },
    Dialect {
        name: "kafka_exporter",
        names_clusters: false,
        has_server_metrics: false,
        families: kafka_exporter::FAMILIES,
    },
    Dialect {
        name: "kafka_lag_exporter",
        names_clusters: true,
        has_server_metrics: false,
        families: kafka_lag_exporter::FAMILIES,
    },
    Dialect { name: "burrow", names_clusters: true, has_server_metrics: false, families: burrow::FAMILIES },
];

const fn gauge(name: &'static str, help: &'static str, rows: FamilyRows) -> Family {
    Family { name, kind: "gauge", help, rows }
}

const fn counter(name: &'static str, help: &'static str, rows: FamilyRows) -> Family {
    Family { name, kind: "counter", help, rows }
}

fn number<'r>(number: i32) -> Text<'r> {
    Cow::Owned(number.to_string())
}

fn integer(value: i64) -> Value {
    Value::Integer(value)
}

/// Returns an offset; `None` for -1, which is unknown.
fn known(offset: i64) -> Option<Value> {
    (offset >= 0).then_some(Value::Integer(offset))
}

fn flag(value: bool) -> Value {
    Value::Integer(i64::from(value))
}

/// Returns the name of a cluster.
fn name(cluster: &SourceCut) -> Text<'_> {
    Cow::Borrowed(&cluster.cluster.name)
}

fn cluster_of<'r>(fact: &'r Fact<'_>) -> Text<'r> {
    name(fact.group().source)
}

fn source_of<'r>(fact: &'r Fact<'_>) -> Text<'r> {
    Cow::Borrowed(&fact.group().source.source.id.name)
}

fn group_of<'r>(fact: &'r Fact<'_>) -> Text<'r> {
    Cow::Borrowed(&fact.group().group.id)
}

fn topic_of<'r>(fact: &'r Fact<'_>) -> Text<'r> {
    Cow::Borrowed(fact.entry.topic)
}

fn partition_of<'r>(fact: &'r Fact<'_>) -> Text<'r> {
    number(fact.entry.row.partition)
}
