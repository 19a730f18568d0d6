//! `active_consumers`: the edges of the graph group → topic → owner.

use super::{Definition, relations};

pub(super) const VIEW: Definition = Definition {
    name: "active_consumers",
    comment: "One row per active group, topic and member that holds partitions of it: edges group → topic → owner",
    sql: "\
SELECT r.* FROM relations r JOIN groups g ON g.cluster = r.cluster AND g.group_id = r.group_id AND g.active",
    columns: relations::COLUMNS,
};
