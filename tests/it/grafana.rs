//! The dashboards and alert rules under `clients/grafana`: every metric that they name is served.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::Value;

use crate::rpc::shop;
use crate::support::{Setup, kafka};

fn file(name: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/grafana").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (path, text)
}

fn names(text: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\boffsetd_[a-z_]+\b").unwrap();
    name.find_iter(text).map(|found| found.as_str().to_owned()).collect()
}

/// Returns the metric families that `/metrics` announces, with and without a history store.
fn served() -> BTreeSet<String> {
    let dir = tempfile::TempDir::new().unwrap();
    let stored = Setup::default().with("HISTORY_STORE", dir.path().to_str().unwrap()).ready(&kafka(1));
    let pages = [shop().get("/metrics"), stored.get("/metrics")];
    let types = pages.iter().flat_map(|page| page.text().lines().filter_map(|line| line.strip_prefix("# TYPE ")));
    types.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn boards_and_alerts_ask_for_metrics_that_are_served() {
    let served = served();
    let (_, alerts) = file("alerts.yaml");
    let mut asked = names(&alerts);
    for name in ["groups.json", "server.json"] {
        let (path, text) = file(name);
        let board: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let panels = board["panels"].as_array().unwrap();
        assert!(panels.len() > 5, "{name}");
        let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len(), "{name}: ids are unique");
        for target in panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap()) {
            let expression = target["expr"].as_str().unwrap();
            assert!(!names(expression).is_empty(), "{expression}");
            assert_eq!(expression.matches('(').count(), expression.matches(')').count(), "{expression}");
        }
        asked.extend(names(&text));
    }
    let missing: Vec<&String> = asked.difference(&served).collect();
    assert!(asked.len() > 15 && missing.is_empty(), "{missing:?}");
}

/// Metrics with one series per source are never summed over sources.
#[test]
fn boards_and_alerts_keep_sources_apart() {
    let by_source = Regex::new(r"\boffsetd_(consumer|source)_|\boffsetd_(groups|offsets|history_bytes)\b").unwrap();
    let grouped = Regex::new(r"\b(sum|max|min|avg|count) by \(([a-z_, ]+)\)").unwrap();
    let ungrouped = Regex::new(r"\b(sum|max|min|avg|count) ?\(").unwrap();
    let (_, alerts) = file("alerts.yaml");
    let rules = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: ").map(str::to_owned));
    let boards: Vec<Value> =
        ["groups.json", "server.json"].map(|name| serde_json::from_str(&file(name).1).unwrap()).into();
    let panels = boards.iter().flat_map(|board| board["panels"].as_array().unwrap());
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let expressions = targets.map(|target| target["expr"].as_str().unwrap().to_owned()).chain(rules);
    let (mut groups, mut all) = (0, 0);
    for expression in expressions.filter(|expression| by_source.is_match(expression)) {
        all += 1;
        assert!(!ungrouped.is_match(&expression), "{expression}");
        for labels in grouped.captures_iter(&expression).map(|found| found[2].to_owned()) {
            groups += 1;
            assert!(labels.split(", ").any(|label| label == "source"), "{expression}");
        }
    }
    assert!(groups >= 9 && all >= 15, "{groups} of {all}");
}

#[test]
fn every_alert_has_an_expression_a_severity_and_a_summary() {
    let (_, alerts) = file("alerts.yaml");
    let rules: Vec<&str> = alerts.split("- alert: ").skip(1).collect();
    assert!(rules.len() > 10);
    for rule in rules {
        for key in ["expr: ", "for: ", "severity: ", "summary: '"] {
            assert_eq!(rule.matches(key).count(), 1, "{key}{rule}");
        }
    }
}
