//! Named layouts of widely used applications.

/// A named layout, expressed as the templates that a user could have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The value of the setting `layout`.
    pub name: &'static str,
    /// The kind of store.
    pub kind: &'static str,
    /// The settings that it replaces, with their templates.
    pub settings: &'static [(&'static str, &'static str)],
    /// The application or publication that uses the layout.
    pub origin: &'static str,
}

/// All presets.
pub(super) const PRESETS: [Preset; 9] = [
    Preset {
        name: "consumers",
        kind: "zookeeper",
        settings: &[("path", "/consumers/{group}/offsets/{topic}/{partition}")],
        origin: "Kafka's high-level consumers before 0.11, MirrorMaker 1, Spark receivers, Flume",
    },
    Preset {
        name: "storm",
        kind: "zookeeper",
        settings: &[
            ("path", "/storm/kafka/{group}/partition_{partition}"),
            ("value", r#"{"topic":"{topic}","offset":"{offset}"}"#),
        ],
        origin: "Apache Storm's storm-kafka before 2.0",
    },
    Preset {
        name: "clickhouse",
        kind: "zookeeper",
        settings: &[("path", "/clickhouse/kafka/{group}/topics/{topic}/partitions/{partition}/committed")],
        origin: "ClickHouse's Kafka engine with kafka_keeper_path",
    },
    Preset {
        name: "spark-tutorial",
        kind: "redis",
        settings: &[("key", "kafka:topic:{topic}:{group}"), ("field", "{partition}")],
        origin: "tutorials of Spark Streaming",
    },
    Preset {
        name: "gmall",
        kind: "redis",
        settings: &[("key", "offset:{topic}:{group}"), ("field", "{partition}")],
        origin: "a course on Spark Streaming that is widely copied",
    },
    Preset {
        name: "group-hash",
        kind: "redis",
        settings: &[("key", "{group}"), ("field", "{topic}-{partition}")],
        origin: "a hash for each group",
    },
    Preset {
        name: "streampark",
        kind: "redis",
        settings: &[("key", "{group}#{topic}"), ("field", "{partition}")],
        origin: "Apache StreamPark, in Redis",
    },
    Preset {
        name: "streampark",
        kind: "hbase",
        settings: &[("row", "{group}#{topic}#{partition}"), ("column", "tpo:offset"), ("value", "int64")],
        origin: "Apache StreamPark, in HBase",
    },
    Preset {
        name: "cloudera",
        kind: "hbase",
        settings: &[("row", "{topic}:{group}:{batch}"), ("column", "offsets:{partition}")],
        origin: "Cloudera's article on Spark Streaming of 2017",
    },
];

/// Returns the preset of this name for a kind of store.
#[must_use]
pub fn preset(kind: &str, name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.kind == kind && preset.name == name)
}
