//! Converts the answers of Kafka's AdminClient and of offsetd to one form: rows by table and key.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::driver::rows;
use crate::server::Server;

pub(crate) type Row = BTreeMap<&'static str, Value>;
pub(crate) type Facts = BTreeMap<(&'static str, Vec<String>), Row>;

/// The circumstances of a comparison, which decide what can be compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    /// Whether nothing changes, so that sums over rows can be compared, too.
    pub(crate) at_rest: bool,
    /// Whether the server has just been started, so that rarely refreshed columns are recent.
    pub(crate) just_loaded: bool,
}

/// Table, key columns and other columns, by their SQL names.
type Table = (&'static str, &'static [&'static str], &'static [&'static str]);

const TABLES: [Table; 7] = [
    (
        "offsets",
        &["group_id", "topic", "partition"],
        &["committed_offset", "leader_epoch", "metadata", "log_partition"],
    ),
    ("lag", &["group_id", "topic", "partition"], &["committed_offset", "log_start_offset", "log_end_offset", "lag"]),
    ("groups", &["group_id"], &["kind", "state", "protocol", "members", "topics", "partitions", "lag"]),
    (
        "members",
        &["group_id", "member_id"],
        &["instance_id", "client_id", "client_host", "member_epoch", "assigned_partitions"],
    ),
    ("assignments", &["group_id", "member_id", "topic", "partition", "kind"], &[]),
    (
        "partitions",
        &["topic", "partition"],
        &["topic_id", "leader", "log_start_offset", "log_end_offset", "last_stable_offset"],
    ),
    ("topics", &["topic"], &["topic_id", "partitions"]),
];

/// Returns the facts of the driver's `state`.
pub(crate) fn of_admin(state: &Value, conditions: Conditions) -> Facts {
    let mut facts = Facts::new();
    let partitions: BTreeMap<_, _> =
        rows(state, "partitions").iter().map(|p| (key(p, &["topic", "partition"]), p)).collect();
    for (key, partition) in &partitions {
        facts.insert(("partitions", key.clone()), columns(partition, TABLES[5].2));
        let topic = facts.entry(("topics", vec![key[0].clone()])).or_default();
        let count = topic.get("partitions").and_then(Value::as_i64).unwrap_or(0);
        topic.insert("partitions", json!(count + 1));
        topic.insert("topic_id", partition["topic_id"].clone());
    }
    for group in rows(state, "groups") {
        let lag = offsets_of_admin(group, &partitions, &mut facts);
        group_of_admin(group, lag, &mut facts);
    }
    for ((table, _), row) in &mut facts {
        fit(table, row, conditions);
    }
    facts
}

/// Adds the rows of `offsets` and `lag`; returns the group's lag, if any of it is known.
fn offsets_of_admin(group: &Value, partitions: &BTreeMap<Vec<String>, &Value>, facts: &mut Facts) -> Option<i64> {
    let mut sum = None;
    for offset in rows(group, "offsets") {
        let partition = partitions.get(&key(offset, &["topic", "partition"]));
        let of_partition = |name| partition.map_or(Value::Null, |p: &&Value| p[name].clone());
        let mut row = columns(offset, &["committed_offset"]);
        row.insert("log_start_offset", of_partition("log_start_offset"));
        row.insert("log_end_offset", of_partition("log_end_offset"));
        let lag = lag(&row);
        if let Some(known) = lag.filter(|_| !is_ahead(&row)) {
            sum = Some(sum.unwrap_or(0) + known);
        }
        row.insert("lag", json!(lag));
        let mut key = key(offset, &["topic", "partition"]);
        key.insert(0, text(&group["group_id"]));
        facts.insert(("lag", key.clone()), row);
        let mut row = columns(offset, TABLES[0].2);
        row.insert("log_partition", group["log_partition"].clone());
        facts.insert(("offsets", key), row);
    }
    sum
}

/// Adds the rows of `groups`, `members` and `assignments`.
fn group_of_admin(group: &Value, lag: Option<i64>, facts: &mut Facts) {
    let id = text(&group["group_id"]);
    let (offsets, members) = (rows(group, "offsets"), rows(group, "members"));
    let topics: BTreeSet<String> = offsets.iter().map(|o| text(&o["topic"])).collect();
    let mut row = columns(group, &["kind", "state", "protocol"]);
    row.insert("members", json!(members.len()));
    row.insert("topics", json!(topics.len()));
    row.insert("partitions", json!(offsets.len()));
    row.insert("lag", json!(lag));
    facts.insert(("groups", vec![id.clone()]), row);
    for member in members {
        let assigned = rows(member, "assignment");
        let of_member = vec![id.clone(), text(&member["member_id"])];
        let mut row = columns(member, &["instance_id", "client_id", "client_host", "member_epoch"]);
        row.insert("assigned_partitions", json!(assigned.len()));
        facts.insert(("members", of_member.clone()), row);
        for (kind, partitions) in [("current", assigned), ("target", rows(member, "target"))] {
            for partition in partitions {
                let key = [of_member.clone(), key(partition, &["topic", "partition"]), vec![kind.to_owned()]].concat();
                facts.insert(("assignments", key), Row::new());
            }
        }
    }
}

/// Queries the facts from the server by SQL.
///
/// # Errors
/// The server's error message.
pub(crate) fn of_server(server: &Server, conditions: Conditions) -> Result<Facts, String> {
    let mut facts = Facts::new();
    for (table, keys, others) in TABLES {
        let select = [keys, others].concat().join(", ");
        for row in server.try_sql(&format!("SELECT {select} FROM {table}"))? {
            let mut columns = columns(&row, others);
            fit(table, &mut columns, conditions);
            if facts.insert((table, key(&row, keys)), columns).is_some() {
                return Err(format!("two rows of {table} with one key: {row}"));
            }
        }
    }
    Ok(facts)
}

/// Removes the values that only one side can know, and unifies the format.
fn fit(table: &str, row: &mut Row, conditions: Conditions) {
    match table {
        // Exact at any moment, because the other columns of the row belong to the same cut.
        "lag" => {
            let given = row.remove("lag").unwrap_or_default();
            let unknown = given.is_null() && is_ahead(row);
            row.insert("lag_agrees", json!(unknown || integer(&given) == lag(row)));
        }
        "groups" => {
            if row["protocol"] == "" {
                row.insert("protocol", Value::Null);
            }
            // Without a member that requests a protocol, it is the broker's default, which is not in the log.
            if row["kind"] == "consumer" && row["state"] == "Empty" {
                row.remove("protocol");
            }
            if !conditions.at_rest || row["partitions"] == 0 {
                row.remove("lag");
            }
        }
        "partitions" if !conditions.just_loaded => {
            row.remove("last_stable_offset");
        }
        _ => {}
    }
}

/// Removes the facts that the log does not prove.
pub(crate) fn prune(facts: &mut Facts) {
    let share = |(key, row): (&(&str, Vec<String>), &Row)| {
        (key.0 == "groups" && row["kind"] == "share").then(|| key.1[0].clone())
    };
    let share: BTreeSet<String> = facts.iter().filter_map(share).collect();
    facts.retain(|(table, key), row| match *table {
        // A simple group consists of its offsets only; Kafka remembers it for a while after the last one.
        "groups" if row["kind"] == "simple" && row["partitions"] == 0 => false,
        // AdminClient returns neither the partitions that a member has to revoke nor the targets of share group
        // members.
        "assignments" => key[4] != "revoking" && (key[4] != "target" || !share.contains(&key[0])),
        _ => true,
    });
}

/// Returns end − committed, or end − log start if the commit is below it; `None` if the end is unknown.
fn lag(row: &Row) -> Option<i64> {
    let end = integer(&row["log_end_offset"])?;
    let start = integer(&row["log_start_offset"]).unwrap_or(0);
    let from = integer(&row["committed_offset"])?.max(start);
    Some((end - from).max(0))
}

/// Returns whether the commit is beyond the log end: the end is older than the commit, or the lag is unknown.
fn is_ahead(row: &Row) -> bool {
    integer(&row["log_end_offset"]).is_some_and(|end| integer(&row["committed_offset"]).is_some_and(|at| at > end))
}

/// Reads an integer. JSON carries large 64-bit integers as strings.
pub(crate) fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn columns(row: &Value, names: &[&'static str]) -> Row {
    names.iter().map(|name| (*name, row[*name].clone())).collect()
}

fn key(row: &Value, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| text(&row[*name])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
