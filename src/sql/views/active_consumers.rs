//! `active_consumers`: the edges of the graph group → topic → owner.

use super::{Definition, relations};

pub(super) const VIEW: Definition = Definition {
    name: "active_consumers",
    comment: "One row per group, topic and member that holds partitions of it or committed them lately: edges group → topic → owner",
    sql: "\
SELECT cluster, group_id, topic, partitions, member_id, instance_id, client_id, client_host,
       lag, unknown_lag_partitions, last_committed_at
FROM relations WHERE active",
    columns: COLUMNS,
};

/// Those of `relations` but the last, `active`.
const COLUMNS: &[(&str, &str)] = match relations::COLUMNS.split_last() {
    Some((_, columns)) => columns,
    None => &[],
};
