//! Sources that the configuration names, and a configuration that changes while the server runs.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use offsetd::rpc::proto::{
    Freshness, GetOffsetRequest, OffsetFilter, QueryRequest, QueryResponse, WatchRequest, WatchResponse,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::{Code, Status, Streaming};

use crate::mock::{Commit, MockKafka};
use crate::process::wait_for;
use crate::rpc::exact;
use crate::server::Server;
use crate::support::{LIMIT, Lab, Setup, kafka, until};

/// An address that refuses connections.
const UNREACHABLE: &str = "127.0.0.1:1";

/// A folder with a configuration and a file of offsets.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("offsetd.toml")
    }

    fn offsets(&self) -> PathBuf {
        self.0.path().join("offsets.ndjson")
    }

    fn configure(&self, text: &str) {
        // Deployment tools replace a file by renaming a new one.
        let aside = self.0.path().join("aside");
        fs::write(&aside, text).unwrap();
        fs::rename(aside, self.config()).unwrap();
    }

    fn append(&self, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.offsets()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Returns a configuration section for the file of offsets.
    fn import(&self, settings: &str) -> String {
        format!("[sources.import]\nfile = '{}'\ninterval = '100ms'\n{settings}\n", self.offsets().display())
    }

    fn setup(&self) -> Setup {
        Setup { config_file: Some(self.config()), ..Setup::default() }
    }
}

fn cluster(name: &str, servers: &str) -> String {
    format!("[clusters.{name}]\nbootstrap_servers = '{servers}'\n")
}

fn line(group: &str, offset: i64) -> String {
    format!("{{\"group_id\":\"{group}\",\"topic\":\"orders\",\"partition\":0,\"committed_offset\":{offset}}}\n")
}

/// Starts a Kafka with 100 records, of which the group has committed some.
fn orders(group: &str, committed: i64) -> MockKafka {
    let kafka = kafka(2);
    kafka.create_topic("orders", 1).unwrap();
    let writer = kafka.writer();
    writer.produce("orders", 0, 100).unwrap();
    writer.commit(&Commit::new(group, "orders", 0, committed, 1_700_000_000_000)).unwrap();
    writer.flush().unwrap();
    kafka
}

/// Waits until a statement returns these rows.
#[track_caller]
fn wait_rows(lab: &Lab, statement: &str, expected: &[Value]) {
    wait_for(statement, LIMIT, || {
        let rows = lab.sql(statement).rows;
        if rows == expected { Ok(()) } else { Err(format!("{rows:?} instead of {expected:?}")) }
    });
}

fn query(lab: &Lab, (cluster, source, group): (&str, &str, &str)) -> Result<QueryResponse, Status> {
    let request = QueryRequest {
        cluster: cluster.to_owned(),
        source: source.to_owned(),
        group_id: group.to_owned(),
        topic: "orders".to_owned(),
        ..QueryRequest::default()
    };
    lab.block_on(lab.client().query(request)).map(tonic::Response::into_inner)
}

fn offset(lab: &Lab, of: (&str, &str, &str)) -> (String, i64) {
    let entry = query(lab, of).unwrap().entry.unwrap();
    (entry.source, entry.committed_offset)
}

/// A watch of offsets.
struct Watch(Streaming<WatchResponse>);

impl Watch {
    fn start(lab: &Lab, filter: OffsetFilter) -> Self {
        let request = WatchRequest { filter: Some(filter), include_current: true, ..WatchRequest::default() };
        Self(lab.block_on(lab.client().watch(request)).unwrap().into_inner())
    }

    fn next(&mut self, lab: &Lab) -> Result<WatchResponse, Status> {
        let message = lab.block_on(async { tokio::time::timeout(LIMIT, self.0.message()).await });
        message.expect("a message within the limit").map(|message| message.expect("the watch ends with an error"))
    }

    /// Returns the changes up to the one that `accepts` accepts, as (cluster, source, group, offset); a deletion has no
    /// offset.
    fn until(&mut self, lab: &Lab, accepts: impl Fn(&Change) -> bool) -> Vec<Change> {
        let mut changes = vec![];
        while !changes.iter().any(&accepts) {
            for change in self.next(lab).unwrap().changes {
                let entry = change.new.as_ref().or(change.old.as_ref()).unwrap();
                let offset = change.new.as_ref().map(|new| new.committed_offset);
                changes.push((entry.cluster.clone(), entry.source.clone(), entry.group_id.clone(), offset));
            }
        }
        changes
    }

    /// Returns the epochs of the shards of all current entries of a cluster.
    fn epochs(lab: &Lab, cluster: &str) -> Vec<u64> {
        let mut watch = Self::start(lab, OffsetFilter { cluster: exact(cluster), ..OffsetFilter::default() });
        let mut epochs = vec![];
        loop {
            let message = watch.next(lab).unwrap();
            epochs.extend(message.changes.iter().map(|change| change.position.as_ref().unwrap().epoch));
            if message.current_complete {
                return epochs;
            }
        }
    }

    /// Returns the error that ends the watch. Before it, no deletion may be reported.
    fn end(mut self, lab: &Lab) -> Status {
        loop {
            match self.next(lab) {
                Ok(message) => assert!(message.changes.iter().all(|change| change.new.is_some()), "{message:?}"),
                Err(status) => return status,
            }
        }
    }
}

type Change = (String, String, String, Option<i64>);

#[test]
fn offsets_of_a_file_are_shown_beside_those_of_kafka_in_every_interface() {
    let (kafka, files) = (orders("both", 90), Files::new());
    files.configure(&(cluster("east", kafka.bootstrap_servers()) + &files.import("")));
    files.append(&(line("both", 40) + "nonsense\n" + &line("elsewhere", 42)));
    let lab = files.setup().ready(&kafka);
    until("the file to be read", || {
        lab.sql("SELECT 1 FROM sources WHERE source = 'import' AND state = 'live'").rows.len() == 1
    });

    let row = |source: &str, group: &str, lag: i64| json!({"source": source, "group_id": group, "lag": lag});
    let expected = [row("import", "both", 60), row("import", "elsewhere", 58), row("kafka", "both", 10)];
    wait_rows(&lab, "SELECT source, group_id, lag FROM lag ORDER BY 1, 2", &expected);
    wait_rows(&lab, "SELECT source, group_id, lag FROM groups ORDER BY 1, 2", &expected);
    wait_rows(
        &lab,
        "SELECT count(*) AS n FROM offsets WHERE log_offset IS NULL AND committed_at IS NULL",
        &[json!({"n": 2})],
    );
    let sources = "SELECT kind, state, entries, malformed, last_rejected, interval_seconds, last_error FROM sources WHERE source = 'import'";
    let source = json!({"kind": "import", "state": "live", "entries": 2, "malformed": 1,
        "last_rejected": "line 2: not a JSON object (column 1)", "interval_seconds": 0.1, "last_error": null});
    assert_eq!(lab.sql(sources).rows, [source]);

    assert_eq!(offset(&lab, ("east", "", "both")), ("kafka".to_owned(), 90), "Kafka's own source, if it has the key");
    assert_eq!(offset(&lab, ("east", "import", "both")), ("import".to_owned(), 40));
    assert_eq!(offset(&lab, ("", "", "elsewhere")), ("import".to_owned(), 42), "otherwise the only source that has it");
    let metrics = lab.get("/metrics");
    let is_ours = |line: &&str| line.contains("group_id=\"elsewhere\"") && line.contains("source=\"import\"");
    assert!(metrics.text().lines().any(|line| is_ours(&line)), "{}", metrics.text());

    let mut watch = Watch::start(&lab, OffsetFilter { sources: vec!["import".to_owned()], ..OffsetFilter::default() });
    files.append(&line("elsewhere", 43));
    files.append("{\"group_id\":\"both\",\"topic\":\"orders\",\"partition\":0,\"deleted\":true}\n");
    let changes = watch.until(&lab, |(.., offset)| offset.is_none());
    let of = |group: &str, offset| ("east".to_owned(), "import".to_owned(), group.to_owned(), offset);
    let expected = [of("both", Some(40)), of("elsewhere", Some(42)), of("elsewhere", Some(43)), of("both", None)];
    assert_eq!(changes, expected);
    let commits = "SELECT group_id, kind, committed_offset FROM commits WHERE source = 'import' ORDER BY 1";
    let commit = |group: &str, kind: &str, offset| json!({"group_id": group, "kind": kind, "committed_offset": offset});
    wait_rows(&lab, commits, &[commit("both", "tombstone", Value::Null), commit("elsewhere", "commit", json!(43))]);
    wait_rows(
        &lab,
        "SELECT source, group_id, lag FROM lag ORDER BY 1, 2",
        &[row("import", "elsewhere", 57), row("kafka", "both", 10)],
    );
    lab.stop_cleanly();
}

#[test]
fn a_source_shows_its_offsets_without_its_cluster_and_says_why_there_is_no_lag() {
    let (kafka, files) = (kafka(1), Files::new());
    files.configure(&(cluster("dead", UNREACHABLE) + &files.import("")));
    files.append(&line("g", 42));
    let lab = files.setup().with("SERVER_READY_AFTER", "500ms").ready(&kafka);
    let row = json!({"group_id": "g", "committed_offset": 42, "lag": null, "lag_unknown": "end_unknown"});
    wait_rows(&lab, "SELECT group_id, committed_offset, lag, lag_unknown FROM lag", &[row]);
    assert_eq!(lab.sql("SELECT 1 FROM lag").stats.incomplete_clusters, ["dead"]);
    assert_eq!(offset(&lab, ("dead", "import", "g")), ("import".to_owned(), 42));
    files.append(&line("g", 43));
    let request = QueryRequest {
        source: "import".to_owned(),
        group_id: "g".to_owned(),
        topic: "orders".to_owned(),
        freshness: Freshness::Latest.into(),
        ..QueryRequest::default()
    };
    let entry = lab.block_on(lab.client().query(request)).unwrap().into_inner().entry.unwrap();
    assert_eq!(entry.committed_offset, 43, "LATEST of a source does not depend on the cluster");
    let answer = lab.block_on(lab.client().get_offset(GetOffsetRequest::default())).unwrap().into_inner();
    let entries: Vec<_> = answer.entries.iter().map(|entry| (&*entry.source, entry.committed_offset)).collect();
    assert_eq!((entries, answer.incomplete_clusters), (vec![("import", 43)], vec!["dead".to_owned()]));
    let status = query(&lab, ("dead", "", "g")).unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "it is unknown whether Kafka has the key: {status}");
}

#[test]
fn only_a_source_that_is_required_holds_back_readiness() {
    let (kafka, files) = (orders("g", 90), Files::new());
    let second = "[sources.other]\nkind = 'import'\nfile = '/nowhere/offsets.ndjson'\n";
    files.configure(&(cluster("east", kafka.bootstrap_servers()) + &files.import("required = true") + second));
    let lab = files.setup().start(&kafka);
    let awaited = |lab: &Lab| lab.status().awaited;
    wait_for("the source alone to be awaited", LIMIT, || match &*awaited(&lab) {
        [only] if only.starts_with("source east/import: import: ") && only.contains("No such file") => Ok(()),
        others => Err(format!("{others:?}")),
    });
    assert_eq!(lab.get("/readyz").status, 503);
    files.append(&line("g", 1));
    lab.wait_ready();
    let error = "SELECT last_error FROM sources WHERE source = 'other'";
    let shown =
        json!({"last_error": "other: /nowhere/offsets.ndjson cannot be read: No such file or directory (os error 2)"});
    wait_rows(&lab, error, &[shown]);
}

/// Returns the names of this process's threads that belong to a cluster.
fn threads(cluster: &str) -> Vec<String> {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let names = threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with(&format!("{cluster}/"))).collect()
}

#[test]
fn clusters_and_sources_come_and_go_and_what_does_not_change_is_not_touched() {
    let (kafka, other, files) = (orders("stays", 90), orders("moves", 80), Files::new());
    let east = cluster("east", kafka.bootstrap_servers());
    let west = cluster("goes", other.bootstrap_servers());
    files.configure(&east);
    files.append(&line("imported", 42));
    let lab = files.setup().ready(&kafka);
    let before = Watch::epochs(&lab, "east");
    let mut all = Watch::start(&lab, OffsetFilter::default());
    let row =
        |cluster: &str, source: &str, group: &str| json!({"cluster": cluster, "source": source, "group_id": group});
    let rows = "SELECT cluster, source, group_id FROM offsets ORDER BY 1, 2";
    let own = row("east", "kafka", "stays");

    // Both are added; a watch of everything reports their offsets.
    files.configure(&(east.clone() + &west + &files.import("cluster = 'east'")));
    wait_rows(&lab, rows, &[row("east", "import", "imported"), own.clone(), row("goes", "kafka", "moves")]);
    let changes = all.until(&lab, |(cluster, ..)| cluster == "goes");
    assert!(changes.iter().all(|(.., offset)| offset.is_some()), "{changes:?}");
    let of_west = Watch::epochs(&lab, "goes");

    // West changes: it is loaded again, and its watches end.
    let watch = Watch::start(&lab, OffsetFilter { cluster: exact("goes"), ..OffsetFilter::default() });
    files.configure(&(east.clone() + &west + "required = true\n" + &files.import("cluster = 'east'")));
    let status = watch.end(&lab);
    assert_eq!((status.code(), status.message().contains("\"goes\"")), (Code::NotFound, true), "{status}");
    wait_for("west to be loaded again", LIMIT, || {
        let epochs = if threads("goes").is_empty() { vec![] } else { lab.sql(rows).rows };
        if epochs.len() == 3 { Ok(()) } else { Err(format!("{epochs:?}")) }
    });
    assert_ne!(Watch::epochs(&lab, "goes"), of_west);

    // Both are removed: their rows disappear without deletions, and everything that reads them ends.
    let filter = OffsetFilter { sources: vec!["import".to_owned()], ..OffsetFilter::default() };
    let watch = Watch::start(&lab, filter);
    files.configure(&east);
    let status = watch.end(&lab);
    assert_eq!(status.code(), Code::NotFound, "{status}");
    wait_rows(&lab, rows, &[own]);
    until("the threads of the cluster to end", || threads("goes").is_empty());
    assert_eq!(lab.sql("SELECT * FROM commits").rows, Vec::<Value>::new());
    let metrics = lab.get("/metrics");
    assert!(!metrics.text().contains("\"goes\"") && !metrics.text().contains("\"import\""), "{}", metrics.text());
    assert_eq!(query(&lab, ("goes", "", "moves")).unwrap_err().code(), Code::NotFound);

    assert_eq!(Watch::epochs(&lab, "east"), before, "its shards are unchanged");
    lab.commit("stays", "orders", 0, 91);
    let changes = all.until(&lab, |(.., offset)| *offset == Some(91));
    assert!(changes.iter().all(|(.., offset)| offset.is_some()), "nothing was deleted: {changes:?}");
    lab.stop_cleanly();
}

#[test]
fn what_is_wrong_in_the_file_is_shown_and_leaves_everything_in_force() {
    let (kafka, files) = (orders("g", 90), Files::new());
    let east = cluster("east", kafka.bootstrap_servers());
    files.configure(&east);
    let lab = files.setup().ready(&kafka);
    let before = Watch::epochs(&lab, "east");
    let error = |lab: &Lab| lab.sql("SELECT config_error FROM server").rows.remove(0)["config_error"].clone();
    let loaded_at =
        |lab: &Lab| lab.sql("SELECT config_loaded_at FROM server").rows.remove(0)["config_loaded_at"].clone();
    let first = loaded_at(&lab);
    assert_eq!(error(&lab), Value::Null);
    for (text, says) in [
        (east.clone() + "[clusters.west\n", "invalid TOML"),
        (east.clone() + "[sources.x]\nkind = 'attic'\n", "unknown kind of source \"attic\""),
        (east.clone() + "kafka.security.protocol = 'nonsense'\n", "cluster \"east\""),
        (String::new(), "no cluster is configured"),
    ] {
        files.configure(&text);
        wait_for(says, LIMIT, || {
            let shown = error(&lab);
            if shown.as_str().is_some_and(|shown| shown.contains(says)) { Ok(()) } else { Err(shown.to_string()) }
        });
        assert_eq!((loaded_at(&lab), lab.sql("SELECT group_id FROM offsets").rows.len()), (first.clone(), 1));
    }
    files.configure(&east);
    until("the error to be cleared", || error(&lab) == Value::Null);
    assert_eq!((loaded_at(&lab), Watch::epochs(&lab, "east")), (first.clone(), before.clone()));
    files.configure(&(east + "\n[sql]\ntimeout = '59s'\n"));
    until("another configuration to be in force", || loaded_at(&lab) != first);
    assert_eq!(Watch::epochs(&lab, "east"), before, "other settings do not affect clusters");
}

#[test]
fn statements_of_the_operator_are_a_table_that_follows_the_file() {
    let (kafka, files) = (orders("g", 90), Files::new());
    let east = cluster("east", kafka.bootstrap_servers());
    let one = "[queries.one]\nstatement = 'SELECT group_id FROM groups'\ndescription = 'Ids'\n";
    files.configure(&(east.clone() + one));
    let lab = files.setup().ready(&kafka);
    let queries = |lab: &Lab| lab.sql("SELECT * FROM queries ORDER BY name").rows;
    let first = [json!({"name": "one", "statement": "SELECT group_id FROM groups", "description": "Ids"})];
    assert_eq!(queries(&lab), first);
    files.configure(&format!("{east}{one}[queries.two]\nstatement = 'SELECT 1 FROM; SELECT 2'\n"));
    let error = |lab: &Lab| lab.sql("SELECT config_error FROM server").rows.remove(0)["config_error"].to_string();
    until("the syntax error", || error(&lab).contains("queries.two.statement"));
    assert_eq!(queries(&lab), first);
    files.configure(&format!("{east}[queries.two]\nstatement = 'SELECT 2'\n"));
    until("another query", || queries(&lab) == [json!({"name": "two", "statement": "SELECT 2", "description": null})]);
}

#[test]
fn a_signal_reads_secrets_again_and_clients_end_with_their_cluster() {
    let (kafka, other, files) = (orders("g", 90), orders("h", 80), Files::new());
    let secret = files.0.path().join("secret");
    fs::write(&secret, "hunter2").unwrap();
    let off = "[audit]\nenabled = false\n[transactions]\nenabled = false\n";
    let east = format!(
        "{off}{}topic_ids = false\nkafka.sasl.password = {{ file = '{}' }}\n",
        cluster("east", kafka.bootstrap_servers()),
        secret.display(),
    );
    files.configure(&east);
    let config = files.config().display().to_string();
    let server = Server::start(&["serve", "--config", &config]);
    let epoch = |server: &Server| server.sql_value("SELECT config_loaded_at FROM server");
    let is_read = || server.try_sql("SELECT group_id FROM offsets").is_ok_and(|rows| rows.len() == 1);
    until("east to be read", is_read);
    // Each librdkafka client has a thread with this name.
    let clients = || server.threads().iter().filter(|name| name.trim() == "rdk:main").count();
    let is_settled = |count: usize| (0..20).all(|_| clients() == count && server.try_sql("SELECT 1").is_ok());
    let mut alone = 0;
    until("the clients of east alone", || {
        alone = clients();
        alone > 0 && is_settled(alone)
    });
    files.configure(&(east.clone() + &cluster("west", other.bootstrap_servers()) + "topic_ids = false\n"));
    until("west to be read", || server.try_sql("SELECT 1 FROM offsets").is_ok_and(|rows| rows.len() == 2));
    assert!(clients() > alone);
    files.configure(&east);
    until("the clients of west to end", || clients() == alone);

    let first = epoch(&server);
    fs::write(&secret, "hunter3").unwrap();
    server.signal("HUP");
    until("the configuration to be read again", || epoch(&server) != first);
    until("east to be read again", is_read);
    let log = server.log();
    assert!(log.contains("cluster removed or reconfigured; stopped reading it") && !log.contains("hunter"), "{log}");
    server.stop_cleanly();
}
