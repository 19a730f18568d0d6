//! Transactions that are left open, commits behind them, and Query with LATEST at the same time.
#![allow(clippy::disallowed_methods, reason = "the printed durations are real time")]

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use offsetd::model::log_partition_for;
use offsetd::rpc::proto::offset_service_client::OffsetServiceClient;
use offsetd::rpc::proto::{OffsetChange, WatchRequest, WatchResponse};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tonic::Streaming;

use super::broker::{Broker, Release};
use super::compare::{equal_at_rest, equal_once_ready};
use super::driver::Driver;
use super::{rows_of, transaction};
use crate::process::wait_for;
use crate::server::{Answer, Server};

const LIMIT: Duration = Duration::from_secs(90);

on_each_release! {
    commits_behind_an_open_transaction_show_and_never_jump_back
    a_transaction_that_hangs_costs_a_bounded_number_of_calls
    the_latest_has_every_acknowledged_commit
}

/// Returns this number of group ids with commits in the same log partition.
pub(super) fn neighbours(count: usize) -> Vec<String> {
    let home = log_partition_for("neighbour 0", 50);
    (0..)
        .map(|number| format!("neighbour {number}"))
        .filter(|id| log_partition_for(id, 50) == home)
        .take(count)
        .collect()
}

/// A watch of all changes from now on.
struct Watch {
    runtime: Runtime,
    stream: Streaming<WatchResponse>,
}

impl Watch {
    fn start(server: &Server) -> Self {
        let runtime = Runtime::new().unwrap();
        let url = format!("http://{}", server.address());
        let stream = runtime.block_on(async {
            let mut client = OffsetServiceClient::connect(url).await.unwrap();
            // The watch has begun once the current entries are complete.
            let request = WatchRequest { include_current: true, ..WatchRequest::default() };
            let mut stream = client.watch(request).await.unwrap().into_inner();
            while !stream.message().await.unwrap().unwrap().current_complete {}
            stream
        });
        Self { runtime, stream }
    }

    /// Returns the offsets by group of all changes up to the one that `last` accepts. A resync is an error.
    fn until(&mut self, last: impl Fn(&OffsetChange) -> bool) -> HashMap<String, Vec<Option<i64>>> {
        let mut seen: HashMap<String, Vec<Option<i64>>> = HashMap::new();
        loop {
            let next = async { tokio::time::timeout(LIMIT, self.stream.message()).await };
            let message = self.runtime.block_on(next).unwrap_or_else(|_| panic!("no more after {seen:?}"));
            let message = message.unwrap().unwrap();
            assert!(message.resync.is_none(), "{message:?}");
            for change in &message.changes {
                let entry = change.new.as_ref().or(change.old.as_ref()).unwrap();
                let offset = change.new.as_ref().map(|new| new.committed_offset);
                seen.entry(entry.group_id.clone()).or_default().push(offset);
            }
            if message.changes.iter().any(&last) {
                return seen;
            }
        }
    }
}

/// Leaves a transaction open that commits orders/0.
pub(super) fn begin(driver: &mut Driver, name: &str, group: &str, offset: i64) {
    let offsets = json!([{"topic": "orders", "partition": 0, "offset": offset}]);
    driver.ask(&json!({"do": "begin", "name": name, "group": group, "offsets": offsets}));
}

pub(super) fn end(driver: &mut Driver, name: &str, commit: bool) {
    driver.ask(&json!({"do": "end", "name": name, "commit": commit}));
}

const HELD: &str = "SELECT count(*) FROM sources WHERE open_transaction_since IS NOT NULL";

pub(super) fn wait_held(server: &Server, partitions: i64) {
    wait_for(&format!("{partitions} log partitions with an open transaction"), LIMIT, || {
        match server.sql_value(HELD) {
            held if held == partitions => Ok(()),
            held => Err(held.to_string()),
        }
    });
}

fn commits_behind_an_open_transaction_show_and_never_jump_back(release: Release) {
    let broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 2, 10);
    let ids = neighbours(6);
    let [open, plain, deleted, new, both, untouched] = ids.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
        panic!()
    };
    for group in [plain, deleted, both, untouched] {
        driver.alter(group, "orders", 0, 1, "before");
    }
    let server = Server::serve(&broker.bootstrap_servers());
    let label = |when: &str| format!("Kafka {}, {when}", release.version());
    equal_once_ready(&label("no transaction"), &mut driver, &server);

    for (round, commit) in [(0, true), (1, false)] {
        let mut watch = Watch::start(&server);
        begin(&mut driver, "left open", open, 5);
        driver.alter(plain, "orders", 0, 7, "behind");
        transaction(&mut driver, "ended behind", both, 8, true);
        transaction(&mut driver, "ended behind", both, 9, false);
        driver.alter(new, "orders", 1, 3, "");
        let partition = json!([{"topic": "orders", "partition": 0}]);
        driver.ask(&json!({"do": "delete_offsets", "group": deleted, "offsets": partition}));
        equal_at_rest(&label("behind an open transaction"), &mut driver, &server);
        wait_held(&server, 1);
        let one = "SELECT last_stable_offset < end_offset AND position = last_stable_offset AS held \
                   FROM sources WHERE open_transaction_since IS NOT NULL";
        assert_eq!(server.sql_value(one), true);
        assert_eq!(rows_of(&server, "offsets", deleted), 0);
        // The offset decreases, which only a commit may cause.
        driver.alter(plain, "orders", 0, 4, "behind");
        equal_at_rest(&label("a further commit behind it"), &mut driver, &server);

        end(&mut driver, "left open", commit);
        wait_held(&server, 0);
        equal_at_rest(&label(if commit { "committed" } else { "aborted" }), &mut driver, &server);
        driver.alter(plain, "orders", 0, 10, "after");
        driver.alter(deleted, "orders", 0, 1, "after");
        let is_last = |change: &OffsetChange| change.new.as_ref().is_some_and(|new| new.group_id == deleted);
        let seen = watch.until(is_last);
        assert_eq!(seen[plain], [Some(7), Some(4), Some(10)], "each once, in order, in round {round}");
        assert_eq!(seen[both], [Some(8)]);
        assert_eq!(seen[deleted], [None, Some(1)]);
        assert_eq!(seen[new], [Some(3)]);
        assert_eq!(seen.contains_key(open), commit);
        assert!(!seen.contains_key(untouched));
        equal_at_rest(&label("afterwards"), &mut driver, &server);
        driver.alter(plain, "orders", 0, 1, "before");
        driver.ask(&json!({"do": "delete_group", "group": new}));
        equal_at_rest(&label("set back"), &mut driver, &server);
    }
    server.stop_cleanly();
}

/// Returns a counter of /metrics; there is one cluster.
fn counter(server: &Server, name: &str) -> u64 {
    let page = server.get("/metrics").body;
    let line = page.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap_or_else(|| panic!("no {name}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn a_transaction_that_hangs_costs_a_bounded_number_of_calls(release: Release) {
    let broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 1, 10);
    let ids = neighbours(20);
    let (open, plain) = ids.split_first().unwrap();
    let server = Server::serve(&broker.bootstrap_servers());
    driver.ask(&json!({"do": "commits", "name": "flow", "topic": "orders", "groups": plain}));
    // Transactions that end cause no requests.
    for offset in 0..50 {
        let offsets = json!([{"topic": "orders", "partition": 0, "offset": offset}]);
        let whole = json!({"do": "transaction", "what": "whole", "name": "eos", "group": open, "offsets": offsets});
        driver.ask(&whole);
    }
    assert_eq!(counter(&server, "offsetd_transaction_calls_total"), 0);

    begin(&mut driver, "hangs", open, 5);
    wait_held(&server, 1);
    let (start, before) = (Instant::now(), counter(&server, "offsetd_transaction_calls_total"));
    let newest = format!("SELECT min(committed_offset) FROM offsets WHERE group_id <> '{open}'");
    let first = server.sql_value(&newest).as_i64().unwrap();
    wait_for("every group to advance", LIMIT, || match server.sql_value(&newest).as_i64() {
        Some(offset) if offset > first + 500 => Ok(()),
        other => Err(format!("{other:?} after {first}")),
    });
    let calls = counter(&server, "offsetd_transaction_calls_total") - before;
    let allowed = 50.0 * start.elapsed().as_secs_f64() + 1.0;
    assert!(calls > 10 && (calls as f64) <= allowed, "{calls} calls, {allowed} allowed");
    assert_eq!(counter(&server, "offsetd_transaction_failures_total"), 0);
    driver.stop("flow");
    let label = format!("Kafka {}, a transaction hangs", release.version());
    equal_at_rest(&label, &mut driver, &server);
    // Without new records there are no more requests, however often offsets are queried.
    let settled = counter(&server, "offsetd_transaction_calls_total");
    for _ in 0..3 {
        equal_at_rest(&label, &mut driver, &server);
    }
    assert_eq!(counter(&server, "offsetd_transaction_calls_total"), settled);
    end(&mut driver, "hangs", false);
    wait_held(&server, 0);
    equal_at_rest(&label, &mut driver, &server);
    server.stop_cleanly();
}

/// Returns the committed offset by Query with LATEST, and the duration of the request.
fn latest(server: &Server, group: &str) -> (Value, Duration) {
    let start = Instant::now();
    let answer = ask_latest(server, group);
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    (answer["entry"]["committed_offset"].clone(), start.elapsed())
}

/// Sends Query with LATEST by HTTP, since a gRPC client would apply its own deadline.
fn ask_latest(server: &Server, group: &str) -> Answer {
    let group: String = group.bytes().map(|byte| format!("%{byte:02x}")).collect();
    server.get(&format!("/v1/query?group_id={group}&topic=orders&partition=0&freshness=latest"))
}

fn the_latest_has_every_acknowledged_commit(release: Release) {
    const READS: i64 = 1000;
    let broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 1, 10);
    let ids = neighbours(3);
    let [plain, whole, open] = ids.iter().map(String::as_str).collect::<Vec<_>>()[..] else { panic!() };
    driver.alter(open, "orders", 0, 0, "");
    let server = Server::serve(&broker.bootstrap_servers());
    let partition = log_partition_for(plain, 50);
    let read = |driver: &mut Driver, what: &str, group: &str, reads: i64, label: &str| {
        let (mut took, mut bare) = (vec![], vec![]);
        for offset in 0..reads {
            let offsets = json!([{"topic": "orders", "partition": 0, "offset": offset}]);
            let command = json!({"do": "transaction", "what": what, "name": "t", "group": group, "offsets": offsets});
            driver.ask(&command);
            let (found, time) = latest(&server, group);
            assert_eq!(found, offset, "{label}");
            took.push(time);
            if offset % 10 == 0 {
                let asked = driver.ask(&json!({"do": "transaction", "what": "list_offsets", "partition": partition}));
                bare.push(Duration::from_nanos(asked["nanos"].as_u64().unwrap()));
            }
        }
        report(release, label, &mut took, &mut bare);
    };
    read(&mut driver, "plain", plain, READS, "plain commits");
    read(&mut driver, "whole", whole, READS, "transactions");
    begin(&mut driver, "left open", open, 5);
    read(&mut driver, "plain", plain, READS, "plain commits behind an open transaction");
    read(&mut driver, "whole", whole, READS / 5, "transactions behind an open transaction");

    // The commit of the open transaction cannot be known before the transaction ends.
    let t0 = Instant::now();
    let refused = ask_latest(&server, open);
    eprintln!("REFUSED after {:?}", t0.elapsed());
    assert_eq!(refused.status, 504, "{refused:?}");
    let says = refused.body;
    assert!(says.contains(&format!("log partition {}", partition.unwrap())) && says.contains("transaction"), "{says}");
    end(&mut driver, "left open", true);
    assert_eq!(latest(&server, open).0, 5);
    server.stop_cleanly();
}

fn report(release: Release, label: &str, took: &mut [Duration], bare: &mut [Duration]) {
    took.sort();
    bare.sort();
    let at = |times: &[Duration], part: usize| times[(times.len() - 1) * part / 100];
    let _ = writeln!(
        std::io::stderr(),
        "    Kafka {}, LATEST of {label}: {} of {1}, median {2:?}, p99 {3:?}; a bare ListOffsets: median {4:?}, p99 {5:?}",
        release.version(),
        took.len(),
        at(took, 50),
        at(took, 99),
        at(bare, 50),
        at(bare, 99),
    );
}
