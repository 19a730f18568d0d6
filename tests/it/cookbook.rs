//! The README's cookbook: every statement runs exactly as printed, and answers its question.

use std::fs;
use std::path::Path;

use offsetd::clock::Clock;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::mock::{Commit, MockKafka};
use crate::process::wait_for;
use crate::program::{offsetd, stdout};
use crate::support::{LIMIT, Lab, Setup, kafka, stable_group};

/// 2026-01-01T12:00:00Z
const NOON: i64 = 1_767_268_800_000;
const DAY: i64 = 86_400_000;

/// Returns question and statement of every ```sql block below a heading.
fn statements(heading: &str) -> Vec<(String, String)> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, section) = readme.split_once(&format!("\n{heading}\n")).expect(heading);
    let section = section.split("\n## ").next().unwrap().split("\n### ").next().unwrap();
    let blocks = section.split("```sql\n").skip(1).map(|block| block.split("```").next().unwrap());
    let statements = blocks.flat_map(|block| block.split_terminator(';')).map(str::trim);
    let parts = statements.filter(|text| !text.is_empty()).map(|text| {
        let (question, statement) = text.strip_prefix("-- ").expect(text).split_once('\n').expect(text);
        (question.to_owned(), statement.to_owned())
    });
    parts.collect()
}

/// Starts a cluster with a topic `orders` that the group `billing` has read up to an offset.
fn cluster(committed: i64) -> MockKafka {
    let kafka = kafka(4);
    kafka.create_topic("orders", 2).unwrap();
    let writer = kafka.writer();
    writer.produce("orders", 0, 100).unwrap();
    writer.produce("orders", 1, 50).unwrap();
    writer.commit(&Commit::new("billing", "orders", 0, committed, NOON - 60_000)).unwrap();
    writer.flush().unwrap();
    kafka
}

/// Starts a server with the clusters `demo` and `demo-west`, as the README names them. In the first, `billing` falls
/// behind at noon, `nightly` stopped two days ago, no group reads `archive`, and `replay` rewinds forty seconds later,
/// which is now.
fn lab() -> (Lab, MockKafka, TempDir) {
    let (east, west) = (cluster(100), cluster(69));
    east.create_topic("payments", 1).unwrap();
    east.create_topic("archive", 1).unwrap();
    let writer = east.writer();
    writer.produce("payments", 0, 10).unwrap();
    writer.produce("archive", 0, 3).unwrap();
    writer.commit(&Commit::new("nightly", "payments", 0, 4, NOON - 2 * DAY)).unwrap();
    writer
        .write_group(&stable_group("billing", 4, &[("c1", &[("orders", &[0])]), ("c2", &[("orders", &[1])])]), 3)
        .unwrap();
    writer.flush().unwrap();
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("offsetd.toml");
    let clusters = [("demo", &east), ("demo-west", &west)];
    let clusters = clusters
        .map(|(name, kafka)| format!("[clusters.{name}]\nbootstrap_servers = \"{}\"\n", kafka.bootstrap_servers()));
    fs::write(&file, clusters.concat()).unwrap();

    let lab = Setup { config_file: Some(file), clock: Clock::manual(NOON), ..Setup::default() }.ready(&east);
    wait_count(&lab, "SELECT count(*) AS n FROM partitions WHERE topic = 'orders' AND log_end_offset > 0", 4);
    lab.clock.advance(30_000);
    lab.writer.produce("orders", 0, 20).unwrap();
    lab.writer.flush().unwrap();
    wait_count(&lab, "SELECT count(*) AS n FROM lag WHERE cluster = 'demo' AND group_id = 'billing' AND lag = 20", 1);
    wait_count(&lab, "SELECT count(*) AS n FROM partitions WHERE observed_at < now() OR observed_at IS NULL", 0);
    lab.clock.advance(10_000);
    for offset in [5, 15, 30, 40, 50, 20] {
        lab.commit("replay", "orders", 1, offset);
    }
    lab.settle();
    (lab, west, dir)
}

fn wait_count(lab: &Lab, statement: &str, expected: i64) {
    wait_for(statement, LIMIT, || {
        let rows = lab.sql(statement).rows;
        if rows == [json!({"n": expected})] { Ok(()) } else { Err(format!("{rows:?}")) }
    });
}

/// Expected answer to each question.
fn answers() -> Vec<(&'static str, Value)> {
    let (before, now) = ("2026-01-01T11:59:00Z", "2026-01-01T12:00:40Z");
    let nightly = json!([{"group_id": "nightly", "lag": 6, "last_committed_at": "2025-12-30T12:00:00Z"}]);
    vec![
        (
            "Which groups are behind, and since when?",
            json!([
                {"cluster": "demo", "source": "kafka", "group_id": "billing", "topic": "orders", "lag": 20, "since": "lately"},
                {"cluster": "demo", "source": "kafka", "group_id": "nightly", "topic": "payments", "lag": 6, "since": null},
                {"cluster": "demo", "source": "kafka", "group_id": "replay", "topic": "orders", "lag": 30, "since": null},
                {"cluster": "demo-west", "source": "kafka", "group_id": "billing", "topic": "orders", "lag": 31, "since": null},
            ]),
        ),
        ("Which groups have stopped?", nightly.clone()),
        (
            "Which topics have no consumers?",
            json!([{"topic": "archive", "log_end_offset_sum": 3, "produce_rate": 0.0}]),
        ),
        (
            "Which groups read a topic?",
            json!([
                {"cluster": "demo-west", "source": "kafka", "group_id": "billing", "partitions": 1, "lag": 31, "last_committed_at": before},
                {"cluster": "demo", "source": "kafka", "group_id": "replay", "partitions": 1, "lag": 30, "last_committed_at": now},
                {"cluster": "demo", "source": "kafka", "group_id": "billing", "partitions": 1, "lag": 20, "last_committed_at": before},
            ]),
        ),
        (
            "Which member owns a partition?",
            json!([{"cluster": "demo", "group_id": "billing", "member_id": "c1-id", "client_id": "c1",
                    "client_host": "/10.0.0.1"}]),
        ),
        ("Which groups have been inactive for a day?", nightly),
        (
            "How does the lag spread over client hosts?",
            json!([
                {"client_host": "/10.0.0.1", "partitions": 1, "lag": 20},
                {"client_host": "/10.0.0.2", "partitions": 1, "lag": null},
            ]),
        ),
        (
            "What was rewound today?",
            json!([{"committed_at": now, "group_id": "replay", "topic": "orders", "partition": 1,
                    "previous_offset": 50, "committed_offset": 20}]),
        ),
        (
            "How do two clusters compare?",
            json!([
                {"source": "kafka", "group_id": "billing", "topic": "orders", "demo": 20, "west": 31},
                {"source": "kafka", "group_id": "nightly", "topic": "payments", "demo": 6, "west": null},
                {"source": "kafka", "group_id": "replay", "topic": "orders", "demo": 30, "west": null},
            ]),
        ),
    ]
}

#[test]
fn every_statement_of_the_cookbook_answers_its_question() {
    let (lab, _west, _dir) = lab();
    let (cookbook, answers) = (statements("### Cookbook"), answers());
    let questions: Vec<&str> = cookbook.iter().map(|(question, _)| question.as_str()).collect();
    assert_eq!(questions, answers.iter().map(|(question, _)| *question).collect::<Vec<_>>());
    for ((question, statement), (_, expected)) in cookbook.iter().zip(&answers) {
        let mut rows = lab.sql(statement).rows;
        for since in rows.iter_mut().filter_map(|row| row.get_mut("since")) {
            // The time lies between two polls of the log end, of which the first may have been late.
            if since.as_str().is_some_and(|at| ("2026-01-01T12:00:00Z".."2026-01-01T12:00:31Z").contains(&at)) {
                *since = json!("lately");
            }
        }
        if question == "Which groups are behind, and since when?" {
            rows.sort_by_key(|row| (row["since"].is_null(), row["cluster"].to_string(), row["group_id"].to_string()));
        }
        assert_eq!(&Value::Array(rows), expected, "{question}\n{statement}");
    }
}

#[test]
fn what_the_readme_asks_about_time_has_an_answer() {
    let lab = Lab::new(1);
    let statements = statements("### Over time");
    assert!(statements.len() > 2);
    for (question, statement) in statements {
        assert_eq!(lab.sql(&statement).rows, Vec::<Value>::new(), "{question}");
    }
}

#[test]
fn the_readme_stays_short_and_names_commands_and_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    assert!(readme.lines().count() <= 200, "{} lines", readme.lines().count());
    for link in readme.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
        assert!(link.starts_with("http") || root.join(link).exists(), "{link}");
    }
    let help = stdout(&offsetd(&["help"], ""));
    let mentioned = readme.split("offsetd ").skip(1).filter_map(|rest| rest.split([' ', '`', '\n', '|']).next());
    // Only words that are commands, not words of a sentence.
    let commands = "serve doctor sql group groups query watch status check-config completions man help";
    let commands: Vec<&str> = mentioned.filter(|word| commands.split(' ').any(|command| command == *word)).collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
    }
}
