//! Golden SQL: statements and their answers (`tests/sql/*.slt`) over a fixed data set.
//!
//! The clock stops at the end of the set-up, so that times, `active` and statuses are the same in every run. Random
//! values of the mock Kafka (its id and ports) are left out.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use offsetd::clock::Clock;
use offsetd::rpc::proto::SqlRequest;
use serde_json::{Value, json};
use sqllogictest::{
    DB, DBOutput, DefaultColumnType, Runner, default_normalizer, default_validator, strict_column_validator,
};

use crate::mock::{Commit, GroupDescription, Member, MockKafka};
use crate::process::wait_for;
use crate::support::{LIMIT, Lab, Setup, kafka, stable_group};

/// 2026-01-01T00:00:00Z
const START: i64 = 1_767_225_600_000;

/// Creates the topics and records that exist before the server starts.
fn load(kafka: &MockKafka, writer: &MockKafka) {
    for (topic, partitions) in [("orders", 3), ("payments", 2), ("leaderless", 1)] {
        kafka.create_topic(topic, partitions).unwrap();
    }
    kafka.mock().unwrap().partition_leader("leaderless", 0, None).unwrap();
    for (topic, partition, records) in [("orders", 0, 100), ("orders", 1, 50), ("payments", 0, 10)] {
        writer.produce(topic, partition, records).unwrap();
    }
    let lately = START - 60_000;
    for commit in [
        Commit { leader_epoch: 3, ..Commit::new("billing", "orders", 0, 90, lately) },
        Commit { metadata: "since\n'yesterday'", ..Commit::new("billing", "orders", 1, 50, lately - 1) },
        Commit::new("billing", "payments", 0, 4, lately),
        Commit {
            version: 1,
            leader_epoch: -1,
            expires_at: Some(START + 86_400_000),
            ..Commit::new("audit", "orders", 0, 100, lately)
        },
        // 64-bit nanoseconds end in the year 2262.
        Commit { version: 1, expires_at: Some(i64::MAX), ..Commit::new("audit", "payments", 0, 10, lately) },
        Commit { version: 0, kind: 0, ..Commit::new("audit", "orders", 2, 0, lately) },
        Commit::new("ahead", "orders", 1, 1000, lately),
        Commit::new("gone", "vanished", 0, 5, lately),
        Commit::new("unknown", "leaderless", 0, 5, lately),
        Commit::new("unknown", "orders", 7, 5, lately),
        // An offset below 0 is not an offset, so no table has a row for it.
        Commit::new("lost", "orders", 0, -5, lately),
        Commit::new("idle", "orders", 1, 20, START - 7_200_000),
        Commit::new("消费者", "orders", 1, 49, lately),
    ] {
        writer.commit(&commit).unwrap();
    }
    writer.write_group(&stable_group("billing", 4, &[("c1", &[("orders", &[0, 1])]), ("c2", &[])]), 3).unwrap();
    writer.write_group(&stable_group("idle", 2, &[]), 3).unwrap();
    writer.write_group(&stable_group("old", 1, &[("c3", &[("payments", &[1, 0])])]), 0).unwrap();
    writer.write_group(&connect(), 3).unwrap();
    writer.flush().unwrap();
}

/// Workers of Kafka Connect, with payloads that offsetd must not decode.
fn connect() -> GroupDescription {
    let worker = Member {
        id: "w1-id".to_owned(),
        client_id: "w1".to_owned(),
        client_host: "/10.0.1.1".to_owned(),
        rebalance_timeout_ms: 60_000,
        session_timeout_ms: 10_000,
        subscription: vec![0, 2, 9],
        assignment: vec![0, 2, 9],
        ..Member::default()
    };
    GroupDescription {
        group: "connect".to_owned(),
        protocol_type: "connect".to_owned(),
        generation: 9,
        protocol: Some("sessioned".to_owned()),
        leader: Some("w1-id".to_owned()),
        at: START,
        members: vec![worker],
    }
}

/// Starts the server, commits more offsets, and advances the clock by two minutes.
fn lab() -> Lab {
    let kafka = kafka(50);
    load(&kafka, &kafka.writer());
    let setup = Setup { clock: Clock::manual(START), ..Setup::default() };
    let lab = setup.ready(&kafka);
    for offset in [40, 60, 50] {
        lab.writer.commit(&Commit::new("live", "orders", 1, offset, START + offset)).unwrap();
    }
    lab.writer.commit(&Commit::new("live", "orders", 0, 100, START)).unwrap();
    lab.writer.commit(&Commit::new("leaving", "orders", 0, 1, START)).unwrap();
    lab.writer.write_raw(7, Some(&[0, 99]), None).unwrap();
    lab.writer.write_raw(7, None, None).unwrap();
    lab.settle();
    // A topic counts as deleted after two topic listings, a minute apart, without it.
    for marker in ["marker-1", "marker-2"] {
        lab.clock.advance(60_000);
        kafka.create_topic(marker, 1).unwrap();
        let ends = format!(
            "SELECT count(*) AS n FROM partitions WHERE topic = '{marker}' AND log_start_offset = 0 AND log_end_offset = 0"
        );
        wait_row(&lab, &ends, &json!({"n": 1}));
    }
    wait_row(&lab, "SELECT count(*) AS n FROM partitions WHERE observed_at = now()", &json!({"n": 57}));
    wait_row(&lab, "SELECT lag_unknown AS why FROM lag WHERE group_id = 'gone'", &json!({"why": "topic_deleted"}));
    let behind = "SELECT count(*) AS n FROM sources WHERE behind = 0 AND last_stable_offset = position";
    wait_row(&lab, behind, &json!({"n": 50}));
    lab
}

fn wait_row(lab: &Lab, statement: &str, expected: &Value) {
    wait_for(statement, LIMIT, || {
        let rows = lab.sql(statement).rows;
        if rows == [expected.clone()] { Ok(()) } else { Err(format!("{rows:?}")) }
    });
}

/// The connection of sqllogictest to the lab.
struct Connection(Arc<Lab>);

#[derive(Debug)]
struct Failed(tonic::Status);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.code(), self.0.message())
    }
}

impl std::error::Error for Failed {}

impl DB for Connection {
    type Error = Failed;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, statement: &str) -> Result<DBOutput<DefaultColumnType>, Failed> {
        let request = SqlRequest { statement: statement.to_owned(), ..SqlRequest::default() };
        let answer = self.0.try_sql(request).map_err(Failed)?;
        let columns = &answer.schema.columns;
        let row = |row: &Value| columns.iter().map(|column| cell(&row[&column.name])).collect();
        let types = columns.iter().map(|column| column_type(&column.r#type)).collect();
        Ok(DBOutput::Rows { types, rows: answer.rows.iter().map(row).collect() })
    }
}

fn column_type(arrow: &str) -> DefaultColumnType {
    match arrow {
        "Int64" | "Int32" | "UInt64" => DefaultColumnType::Integer,
        "Float64" => DefaultColumnType::FloatingPoint,
        "Utf8" => DefaultColumnType::Text,
        _ => DefaultColumnType::Any,
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) if text.is_empty() => "(empty)".to_owned(),
        Value::String(text) => text.escape_debug().to_string().replace(' ', "·"),
        other => other.to_string(),
    }
}

#[test]
fn statements_answer_as_written_down() {
    let lab = Arc::new(lab());
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    files.sort();
    assert!(files.len() > 2, "{files:?}");
    for file in files {
        let mut runner = Runner::new(|| async { Ok(Connection(Arc::clone(&lab))) });
        runner.with_column_validator(strict_column_validator);
        if std::env::var_os("UPDATE_SQL").is_some() {
            let update =
                runner.update_test_file(&file, " ", default_validator, default_normalizer, strict_column_validator);
            #[expect(clippy::disallowed_methods, reason = "this thread does not belong to a runtime")]
            let updated = futures::executor::block_on(update);
            updated.unwrap();
            continue;
        }
        runner.run_file(&file).unwrap_or_else(|error| panic!("{}", error.display(false)));
    }
}
