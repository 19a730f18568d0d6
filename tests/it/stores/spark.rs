//! Checkpoints that real queries of Spark Structured Streaming wrote, on a local disk, S3 and HDFS.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::mock::MockKafka;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::helper::{Helper, prepare, stores_dir};
use crate::kafka::broker::free_port;
use crate::kafka::faults::{OFTEN, is, serve};
use crate::process::wait_for;
use crate::program::{offsetd, stdout};
use crate::server::Server;
use crate::support;

/// Generous: a file system of Hadoop starts slowly next to other tests.
const LIMIT: Duration = Duration::from_secs(120);
const VERSION: &str = "3.5.7";
const ROWS: &str = "SELECT group_id, topic, partition, committed_offset, metadata FROM offsets \
     WHERE source = 'spark' ORDER BY 1, 2, 3";

fn fixtures(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/spark").join(version)
}

/// Returns the rows that Spark reported for the recorded checkpoints, in the order of [`ROWS`].
fn recorded(version: &str) -> Vec<Value> {
    let text = fs::read_to_string(fixtures("").join(format!("{version}.json"))).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let row = |row: &Value| {
        let metadata = format!(
            r#"{{"batch":{},"planned_batch":{},"planned_offset":{}}}"#,
            row["batch"], row["planned_batch"], row["planned_offset"]
        );
        let group = format!("{}@{version}", row["query"].as_str().unwrap());
        json!({"group_id": group, "topic": row["topic"], "partition": row["partition"],
            "committed_offset": row["committed_offset"], "metadata": metadata})
    };
    sorted(rows.iter().map(row).collect())
}

fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(|row| (row["group_id"].to_string(), row["topic"].to_string(), row["partition"].as_i64()));
    rows
}

/// Returns the names of the recorded queries.
fn queries(version: &str) -> BTreeSet<String> {
    let folders = fs::read_dir(fixtures(version)).unwrap();
    folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect()
}

fn row(group: &str, topic: &str, partition: i32, offset: i64, metadata: &str) -> Value {
    json!({"group_id": group, "topic": topic, "partition": partition, "committed_offset": offset, "metadata": metadata})
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Writes a file as Spark does on a local disk: aside, then renamed.
fn write(file: &Path, content: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let aside = file.with_file_name(".aside.tmp");
    fs::write(&aside, content).unwrap();
    fs::rename(aside, file).unwrap();
}

fn batch(orders: i64) -> String {
    format!("v1\n{{\"batchTimestampMs\":5}}\n{{\"orders-{VERSION}\":{{\"0\":{orders}}}}}")
}

/// Starts a Kafka with the topics of the recorded queries, each partition with 20 records.
fn kafka() -> MockKafka {
    let kafka = support::kafka(2);
    for version in ["3.5.7", "4.2.0"] {
        for topic in ["orders", "payments"] {
            let topic = format!("{topic}-{version}");
            kafka.create_topic(&topic, 2).unwrap();
            (0..2).for_each(|partition| kafka.produce(&topic, partition, 20).unwrap());
        }
    }
    kafka.flush().unwrap();
    kafka
}

fn with_spark(kafka: &MockKafka, section: &str) -> (TempDir, Server) {
    let cluster = format!("[clusters.east]\nbootstrap_servers = \"{}\"\n", kafka.bootstrap_servers());
    let (folder, mut server) = serve(&format!("{OFTEN}{cluster}[sources.spark]\ninterval = \"100ms\"\n{section}"));
    server.wait_ready();
    (folder, server)
}

fn shows(server: &Server, rows: &[Value]) {
    wait_for("the rows of Spark", LIMIT, || is(server, ROWS, rows.to_vec().into()));
}

/// Waits for the rows of a store that was down. A statement that wants the latest offsets polls it at once; otherwise the
/// pauses grow with each failure.
fn shows_again(server: &Server, rows: &[Value]) {
    let body = json!({"statement": "SELECT count(*) FROM offsets", "freshness": "LATEST"}).to_string();
    wait_for("the rows of Spark", LIMIT, || {
        server.post("/v1/sql", "application/json", &body);
        is(server, ROWS, rows.to_vec().into())
    });
}

/// Waits until the source is in this state, with this part of an error.
fn state(server: &Server, state: &str, error: &str) {
    let found =
        format!("SELECT state, coalesce(last_error, '') LIKE '%{error}%' AS named FROM sources WHERE source = 'spark'");
    wait_for("the state of the source", LIMIT, || is(server, &found, json!([{"state": state, "named": true}])));
}

#[test]
fn local_checkpoints_show_what_spark_reported_and_are_followed() {
    let folder = TempDir::new().unwrap();
    let checkpoints = folder.path().join("checkpoints");
    let mut rows = vec![];
    for version in ["3.5.7", "4.2.0"] {
        for query in queries(version) {
            copy(&fixtures(version).join(&query), &checkpoints.join(format!("{query}@{version}/state")));
        }
        rows.extend(recorded(version));
    }
    // Folders that have no checkpoint, a DStream's, one of a later Spark, and one with bad values.
    write(&checkpoints.join("data/state/part-0.parquet"), "PAR1");
    write(&checkpoints.join("dstream/state/checkpoint-1700000000000"), "\u{ac}\u{ed}");
    write(&checkpoints.join("later/state/metadata"), "{\"id\":\"x\"}");
    write(&checkpoints.join("later/state/offsets/0"), "v3\n{}\n{}");
    write(&checkpoints.join("later/state/commits/0"), "v1\n{}");
    write(&checkpoints.join("values/state/metadata"), "{\"id\":\"y\"}");
    write(&checkpoints.join("values/state/commits/0"), "v1\n{}");
    write(&checkpoints.join("values/state/offsets/0"), "v1\n\n{\"orders-3.5.7\":{\"0\":-1,\"1\":4,\"2\":\"x\"}}");
    rows.push(row("values", "orders-3.5.7", 1, 4, r#"{"batch":0,"planned_batch":0,"planned_offset":4}"#));
    let rows = sorted(rows);
    let (kafka, url) = (kafka(), format!("checkpoints = \"file://{}/{{group}}/state\"\n", checkpoints.display()));
    let (config, server) = with_spark(&kafka, &url);
    shows(&server, &rows);

    // A rate source of each version is not Kafka.
    let counts = "SELECT kind, state, entries, unmatched, malformed, forbidden FROM sources WHERE source = 'spark'";
    let told = json!([{"kind": "spark", "state": "live", "entries": rows.len(), "unmatched": 4, "malformed": 3, "forbidden": 0}]);
    wait_for("the counts", LIMIT, || is(&server, counts, told.clone()));
    let lag = "SELECT committed_offset, lag FROM lag WHERE source = 'spark' AND group_id = 'planned@3.5.7' ORDER BY 1";
    let expected = json!([{"committed_offset": 3, "lag": 17}, {"committed_offset": 5, "lag": 15}]);
    wait_for("the lag", LIMIT, || is(&server, lag, expected.clone()));
    let path = config.path().join("offsetd.toml");
    let report = stdout(&offsetd(&["doctor", "--config", path.to_str().unwrap()], ""));
    let found = format!("checkpoints with {} offsets; 3 folders are not readable, for example file://", rows.len());
    assert!(report.contains(&found), "{report}");

    // Batches are planned, then committed. The time of a commit is that of its file.
    let query = checkpoints.join(format!("orders@{VERSION}/state"));
    write(&query.join("offsets/2"), &batch(11));
    let group = format!("orders@{VERSION}");
    let of_group =
        format!("SELECT committed_offset, metadata FROM offsets WHERE group_id = '{group}' AND partition = 0");
    let shows_batch = |offset: i64, metadata: &str| {
        let expected = json!([{"committed_offset": offset, "metadata": metadata}]);
        wait_for("the batch", LIMIT, || is(&server, &of_group, expected.clone()));
    };
    shows_batch(9, r#"{"batch":1,"planned_batch":2,"planned_offset":11}"#);
    write(&query.join("commits/2"), "v1\n{\"nextBatchWatermarkMs\":0}");
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    fs::File::options().write(true).open(query.join("commits/2")).unwrap().set_modified(at).unwrap();
    shows_batch(11, r#"{"batch":2,"planned_batch":2,"planned_offset":11}"#);
    // The second batch has only one partition, so the row of the other one is deleted.
    let deleted = format!("SELECT partition, kind FROM commits WHERE group_id = '{group}' AND kind = 'tombstone'");
    wait_for("the deletion", LIMIT, || is(&server, &deleted, json!([{"partition": 1, "kind": "tombstone"}])));
    let committed_at = format!("SELECT committed_at FROM offsets WHERE group_id = '{group}'");
    let time = json!([{"committed_at": "2023-11-14T22:13:20Z"}]);
    wait_for("the time of the commit", LIMIT, || is(&server, &committed_at, time.clone()));

    // A checkpoint that starts again has only its own offsets, and a deleted one has none.
    fs::remove_dir_all(&query).unwrap();
    write(&query.join("offsets/0"), &batch(1));
    write(&query.join("commits/0"), "v1\n{}");
    write(&query.join("metadata"), "{\"id\":\"new\"}");
    shows_batch(1, r#"{"batch":0,"planned_batch":0,"planned_offset":1}"#);
    fs::remove_dir_all(query.parent().unwrap()).unwrap();
    let left: Vec<Value> = rows.iter().filter(|row| row["group_id"] != group).cloned().collect();
    shows(&server, &left);

    // A disk that is not mounted deletes nothing.
    fs::rename(&checkpoints, folder.path().join("elsewhere")).unwrap();
    state(&server, "failing", "checkpoints does not exist");
    shows(&server, &left);
    fs::rename(folder.path().join("elsewhere"), &checkpoints).unwrap();
    state(&server, "live", "");
    shows(&server, &left);
    server.stop_cleanly();
}

#[test]
fn one_checkpoint_has_the_group_of_the_settings_or_the_id_of_its_query() {
    let folder = TempDir::new().unwrap();
    let checkpoint = folder.path().join("q");
    write(&checkpoint.join("metadata"), "{\"id\":\"8469483b-2b09-49c6-8f30-c3eac2f41043\"}");
    write(&checkpoint.join("offsets/0"), &batch(5));
    write(&checkpoint.join("commits/0"), "v1\n{}");
    let kafka = kafka();
    let url = format!("checkpoints = \"file://{}\"\n", checkpoint.display());
    let (_folder, server) =
        with_spark(&kafka, &format!("{url}[sources.named]\nkind = \"spark\"\ngroup = \"etl\"\n{url}"));
    let groups = "SELECT source, group_id, committed_offset FROM offsets WHERE source <> 'kafka' ORDER BY 1";
    let expected = json!([
        {"source": "named", "group_id": "etl", "committed_offset": 5},
        {"source": "spark", "group_id": "8469483b-2b09-49c6-8f30-c3eac2f41043", "committed_offset": 5},
    ]);
    wait_for("the groups", LIMIT, || is(&server, groups, expected.clone()));
    // A statement that wants the latest sees a batch that was committed before it.
    write(&checkpoint.join("offsets/1"), &batch(6));
    write(&checkpoint.join("commits/1"), "v1\n{}");
    let latest = "SELECT committed_offset FROM offsets WHERE source = 'named'";
    let body = json!({"statement": latest, "freshness": "LATEST"}).to_string();
    let answer = server.post("/v1/sql", "application/json", &body);
    assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap(), json!([{"committed_offset": 6}]), "{answer:?}");
    fs::remove_dir_all(&checkpoint).unwrap();
    wait_for("the deletion", LIMIT, || is(&server, groups, json!([])));
    server.stop_cleanly();
}

/// Returns the queries that the tests of remote stores read, to be quick.
const REMOTE: [&str; 3] = ["async-progress", "orders", "planned"];

fn remote_rows() -> Vec<Value> {
    let is_remote = |row: &Value| REMOTE.iter().any(|query| row["group_id"] == format!("{query}@{VERSION}"));
    recorded(VERSION).into_iter().filter(is_remote).collect()
}

/// Returns the commands that copy the recorded queries to a remote store.
fn put_queries(parent: &str) -> Vec<String> {
    let put = |query| format!("put {} {parent}/{query}@{VERSION}", fixtures(VERSION).join(query).display());
    REMOTE.map(put).to_vec()
}

/// Writes a file of a remote store.
fn put(store: &mut Helper, folder: &TempDir, path: &str, content: &str) {
    let local = folder.path().join("file");
    fs::write(&local, content).unwrap();
    store.ask(&format!("put {} {path}", local.display()));
}

#[test]
fn checkpoints_on_s3_are_followed_and_survive_its_restart() {
    prepare("s3");
    let (folder, port) = (TempDir::new().unwrap(), free_port().to_string());
    let credentials = folder.path().join("credentials");
    let start = |filled: &[String]| {
        let mut command = std::process::Command::new(stores_dir().join("s3/python/bin/python"));
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores/s3/server.py"));
        command.args([&port, credentials.to_str().unwrap()]).args(filled);
        Helper::start("s3", command)
    };
    let mut s3 = start(&[]);
    let section = |credentials: &Path| {
        format!(
            "checkpoints = \"s3://lake/checkpoints/{{group}}\"\ns3_endpoint = \"http://127.0.0.1:{port}\"\ns3_region = \"us-east-1\"\ns3_credentials = \"{}\"\n",
            credentials.display()
        )
    };
    // An empty store is complete.
    let kafka = kafka();
    let (_config, server) = with_spark(&kafka, &section(&credentials));
    state(&server, "live", "");
    put_queries("checkpoints").iter().for_each(|put| s3.ask(put));
    let rows = remote_rows();
    shows(&server, &rows);

    let wrong = folder.path().join("wrong");
    fs::write(&wrong, "access_key_id = \"AKIAWRONG\"\nsecret_access_key = \"hunter2\"\n").unwrap();
    let (_config, refused) = with_spark(&kafka, &section(&wrong));
    state(&refused, "failing", "access to s3://lake/checkpoints is denied");
    refused.stop_cleanly();

    let group = format!("orders@{VERSION}");
    put(&mut s3, &folder, &format!("checkpoints/{group}/offsets/2"), &batch(11));
    put(&mut s3, &folder, &format!("checkpoints/{group}/commits/2"), "v1\n{}");
    let changed = |offset: i64, batch: u64| {
        let mut rows: Vec<Value> = rows.iter().filter(|row| row["group_id"] != group).cloned().collect();
        let metadata = format!(r#"{{"batch":{batch},"planned_batch":{batch},"planned_offset":{offset}}}"#);
        rows.push(row(&group, &format!("orders-{VERSION}"), 0, offset, &metadata));
        sorted(rows)
    };
    shows(&server, &changed(11, 2));
    s3.kill();
    state(&server, "failing", "cannot read s3://lake/checkpoints");
    shows(&server, &changed(11, 2));

    // Another store on the same port, with other credentials, has a later state.
    let mut filled = put_queries("checkpoints");
    let file = |name: &str, content: &str| {
        let local = folder.path().join(name);
        fs::write(&local, content).unwrap();
        local.display().to_string()
    };
    let (offsets, commits) = (file("offsets", &batch(12)), file("commits", "v1\n{}"));
    for number in [2, 3] {
        filled.push(format!("put {offsets} checkpoints/{group}/offsets/{number}"));
        filled.push(format!("put {commits} checkpoints/{group}/commits/{number}"));
    }
    let mut s3 = start(&filled);
    shows_again(&server, &changed(12, 3));
    state(&server, "live", "");
    s3.ask(&format!("delete checkpoints/{group}/"));
    shows(&server, &rows.iter().filter(|row| row["group_id"] != group).cloned().collect::<Vec<_>>());
    server.stop_cleanly();
}

#[test]
fn checkpoints_in_hdfs_are_followed_and_survive_a_crash_of_it() {
    prepare("hdfs");
    let (folder, data, port) = (TempDir::new().unwrap(), TempDir::new().unwrap(), free_port().to_string());
    let start = || {
        let libraries = stores_dir().join("hdfs");
        let mut command = std::process::Command::new("java");
        command.args(["-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]);
        command.arg(format!("{0}/classes:{0}/libs/*", libraries.display()));
        command.arg("Hdfs").arg(data.path()).arg(&port);
        Helper::start("hdfs", command)
    };
    // The file system is down when the server starts.
    let kafka = kafka();
    let section = format!("checkpoints = \"webhdfs://etl@127.0.0.1:{port}/checkpoints/{{group}}\"\n");
    let (_config, server) = with_spark(&kafka, &section);
    state(&server, "failing", "cannot read webhdfs://etl@127.0.0.1");
    let mut hdfs = start();
    put_queries("/checkpoints").iter().for_each(|put| hdfs.ask(put));
    let rows = remote_rows();
    shows_again(&server, &rows);

    let group = format!("orders@{VERSION}");
    put(&mut hdfs, &folder, &format!("/checkpoints/{group}/offsets/2"), &batch(11));
    put(&mut hdfs, &folder, &format!("/checkpoints/{group}/commits/2"), "v1\n{}");
    let changed = |offset: i64, batch: u64| {
        let mut rows: Vec<Value> = rows.iter().filter(|row| row["group_id"] != group).cloned().collect();
        let metadata = format!(r#"{{"batch":{batch},"planned_batch":{batch},"planned_offset":{offset}}}"#);
        rows.push(row(&group, &format!("orders-{VERSION}"), 0, offset, &metadata));
        sorted(rows)
    };
    shows(&server, &changed(11, 2));

    // A checkpoint that the user may not read any more keeps its rows; the others are still followed.
    let planned = format!("/checkpoints/planned@{VERSION}");
    hdfs.ask(&format!("mode 700 {planned}"));
    let forbidden = "SELECT forbidden, last_rejected FROM sources WHERE source = 'spark'";
    let place = format!("webhdfs://etl@127.0.0.1:{port}{planned}/metadata");
    wait_for("the refusal", LIMIT, || is(&server, forbidden, json!([{"forbidden": 1, "last_rejected": place}])));
    shows(&server, &changed(11, 2));
    hdfs.ask(&format!("mode 755 {planned}"));

    hdfs.kill();
    state(&server, "failing", "cannot read webhdfs://etl@127.0.0.1");
    shows(&server, &changed(11, 2));
    let mut hdfs = start();
    put(&mut hdfs, &folder, &format!("/checkpoints/{group}/offsets/3"), &batch(12));
    put(&mut hdfs, &folder, &format!("/checkpoints/{group}/commits/3"), "v1\n{}");
    shows_again(&server, &changed(12, 3));
    hdfs.ask(&format!("delete /checkpoints/{group}"));
    shows(&server, &rows.iter().filter(|row| row["group_id"] != group).cloned().collect::<Vec<_>>());
    server.stop_cleanly();
}
