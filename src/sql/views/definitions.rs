//! The views that ship, each after those that it reads.

use super::Definition;

pub(in super::super) const ALL: &[Definition] = &[RELATIONS, ACTIVE_CONSUMERS, CONSUMERS, STOPPED_GROUPS];

/// Group → topic → owner.
///
/// The two plain counts also keep DataFusion from grouping by partition first to count distinct ones, which would hold
/// a row for each offset. A store of offsets may not know who reads: its owners are members of the group of the same id in
/// another source.
const RELATIONS: Definition = Definition {
    name: "relations",
    comment: "One row per group, topic and member that holds partitions of it, active or not",
    sql: "\
WITH held AS (
    SELECT cluster, source, group_id, topic, partition, member_id, coalesce(owner_source, source) AS members_of,
           committed_offset, lag, committed_at, active
    FROM lag
    UNION ALL
    SELECT cluster, source, group_id, topic, partition, member_id, source AS members_of, NULL, NULL, NULL, true
    FROM assignments WHERE kind = 'current'
), edges AS (
    SELECT cluster, source, group_id, topic, member_id, members_of, CAST(count(DISTINCT partition) AS INT) AS partitions, sum(lag) AS lag,
           CAST(count(committed_offset) - count(lag) AS INT) AS unknown_lag_partitions,
           max(committed_at) AS last_committed_at, bool_or(active) AS active
    FROM held GROUP BY cluster, source, group_id, topic, member_id, members_of
)
SELECT e.cluster, e.source, e.group_id, e.topic, e.partitions, e.member_id, m.instance_id, m.client_id, m.client_host,
       e.lag, e.unknown_lag_partitions, e.last_committed_at, e.active
FROM edges e
LEFT JOIN members m ON m.cluster = e.cluster AND m.source = e.members_of AND m.group_id = e.group_id AND m.member_id = e.member_id",
    columns: RELATIONS_COLUMNS,
};

const RELATIONS_COLUMNS: &[(&str, &str)] = &[
    ("cluster", "Name that the operator gave the cluster"),
    ("source", "Where the group's offsets are kept; kafka is the cluster itself"),
    ("group_id", "Consumer group"),
    ("topic", "Topic that the group committed to, or the member holds partitions of"),
    ("partitions", "Partitions of the topic that the member holds; those without an owner where member_id is NULL"),
    ("member_id", "The owner; NULL where nobody holds the partitions"),
    ("instance_id", "group.instance.id of the owner, if it is a static member"),
    ("client_id", "client.id of the owner"),
    ("client_host", "Host of the owner, as the broker recorded it"),
    ("lag", "Sum of the known lags of these partitions"),
    ("unknown_lag_partitions", "Committed ones of these whose lag is not known"),
    ("last_committed_at", "The newest commit to these partitions (UTC)"),
    ("active", "The member holds the partitions now, or one was committed within lag.active_within"),
];

/// The edges of the graph group → topic → owner.
const ACTIVE_CONSUMERS: Definition = Definition {
    name: "active_consumers",
    comment: "One row per group, topic and member that holds partitions of it or committed them lately: edges group → topic → owner",
    sql: "\
SELECT cluster, source, group_id, topic, partitions, member_id, instance_id, client_id, client_host,
       lag, unknown_lag_partitions, last_committed_at
FROM relations WHERE active",
    columns: ACTIVE_COLUMNS,
};

/// Those of `relations` but the last, `active`.
const ACTIVE_COLUMNS: &[(&str, &str)] = match RELATIONS_COLUMNS.split_last() {
    Some((_, columns)) => columns,
    None => &[],
};

/// The groups as an operator goes through them.
const CONSUMERS: Definition = Definition {
    name: "consumers",
    comment: "One row per consumer group: what it reads, who reads, and how far behind it is",
    sql: "\
WITH reads AS (
    SELECT cluster, source, group_id, topic, false AS held FROM offsets
    UNION ALL
    SELECT cluster, source, group_id, topic, true FROM assignments WHERE kind = 'current'
), by_topic AS (
    SELECT cluster, source, group_id, topic, bool_or(held) AS active FROM reads
    GROUP BY cluster, source, group_id, topic
), t AS (
    SELECT cluster, source, group_id, count(*) AS topics, count(*) FILTER (WHERE active) AS active_topics
    FROM by_topic GROUP BY cluster, source, group_id
), m AS (
    SELECT cluster, source, group_id, count(*) AS active_members
    FROM members WHERE assigned_partitions > 0 GROUP BY cluster, source, group_id
)
SELECT g.cluster, g.source, g.group_id, g.kind, g.state, g.coordinator,
       CAST(coalesce(t.topics, 0) AS INT) AS topics, CAST(coalesce(t.active_topics, 0) AS INT) AS active_topics,
       g.partitions, g.members,
       CAST(CASE WHEN g.members IS NOT NULL THEN coalesce(m.active_members, 0) END AS INT) AS active_members,
       g.lag, g.max_lag_seconds, g.unknown_lag_partitions, g.status, g.last_committed_at, g.active, g.offsets_kept_in
FROM groups g
LEFT JOIN t ON t.cluster = g.cluster AND t.source = g.source AND t.group_id = g.group_id
LEFT JOIN m ON m.cluster = g.cluster AND m.source = g.source AND m.group_id = g.group_id",
    columns: &[
        ("cluster", "Name that the operator gave the cluster"),
        ("source", "Where the group's offsets are kept; kafka is the cluster itself"),
        ("group_id", "Consumer group"),
        ("kind", "classic, consumer, share, streams or simple (offsets only)"),
        ("state", "As Kafka's tools spell it, as far as the log proves it"),
        ("coordinator", "Broker id of the group's coordinator"),
        ("topics", "Topics that the group committed to or holds partitions of"),
        ("active_topics", "Of these, topics of which a member holds partitions"),
        ("partitions", "Partitions with a committed offset"),
        ("members", "Members; NULL where nobody tells"),
        ("active_members", "Of these, members that hold partitions"),
        ("lag", "Sum of the known lags"),
        ("max_lag_seconds", "Greatest known time lag of a partition (s)"),
        ("unknown_lag_partitions", "Partitions whose lag is not known"),
        ("status", "The worst of its partitions"),
        ("last_committed_at", "The newest commit (UTC)"),
        ("active", "Committed lately, or has members"),
        (
            "offsets_kept_in",
            "Of a group that has members and no offsets here: the sources that keep its offsets, by group id",
        ),
    ],
};

/// For alerts.
const STOPPED_GROUPS: Definition = Definition {
    name: "stopped_groups",
    comment: "One row per group of which a partition has a lag, and no commit for longer than is usual",
    sql: "\
SELECT cluster, source, group_id, state, members, lag, max_lag_seconds, last_committed_at
FROM groups WHERE status = 'stopped'",
    columns: &[
        ("cluster", "Name that the operator gave the cluster"),
        ("source", "Where the group's offsets are kept; kafka is the cluster itself"),
        ("group_id", "Consumer group"),
        ("state", "As Kafka's tools spell it, as far as the log proves it"),
        ("members", "Members"),
        ("lag", "Sum of the known lags"),
        ("max_lag_seconds", "Greatest known time lag of a partition (s)"),
        ("last_committed_at", "The newest commit (UTC)"),
    ],
};
