//! Layouts found in public code, each with an entry and its expected rows.

use super::*;

/// A layout, an entry of a store, and the expected rows.
struct Case {
    origin: &'static str,
    names: &'static [(&'static str, &'static str)],
    value: &'static str,
    list: Option<&'static str>,
    group: Option<&'static str>,
    topic: Option<&'static str>,
    last: bool,
    stored: &'static [u8],
    rows: &'static [(&'static str, &'static str, i32, i64)],
}

const TEXT: Case = Case {
    origin: "",
    names: &[],
    value: "text",
    list: None,
    group: None,
    topic: None,
    last: false,
    stored: b"42",
    rows: &[],
};

const CASES: &[Case] = &[
    Case {
        origin: "Redis: OffsetsRedisUtils of the tutorials",
        names: &[("kafka:topic:{topic}:{group}", "kafka:topic:orders:billing"), ("{partition}", "3")],
        rows: &[("billing", "orders", 3, 42)],
        ..TEXT
    },
    Case {
        origin: "Redis: gmall",
        names: &[("offset:{topic}:{group}", "offset:GMALL_START:dau_group"), ("{partition}", "0")],
        rows: &[("dau_group", "GMALL_START", 0, 42)],
        ..TEXT
    },
    Case {
        origin: "Redis: a hash for each group",
        names: &[("bs:offset:{group}", "bs:offset:g-1"), ("{topic}-{partition}", "flume-kafka-topic-2")],
        rows: &[("g-1", "flume-kafka-topic", 2, 42)],
        ..TEXT
    },
    Case {
        origin: "Redis: StreamPark",
        names: &[("{group}#{topic}", "etl#orders"), ("{partition}", "1")],
        rows: &[("etl", "orders", 1, 42)],
        ..TEXT
    },
    Case {
        origin: "Redis: topic and partition in a string key",
        names: &[("{topic}_{partition}", "app_log_12")],
        group: Some("etl"),
        rows: &[("etl", "app_log", 12, 42)],
        ..TEXT
    },
    Case {
        origin: "Redis: the last processed offset",
        names: &[("kafka:offset:{topic}:{partition}", "kafka:offset:orders:0")],
        group: Some("worker"),
        last: true,
        rows: &[("worker", "orders", 0, 43)],
        ..TEXT
    },
    Case {
        origin: "Redis: JSON in a string",
        names: &[("kafka:offset:{group}:{topic}:{partition}", "kafka:offset:g:orders:0")],
        value: r#"{"offset":"{offset}","metadata":"{metadata}","timestamp":"{at_s}"}"#,
        stored: br#"{"offset":42,"metadata":"x","timestamp":1700000000}"#,
        rows: &[("g", "orders", 0, 42)],
        ..TEXT
    },
    Case {
        origin: "Redis: a list of ranges",
        names: &[("offsets:{group}", "offsets:g")],
        value: r#"[{"topic":"{topic}","partitions":"{partition}","untilOffset":"{offset}","timestamp":"{at_ms}"}]"#,
        stored: br#"[{"topic":"a","partitions":0,"fromOffset":1,"untilOffset":2,"timestamp":1700000000000},{"topic":"a","partitions":1,"fromOffset":3,"untilOffset":4,"timestamp":1700000000000}]"#,
        rows: &[("g", "a", 0, 2), ("g", "a", 1, 4)],
        ..TEXT
    },
    Case {
        origin: "ZooKeeper: high-level consumers",
        names: &[("/consumers/{group}/offsets/{topic}/{partition}", "/consumers/console-1/offsets/orders/5")],
        rows: &[("console-1", "orders", 5, 42)],
        ..TEXT
    },
    Case {
        origin: "ZooKeeper: a root of the application's own",
        names: &[("/spark/kafka/{group}/{topic}/{partition}", "/spark/kafka/app/orders/5")],
        rows: &[("app", "orders", 5, 42)],
        ..TEXT
    },
    Case {
        origin: "ZooKeeper: one znode for all partitions",
        names: &[("/offsets/{group}/{topic}", "/offsets/app/orders")],
        value: "{partition}:{offset}",
        list: Some(","),
        stored: b"0:123,1:456",
        rows: &[("app", "orders", 0, 123), ("app", "orders", 1, 456)],
        ..TEXT
    },
    Case {
        origin: "ZooKeeper: one znode for all topics",
        names: &[("/offsets/{group}", "/offsets/app")],
        value: "{topic}:{partition}:{offset}",
        list: Some(","),
        stored: b"orders:0:123,clicks:1:456",
        rows: &[("app", "orders", 0, 123), ("app", "clicks", 1, 456)],
        ..TEXT
    },
    Case {
        origin: "ZooKeeper: a znode for each topic",
        names: &[("/streaming/{topic}", "/streaming/orders")],
        value: "{partition}:{offset}",
        list: Some(","),
        group: Some("streaming"),
        stored: b"0:220,1:320\n",
        rows: &[("streaming", "orders", 0, 220), ("streaming", "orders", 1, 320)],
        ..TEXT
    },
    Case {
        origin: "ZooKeeper: Storm",
        names: &[("/storm/kafka/{group}/partition_{partition}", "/storm/kafka/spout-1/partition_3")],
        value: r#"{"topic":"{topic}","offset":"{offset}"}"#,
        stored: br#"{"topology":{"id":"3c83","name":"counts"},"offset":5730136,"partition":3,"broker":{"host":"kafka1","port":9092},"topic":"orders"}"#,
        rows: &[("spout-1", "orders", 3, 5_730_136)],
        ..TEXT
    },
    Case {
        origin: "ZooKeeper: Storm's topology as group",
        names: &[("/storm/kafka/{*}/partition_{*}", "/storm/kafka/spout-1/partition_3")],
        value: r#"{"topic":"{topic}","partition":"{partition}","offset":"{offset}","topology":{"name":"{group}"}}"#,
        stored: br#"{"topology":{"id":"3c83","name":"counts"},"offset":5730136,"partition":3,"broker":{"host":"kafka1","port":9092},"topic":"orders"}"#,
        rows: &[("counts", "orders", 3, 5_730_136)],
        ..TEXT
    },
    Case {
        origin: "ZooKeeper: Trident",
        names: &[("/transactional/{group}/user/{partition}/{batch}", "/transactional/tx1/user/2/17")],
        value: r#"{"topic":"{topic}","nextOffset":"{offset}"}"#,
        stored: br#"{"topic":"orders","offset":1,"nextOffset":9,"instanceId":"x"}"#,
        rows: &[("tx1", "orders", 2, 9)],
        ..TEXT
    },
    Case {
        origin: "ZooKeeper: ClickHouse",
        names: &[(
            "/clickhouse/kafka/{group}/topics/{topic}/partitions/{partition}/committed",
            "/clickhouse/kafka/db.table/topics/orders/partitions/0/committed",
        )],
        rows: &[("db.table", "orders", 0, 42)],
        ..TEXT
    },
    Case {
        origin: "SQL: Akka Projections' key",
        names: &[("{group}", "shopping-carts"), ("{topic}-{partition}", "cart-events-4")],
        last: true,
        rows: &[("shopping-carts", "cart-events", 4, 43)],
        ..TEXT
    },
    Case {
        origin: "SQL: Druid's metadata",
        names: &[("{group}", "wikipedia")],
        value: r#"{"type":"kafka","partitions":{"stream":"{topic}","partitionSequenceNumberMap":{"{partition}":"{offset}"}}}"#,
        stored: br#"{"type":"kafka","partitions":{"type":"end","stream":"wiki","topic":"wiki","partitionSequenceNumberMap":{"0":123,"1":456}}}"#,
        rows: &[("wikipedia", "wiki", 0, 123), ("wikipedia", "wiki", 1, 456)],
        ..TEXT
    },
    Case {
        origin: "SQL: StarRocks' routine load",
        names: &[("{group}", "load_orders")],
        value: r#"{"{partition}":"{offset}"}"#,
        topic: Some("orders"),
        last: true,
        stored: br#"{"0":"123","1":"456"}"#,
        rows: &[("load_orders", "orders", 0, 124), ("load_orders", "orders", 1, 457)],
        ..TEXT
    },
    Case {
        origin: "HBase: Cloudera",
        names: &[("{topic}:{group}:{batch}", "orders:app:1490000000000"), ("offsets:{partition}", "offsets:2")],
        rows: &[("app", "orders", 2, 42)],
        ..TEXT
    },
    Case {
        origin: "HBase: a row for each topic and group",
        names: &[("{topic}:{group}", "orders:app"), ("offset:{partition}", "offset:2")],
        rows: &[("app", "orders", 2, 42)],
        ..TEXT
    },
    Case {
        origin: "HBase: spark-potato",
        names: &[("{group}##{topic}", "app##orders"), ("partition:{partition}", "partition:2")],
        rows: &[("app", "orders", 2, 42)],
        ..TEXT
    },
    Case {
        origin: "HBase: StreamPark",
        names: &[("{group}#{topic}#{partition}", "app#orders#2"), ("tpo:offset", "tpo:offset")],
        value: "int64",
        stored: &[0, 0, 0, 0, 0, 0, 0, 42],
        rows: &[("app", "orders", 2, 42)],
        ..TEXT
    },
    Case {
        origin: "Spark: a source's line",
        names: &[("{group}", "query-1")],
        value: r#"{"{topic}":{"{partition}":"{offset}"}}"#,
        stored: br#"{"orders":{"0":42,"1":43},"clicks":{"0":7}}"#,
        rows: &[("query-1", "clicks", 0, 7), ("query-1", "orders", 0, 42), ("query-1", "orders", 1, 43)],
        ..TEXT
    },
    Case {
        origin: "Connect: MirrorMaker's source offsets",
        names: &[(r#"["MirrorSourceConnector",{{"cluster":"a","partition":{partition},"topic":"{topic}"}}]"#, r#"["MirrorSourceConnector",{"cluster":"a","partition":3,"topic":"orders"}]"#)],
        value: r#"{"offset":"{offset}"}"#,
        group: Some("mirror"),
        last: true,
        stored: br#"{"offset":41}"#,
        rows: &[("mirror", "orders", 3, 42)],
        ..TEXT
    },
];

#[test]
fn layouts_of_public_code_are_read() {
    for case in CASES {
        let parse = |template: &str| match template.starts_with('/') {
            true => Template::parse_path(template).unwrap(),
            false => Template::parse(template).unwrap(),
        };
        let templates = case.names.iter().map(|(template, _)| parse(template)).collect();
        let fixed = FixedParts {
            group: case.group.map(str::to_owned),
            topic: case.topic.map(str::to_owned),
            offset_is: if case.last { OffsetIs::Last } else { OffsetIs::Next },
        };
        let layout = Layout::new(templates, Value::parse(case.value, case.list).unwrap(), fixed).unwrap();
        let names: Vec<&str> = case.names.iter().map(|(_, name)| *name).collect();
        let rows =
            layout.read(&names, case.stored, NO_TOPICS).unwrap_or_else(|error| panic!("{}: {error:?}", case.origin));
        let mut rows: Vec<Entry> = rows.into_iter().map(|row| row.unwrap()).collect();
        rows.sort_by(|left, right| (&left.topic, left.partition).cmp(&(&right.topic, right.partition)));
        let rows: Vec<_> =
            rows.iter().map(|row| (&*row.group, &*row.topic, row.partition, row.committed_offset)).collect();
        let mut expected = case.rows.to_vec();
        expected.sort_by_key(|row| (row.1, row.2));
        assert_eq!(rows, expected, "{}", case.origin);
    }
}
