//! Offsets in PostgreSQL and MariaDB: written by the databases' own clients, shown next to Kafka's.

mod layouts;
pub(super) mod mariadb;
mod postgres;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::mock::MockKafka;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kafka::faults::{OFTEN, is, serve};
use crate::process::wait_for;
use crate::server::Server;
use crate::support;

const LIMIT: Duration = Duration::from_secs(60);

/// Starts a Kafka with the topic `orders`, and a server that reads it and the sources.
fn with_sources(sources: &str) -> (MockKafka, TempDir, Server) {
    let kafka = support::kafka(2);
    kafka.create_topic("orders", 3).unwrap();
    let cluster = format!("[clusters.east]\nbootstrap_servers = \"{}\"\n", kafka.bootstrap_servers());
    let (folder, mut server) = serve(&format!("{OFTEN}{cluster}{sources}"));
    server.wait_ready();
    (kafka, folder, server)
}

/// Waits until a source has exactly these rows.
fn shows(server: &Server, source: &str, rows: &[Value]) {
    let statement = format!(
        "SELECT group_id, topic, partition, committed_offset FROM offsets WHERE source = '{source}' ORDER BY 1, 2, 3"
    );
    wait_for(&format!("the rows of {source}"), LIMIT, || is(server, &statement, Value::from(rows)));
}

fn row(group: &str, topic: &str, partition: i32, offset: i64) -> Value {
    json!({"group_id": group, "topic": topic, "partition": partition, "committed_offset": offset})
}

/// Waits until the last error of each source contains a text.
fn fails(server: &Server, expected: &[(String, String)]) {
    for (source, error) in expected {
        let statement = format!("SELECT state, last_error FROM sources WHERE source = '{source}'");
        wait_for(&format!("the error of {source}"), LIMIT, || match &server.try_sql(&statement)?[..] {
            [row] if row["last_error"].as_str().is_some_and(|shown| shown.contains(error)) => Ok(()),
            rows => Err(format!("{rows:?} instead of {error:?}")),
        });
    }
}

/// Waits until a source has these counts.
fn counts(server: &Server, source: &str, counts: Value) {
    let statement =
        format!("SELECT state, entries, malformed, ambiguous, last_rejected FROM sources WHERE source = '{source}'");
    wait_for(&format!("the counts of {source}"), LIMIT, || is(server, &statement, json!([counts])));
}

/// Returns the path of a certificate or key of the tests.
fn tls(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(file)
}

/// Returns the output of a program that must succeed.
fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}
