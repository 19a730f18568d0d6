//! The binary as its users see it: the demo, the client commands, HTTP, exit codes.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    mock::{Commit, GroupDescription, MockKafka},
    process::{Process, wait_for},
    server::Server,
    support::kafka,
};

const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn offsetd(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_offsetd"))
        .args(args)
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that rejects its arguments may exit before it reads its stdin.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn demo() -> (Server, String) {
    let mut server = Server::start(&["demo"]);
    server.wait_ready();
    let url = format!("http://{}", server.address());
    (server, url)
}

#[test]
fn the_demo_answers_every_command_of_the_readme() {
    let (server, url) = demo();
    let lag = "SELECT group_id, topic, sum(lag) FROM lag GROUP BY 1, 2 ORDER BY 3 DESC";
    let table = stdout(&offsetd(&["sql", lag, "--server", &url], ""));
    assert!(table.contains("clickstream-enricher") && table.contains("rows, "), "{table}");
    let json = stdout(&offsetd(&["sql", "--server", &url, "--format", "json"], "SELECT count(*) AS n FROM groups"));
    assert!(serde_json::from_str::<Value>(&json).unwrap()[0]["n"].as_i64().unwrap() > 20, "{json}");
    let query = stdout(&offsetd(&["query", "billing", "orders", "0", "--server", &url], ""));
    assert!(query.contains("committed_offset:") && query.contains("owner:"), "{query}");
    let groups = stdout(&offsetd(&["groups", "--active", "--search", "fraud", "--server", &url], ""));
    assert!(groups.contains("fraud-detection") && groups.contains("payments"), "{groups}");
    let group = stdout(&offsetd(&["group", "payment-reconciler", "--server", &url], ""));
    assert!(
        group.starts_with("payment-reconciler on cluster demo\nclassic group") && group.contains("committed_offset"),
        "{group}"
    );
    let status = stdout(&offsetd(&["status", "--server", &url], ""));
    assert!(status.contains("ready:       yes") && status.contains("50 live"), "{status}");
    server.stop_cleanly();
}

#[test]
fn the_demo_shows_groups_in_every_condition() {
    let (server, _) = demo();
    wait_for("all conditions to show", Duration::from_secs(180), || {
        let rows = server.sql("SELECT DISTINCT status FROM lag ORDER BY 1");
        let found: Vec<&str> = rows.iter().map(|row| row["status"].as_str().unwrap()).collect();
        let wanted = ["data_lost", "lagging", "ok", "stalled", "stopped"];
        if wanted.iter().all(|status| found.contains(status)) { Ok(()) } else { Err(format!("{found:?}")) }
    });
    let kinds = server.sql("SELECT DISTINCT kind FROM groups ORDER BY 1");
    let kinds: Vec<&str> = kinds.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["classic", "consumer", "share", "simple", "streams"]);
    // Topics that the log stores by id are shown with their names.
    let unnamed =
        "SELECT count(*) FROM assignments a WHERE NOT EXISTS (SELECT 1 FROM topics t WHERE t.topic = a.topic)";
    assert_eq!(server.sql_value(unnamed), 0);
    server.stop_cleanly();
}

#[test]
fn the_demo_has_two_clusters_and_three_simulated_stores_with_something_to_compare() {
    let (server, _) = demo();
    let text = |rows: Vec<Value>| rows.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let shared = "SELECT group_id FROM groups WHERE source = 'kafka' GROUP BY group_id HAVING count(*) > 1";
    assert_eq!(text(server.sql(shared)), r#"{"group_id":"search-indexer"}"#);
    wait_for("the stores to be read", LIMIT, || {
        let stores = "SELECT cluster, source, kind, state FROM sources WHERE kind = 'simulated' ORDER BY source";
        let found = server.sql(stores);
        let store = |name| json!({"cluster": "demo", "source": name, "kind": "simulated", "state": "live"});
        let is_complete = found == ["redis", "spark", "zookeeper"].map(store);
        if is_complete { Ok(()) } else { Err(text(found)) }
    });
    let behind = "SELECT z.topic FROM offsets z JOIN offsets k USING (cluster, group_id, topic, partition) \
                  WHERE z.source = 'zookeeper' AND k.source = 'kafka' AND z.committed_offset < k.committed_offset";
    wait_for("an offset in ZooKeeper that is behind the one in Kafka", LIMIT, || {
        if server.sql(behind).is_empty() { Err("none".to_owned()) } else { Ok(()) }
    });
    let planned = "SELECT metadata FROM offsets WHERE source = 'spark' AND partition = 0";
    let planned: Value = serde_json::from_str(server.sql_value(planned).as_str().unwrap()).unwrap();
    assert_eq!(planned["planned_batch"].as_i64(), planned["batch"].as_i64().map(|batch| batch + 1), "{planned}");
    assert!(planned["planned_offset"].is_i64(), "{planned}");
    let unread = "SELECT topic FROM topics WHERE groups = 0 AND NOT internal";
    assert_eq!(text(server.sql(unread)), r#"{"topic":"dead-letters"}"#);
    let off = "SELECT DISTINCT audit_off_reason FROM clusters";
    assert!(text(server.sql(off)).contains("coordinators of a mock cluster"));
    server.stop_cleanly();
}

#[test]
fn a_watch_shows_commits_until_it_is_stopped() {
    let (server, url) = demo();
    let mut watch = Command::new(env!("CARGO_BIN_EXE_offsetd"))
        .args(["watch", "--group", "fraud-detection", "--server", &url])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(watch.stdout.take().unwrap()));
    let line = lines.next().unwrap().unwrap();
    assert!(line.contains("fraud-detection  payments-") && line.contains(" → "), "{line}");
    // A stop of the server ends the stream with a reason.
    server.stop_cleanly();
    assert_eq!(watch.wait().unwrap().code(), Some(1));
}

#[test]
fn http_answers_in_every_format_and_with_the_right_status() {
    let (server, _) = demo();
    let post = |body: &str, accept: &str| server.post("/v1/sql", accept, body);
    let csv = post("SELECT 'a,b' AS x, CAST(NULL AS BIGINT) AS y, make_array(1, 2) AS z", "text/csv");
    assert_eq!((csv.status, &*csv.body), (200, "x,y,z\n\"a,b\",,\"[1,2]\"\n"));
    let lines = post("SELECT column1 AS n FROM (VALUES (1), (9007199254740993)) ORDER BY 1", "application/x-ndjson");
    assert_eq!(lines.body, "{\"n\":1}\n{\"n\":\"9007199254740993\"}\n");
    let empty = post("SELECT * FROM offsets WHERE group_id = 'missing'", "application/json");
    assert_eq!((empty.status, empty.body.trim()), (200, "[]"));
    for (statement, status, says) in [
        ("SELECT nope FROM lag", 400, "nope"),
        ("DROP TABLE lag", 400, "read-only"),
        ("INSERT INTO offsets VALUES (1)", 400, "read-only"),
        ("COPY lag TO '/tmp/x'", 400, "read-only"),
        ("SELECT 1; SELECT 2", 400, "one statement"),
        ("SELECT * FROM '/etc/passwd'", 400, "passwd"),
    ] {
        let answer = post(statement, "application/json");
        assert_eq!(answer.status, status, "{statement}: {answer:?}");
        assert!(answer.body.contains(says), "{statement}: {answer:?}");
    }
    let found = server.get("/v1/query?group_id=billing&topic=orders&partition=0");
    let found: Value = serde_json::from_str(&found.body).unwrap();
    assert_eq!(found["entry"]["group_id"], "billing");
    for (path, status) in [
        ("/v1/query?group_id=missing&topic=orders&partition=0", 404),
        ("/v1/query?group_id=billing&topic=orders&partition=x", 400),
        ("/v1/query?group_id=billing", 400),
        ("/livez", 200),
        ("/nowhere", 404),
    ] {
        assert_eq!(server.get(path).status, status, "{path}");
    }
    server.stop_cleanly();
}

#[test]
fn metrics_and_rows_are_packed_for_who_takes_that() {
    let (server, _) = demo();
    let families =
        |page: &str| page.lines().filter(|line| line.starts_with("# TYPE")).map(str::to_owned).collect::<Vec<_>>();
    let packed = server.get_packed("/metrics");
    assert_eq!((packed.status, families(&packed.body)), (200, families(&server.get("/metrics").body)));
    // More than one batch.
    let statement = "SELECT a.column_name, b.comment FROM columns a CROSS JOIN columns b ORDER BY 1, 2 LIMIT 20000";
    for accept in ["application/json", "application/x-ndjson", "text/csv"] {
        let [packed, plain] =
            [server.post_packed("/v1/sql", accept, statement), server.post("/v1/sql", accept, statement)];
        assert_eq!((packed.status, plain.status), (200, 200));
        assert!(packed.body.lines().count() > 8192 && packed.body == plain.body, "{accept}");
    }
    server.stop_cleanly();
}

#[test]
fn every_metric_line_is_well_formed_and_unknown_lag_has_no_sample() {
    let (server, _) = demo();
    let page = server.get("/metrics").body;
    let sample = regex::Regex::new(r#"^[a-z_]+(\{([a-z_]+="([^"\\]|\\.)*",?)+\})? -?[0-9.]+(e-?[0-9]+)?$"#).unwrap();
    let samples: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(
        samples.iter().all(|line| sample.is_match(line)),
        "{:?}",
        samples.iter().find(|line| !sample.is_match(line))
    );
    let count = |name: &str| samples.iter().filter(|line| line.starts_with(&format!("{name}{{"))).count();
    assert!(count("offsetd_consumer_committed_offset") > 100);
    assert!(count("offsetd_consumer_lag") <= count("offsetd_consumer_committed_offset"));
    assert_eq!(count("offsetd_log_position"), 50 + 10);
    server.stop_cleanly();
}

#[test]
fn the_tables_have_the_columns_that_users_rely_on() {
    let (server, _) = demo();
    let columns = |table: &str| {
        let rows =
            server.sql(&format!("SELECT column_name FROM columns WHERE table_name = '{table}' ORDER BY position"));
        rows.iter().map(|row| row["column_name"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    for (table, expected) in [
        (
            "offsets",
            "cluster source group_id topic partition committed_offset committed_at leader_epoch metadata expires_at topic_id log_partition log_offset observed_at first_seen_at",
        ),
        (
            "partitions",
            "cluster topic partition topic_id leader log_start_offset log_end_offset last_stable_offset observed_at produce_rate error last_stable_observed_at",
        ),
        (
            "lag",
            "cluster source group_id topic partition committed_offset committed_at log_start_offset log_end_offset lag lag_seconds lag_unknown consume_rate status member_id client_id client_host catch_up_seconds active observed_at owner_source",
        ),
        (
            "groups",
            "cluster source group_id kind state protocol_type protocol epoch leader_member_id members topics partitions lag max_lag max_lag_seconds unknown_lag_partitions last_committed_at active status members_stale_since coordinator offsets_kept_in",
        ),
        (
            "members",
            "cluster source group_id member_id instance_id client_id client_host rack_id session_timeout_ms rebalance_timeout_ms member_epoch state subscribed_topics subscribed_topic_regex assigned_partitions",
        ),
        (
            "consumers",
            "cluster source group_id kind state coordinator topics active_topics partitions members active_members lag max_lag_seconds unknown_lag_partitions status last_committed_at active offsets_kept_in",
        ),
        (
            "active_consumers",
            "cluster source group_id topic partitions member_id instance_id client_id client_host lag unknown_lag_partitions last_committed_at",
        ),
        ("assignments", "cluster source group_id member_id topic partition kind"),
        ("audit", "cluster group_id topic partition committed_offset kafka_offset first_seen_at checked_at"),
        ("topics", "cluster topic topic_id partitions internal groups active_groups log_end_offset_sum produce_rate"),
        (
            "commits",
            "cluster source group_id topic partition committed_offset previous_offset committed_at log_partition log_offset kind",
        ),
        (
            "sources",
            "cluster source log_partition state position target end_offset last_stable_offset open_transaction_since behind records tombstones decode_errors unknown_types last_record_at last_error kind mode entries unmatched malformed ambiguous forbidden last_rejected last_read_at read_seconds interval_seconds location",
        ),
        (
            "history",
            "sampled_at cluster source group_id topic partition committed_offset log_end_offset lag lag_seconds",
        ),
        (
            "retention",
            "cluster source group_id topic partition committed_offset committed_at log_start_offset margin log_start_rate consume_rate loss_seconds expires_at",
        ),
        ("status_changes", "cluster source group_id from_status to_status at"),
        (
            "source_differences",
            "cluster group_id topic partition source committed_offset committed_at other_source other_committed_offset other_committed_at difference newer_source",
        ),
        ("stopped_groups", "cluster source group_id state members lag max_lag_seconds last_committed_at"),
        (
            "clusters",
            "cluster bootstrap_servers cluster_id brokers controller reachable ready last_error history_error progress remaining_seconds history_written_to stale_since history_since history_bytes audited_groups audit_differences mode mode_reason audit_off_reason",
        ),
        (
            "server",
            "version git_revision started_at uptime_seconds resident_bytes held_bytes sql_threads silent_sql_threads abandoned_work history_unreadable_files history_unreadable config_loaded_at config_error",
        ),
    ] {
        assert_eq!(columns(table), expected, "{table}");
    }
    let plan = server.sql("EXPLAIN SELECT * FROM lag WHERE group_id = 'billing'");
    // The total counts those of the three simulated stores, which may not be loaded yet.
    let (plan, totals) = (format!("{plan:?}"), 60..=63);
    let is_pruned = |total| plan.contains(&format!("shards=1/{total}, groups=[billing]"));
    assert!(totals.into_iter().any(is_pruned), "{plan}");
    let agree = "SELECT count(*) FROM offsets o JOIN lag l USING (cluster, source, group_id, topic, partition) \
                 WHERE o.committed_offset <> l.committed_offset";
    assert_eq!(server.sql_value(agree), 0, "two tables of one statement show the same cut");
    server.stop_cleanly();
}

#[test]
fn bad_input_is_refused_with_its_exit_code_and_a_reason() {
    let cases: [(&[&str], &str, i32, &str); 10] = [
        (&["frobnicate"], "", 64, "frobnicate"),
        (&["serve"], "", 64, "bootstrap"),
        (&["serve", "--bootstrap-servers", "h:1", "-X", "no.such=1"], "", 64, "no.such"),
        (&["serve", "--bootstrap-servers", "h:1", "-X", "group.id=g"], "", 64, "group.id"),
        (&["decode"], "no hex\n", 2, "line 1"),
        (&["decode", "--follow"], "", 64, "--bootstrap-servers"),
        (&["decode", "--bootstrap-servers", "h:1", "-X", "group.id=g"], "", 64, "group.id"),
        (&["decode", "--bootstrap-servers", "127.0.0.1:1"], "", 1, "127.0.0.1:1"),
        (&["sql", "SELECT 1", "--server", "http://127.0.0.1:1"], "", 1, "offsetd demo"),
        (&["check-config", "--config", "/nonexistent"], "", 64, "/nonexistent"),
    ];
    for (args, input, code, says) in cases {
        let output = offsetd(args, input);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    }
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = offsetd(&["serve", "--bootstrap-servers", "127.0.0.1:1", "--listen", &address], "");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(&address) && error.contains("--listen"), "{error}");
}

#[test]
fn an_address_file_that_cannot_be_written_ends_the_program_with_its_name() {
    for args in [&["demo"][..], &["serve", "--bootstrap-servers", "127.0.0.1:1"]] {
        let more = ["--listen", "127.0.0.1:0", "--address-file", "/nonexistent/address"];
        let output = offsetd(&[args, &more].concat(), "");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {error}");
        assert!(error.contains("/nonexistent/address"), "{args:?}: {error}");
    }
}

#[test]
fn what_the_demo_suggests_works_when_pasted() {
    let dir = tempfile::TempDir::new().unwrap();
    let said = dir.path().join("stdout");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_offsetd"))
        .args(["demo", "--listen", "127.0.0.1:0"])
        .stdout(std::fs::File::create(&said).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let commands = wait_for("the demo's suggestions", LIMIT, || {
        let text = std::fs::read_to_string(&said).unwrap();
        let commands: Vec<String> =
            text.lines().filter(|line| line.starts_with("  ")).map(|line| line.trim().to_owned()).collect();
        let is_first = text.starts_with("Dashboard: http://127.0.0.1:");
        if commands.len() == 3 && is_first { Ok(commands) } else { Err(text) }
    });
    for command in commands.iter().filter(|command| !command.contains(" watch")) {
        wait_for("the command to succeed", LIMIT, || {
            let output = Command::new("sh").args(["-c", command]).output().unwrap();
            if output.status.success() && output.stdout.len() > 100 { Ok(()) } else { Err(format!("{output:?}")) }
        });
    }
    let watch = commands.iter().find(|command| command.contains(" watch")).unwrap();
    // The first lines may be of stores that are still being loaded: their offsets are new, and have no arrow.
    let first = Command::new("sh").args(["-c", &format!("{watch} | grep -m 1 ' → '")]).output().unwrap();
    assert!(first.status.success(), "{first:?}");
    demo.kill().unwrap();
    demo.wait().unwrap();
}

#[test]
fn a_server_on_a_terminal_shows_the_dashboards_url_and_json_logs_are_flat() {
    let (kafka, dir) = (kafka(1), tempfile::TempDir::new().unwrap());
    let shown = dir.path().join("shown");
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/terminal.py")).args(["100", env!("CARGO_BIN_EXE_offsetd")]);
    command.args(["serve", "--bootstrap-servers", kafka.bootstrap_servers(), "--listen", "127.0.0.1:0"]);
    command.args(["--log-format", "json"]);
    let mut process = Process::spawn("offsetd", &command, None, shown.clone());
    wait_for("the URL and a line of the log", LIMIT, || {
        let text = std::fs::read_to_string(&shown).unwrap();
        let is_line = |line: &str| {
            let line: Option<Value> = serde_json::from_str(line.trim()).ok();
            line.is_some_and(|line| line["message"].is_string() && line["level"] == "INFO" && line["fields"].is_null())
        };
        let is_shown = text.contains("Dashboard: http://127.0.0.1:") && text.lines().any(is_line);
        if is_shown { Ok(()) } else { Err(text) }
    });
    // Ctrl-C.
    process.child().stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    assert_eq!(process.wait_exit(LIMIT).code(), Some(0));
}

/// Returns the output of `decode` for the log of a cluster.
fn decoded(kafka: &MockKafka, more: &[&str]) -> Vec<Value> {
    let args = [&["decode", "--bootstrap-servers", kafka.bootstrap_servers()], more].concat();
    stdout(&offsetd(&args, "")).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn decode_shows_the_log_of_a_cluster_and_where_each_record_stands() {
    let kafka = kafka(50);
    let writer = kafka.writer();
    writer.commit(&Commit::new("g1", "orders", 3, 42, 1_700_000_000_000)).unwrap();
    writer.write_raw(42, Some(b"\0\x01\0\x02g1\0\x01t\0\0\0\0"), Some(b"\0\x09")).unwrap();
    writer.write_raw(42, None, Some(b"junk")).unwrap();
    // One record in the same log partition, and one in another.
    writer.write_raw(42, Some(&GroupDescription::key("other")), None).unwrap();
    writer.delete_group("my-group").unwrap();
    writer.flush().unwrap();

    let all = decoded(&kafka, &[]);
    assert_eq!(all.len(), 5, "{all:?}");
    let of_group = decoded(&kafka, &["--group", "g1"]);
    assert_eq!(of_group.len(), 2, "{of_group:?}");
    assert_eq!(of_group[0]["key"], json!({"group": "g1", "topic": "orders", "partition": 3}));
    let place = |record: &Value| (record["partition"].clone(), record["offset"].clone());
    assert_eq!(place(&of_group[0]), (json!(42), json!(0)));
    assert_eq!(of_group[0]["timestamp"], 1_700_000_000_000_i64);
    assert_eq!((&of_group[1]["error"], place(&of_group[1])), (&json!("unknown version 9"), (json!(42), json!(1))));
    assert_eq!(decoded(&kafka, &["--group", "my-group"])[0]["partition"], 12);
    assert_eq!(decoded(&kafka, &["--group", "missing"]), Vec::<Value>::new());
}

#[test]
fn decode_follows_the_log_and_says_when_there_is_none() {
    let kafka = MockKafka::start(1).unwrap();
    let args = ["decode", "--bootstrap-servers", kafka.bootstrap_servers()];
    let output = offsetd(&args, "");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("topic __consumer_offsets not found") && output.stdout.is_empty(), "{error}");

    kafka.create_offsets_topic(2).unwrap();
    assert_eq!(decoded(&kafka, &[]), Vec::<Value>::new());
    let writer = kafka.writer();
    let commit = |offset| {
        writer.commit(&Commit::new("g1", "orders", 3, offset, 0)).unwrap();
        writer.flush().unwrap();
    };
    commit(1);
    let mut follow = Command::new(env!("CARGO_BIN_EXE_offsetd"))
        .args(args)
        .args(["--follow", "--group", "g1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(follow.stdout.take().unwrap()));
    for offset in 1..=3 {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(line["value"]["offset"], offset);
        commit(offset + 1);
    }
    follow.kill().unwrap();
    follow.wait().unwrap();
}
