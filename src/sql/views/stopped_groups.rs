//! `stopped_groups`: for alerts.

use super::Definition;

pub(super) const VIEW: Definition = Definition {
    name: "stopped_groups",
    comment: "One row per group of which a partition has a lag, and no commit for longer than is usual",
    sql: "\
SELECT cluster, group_id, state, members, lag, max_lag_seconds, last_committed_at
FROM groups WHERE status = 'stopped'",
    columns: &[
        ("cluster", "Name that the operator gave the cluster"),
        ("group_id", "Consumer group"),
        ("state", "As Kafka's tools spell it, as far as the log proves it"),
        ("members", "Members"),
        ("lag", "Sum of the known lags"),
        ("max_lag_seconds", "Greatest known time lag of a partition (s)"),
        ("last_committed_at", "The newest commit (UTC)"),
    ],
};
