//! `relations`: group → topic → owner.
//!
//! The two plain counts also keep DataFusion from grouping by partition first to count distinct ones, which would hold
//! a row for each offset.

use super::Definition;

pub(super) const VIEW: Definition = Definition {
    name: "relations",
    comment: "One row per group, topic and member that holds partitions of it, active or not",
    sql: "\
WITH held AS (
    SELECT cluster, group_id, topic, partition, member_id, committed_offset, lag, committed_at, active FROM lag
    UNION ALL
    SELECT cluster, group_id, topic, partition, member_id, NULL, NULL, NULL, true FROM assignments WHERE kind = 'current'
), edges AS (
    SELECT cluster, group_id, topic, member_id, CAST(count(DISTINCT partition) AS INT) AS partitions, sum(lag) AS lag,
           CAST(count(committed_offset) - count(lag) AS INT) AS unknown_lag_partitions,
           max(committed_at) AS last_committed_at, bool_or(active) AS active
    FROM held GROUP BY cluster, group_id, topic, member_id
)
SELECT e.cluster, e.group_id, e.topic, e.partitions, e.member_id, m.instance_id, m.client_id, m.client_host,
       e.lag, e.unknown_lag_partitions, e.last_committed_at, e.active
FROM edges e
LEFT JOIN members m ON m.cluster = e.cluster AND m.group_id = e.group_id AND m.member_id = e.member_id",
    columns: COLUMNS,
};

pub(super) const COLUMNS: &[(&str, &str)] = &[
    ("cluster", "Name that the operator gave the cluster"),
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
