//! `consumers`: the groups as an operator goes through them.

use super::Definition;

pub(super) const VIEW: Definition = Definition {
    name: "consumers",
    comment: "One row per consumer group: what it reads, who reads, and how far behind it is",
    sql: "\
WITH reads AS (
    SELECT cluster, group_id, topic, false AS held FROM offsets
    UNION ALL
    SELECT cluster, group_id, topic, true FROM assignments WHERE kind = 'current'
), by_topic AS (
    SELECT cluster, group_id, topic, bool_or(held) AS active FROM reads GROUP BY cluster, group_id, topic
), t AS (
    SELECT cluster, group_id, count(*) AS topics, count(*) FILTER (WHERE active) AS active_topics
    FROM by_topic GROUP BY cluster, group_id
), m AS (
    SELECT cluster, group_id, count(*) AS active_members
    FROM members WHERE assigned_partitions > 0 GROUP BY cluster, group_id
)
SELECT g.cluster, g.group_id, g.kind, g.state, g.coordinator,
       CAST(coalesce(t.topics, 0) AS INT) AS topics, CAST(coalesce(t.active_topics, 0) AS INT) AS active_topics,
       g.partitions, g.members, CAST(coalesce(m.active_members, 0) AS INT) AS active_members,
       g.lag, g.max_lag_seconds, g.unknown_lag_partitions, g.status, g.last_committed_at, g.active
FROM groups g
LEFT JOIN t ON t.cluster = g.cluster AND t.group_id = g.group_id
LEFT JOIN m ON m.cluster = g.cluster AND m.group_id = g.group_id",
    columns: &[
        ("cluster", "Name that the operator gave the cluster"),
        ("group_id", "Consumer group"),
        ("kind", "classic, consumer, share, streams or simple (offsets only)"),
        ("state", "As Kafka's tools spell it, as far as the log proves it"),
        ("coordinator", "Broker id of the group's coordinator"),
        ("topics", "Topics that the group committed to or holds partitions of"),
        ("active_topics", "Of these, topics of which a member holds partitions"),
        ("partitions", "Partitions with a committed offset"),
        ("members", "Members"),
        ("active_members", "Of these, members that hold partitions"),
        ("lag", "Sum of the known lags"),
        ("max_lag_seconds", "Greatest known time lag of a partition (s)"),
        ("unknown_lag_partitions", "Partitions whose lag is not known"),
        ("status", "The worst of its partitions"),
        ("last_committed_at", "The newest commit (UTC)"),
        ("active", "Committed lately, or has members"),
    ],
};
