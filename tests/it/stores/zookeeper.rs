//! Offsets in ZooKeeper: written by its Java client, shown next to Kafka's.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::mock::{Commit, MockKafka};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kafka::broker::free_port;
use crate::kafka::faults::{OFTEN, is, serve};
use crate::process::{Process, wait_for};
use crate::server::Server;
use crate::support;

const LIMIT: Duration = Duration::from_secs(60);
/// The version with persistent watches and multiRead, and one before both.
pub(super) const NEW: &str = "3.9.4";
const OLD: &str = "3.5.10";
/// The id of a consumer of the group `billing`.
const CONSUMER: &str = "billing_app-1.example-1700000000000-0a1b2c3d";

/// A ZooKeeper server and its folder. It is down until started, and keeps its port and data.
pub(super) struct ZooKeeper {
    process: Option<Process>,
    folder: TempDir,
    version: &'static str,
    port: u16,
}

/// A session of the Java client, which ends with this value, and with it the ephemeral znodes.
pub(super) struct Client {
    _process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// Returns the command that runs a class on a version's jars.
fn java(version: &str, class: &str) -> Command {
    static PREPARED: OnceLock<PathBuf> = OnceLock::new();
    let folder = PREPARED.get_or_init(|| {
        let target = Path::new(env!("OUT_DIR")).ancestors().nth(4).expect("OUT_DIR lies in cargo's target folder");
        let folder = target.join("stores");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores/prepare");
        let out = Command::new(script).arg("zookeeper").env("STORES_DIR", &folder).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        folder.join("zookeeper")
    });
    let path = format!("{0}/{NEW}/classes:{0}/{version}/libs/*", folder.display());
    let mut java = Command::new("java");
    java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &path]);
    java.arg("-Dzookeeper.serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory");
    java.arg(class);
    java
}

impl ZooKeeper {
    fn down(version: &'static str, options: &str) -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let data = folder.path().join("data");
        let config = format!(
            "tickTime=500\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
             maxClientCnxns=0\n{options}",
            data.display()
        );
        fs::write(folder.path().join("zoo.cfg"), config).unwrap();
        Self { process: None, folder, version, port }
    }

    pub(super) fn started(version: &'static str) -> Self {
        let mut zookeeper = Self::down(version, "");
        zookeeper.start();
        zookeeper
    }

    fn start(&mut self) {
        let mut command = java(self.version, "org.apache.zookeeper.server.quorum.QuorumPeerMain");
        command.arg(self.folder.path().join("zoo.cfg"));
        self.process = Some(Process::spawn("zookeeper", &command, None, self.folder.path().join("log")));
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Connects a client, with a login USER:PASSWORD if one is given. It waits for the server.
    pub(super) fn client(&self, login: Option<&str>) -> Client {
        let mut command = java(NEW, "Zk");
        command.arg(format!("127.0.0.1:{}", self.port)).args(login);
        let log = self.folder.path().join("client.log");
        let mut process = Process::spawn("zookeeper client", &command, Some(Stdio::piped()), log);
        let child = process.child();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Client { _process: process, input, output: BufReader::new(output) }
    }

    /// Returns a source that reads this server.
    pub(super) fn source(&self, name: &str, chroot: &str, settings: &str) -> String {
        let port = self.port;
        format!("[sources.{name}]\nkind = \"zookeeper\"\nservers = \"127.0.0.1:{port}{chroot}\"\n{settings}\n")
    }
}

impl Client {
    /// Runs a command, which must succeed.
    fn run(&mut self, words: &[&str]) {
        writeln!(self.input, "{}", words.join("\t")).unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim_end(), "ok", "{words:?}");
    }

    pub(super) fn set(&mut self, path: &str, data: &str) {
        self.run(&["set", path, data]);
    }
}

/// Starts a Kafka with the topics `orders` and `a-b`, and a server that reads it and the sources.
fn with_sources(sources: &str) -> (MockKafka, TempDir, Server) {
    let kafka = support::kafka(2);
    for topic in ["orders", "a-b"] {
        kafka.create_topic(topic, 3).unwrap();
    }
    let cluster = format!("[clusters.east]\nbootstrap_servers = \"{}\"\n", kafka.bootstrap_servers());
    let (folder, mut server) = serve(&format!("{OFTEN}{cluster}{sources}"));
    server.wait_ready();
    (kafka, folder, server)
}

fn shows(server: &Server, source: &str, rows: &[Value]) {
    let rows = Value::from(rows.to_vec());
    let statement = format!(
        "SELECT group_id, topic, partition, committed_offset FROM offsets WHERE source = '{source}' ORDER BY 1, 2, 3"
    );
    wait_for(&format!("the rows of {source}"), LIMIT, || is(server, &statement, rows.clone()));
}

fn row(group: &str, topic: &str, partition: i32, offset: i64) -> Value {
    json!({"group_id": group, "topic": topic, "partition": partition, "committed_offset": offset})
}

fn sees(server: &Server, what: &str, statement: &str, rows: Value) {
    wait_for(what, LIMIT, || is(server, statement, rows.clone()));
}

/// Writes offsets, good and malformed ones, and owners of high-level consumers below the chroot `/kafka`.
fn fill_consumers(client: &mut Client) {
    let owner = format!("{CONSUMER}-0");
    for (path, data) in [
        ("billing/offsets/orders/0", "5"),
        ("billing/offsets/orders/1", " 7\n"),
        ("billing/offsets/a-b/2", "1"),
        ("bad/offsets/orders/0", ""),
        ("bad/offsets/orders/1", "-1"),
        ("bad/offsets/orders/2", "1.5e3"),
        ("bad/offsets/a-b/0", "9223372036854775808"),
        ("bad/offsets/a-b/1", "\0"),
        ("bad/offsets/a-b/x", "5"),
        ("billing/owners/orders/0", &*owner),
        ("kafka-only/owners/orders/1", "kafka-only_h-1-00000000-0"),
    ] {
        client.set(&format!("/kafka/consumers/{path}"), &data.replace('\n', " "));
    }
    client.run(&["bytes", "/kafka/consumers/bad/offsets/a-b/2", "1000000"]);
}

#[test]
fn offsets_and_owners_of_high_level_consumers_follow_what_zookeeper_tells() {
    let zookeeper = ZooKeeper::started(NEW);
    let mut client = zookeeper.client(None);
    fill_consumers(&mut client);
    let registration = r#"{"version":1,"subscription":{"orders":2},"pattern":"static","timestamp":"1700000000000"}"#;
    let mut consumer = zookeeper.client(None);
    consumer.run(&["ephemeral", &format!("/kafka/consumers/billing/ids/{CONSUMER}"), registration]);

    let source = zookeeper.source("zookeeper", "/kafka", "layout = \"consumers\"\ninterval = \"1h\"");
    let (kafka, _folder, server) = with_sources(&source);
    let billing = [row("billing", "a-b", 2, 1), row("billing", "orders", 0, 5), row("billing", "orders", 1, 7)];
    shows(&server, "zookeeper", &billing);
    let counts = "SELECT kind, location, state, entries, unmatched, malformed, ambiguous, forbidden FROM sources WHERE source = 'zookeeper'";
    let told = json!([{"kind": "zookeeper", "location": "/kafka/consumers", "state": "live", "entries": 3, "unmatched": 1, "malformed": 6, "ambiguous": 0, "forbidden": 0}]);
    sees(&server, "the counts of the read", counts, told);
    let times = "SELECT count(*) AS n FROM offsets WHERE source = 'zookeeper' AND committed_at BETWEEN now() - INTERVAL '1 hour' AND now() + INTERVAL '1 minute'";
    sees(&server, "commit times", times, json!([{"n": 3}]));

    let members = "SELECT group_id, member_id, client_host, client_id, assigned_partitions FROM members WHERE source = 'zookeeper' ORDER BY 1, 2";
    let member = |group: &str, id: &str, host: &str, thread: &str, partitions| json!({"group_id": group, "member_id": id, "client_host": host, "client_id": thread, "assigned_partitions": partitions});
    let (first, second) = (format!("{CONSUMER}-0"), format!("{CONSUMER}-1"));
    let lender = member("kafka-only", "kafka-only_h-1-00000000-0", "h", "0", 1);
    let both = json!([
        member("billing", &first, "app-1.example", "0", 1),
        member("billing", &second, "app-1.example", "1", 0),
        lender,
    ]);
    sees(&server, "the members", members, both);
    // Consumers that commit to Kafka and register in ZooKeeper.
    let commit = Commit {
        group: "kafka-only",
        topic: "orders",
        partition: 1,
        offset: 0,
        leader_epoch: -1,
        metadata: "",
        committed_at: 1_700_000_000_000,
        expires_at: None,
        kind: 1,
        version: 3,
    };
    kafka.commit(&commit).unwrap();
    kafka.flush().unwrap();
    let owner = "SELECT client_host, owner_source FROM lag WHERE source = 'kafka' AND group_id = 'kafka-only'";
    sees(&server, "the lent owner", owner, json!([{"client_host": "h", "owner_source": "zookeeper"}]));

    // The interval is an hour, so all changes come by a watch.
    client.set("/kafka/consumers/billing/offsets/orders/0", "6");
    client.set("/kafka/consumers/new/offsets/orders/0", "0");
    client.run(&["delete", "/kafka/consumers/billing/offsets/a-b"]);
    client.set("/kafka/consumers/bad/offsets/orders/0", "3");
    let changed = [
        row("bad", "orders", 0, 3),
        row("billing", "orders", 0, 6),
        row("billing", "orders", 1, 7),
        row("new", "orders", 0, 0),
    ];
    shows(&server, "zookeeper", &changed);
    let older = "SELECT topic, partition FROM offsets WHERE source = 'zookeeper' AND group_id = 'billing' AND topic = 'orders' AND first_seen_at < committed_at AND partition = 0";
    sees(&server, "when an offset was first stored", older, json!([{"topic": "orders", "partition": 0}]));
    let deleted = "SELECT group_id, topic, partition FROM commits WHERE source = 'zookeeper' AND kind = 'tombstone'";
    sees(&server, "the deletion", deleted, json!([{"group_id": "billing", "topic": "a-b", "partition": 2}]));
    // The consumer ends its session, which deletes its ephemeral znode; the owner stays, as it is not ephemeral here.
    drop(consumer.input);
    let left = json!([member("billing", &first, "app-1.example", "0", 1), lender]);
    sees(&server, "the members that are left", members, left);
    client.run(&["delete", "/kafka/consumers/billing/owners"]);
    sees(&server, "the last members", members, json!([lender]));

    client.set("/kafka/consumers/billing/offsets/orders/0", "8");
    let statement =
        "SELECT committed_offset FROM offsets WHERE source = 'zookeeper' AND group_id = 'billing' AND partition = 0";
    let body = json!({"statement": statement, "freshness": "LATEST"}).to_string();
    let answer = server.post("/v1/sql", "application/json", &body);
    assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap(), json!([{"committed_offset": 8}]), "{answer:?}");

    client.run(&["delete", "/kafka/consumers"]);
    shows(&server, "zookeeper", &[]);
    sees(&server, "no members", members, json!([]));
    server.stop_cleanly();
}

#[test]
fn other_layouts_are_read_and_doctor_finds_a_chroot() {
    let zookeeper = ZooKeeper::started(NEW);
    let mut client = zookeeper.client(None);
    let storm = r#"{"topology":{"id":"3c83","name":"counts"},"offset":5,"partition":3,"broker":{"host":"kafka1","port":9092},"topic":"orders"}"#;
    client.set("/storm/kafka/spout-1/partition_2", storm);
    client.set("/storm/kafka/spout-1/partition_0", "{}");
    client.set("/spark/offsets", "orders:0:123,a-b:1:456");
    client.set("/lists/orders", "0:1,1:2,x");
    client.set("/clickhouse/kafka/db.t/topics/orders/partitions/1/committed", "9");
    client.set("/clickhouse/kafka/db.t/topics/orders/partitions/1/intention", "3");
    client.set("/clickhouse/kafka/db.t/topics/orders/partitions/2/intention", "3");
    client.set("/x-a-b/0", "4");
    client.set("/kafka-east/consumers/g/offsets/orders/0", "1");
    let list = "list = \",\"\ngroup = \"job\"";
    let sources = [
        zookeeper.source("storm", "", "layout = \"storm\""),
        zookeeper.source(
            "one",
            "",
            &format!("path = \"/spark/offsets\"\nvalue = \"{{topic}}:{{partition}}:{{offset}}\"\n{list}"),
        ),
        zookeeper.source(
            "topics",
            "",
            &format!("path = \"/lists/{{topic}}\"\nvalue = \"{{partition}}:{{offset}}\"\n{list}"),
        ),
        zookeeper.source("clickhouse", "", "layout = \"clickhouse\""),
        zookeeper.source("root", "", "path = \"/{group}-{topic}/{partition}\"\noffset_is = \"last\""),
        zookeeper.source("chroot", "", "layout = \"consumers\""),
    ]
    .concat();
    let (_kafka, folder, server) = with_sources(&sources);
    shows(&server, "storm", &[row("spout-1", "orders", 2, 5)]);
    shows(&server, "one", &[row("job", "a-b", 1, 456), row("job", "orders", 0, 123)]);
    shows(&server, "topics", &[row("job", "orders", 0, 1), row("job", "orders", 1, 2)]);
    shows(&server, "clickhouse", &[row("db.t", "orders", 1, 9)]);
    shows(&server, "root", &[row("x", "a-b", 0, 5)]);
    let rejected = "SELECT source, malformed, last_rejected FROM sources WHERE malformed > 0 ORDER BY 1";
    let told = json!([
        {"source": "storm", "malformed": 1, "last_rejected": "/storm/kafka/spout-1/partition_0"},
        {"source": "topics", "malformed": 1, "last_rejected": "/lists/orders"},
    ]);
    sees(&server, "the malformed znodes", rejected, told);

    client.set("/storm/kafka/spout-1/partition_2", &storm.replace("orders", "a-b"));
    client.set("/spark/offsets", "orders:0:124");
    client.set("/lists/a-b", "2:3");
    client.run(&["delete", "/clickhouse/kafka/db.t/topics/orders/partitions/1/committed"]);
    shows(&server, "storm", &[row("spout-1", "a-b", 2, 5)]);
    shows(&server, "one", &[row("job", "orders", 0, 124)]);
    shows(&server, "topics", &[row("job", "a-b", 2, 3), row("job", "orders", 0, 1), row("job", "orders", 1, 2)]);
    shows(&server, "clickhouse", &[]);

    let mut doctor = Command::new(env!("CARGO_BIN_EXE_offsetd"));
    let output = doctor.args(["doctor", "--config"]).arg(folder.path().join("offsetd.toml")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for found in [
        "/consumers does not exist, but /kafka-east/consumers does; append /kafka-east to `servers`",
        "/storm/kafka: 1 children; 2 znodes match",
        "no znode matches \"/clickhouse/kafka/*/topics/*/partitions/*/committed\"",
    ] {
        assert!(text.contains(found), "{found:?} is not in {text}");
    }
    server.stop_cleanly();
}

#[test]
fn a_server_that_dies_keeps_its_rows_and_is_read_again() {
    let mut zookeeper = ZooKeeper::down(NEW, "");
    // The first server of the list never answers.
    let dead = free_port();
    let servers = format!("127.0.0.1:{dead},127.0.0.1:{}", zookeeper.port);
    let source = format!("[sources.zookeeper]\nservers = \"{servers}\"\nlayout = \"consumers\"\ninterval = \"1h\"\n");
    let (_kafka, _folder, server) = with_sources(&source);
    let state = "SELECT state, last_error LIKE '%refused%' AS told FROM sources WHERE source = 'zookeeper'";
    sees(&server, "the failure", state, json!([{"state": "failing", "told": true}]));

    zookeeper.start();
    let mut client = zookeeper.client(None);
    client.run(&["fill", "/consumers", "3", "2", "2", "5"]);
    let all = |offset| -> Vec<Value> {
        let topics = (0..3).flat_map(|group| (0..2).map(move |topic| (group, topic)));
        let rows = topics.flat_map(|(group, topic)| (0..2).map(move |partition| (group, topic, partition)));
        rows.map(|(group, topic, partition)| row(&format!("g{group}"), &format!("topic-{topic}"), partition, offset))
            .collect()
    };
    shows(&server, "zookeeper", &all(5));
    zookeeper.kill();
    let stale = "SELECT state FROM sources WHERE source = 'zookeeper'";
    sees(&server, "the failure", stale, json!([{"state": "failing"}]));
    shows(&server, "zookeeper", &all(5));
    assert_eq!(server.get("/readyz").status, 200, "a source that is down does not affect readiness");

    // The znodes change before offsetd is connected again.
    zookeeper.start();
    let mut client = zookeeper.client(None);
    client.run(&["fill", "/consumers", "3", "2", "2", "6"]);
    shows(&server, "zookeeper", &all(6));
    sees(&server, "the recovery", stale, json!([{"state": "live"}]));
    client.run(&["fill", "/consumers", "3", "2", "2", "7"]);
    shows(&server, "zookeeper", &all(7));
    server.stop_cleanly();
}

#[test]
fn a_user_without_rights_is_told_so_and_deletes_nothing() {
    let zookeeper = ZooKeeper::started(NEW);
    let mut client = zookeeper.client(Some("offsetd:right"));
    client.set("/consumers/billing/offsets/orders/0", "5");
    client.set("/consumers/secret/offsets/orders/0", "6");
    client.set("/consumers/secret/offsets/orders/1", "6");
    client.run(&["only", "/consumers", "offsetd:right"]);
    let folder = TempDir::new().unwrap();
    let password = |text: &str| {
        let file = folder.path().join(text);
        fs::write(&file, format!("{text}\n")).unwrap();
        format!(
            "layout = \"consumers\"\ninterval = \"100ms\"\nauth = {{ digest = \"offsetd\", password = {{ file = \"{}\" }} }}",
            file.display()
        )
    };
    let sources =
        zookeeper.source("right", "", &password("right")) + &zookeeper.source("wrong", "", &password("wrong"));
    let (_kafka, _folder, server) = with_sources(&sources);
    let refused = "SELECT state, last_error LIKE '%refused access: no permission to read /consumers; grant the user%' AS told FROM sources WHERE source = 'wrong'";
    sees(&server, "the refusal", refused, json!([{"state": "failing", "told": true}]));
    shows(
        &server,
        "right",
        &[row("billing", "orders", 0, 5), row("secret", "orders", 0, 6), row("secret", "orders", 1, 6)],
    );

    // Rows that may no longer be read stay; others are deleted all the same.
    client.run(&["only", "/consumers/secret/offsets/orders", "other:x"]);
    client.run(&["delete", "/consumers/billing"]);
    shows(&server, "right", &[row("secret", "orders", 0, 6), row("secret", "orders", 1, 6)]);
    let forbidden = "SELECT forbidden, last_rejected FROM sources WHERE source = 'right'";
    let told = json!([{"forbidden": 1, "last_rejected": "/consumers/secret/offsets/orders"}]);
    wait_for("the forbidden znode", LIMIT, || {
        // Without changes, the next full read is due after 60 intervals.
        let body = json!({"statement": "SELECT count(*) FROM offsets", "freshness": "LATEST"}).to_string();
        server.post("/v1/sql", "application/json", &body);
        is(&server, forbidden, told.clone())
    });
    shows(&server, "right", &[row("secret", "orders", 0, 6), row("secret", "orders", 1, 6)]);
    server.stop_cleanly();
}

#[test]
fn a_server_without_watches_for_descendants_is_polled() {
    let zookeeper = ZooKeeper::started(OLD);
    let mut client = zookeeper.client(None);
    client.run(&["fill", "/consumers", "2", "1", "70", "5"]);
    let source = zookeeper.source("zookeeper", "", "layout = \"consumers\"\ninterval = \"100ms\"");
    let (_kafka, _folder, server) = with_sources(&source);
    let counts = "SELECT count(*) AS n, min(committed_offset) AS least FROM offsets WHERE source = 'zookeeper'";
    sees(&server, "all rows", counts, json!([{"n": 140, "least": 5}]));
    client.run(&["fill", "/consumers", "2", "1", "70", "6"]);
    sees(&server, "the changed rows", counts, json!([{"n": 140, "least": 6}]));
    client.run(&["delete", "/consumers/g1"]);
    sees(&server, "the rows that are left", counts, json!([{"n": 70, "least": 6}]));
    server.stop_cleanly();
}

#[test]
fn tls_is_spoken_and_a_foreign_certificate_refused() {
    let tls =
        |file: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(file).display().to_string();
    let secure = free_port();
    let mut zookeeper = ZooKeeper::down(NEW, "");
    let store = zookeeper.folder.path().join("server.pem");
    let content = ["server.key", "server.pem"].map(|file| fs::read_to_string(tls(file)).unwrap()).concat();
    fs::write(&store, content).unwrap();
    let config = zookeeper.folder.path().join("zoo.cfg");
    let options = format!(
        "secureClientPort={secure}\nssl.keyStore.location={0}\nssl.keyStore.type=PEM\nssl.trustStore.location={1}\n\
         ssl.trustStore.type=PEM\nssl.clientAuth=none\n",
        store.display(),
        tls("ca.pem")
    );
    fs::write(&config, fs::read_to_string(&config).unwrap() + &options).unwrap();
    zookeeper.start();
    zookeeper.client(None).set("/consumers/billing/offsets/orders/0", "5");
    let source = |name: &str, more: &str| {
        format!(
            "[sources.{name}]\nkind = \"zookeeper\"\nservers = \"localhost:{secure}\"\nlayout = \"consumers\"\n{more}\n"
        )
    };
    let trusting = source("trusting", &format!("tls = true\nca = \"{}\"", tls("ca.pem")));
    let distrusting = source("distrusting", &format!("tls = true\nca = \"{}\"", tls("other-ca.pem")));
    let (_kafka, _folder, server) = with_sources(&[trusting, distrusting, source("plain", "")].concat());
    shows(&server, "trusting", &[row("billing", "orders", 0, 5)]);
    let failing = "SELECT source, state, last_error LIKE '%certificate%' AS certificate, last_error LIKE '%TLS%' AS tls FROM sources WHERE state = 'failing' AND last_error IS NOT NULL ORDER BY 1";
    let told = json!([
        {"source": "distrusting", "state": "failing", "certificate": true, "tls": false},
        {"source": "plain", "state": "failing", "certificate": false, "tls": true},
    ]);
    sees(&server, "the refusals", failing, told);
    server.stop_cleanly();
}
