//! `offsetd doctor` against a real broker, as users that lack some right.

use serde_json::Value;
use tempfile::TempDir;

use super::broker::{Broker, Release};
use super::driver::Driver;
use crate::program::offsetd;

const LOG: &str = "__consumer_offsets";
const READ: &str = "--operation Read --topic __consumer_offsets";

/// The results of all checks, and whether the command succeeded.
struct Diagnosis {
    checks: Vec<Value>,
    succeeded: bool,
}

impl Diagnosis {
    fn of(broker: &Broker, user: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("offsetd.toml");
        std::fs::write(&path, broker.cluster_of_user(user)).unwrap();
        let out = offsetd(&["doctor", "--format", "json", "--config", path.to_str().unwrap()], "");
        let text = String::from_utf8_lossy(&out.stdout);
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {out:?}"));
        assert!(json["ok"] == out.status.success() && matches!(out.status.code(), Some(0 | 1)), "{out:?}");
        let checks = json["clusters"][0]["checks"].as_array().unwrap().clone();
        Self { checks, succeeded: out.status.success() }
    }

    fn check(&self, name: &str) -> &Value {
        self.checks
            .iter()
            .find(|check| check["check"] == name)
            .unwrap_or_else(|| panic!("no {name}: {:#?}", self.checks))
    }

    /// Returns the results of these checks.
    fn results(&self, names: &[&str]) -> Vec<&str> {
        names.iter().map(|name| self.check(name)["result"].as_str().unwrap()).collect()
    }

    /// Asserts that the remedy is a command that grants this right to this user.
    fn grants(&self, name: &str, user: &str, right: &str) {
        let remedy = self.check(name)["remedy"].as_str().unwrap_or_default();
        let command = format!("--add --allow-principal 'User:{user}' {right}");
        assert!(remedy.contains("kafka-acls.sh --bootstrap-server") && remedy.ends_with(&command), "{name}: {remedy}");
    }
}

#[test]
fn each_missing_right_is_told_with_the_command_that_grants_it() {
    let broker = Broker::with_users(Release::of("4.1"), &["unprivileged", "describer", "reader", "groups", "all"]);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 2, 10);
    driver.alter("g", "orders", 0, 4, "");
    driver.grant("describer", "DESCRIBE", "topic", LOG);
    driver.grant("reader", "READ", "topic", LOG);
    for (operation, resource, name) in [("READ", "topic", "*"), ("DESCRIBE", "group", "*")] {
        driver.grant("all", operation, resource, name);
    }
    let of_log = ["log", "read_log", "topics", "groups", "cluster"];

    let unprivileged = Diagnosis::of(&broker, "unprivileged");
    assert_eq!(unprivileged.results(&["dns", "tcp", "version", "sasl", "advertised"]), ["ok"; 5]);
    assert!(
        unprivileged.check("version")["found"].as_str().unwrap().contains("4.1"),
        "{}",
        unprivileged.check("version")
    );
    assert_eq!(unprivileged.results(&of_log), ["failed", "skipped", "warning", "skipped", "warning"]);
    unprivileged.grants("log", "unprivileged", READ);
    unprivileged.grants("topics", "unprivileged", "--operation Describe --topic '*'");
    unprivileged.grants("cluster", "unprivileged", "--operation Describe --cluster");
    assert!(!unprivileged.succeeded);

    let describer = Diagnosis::of(&broker, "describer");
    assert_eq!(describer.results(&of_log), ["ok", "failed", "warning", "failed", "warning"]);
    describer.grants("read_log", "describer", READ);
    assert!(describer.check("log")["found"].as_str().unwrap().contains("50 partitions"));

    let reader = Diagnosis::of(&broker, "reader");
    assert_eq!(reader.results(&of_log), ["ok", "ok", "warning", "failed", "warning"]);
    reader.grants("groups", "reader", "--operation Describe --group '*'");
    assert_eq!(reader.results(&["clock", "mode"]), ["ok", "ok"]);
    assert!(!reader.succeeded);

    // The log is hidden from this user, but the Admin API is not.
    driver.grant("groups", "DESCRIBE", "group", "*");
    let groups = Diagnosis::of(&broker, "groups");
    assert_eq!(groups.results(&["log", "read_log", "mode"]), ["warning", "skipped", "ok"]);
    assert!(groups.check("mode")["found"].as_str().unwrap().starts_with("admin: "), "{}", groups.check("mode"));
    assert!(groups.succeeded, "{:#?}", groups.checks);

    let all = Diagnosis::of(&broker, "all");
    assert_eq!(all.results(&of_log), ["ok", "ok", "ok", "ok", "warning"]);
    assert!(all.succeeded);

    // The checks wrote nothing.
    let state = driver.state().unwrap();
    let groups: Vec<&Value> = super::driver::rows(&state, "groups").iter().collect();
    assert_eq!(groups.len(), 1, "{groups:?}");
}

#[test]
fn a_fresh_cluster_is_good_and_stays_without_the_log() {
    let broker = Broker::with_users(Release::of("4.1"), &["all"]);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 1, 1);
    for (resource, name) in [("topic", "*"), ("group", "*"), ("cluster", "kafka-cluster")] {
        driver.grant("all", "DESCRIBE", resource, name);
    }
    driver.grant("all", "READ", "topic", LOG);
    let all = Diagnosis::of(&broker, "all");
    assert!(all.succeeded, "{:#?}", all.checks);
    assert_eq!(all.results(&["log", "read_log", "cluster", "mode"]), ["ok", "skipped", "ok", "ok"]);
    let state = driver.state().unwrap();
    assert!(!super::driver::rows(&state, "partitions").iter().any(|p| p["topic"] == LOG), "checks created the topic");
}
