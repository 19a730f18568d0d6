//! Offsets in HBase: written by its Java client, shown next to Kafka's.

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kafka::broker::free_port;
use crate::kafka::faults::{OFTEN, is, serve};
use crate::process::{Process, wait_for};
use crate::server::Server;
use crate::support;

/// Generous: HBase takes up to a minute to start beside other tests, and a source waits for up to 30 s after failures.
const LIMIT: Duration = Duration::from_secs(300);
const OFFSETS: &str = "spark:stream_kafka_offsets";

/// An HBase with a master and two region servers, and its Java client.
struct Hbase {
    process: Process,
    folder: TempDir,
    zookeeper_port: u16,
    master_port: u16,
    client: Client,
}

/// The Rust side of `tests/stores/hbase/Client.java`.
struct Client {
    process: Process,
    answers: BufReader<ChildStdout>,
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores/hbase")
}

/// Returns the folder with the jars of HBase and the compiled client.
fn jars() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_offsetd")).parent().and_then(Path::parent);
    target.unwrap().join("hbase")
}

impl Hbase {
    fn start() -> Self {
        let prepared = Command::new(scripts().join("prepare")).env("HBASE_DIR", jars()).output().unwrap();
        assert!(prepared.status.success(), "{}", String::from_utf8_lossy(&prepared.stderr));
        let (folder, zookeeper_port, master_port) = (TempDir::new().unwrap(), free_port(), free_port());
        let process = Self::run(folder.path(), zookeeper_port, master_port);
        let conf = folder.path().join("conf/hbase-site.xml");
        wait_for("the configuration", LIMIT, || if conf.exists() { Ok(()) } else { Err(conf.display().to_string()) });
        let client = Client::start(folder.path());
        Self { process, folder, zookeeper_port, master_port, client }
    }

    fn run(folder: &Path, zookeeper_port: u16, master_port: u16) -> Process {
        let mut command = Command::new(scripts().join("start"));
        command.arg(folder).args([zookeeper_port.to_string(), master_port.to_string()]).env("HBASE_DIR", jars());
        Process::spawn("hbase", &command, None, folder.join("log"))
    }

    fn kill(&mut self) {
        self.process.kill();
    }

    fn start_again(&mut self) {
        self.process = Self::run(self.folder.path(), self.zookeeper_port, self.master_port);
        // A new client, since the old one would wait for servers that are gone.
        self.client = Client::start(self.folder.path());
    }

    /// Runs a command of the client, which waits until HBase is up.
    fn command(&mut self, words: &[&str]) {
        let client = &mut self.client;
        writeln!(client.process.child().stdin.as_mut().unwrap(), "{}", words.join("\t")).unwrap();
        let mut answer = String::new();
        client.answers.read_line(&mut answer).unwrap();
        let logs = || format!("{}\n{}", client.process.log_tail(), self.process.log_tail());
        assert_eq!(answer, "ok\n", "{words:?}: {}", logs());
    }

    fn put(&mut self, table: &str, row: &str, column: &str, value: &str) {
        self.command(&["put", table, row, column, value]);
    }

    /// Returns the section of a source that reads this HBase. The first server does not exist.
    fn source(&self, name: &str, table: &str, settings: &str) -> String {
        format!(
            "[sources.{name}]\nkind = \"hbase\"\nservers = \"127.0.0.1:{},localhost:{}\"\ntable = \"{table}\"\n{settings}\n",
            free_port(),
            self.master_port
        )
    }
}

impl Client {
    fn start(folder: &Path) -> Self {
        let jars = jars();
        let path = format!("{}/conf:{1}/classes:{1}/libs/*", folder.display(), jars.display());
        let mut command = Command::new("java");
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &path, "Client"]);
        let mut process = Process::spawn("client", &command, Some(Stdio::piped()), folder.join("client.log"));
        let answers = BufReader::new(process.child().stdout.take().unwrap());
        Self { process, answers }
    }
}

fn rows(server: &Server, source: &str, expected: Value) -> Result<(), String> {
    let statement = format!(
        "SELECT group_id, topic, partition, committed_offset FROM offsets WHERE source = '{source}' ORDER BY 1, 2, 3"
    );
    is(server, &statement, expected)
}

fn shows(server: &Server, source: &str, expected: &[Value]) {
    wait_for(&format!("the rows of {source}"), LIMIT, || rows(server, source, Value::from(expected)));
}

fn row(group: &str, topic: &str, partition: i32, offset: i64) -> Value {
    json!({"group_id": group, "topic": topic, "partition": partition, "committed_offset": offset})
}

/// Waits until a source has this state, and an error that ends with a pattern of LIKE, or none.
fn has_state(server: &Server, source: &str, state: &str, error: Option<&str>) {
    let told = error.map_or("last_error IS NULL".to_owned(), |error| format!("last_error LIKE '%{error}'"));
    let statement = format!("SELECT state, {told} AS told, last_error FROM sources WHERE source = '{source}'");
    let wanted = |row: &Value| row["state"] == state && row["told"] == true;
    wait_for(&format!("the state of {source}"), LIMIT, || match &*server.sql(&statement) {
        [row] if wanted(row) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Creates the tables that the tests read.
fn fill(hbase: &mut Hbase) {
    // Regions: up to m, from m to t, from t on.
    hbase.command(&["create", OFFSETS, "offsets,other", "m", "t"]);
    for (row, column, value) in [
        ("a-b:billing:1490000000000", "offsets:2", "text:1"),
        ("orders:billing:999", "offsets:0", "text:3"),
        ("orders:billing:1000", "offsets:0", "text:5"),
        ("orders:billing:1000", "offsets:1", "text: 7\n"),
        ("orders:billing:1000", "other:1", "text:8"),
        ("zoo:gone:1", "offsets:0", "text:9"),
        ("orders:bad:1", "offsets:0", "text:"),
        ("orders:bad:1", "offsets:1", "text:-1"),
        ("orders:bad:1", "offsets:2", "text:1.5e3"),
        ("orders:bad:1", "offsets:3", "text:9223372036854775808"),
        ("orders:bad:1", "offsets:4", "hex:feff0031"),
        ("orders:bad:1", "offsets:5", "hex:3100"),
        ("orders:bad:1", "offsets:x", "text:1"),
        ("no batch", "offsets:0", "text:1"),
    ] {
        hbase.put(OFFSETS, row, column, &value.replace('\n', " "));
    }
    hbase.command(&["create", "park", "tpo"]);
    for (column, value) in [("topic", "text:orders"), ("partition", "int32:1"), ("offset", "int64:4294967297")] {
        hbase.put("park", "etl#orders#1", &format!("tpo:{column}"), value);
    }
    hbase.put("park", "etl#orders#2", "tpo:offset", "text:12");
    hbase.command(&["create", "shared", "offset"]);
    hbase.command(&["put", "shared", "app/g/orders", "offset:0", "int32:6", "1600000000000"]);
    hbase.put("shared", "other", "offset:0", "int32:1");
    hbase.command(&["create", "empty", "offset"]);
    for table in [OFFSETS, "park", "shared", "empty"] {
        hbase.command(&["grant", table, "offsetd"]);
    }
}

fn sources(hbase: &Hbase) -> String {
    let batches = "row = \"{topic}:{group}:{batch}\"\ncolumn = \"offsets:{partition}\"\ninterval = \"100ms\"";
    let prefix =
        "row = \"app/{group}/{topic}\"\ncolumn = \"offset:{partition}\"\nvalue = \"int32\"\ninterval = \"100ms\"";
    [
        hbase.source("batches", OFFSETS, batches),
        hbase.source("park", "default:park", "layout = \"streampark\"\noffset_is = \"last\"\ninterval = \"100ms\""),
        hbase.source("prefix", "shared", prefix),
        hbase.source("empty", "empty", "row = \"{group}:{topic}\"\ncolumn = \"offset:{partition}\""),
        hbase.source("absent", "absent", "layout = \"cloudera\""),
        hbase.source("family", "empty", "layout = \"cloudera\""),
        hbase.source("stranger", "park", "layout = \"streampark\"\nuser = \"stranger\""),
    ]
    .concat()
}

fn check_first_read(server: &Server) {
    let billing = [row("billing", "a-b", 2, 1), row("billing", "orders", 0, 5), row("billing", "orders", 1, 7)];
    shows(server, "batches", &[&billing[..], &[row("gone", "zoo", 0, 9)]].concat());
    shows(server, "park", &[row("etl", "orders", 1, 4_294_967_298)]);
    shows(server, "prefix", &[row("g", "orders", 0, 6)]);
    let counts = "SELECT source, entries, unmatched, malformed, last_rejected FROM sources WHERE kind = 'hbase' AND state = 'live' ORDER BY 1";
    let count = |source: &str, entries: i64, unmatched: i64, malformed: i64, rejected: Option<&str>| json!({"source": source, "entries": entries, "unmatched": unmatched, "malformed": malformed, "last_rejected": rejected});
    let expected = json!([
        count("batches", 4, 2, 6, Some("orders:bad:1 offsets:x")),
        count("empty", 0, 0, 0, None),
        count("park", 1, 0, 1, Some("etl#orders#2 tpo:offset")),
        count("prefix", 1, 0, 0, None),
    ]);
    wait_for("the counts", LIMIT, || is(server, counts, expected.clone()));
    let at = "SELECT committed_at FROM offsets WHERE source = 'prefix'";
    assert_eq!(server.sql(at), [json!({"committed_at": "2020-09-13T12:26:40Z"})]);
    let lag = "SELECT lag, lag_unknown FROM lag WHERE source = 'park'";
    wait_for("a lag", LIMIT, || is(server, lag, json!([{"lag": null, "lag_unknown": "ahead_of_log"}])));
    has_state(server, "absent", "failing", Some("HBase has no table \"absent\"; check `table`%"));
    has_state(server, "family", "failing", Some("NoSuchColumnFamilyException%check the family in `column`"));
    has_state(server, "stranger", "failing", Some("AccessDeniedException%grant the user of `user` READ%"));
    assert_eq!(server.get("/readyz").status, 200, "a source that fails does not affect readiness");
}

/// Writes while regions are split and moved. No row may be lost meanwhile, and no read may fail.
fn write_while_regions_move(hbase: &mut Hbase, server: &Server) {
    for number in 0..30 {
        let group = format!("g{:02}", number % 10);
        hbase.put(OFFSETS, &format!("orders:{group}:{}", 2000 + number), "offsets:0", &format!("text:{number}"));
        match number {
            5 => hbase.command(&["split", OFFSETS, "orders:g05:2005"]),
            10 | 20 => hbase.command(&["move", OFFSETS, "orders:g07"]),
            15 => hbase.command(&["move", OFFSETS, "orders:billing"]),
            25 => hbase.command(&["move", OFFSETS, "a"]),
            _ => {}
        }
    }
    let moved: Vec<Value> = (0..10).map(|number| row(&format!("g{number:02}"), "orders", 0, 20 + number)).collect();
    let billing = [row("billing", "a-b", 2, 1), row("billing", "orders", 0, 6), row("billing", "orders", 1, 7)];
    shows(server, "batches", &[&billing[..], &moved].concat());
    has_state(server, "batches", "live", None);
}

#[test]
fn cells_are_followed_through_writes_splits_moves_deletions_and_a_crash() {
    let mut hbase = Hbase::start();
    fill(&mut hbase);
    let kafka = support::kafka(2);
    for topic in ["orders", "a-b"] {
        kafka.create_topic(topic, 3).unwrap();
    }
    let cluster = format!("[clusters.east]\nbootstrap_servers = \"{}\"\n", kafka.bootstrap_servers());
    let config = format!("{OFTEN}{cluster}{}", sources(&hbase));
    let (_folder, mut server) = serve(&config);
    server.wait_ready();
    check_first_read(&server);

    // A later batch replaces the offset. An earlier one that is written afterwards does not.
    hbase.put(OFFSETS, "orders:billing:1001", "offsets:0", "text:6");
    hbase.put(OFFSETS, "orders:billing:998", "offsets:0", "text:2");
    hbase.put(OFFSETS, "orders:new:1", "offsets:0", "text:0");
    let billing = [row("billing", "a-b", 2, 1), row("billing", "orders", 0, 6), row("billing", "orders", 1, 7)];
    shows(&server, "batches", &[&billing[..], &[row("gone", "zoo", 0, 9), row("new", "orders", 0, 0)]].concat());
    hbase.put("park", "etl#orders#1", "tpo:offset", "int64:10");
    shows(&server, "park", &[row("etl", "orders", 1, 11)]);

    // Deletions leave no cells; the next scan of all cells shows them.
    hbase.command(&["delete", OFFSETS, "zoo:gone:1"]);
    hbase.command(&["delete", OFFSETS, "orders:new:1"]);
    shows(&server, "batches", &billing);
    write_while_regions_move(&mut hbase, &server);
    let deleted = "SELECT group_id FROM commits WHERE source = 'batches' AND kind = 'tombstone' ORDER BY 1";
    assert_eq!(Value::from(server.sql(deleted)), json!([{"group_id": "gone"}, {"group_id": "new"}]));

    hbase.command(&["disable", "shared"]);
    has_state(&server, "prefix", "failing", Some("table \"shared\" of HBase is disabled"));
    shows(&server, "prefix", &[row("g", "orders", 0, 6)]);

    hbase.put(OFFSETS, "orders:last:1", "offsets:0", "text:1");
    hbase.kill();
    has_state(&server, "batches", "failing", Some("no server in `servers` knows where hbase:meta is%"));
    rows(&server, "park", json!([row("etl", "orders", 1, 11)])).unwrap();
    // A server that starts while HBase is down.
    let (_second_folder, mut second) = serve(&config);
    second.wait_ready();
    has_state(&second, "batches", "failing", Some("no server in `servers` knows where hbase:meta is%"));
    hbase.start_again();
    hbase.put(OFFSETS, "orders:last:2", "offsets:0", "text:2");
    let last = |server: &Server| {
        let statement =
            "SELECT group_id, committed_offset FROM offsets WHERE source = 'batches' AND group_id >= 'last'";
        wait_for("the rows after the restart", LIMIT, || {
            let sources = || server.sql("SELECT source, state, last_error, last_read_at FROM sources");
            is(server, statement, json!([{"group_id": "last", "committed_offset": 2}]))
                .map_err(|rows| format!("{rows}; {:?}", sources()))
        });
        let count = "SELECT count(*) AS rows FROM offsets WHERE source = 'batches'";
        wait_for("all rows", LIMIT, || is(server, count, json!([{"rows": 14}])));
        has_state(server, "batches", "live", None);
    };
    last(&server);
    last(&second);
    assert_eq!(server.sql(deleted).len(), 2, "the crash deletes no row");
    server.stop_cleanly();
    second.stop_cleanly();
}
