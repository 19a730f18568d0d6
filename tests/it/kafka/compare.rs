//! Compares offsetd's answers, row by row, with two answers of Kafka's own AdminClient, one before and one after.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use serde_json::Value;

use super::driver::{Driver, rows};
use super::facts::{self, Conditions, Facts, Row, integer};
use crate::process::wait_for;
use crate::server::Server;

const LIMIT: Duration = Duration::from_secs(120);

/// The result of one comparison: AdminClient, offsetd, AdminClient.
struct Comparison {
    rows: usize,
    /// Number of rows that changed between the two answers of AdminClient.
    moved: usize,
    differences: Vec<String>,
}

/// Asserts that a server that has just become ready is equal, without a retry. Nothing may be changing.
pub(crate) fn equal_once_ready(label: &str, driver: &mut Driver, server: &Server) {
    let conditions = Conditions { at_rest: true, just_loaded: true };
    let found = observe(driver, server, conditions).unwrap_or_else(|e| panic!("{label}: {e}"));
    found.report(label);
    assert_eq!(found.moved, 0, "{label}: Kafka was not at rest");
    found.assert_equal(label);
}

/// Waits until all rows are equal, after all changes have ended.
pub(crate) fn equal_at_rest(label: &str, driver: &mut Driver, server: &Server) {
    let conditions = Conditions { at_rest: true, just_loaded: false };
    let found = wait_for(&format!("{label}: equal rows"), LIMIT, || {
        let found = observe(driver, server, conditions)?;
        match (found.moved, found.differences.as_slice()) {
            (0, []) => Ok(found),
            (0, differences) => Err(listing(differences)),
            (moved, _) => Err(format!("Kafka is not at rest: {moved} rows moved")),
        }
    });
    found.report(label);
}

/// Asserts in several rounds that every value lies between AdminClient's values before and after, while changes are
/// made.
pub(crate) fn between_while_moving(label: &str, driver: &mut Driver, server: &Server) {
    let conditions = Conditions { at_rest: false, just_loaded: false };
    for round in 1..=5 {
        let label = format!("{label}, round {round}");
        let found = observe(driver, server, conditions).unwrap_or_else(|e| panic!("{label}: {e}"));
        found.report(&label);
        assert!(found.moved > 0, "{label}: nothing moved");
        found.assert_equal(&label);
    }
}

fn observe(driver: &mut Driver, server: &Server, conditions: Conditions) -> Result<Comparison, String> {
    let before = driver.state()?;
    wait_for("offsetd to have read what Kafka showed", LIMIT, || has_read(server, &before));
    let mut got = facts::of_server(server, conditions)?;
    let after = driver.state()?;
    let (mut low, mut high) = (facts::of_admin(&before, conditions), facts::of_admin(&after, conditions));
    for facts in [&mut low, &mut got, &mut high] {
        facts::prune(facts);
    }
    Ok(compare(&low, &got, &high))
}

/// Returns whether the server has applied `__consumer_offsets` up to the ends in `state`, and has polled all log ends
/// since.
fn has_read(server: &Server, state: &Value) -> Result<(), String> {
    let sources = "SELECT log_partition, position FROM sources WHERE source = 'kafka' AND log_partition IS NOT NULL";
    let positions: BTreeMap<_, _> = server
        .try_sql(sources)?
        .iter()
        .map(|row| (row["log_partition"].to_string(), integer(&row["position"]).unwrap_or(-1)))
        .collect();
    for p in rows(state, "partitions").iter().filter(|p| p["topic"] == "__consumer_offsets") {
        // The end that a read_committed reader can reach.
        let end = integer(&p["last_stable_offset"]).unwrap();
        let position = positions.get(&p["partition"].to_string());
        if position.is_none_or(|position| *position < end) {
            return Err(format!("log partition {}: position {position:?}, end {end}", p["partition"]));
        }
    }
    let stale = format!(
        "SELECT count(*) AS stale FROM partitions WHERE observed_at IS NULL OR observed_at < to_timestamp_millis({})",
        state["taken_at_ms"]
    );
    match server.try_sql(&stale)?.as_slice() {
        [row] if row["stale"] == 0 => Ok(()),
        rows => Err(format!("log ends older than AdminClient's: {rows:?}")),
    }
}

fn compare(low: &Facts, got: &Facts, high: &Facts) -> Comparison {
    let keys: BTreeSet<_> = low.keys().chain(got.keys()).chain(high.keys()).collect();
    let mut found = Comparison { rows: keys.len(), moved: 0, differences: Vec::new() };
    for key in keys {
        let (l, g, h) = (low.get(key), got.get(key), high.get(key));
        found.moved += usize::from(l != h);
        let difference = match (l, g, h) {
            (Some(l), Some(g), Some(h)) => columns_between(l, g, h),
            (Some(l), None, Some(_)) => Some(format!("missing {}", show(l))),
            (None, Some(g), None) => Some(format!("surplus {}", show(g))),
            // The row was added or removed meanwhile.
            _ => None,
        };
        found.differences.extend(difference.map(|d| format!("{} {:?}: {d}", key.0, key.1)));
    }
    found
}

fn columns_between(low: &Row, got: &Row, high: &Row) -> Option<String> {
    let wrong = got.iter().filter_map(|(column, value)| {
        let (l, h) = (&low[column], &high[column]);
        let bounds = if l == h { l.to_string() } else { format!("{l} to {h}") };
        // Texts have no order: one that changed may have had any value (Kafka Streams commits a time).
        let told = *column != "metadata" || l == h;
        (told && !is_between(l, value, h)).then(|| format!("{column} is {value}, for Kafka {bounds}"))
    });
    let wrong: Vec<String> = wrong.collect();
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

fn is_between(low: &Value, got: &Value, high: &Value) -> bool {
    match (low.as_i64(), high.as_i64()) {
        (Some(low), Some(high)) => integer(got).is_some_and(|got| low <= got && got <= high),
        _ => got == low || got == high,
    }
}

impl Comparison {
    /// Prints the result even if the test passes, as evidence of the comparison.
    fn report(&self, label: &str) {
        let (rows, equal) = (self.rows, self.rows - self.differences.len());
        let moving = if self.moved > 0 { format!(", {} of them moving", self.moved) } else { String::new() };
        let _ = writeln!(std::io::stderr(), "    {label}: rows compared {rows}{moving}, equal {equal}");
    }

    fn assert_equal(&self, label: &str) {
        assert!(self.differences.is_empty(), "{label}: {}", listing(&self.differences));
    }
}

fn listing(differences: &[String]) -> String {
    let first = differences.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n  ");
    format!("{} rows differ\n  {first}", differences.len())
}

fn show(row: &Row) -> String {
    let columns = row.iter().map(|(column, value)| format!("{column}={value}"));
    columns.collect::<Vec<_>>().join(" ")
}
