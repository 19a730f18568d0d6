//! Offsets in Redis: written by `redis-cli`, shown next to Kafka's.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kafka::broker::free_port;
use crate::kafka::faults::{OFTEN, is, serve};
use crate::mock::MockKafka;
use crate::process::{Process, wait_for};
use crate::server::Server;
use crate::support;

const LIMIT: Duration = Duration::from_secs(60);
const ROWS: &str =
    "SELECT group_id, topic, partition, committed_offset FROM offsets WHERE source = 'redis' ORDER BY 1, 2, 3";

/// A `redis-server` and its folder.
pub(super) struct Redis {
    process: Process,
    folder: TempDir,
    port: u16,
    options: Vec<String>,
}

impl Redis {
    pub(super) fn start(options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let process = Self::run(folder.path(), port, &options);
        let redis = Self { process, folder, port, options };
        redis.wait();
        redis
    }

    fn run(folder: &Path, port: u16, options: &[String]) -> Process {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(folder).args(options);
        Process::spawn("redis-server", &command, None, folder.join("log"))
    }

    fn wait(&self) {
        wait_for("redis-server", LIMIT, || match self.command(&["PING"]).trim() {
            answer if answer == "PONG" || answer.starts_with("NOAUTH") => Ok(()),
            other => Err(other.to_owned()),
        });
    }

    fn kill(&mut self) {
        self.process.kill();
    }

    fn start_again(&mut self) {
        self.process = Self::run(self.folder.path(), self.port, &self.options);
        self.wait();
    }

    fn command(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        let output = command.args(["-p", &self.port.to_string()]).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs commands, one per line; each must succeed.
    pub(super) fn fill(&self, commands: &str) {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string(), "--no-raw"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && !text.contains("(error)"), "{text}");
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }
}

/// Starts a Kafka with the topics `orders` and `a-b`, and a server that reads it and a Redis.
fn with_redis(source: &str) -> (MockKafka, TempDir, Server) {
    let kafka = support::kafka(2);
    for topic in ["orders", "a-b"] {
        kafka.create_topic(topic, 3).unwrap();
    }
    let cluster = format!("[clusters.east]\nbootstrap_servers = \"{}\"\n", kafka.bootstrap_servers());
    let (folder, mut server) = serve(&format!("{OFTEN}{cluster}{source}"));
    server.wait_ready();
    (kafka, folder, server)
}

fn shows(server: &Server, rows: Value) {
    wait_for("the rows of Redis", LIMIT, || is(server, ROWS, rows.clone()));
}

fn row(group: &str, topic: &str, partition: i32, offset: i64) -> Value {
    json!({"group_id": group, "topic": topic, "partition": partition, "committed_offset": offset})
}

#[test]
fn hashes_of_the_tutorials_are_shown_with_lag_and_follow_what_redis_tells() {
    let redis = Redis::start(&[]);
    redis.fill("HSET offset:orders:billing 0 5 1 7\nHSET offset:a-b:billing 2 1\nHSET offset:orders:gone 0 3\n");
    redis.fill("SET offset:orders:string 5\nHSET other:orders:x 0 1\nHSET offset:orders:bad 0 x 1 -1 2 9223372036854775808 y 5\n");
    let source = format!(
        "[sources.redis]\nurl = \"{}\"\nkey = \"offset:{{topic}}:{{group}}\"\ninterval = \"1h\"\n",
        redis.url()
    );
    let (_kafka, _folder, server) = with_redis(&source);
    let billing = [row("billing", "a-b", 2, 1), row("billing", "orders", 0, 5), row("billing", "orders", 1, 7)];
    let with = |more: &[Value]| Value::from([&billing[..], more].concat());
    shows(&server, with(&[row("gone", "orders", 0, 3)]));

    let counts =
        "SELECT kind, state, entries, unmatched, malformed, ambiguous, forbidden FROM sources WHERE source = 'redis'";
    let told = json!([{"kind": "redis", "state": "live", "entries": 4, "unmatched": 2, "malformed": 3, "ambiguous": 0, "forbidden": 0}]);
    wait_for("the counts of the read", LIMIT, || is(&server, counts, told.clone()));
    let lag = "SELECT lag, lag_unknown FROM lag WHERE source = 'redis' AND group_id = 'billing' AND topic = 'orders' AND partition = 0";
    // The topic is empty, so an offset of 5 is beyond its end.
    wait_for("a lag", LIMIT, || is(&server, lag, json!([{"lag": null, "lag_unknown": "ahead_of_log"}])));

    redis.fill("HSET offset:orders:billing 0 6\nHDEL offset:a-b:billing 2\nDEL offset:orders:gone\nHSET offset:orders:new 0 0\n");
    shows(&server, json!([row("billing", "orders", 0, 6), row("billing", "orders", 1, 7), row("new", "orders", 0, 0)]));
    let deleted = "SELECT group_id, topic, partition, kind FROM commits WHERE source = 'redis' AND kind = 'tombstone' ORDER BY 1, 2, 3";
    let tombstone = |group: &str, topic: &str, partition| json!({"group_id": group, "topic": topic, "partition": partition, "kind": "tombstone"});
    assert_eq!(
        Value::from(server.sql(deleted)),
        json!([tombstone("billing", "a-b", 2), tombstone("gone", "orders", 0)])
    );

    // The interval is an hour, so all changes came by Redis notifications. A key that expires is deleted.
    redis.fill("PEXPIRE offset:orders:new 1\n");
    shows(&server, json!([row("billing", "orders", 0, 6), row("billing", "orders", 1, 7)]));
    // All keys are deleted.
    redis.fill("FLUSHALL\n");
    shows(&server, json!([]));
    server.stop_cleanly();
}

#[test]
fn strings_lists_and_fixed_names_are_read() {
    let redis = Redis::start(&[]);
    redis.fill("SELECT 3\nSET kafka:offset:a-b:0 41\nSET kafka:offset:a-b:1 \"\"\n");
    redis.fill(r#"SET "{offsets}:etl" '[{"topic":"orders","partitions":0,"untilOffset":2},{"topic":"orders","partitions":1,"untilOffset":"x"}]'"#);
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let sources = format!(
        "[sources.last]\nkind = \"redis\"\nurl = \"{url}/3\"\nkey = \"kafka:offset:{{topic}}:{{partition}}\"\ngroup = \"worker\"\noffset_is = \"last\"\n\
         [sources.redis]\nurl = \"{url}\"\nkey = \"{{{{offsets}}}}:{{group}}\"\nvalue = '[{{\"topic\":\"{{topic}}\",\"partitions\":\"{{partition}}\",\"untilOffset\":\"{{offset}}\"}}]'\n"
    );
    let (_kafka, _folder, server) = with_redis(&sources);
    shows(&server, json!([row("etl", "orders", 0, 2)]));
    let last = "SELECT source, group_id, topic, partition, committed_offset FROM offsets WHERE source = 'last'";
    let wanted =
        json!([{"source": "last", "group_id": "worker", "topic": "a-b", "partition": 0, "committed_offset": 42}]);
    wait_for("the other source", LIMIT, || is(&server, last, wanted.clone()));
    let malformed = "SELECT source, malformed, last_rejected FROM sources WHERE kind = 'redis' ORDER BY 1";
    let wanted = json!([
        {"source": "last", "malformed": 1, "last_rejected": "kafka:offset:a-b:1"},
        {"source": "redis", "malformed": 1, "last_rejected": "{offsets}:etl"},
    ]);
    wait_for("the rejected keys", LIMIT, || is(&server, malformed, wanted.clone()));
    server.stop_cleanly();
}

#[test]
fn names_with_the_separator_in_them_are_decided_by_the_topics_of_the_cluster() {
    let redis = Redis::start(&[]);
    redis.fill("HSET x-a-b 0 5\nHSET y-orders 0 6\n");
    let source = format!("[sources.redis]\nurl = \"{}\"\nkey = \"{{group}}-{{topic}}\"\n", redis.url());
    let (_kafka, _folder, server) = with_redis(&source);
    shows(&server, json!([row("x", "a-b", 0, 5), row("y", "orders", 0, 6)]));
    // The next full read is ten minutes away, so this change comes by a notification.
    redis.fill("HSET x-a-b 0 7\n");
    shows(&server, json!([row("x", "a-b", 0, 7), row("y", "orders", 0, 6)]));
    server.stop_cleanly();
}

#[test]
fn a_redis_that_dies_keeps_its_rows_and_is_read_again() {
    let mut redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    redis.fill("HSET offset:orders:billing 0 5 1 7\n");
    let source = format!("[sources.redis]\nurl = \"{}\"\nlayout = \"gmall\"\ninterval = \"100ms\"\n", redis.url());
    let (_kafka, _folder, server) = with_redis(&source);
    shows(&server, json!([row("billing", "orders", 0, 5), row("billing", "orders", 1, 7)]));
    redis.kill();
    let failing = "SELECT state, last_error IS NOT NULL AS told FROM sources WHERE source = 'redis'";
    wait_for("the failure to be shown", LIMIT, || is(&server, failing, json!([{"state": "failing", "told": true}])));
    shows(&server, json!([row("billing", "orders", 0, 5), row("billing", "orders", 1, 7)]));
    assert_eq!(server.get("/readyz").status, 200, "a source that is down does not affect readiness");

    redis.start_again();
    redis.fill("HSET offset:orders:billing 0 6\n");
    shows(&server, json!([row("billing", "orders", 0, 6), row("billing", "orders", 1, 7)]));
    wait_for("the recovery to be shown", LIMIT, || is(&server, failing, json!([{"state": "live", "told": false}])));
    server.stop_cleanly();
}

#[test]
fn a_user_without_rights_is_told_so_and_deletes_nothing() {
    let redis = Redis::start(&[]);
    redis.fill("HSET offset:orders:billing 0 5\nHSET offset:orders:secret 0 6\n");
    redis.fill("ACL SETUSER reader on >right ~offset:* +scan +hlen +hgetall +hscan +getrange +select\n");
    let source = |password: &str| {
        format!(
            "[sources.redis]\nurl = \"redis://reader@127.0.0.1:{}\"\npassword = {{ env = \"{password}\" }}\nlayout = \"gmall\"\ninterval = \"100ms\"\n",
            redis.port
        )
    };
    let wrong = source("PATH");
    let (_kafka, _folder, server) = with_redis(&wrong);
    let failing = "SELECT state, last_error LIKE '%refused access: Password authentication failed%check the user in `url`%' AS told FROM sources WHERE source = 'redis'";
    wait_for("the refusal", LIMIT, || is(&server, failing, json!([{"state": "failing", "told": true}])));
    server.stop_cleanly();

    let folder = TempDir::new().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "right\n").unwrap();
    let right = source("PATH").replace("env = \"PATH\"", &format!("file = \"{}\"", file.display()));
    let (_kafka, _folder, server) = with_redis(&right);
    let all = json!([row("billing", "orders", 0, 5), row("secret", "orders", 0, 6)]);
    shows(&server, all.clone());
    redis.fill("ACL SETUSER reader resetkeys ~offset:orders:billing\nHSET offset:orders:billing 0 9\n");
    shows(&server, json!([row("billing", "orders", 0, 9), row("secret", "orders", 0, 6)]));
    let forbidden = "SELECT forbidden, last_rejected FROM sources WHERE source = 'redis'";
    wait_for("the forbidden key", LIMIT, || {
        is(&server, forbidden, json!([{"forbidden": 1, "last_rejected": "offset:orders:secret"}]))
    });
    server.stop_cleanly();
}

#[test]
fn tls_is_spoken_and_a_foreign_certificate_refused() {
    let tls =
        |file: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(file).display().to_string();
    let secure = free_port().to_string();
    let options = [
        "--tls-port",
        &secure,
        "--tls-cert-file",
        &tls("server.pem"),
        "--tls-key-file",
        &tls("server.key"),
        "--tls-ca-cert-file",
        &tls("ca.pem"),
        "--tls-auth-clients",
        "no",
    ];
    let redis = Redis::start(&options);
    redis.fill("HSET offset:orders:billing 0 5\n");
    let trusting = format!(
        "[sources.redis]\nurl = \"rediss://localhost:{secure}\"\nlayout = \"gmall\"\nca = \"{}\"\n",
        tls("ca.pem")
    );
    let (_kafka, _folder, server) = with_redis(&trusting);
    shows(&server, json!([row("billing", "orders", 0, 5)]));
    server.stop_cleanly();

    let distrusting = format!("[sources.redis]\nurl = \"rediss://localhost:{secure}\"\nlayout = \"gmall\"\n");
    let (_kafka, _folder, server) = with_redis(&distrusting);
    let failing = "SELECT state, last_error LIKE '%certificate%' AS told FROM sources WHERE source = 'redis'";
    wait_for("the refusal", LIMIT, || is(&server, failing, json!([{"state": "failing", "told": true}])));
    server.stop_cleanly();
}

#[test]
fn every_primary_of_a_cluster_is_read() {
    let nodes: Vec<Redis> = (0..3)
        .map(|_| Redis::start(&["--cluster-enabled", "yes", "--cluster-port", &free_port().to_string()]))
        .collect();
    let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let mut create = Command::new("redis-cli");
    create.args(["--cluster", "create"]).args(&addresses).args(["--cluster-replicas", "0", "--cluster-yes"]);
    let output = create.output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    wait_for("the cluster", LIMIT, || {
        match nodes.iter().all(|node| node.command(&["CLUSTER", "INFO"]).contains("cluster_state:ok")) {
            true => Ok(()),
            false => Err(nodes[0].command(&["CLUSTER", "INFO"])),
        }
    });
    let groups: Vec<String> = (0..30).map(|number| format!("g{number:02}")).collect();
    for group in &groups {
        assert_eq!(nodes[0].command(&["-c", "HSET", &format!("offset:orders:{group}"), "0", "5"]).trim(), "1");
    }
    let counts: Vec<bool> = nodes.iter().map(|node| node.command(&["DBSIZE"]).trim() != "0").collect();
    assert_eq!(counts, [true; 3], "each node must have keys, or nothing is tested");
    let source = format!(
        "[sources.redis]\nurl = \"redis+cluster://{},{}\"\nlayout = \"gmall\"\ninterval = \"1h\"\n",
        addresses[0], addresses[1]
    );
    let (_kafka, _folder, server) = with_redis(&source);
    shows(&server, groups.iter().map(|group| row(group, "orders", 0, 5)).collect());
    for group in &groups {
        nodes[0].command(&["-c", "HSET", &format!("offset:orders:{group}"), "0", "6"]);
    }
    shows(&server, groups.iter().map(|group| row(group, "orders", 0, 6)).collect());
    server.stop_cleanly();
}

#[test]
fn sentinels_tell_where_the_primary_is() {
    let redis = Redis::start(&[]);
    redis.fill("HSET offset:orders:billing 0 5\n");
    let (folder, port) = (TempDir::new().unwrap(), free_port());
    let file = folder.path().join("sentinel.conf");
    std::fs::write(&file, format!("port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\n", redis.port))
        .unwrap();
    let mut command = Command::new("redis-server");
    command.arg(&file).arg("--sentinel");
    let _sentinel = Process::spawn("sentinel", &command, None, folder.path().join("log"));
    let source = |name: &str| {
        format!("[sources.redis]\nurl = \"redis+sentinel://127.0.0.1:{port}/{name}\"\nlayout = \"gmall\"\n")
    };
    let (_kafka, _folder, server) = with_redis(&source("main"));
    shows(&server, json!([row("billing", "orders", 0, 5)]));
    server.stop_cleanly();
    let (_kafka, _folder, server) = with_redis(&source("other"));
    let failing = "SELECT state, last_error LIKE '%monitor no primary%' AS told FROM sources WHERE source = 'redis'";
    wait_for("the refusal", LIMIT, || is(&server, failing, json!([{"state": "failing", "told": true}])));
    server.stop_cleanly();
}

#[test]
fn a_statement_that_wants_the_latest_sees_what_was_written_before_it() {
    let redis = Redis::start(&[]);
    redis.fill("HSET offset:orders:billing 0 5\n");
    let source = format!("[sources.redis]\nurl = \"{}\"\nlayout = \"gmall\"\ninterval = \"1h\"\n", redis.url());
    let (_kafka, _folder, server) = with_redis(&source);
    shows(&server, json!([row("billing", "orders", 0, 5)]));
    redis.fill("HSET offset:orders:billing 0 6\n");
    let body = json!({"statement": ROWS, "freshness": "LATEST"}).to_string();
    let answer = server.post("/v1/sql", "application/json", &body);
    assert_eq!(
        serde_json::from_str::<Value>(&answer.body).unwrap(),
        json!([row("billing", "orders", 0, 6)]),
        "{answer:?}"
    );
    server.stop_cleanly();
}
