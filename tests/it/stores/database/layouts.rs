//! The tables in which applications are known to keep offsets, each with the query that reads it. All hold the same
//! two offsets: 42 and 43 of group `billing`, topic `orders`, partitions 0 and 1.

/// A table and its query.
pub(super) struct TableLayout {
    pub(super) name: &'static str,
    /// Statements that create and fill the table.
    pub(super) fill: &'static str,
    pub(super) postgres: &'static str,
    pub(super) mysql: &'static str,
    /// Further settings.
    pub(super) settings: &'static str,
}

const BILLING: &str = "group = \"billing\"\n";

/// `{q}` is the quotation mark of identifiers; `{bytes}` is the type of binary columns.
pub(super) const LAYOUTS: [TableLayout; 10] = [
    TableLayout {
        name: "offset_manager",
        fill: "CREATE TABLE offset_manager (groupid varchar(50), topic varchar(50), {q}partition{q} int,
            untilOffset bigint);
            INSERT INTO offset_manager VALUES ('billing', 'orders', 0, 42), ('billing', 'orders', 1, 43);",
        postgres: "SELECT groupid AS group_id, topic, partition, untilOffset AS committed_offset
            FROM offset_manager;",
        mysql: "SELECT groupid AS group_id, topic, `partition`, untilOffset AS committed_offset FROM offset_manager;",
        settings: "",
    },
    TableLayout {
        name: "offsets_storage",
        fill: "CREATE TABLE offsets_storage (topic varchar(50), groupid varchar(50), partitions int,
            {q}offset{q} bigint);
            INSERT INTO offsets_storage VALUES ('orders', 'billing', 0, 42), ('orders', 'billing', 1, 43);",
        postgres: "SELECT groupid AS group_id, topic, partitions AS partition, \"offset\" AS committed_offset
            FROM offsets_storage",
        mysql: "SELECT groupid AS group_id, topic, partitions AS `partition`, `offset` AS committed_offset
            FROM offsets_storage",
        settings: "",
    },
    TableLayout {
        name: "offset_0523",
        fill: "CREATE TABLE offset_0523 (group_id varchar(50), topic varchar(50), partition_id int,
            topic_offset bigint);
            INSERT INTO offset_0523 VALUES ('billing', 'orders', 0, 42), ('billing', 'orders', 1, 43);",
        postgres: "SELECT group_id, topic, partition_id AS partition, topic_offset AS committed_offset
            FROM offset_0523",
        mysql: "SELECT group_id, topic, partition_id AS `partition`, topic_offset AS committed_offset
            FROM offset_0523",
        settings: "",
    },
    TableLayout {
        name: "streaming_offset_29",
        fill: "CREATE TABLE streaming_offset_29 (topic varchar(50), partitionId int, groupId varchar(50),
            untilOffset bigint);
            INSERT INTO streaming_offset_29 VALUES ('orders', 0, 'billing', 42), ('orders', 1, 'billing', 43);",
        postgres: "SELECT groupId AS group_id, topic, partitionId AS partition, untilOffset AS committed_offset
            FROM streaming_offset_29",
        mysql: "SELECT groupId AS group_id, topic, partitionId AS `partition`, untilOffset AS committed_offset
            FROM streaming_offset_29",
        settings: "",
    },
    TableLayout {
        name: "kafka_offsets",
        fill: "CREATE TABLE kafka_offsets (consumer_group varchar(50), topic varchar(50), {q}partition{q} int,
            last_offset bigint, updated_at timestamp);
            INSERT INTO kafka_offsets VALUES ('billing', 'orders', 0, 41, '2026-11-30 15:00:00'), ('billing',
            'orders', 1, 42, '2026-11-30 15:00:00');",
        postgres: "SELECT consumer_group AS group_id, topic, partition, last_offset + 1 AS committed_offset,
            updated_at AS committed_at FROM kafka_offsets",
        mysql: "SELECT consumer_group AS group_id, topic, `partition`, last_offset + 1 AS committed_offset,
            updated_at AS committed_at FROM kafka_offsets",
        settings: "",
    },
    TableLayout {
        name: "txn_offsets",
        fill: "CREATE TABLE txn_offsets (topic varchar(50), part int, off bigint);
            INSERT INTO txn_offsets VALUES ('orders', 0, 42), ('orders', 1, 43);",
        postgres: "SELECT topic, part AS partition, off AS committed_offset FROM txn_offsets",
        mysql: "SELECT topic, part AS `partition`, off AS committed_offset FROM txn_offsets",
        settings: BILLING,
    },
    // A row per batch, with the offset as text. The newest row counts.
    TableLayout {
        name: "runs",
        fill: "CREATE TABLE runs (run_id int, topic varchar(50), {q}partition{q} int, start_offset varchar(20),
            end_offset varchar(20), run_timestamp timestamp);
            INSERT INTO runs VALUES (1, 'orders', 0, '0', '20', '2026-11-30 15:00:00'), (1, 'orders', 1, '0', '43',
            '2026-11-30 15:00:00'), (2, 'orders', 0, '20', '42', '2026-11-30 16:00:00');",
        postgres: "SELECT DISTINCT ON (topic, partition) topic, partition, end_offset AS committed_offset,
            run_timestamp AS committed_at
            FROM runs ORDER BY topic, partition, run_id DESC",
        mysql: "SELECT topic, `partition`, end_offset AS committed_offset, run_timestamp AS committed_at
            FROM runs AS r
            WHERE run_id = (SELECT max(run_id) FROM runs AS newer
            WHERE newer.topic = r.topic AND newer.`partition` = r.`partition`)",
        settings: BILLING,
    },
    // Akka and Pekko projections. The offset is that of the last processed record.
    TableLayout {
        name: "akka",
        fill: "CREATE TABLE akka_projection_offset_store (projection_name varchar(255), projection_key varchar(255),
            current_offset varchar(255), last_updated bigint);
            INSERT INTO akka_projection_offset_store VALUES ('billing', 'orders-0', '41', 1796050800000), ('billing',
            'orders-1', '42', 1796050800000);",
        postgres: "SELECT projection_name AS group_id, regexp_replace(projection_key, '-[0-9]+$', '') AS topic,
            substring(projection_key FROM '[0-9]+$') AS partition, current_offset AS committed_offset,
            last_updated AS committed_at
            FROM akka_projection_offset_store",
        mysql: "SELECT projection_name AS group_id, regexp_replace(projection_key, '-[0-9]+$', '') AS topic,
            substring_index(projection_key, '-', -1) AS `partition`, current_offset AS committed_offset,
            last_updated AS committed_at
            FROM akka_projection_offset_store",
        settings: "offset_is = \"last\"\n",
    },
    // Topic and partition are one text.
    TableLayout {
        name: "topic_partition",
        fill: "CREATE TABLE topic_partition_offsets (topic_partition varchar(255), offset_until varchar(20));
            INSERT INTO topic_partition_offsets VALUES ('orders_0', '42'), ('orders_1', ' 43 ');",
        postgres: "SELECT regexp_replace(topic_partition, '_[0-9]+$', '') AS topic, substring(topic_partition
            FROM '[0-9]+$') AS partition,
            offset_until AS committed_offset FROM topic_partition_offsets -- a comment at the end",
        mysql: "SELECT regexp_replace(topic_partition, '_[0-9]+$', '') AS topic, substring_index(topic_partition, '_',
            -1) AS `partition`,
            offset_until AS committed_offset FROM topic_partition_offsets -- a comment at the end",
        settings: BILLING,
    },
    // Druid's metadata store: a JSON document in a binary column.
    TableLayout {
        name: "druid",
        fill: r#"CREATE TABLE druid_dataSource (dataSource varchar(255), commit_metadata_payload {bytes});
            INSERT INTO druid_dataSource VALUES ('billing',
            '{"type":"kafka","partitions":{"type":"end","stream":"orders",
            "partitionSequenceNumberMap":{"0":42,"1":43}}}');"#,
        postgres: "SELECT datasource AS group_id, payload->'partitions'->>'stream' AS topic, key AS partition,
            value AS committed_offset
            FROM (SELECT datasource, convert_from(commit_metadata_payload, 'UTF8')::jsonb AS payload
            FROM druid_datasource) AS d,
            jsonb_each_text(payload->'partitions'->'partitionSequenceNumberMap')",
        mysql: r#"SELECT dataSource AS group_id, json_unquote(json_extract(payload, '$.partitions.stream')) AS topic,
            number AS `partition`,
            json_extract(payload, concat('$.partitions.partitionSequenceNumberMap."', number,
            '"')) AS committed_offset
            FROM (SELECT dataSource, convert(commit_metadata_payload USING utf8mb4) AS payload
            FROM druid_dataSource) AS d,
            json_table(json_keys(payload, '$.partitions.partitionSequenceNumberMap'),
            '$[*]' COLUMNS (number varchar(20) PATH '$')) AS numbers"#,
        settings: "",
    },
];

/// Returns the statements that fill all tables.
pub(super) fn fill(quote: &str, bytes: &str) -> String {
    let fill = LAYOUTS.iter().map(|layout| layout.fill.replace("{q}", quote).replace("{bytes}", bytes));
    fill.collect::<Vec<_>>().join("\n")
}
