//! The definitions of the views, each after the views that it reads.

use super::ViewDefinition;

pub(in super::super) const ALL: &[ViewDefinition] =
    &[RELATIONS, ACTIVE_CONSUMERS, CONSUMERS, STOPPED_GROUPS, SOURCE_DIFFERENCES];

/// The edges group → topic → owner.
///
/// The plain counts also prevent DataFusion from grouping by partition first to count distinct ones, which would keep a
/// row for each offset. A store of offsets may not know its readers; the owners are then the members of the group with
/// the same id in another source.
const RELATIONS: ViewDefinition = ViewDefinition {
    name: "relations",
    comment: "One row per group, topic and member that owns partitions of it, active or not",
    sql: "\
WITH assigned AS (
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
    FROM assigned GROUP BY cluster, source, group_id, topic, member_id, members_of
)
SELECT e.cluster, e.source, e.group_id, e.topic, e.partitions, e.member_id, m.instance_id, m.client_id, m.client_host,
       e.lag, e.unknown_lag_partitions, e.last_committed_at, e.active
FROM edges e
LEFT JOIN members m ON m.cluster = e.cluster AND m.source = e.members_of AND m.group_id = e.group_id AND m.member_id = e.member_id",
    comments: &[
        ("topic", "Topic that the group committed to, or of which the member owns partitions"),
        ("partitions", "Number of partitions that the member owns; if member_id is NULL, of those without an owner"),
        ("member_id", "Member id of the owner; NULL for partitions without an owner"),
        ("instance_id", "group.instance.id of the owner, if it is a static member"),
        ("client_id", "client.id of the owner"),
        ("client_host", "Host of the owner, as the broker reports it"),
        ("lag", "Sum of the known lags of the partitions"),
        ("unknown_lag_partitions", "Number of the partitions with a committed offset and unknown lag"),
        ("last_committed_at", "Time of the newest commit to the partitions (UTC)"),
        ("active", "Whether the partitions have an owner, or one has a commit within lag.active_within"),
    ],
};

/// The active edges group → topic → owner.
const ACTIVE_CONSUMERS: ViewDefinition = ViewDefinition {
    name: "active_consumers",
    comment: "The active rows of relations: the edges of the graph group → topic → owner",
    sql: "\
SELECT cluster, source, group_id, topic, partitions, member_id, instance_id, client_id, client_host,
       lag, unknown_lag_partitions, last_committed_at
FROM relations WHERE active",
    comments: &[],
};

/// One row per group, for lists of groups.
const CONSUMERS: ViewDefinition = ViewDefinition {
    name: "consumers",
    comment: "One row per group, with its topics, members and lag",
    sql: "\
WITH reads AS (
    SELECT cluster, source, group_id, topic, false AS assigned FROM offsets
    UNION ALL
    SELECT cluster, source, group_id, topic, true FROM assignments WHERE kind = 'current'
), by_topic AS (
    SELECT cluster, source, group_id, topic, bool_or(assigned) AS active FROM reads
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
    comments: &[
        ("topics", "Number of topics that the group committed to or owns partitions of"),
        ("active_topics", "Number of topics of which a member owns partitions"),
        ("active_members", "Number of members that own partitions"),
    ],
};

/// The groups that an alert reports.
const STOPPED_GROUPS: ViewDefinition = ViewDefinition {
    name: "stopped_groups",
    comment: "One row per group with a partition that has lag and no commit for longer than usual",
    sql: "\
SELECT cluster, source, group_id, state, members, lag, max_lag_seconds, last_committed_at
FROM groups WHERE status = 'stopped'",
    comments: &[],
};

/// The partitions of groups that commit to several places.
///
/// At least one of two sources is not the cluster's own; the join therefore builds its hash table of the rows of the other
/// sources only.
const SOURCE_DIFFERENCES: ViewDefinition = ViewDefinition {
    name: "source_differences",
    comment: "One row per pair of sources that both store an offset of the same group and partition",
    sql: "\
SELECT a.cluster, a.group_id, a.topic, a.partition, a.source, a.committed_offset, a.committed_at,
       b.source AS other_source, b.committed_offset AS other_committed_offset, b.committed_at AS other_committed_at,
       a.committed_offset - b.committed_offset AS difference,
       CASE WHEN coalesce(a.committed_at, a.observed_at) > coalesce(b.committed_at, b.observed_at) THEN a.source
            WHEN coalesce(a.committed_at, a.observed_at) < coalesce(b.committed_at, b.observed_at) THEN b.source
       END AS newer_source
FROM offsets a
JOIN offsets b ON a.cluster = b.cluster AND a.group_id = b.group_id AND a.topic = b.topic AND a.partition = b.partition
WHERE b.source <> 'kafka' AND (a.source = 'kafka' OR a.source < b.source)",
    comments: &[
        ("source", "Source of committed_offset: kafka if it is one of the two, otherwise the first by name"),
        ("other_source", "The other source"),
        ("other_committed_offset", "Committed offset in other_source"),
        ("other_committed_at", "Time of the commit in other_source (UTC); NULL if the source does not store it"),
        ("difference", "committed_offset minus other_committed_offset"),
        (
            "newer_source",
            "The source of the later commit, by the time at which a value was first seen where a source does not store times; \
             NULL if unknown or equal",
        ),
    ],
};
