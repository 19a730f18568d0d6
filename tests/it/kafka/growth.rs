//! Growth of `__consumer_offsets` while groups commit. Brokers hash group ids over the earlier number of log partitions
//! until each of them has restarted; at every stage offsetd shows what AdminClient shows.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use offsetd::model::log_partition_for;
use serde_json::{Value, json};

use super::audit::audited;
use super::broker::{Broker, Cluster, Release};
use super::compare::{equal_at_rest, equal_once_ready};
use super::driver::{Driver, rows};
use super::faults::{is, serve};
use super::{consume, wait_reachable};
use crate::process::wait_for;
use crate::server::Server;

const LIMIT: Duration = Duration::from_secs(120);
const LOG: &str = "__consumer_offsets";
const BEFORE: i32 = 5;
const AFTER: i32 = 8;
const AUDIT: &str = "[audit]\ninterval = \"500ms\"\ncalls_per_second = 100\n";
const DIFFERENCES: &str = "SELECT group_id, topic, partition, committed_offset, kafka_offset FROM audit";

fn few_log_partitions() -> String {
    format!("offsets.topic.num.partitions={BEFORE}\n")
}

fn hashed_partition(group: &str, log_partitions: i32) -> i32 {
    log_partition_for(group, log_partitions).unwrap()
}

/// Starts a server with the default intervals and a continuous audit.
fn audited_server(bootstrap_servers: &str, more: &str) -> (tempfile::TempDir, Server) {
    let (dir, mut server) = serve(&format!("{AUDIT}{more}[clusters.c]\nbootstrap_servers = {bootstrap_servers:?}\n"));
    server.wait_ready();
    (dir, server)
}

/// Waits until the audit has dropped the differences of the time when brokers disagreed, and has compared more groups
/// without a difference. A difference stays in the table until its group is compared again.
fn audit_finds_nothing(server: &Server, groups: u64) {
    wait_for("no difference", LIMIT, || is(server, DIFFERENCES, json!([])));
    let before = audited(server);
    wait_for("groups to be audited", LIMIT, || {
        assert_eq!(Value::from(server.sql(DIFFERENCES)), json!([]));
        if audited(server) >= before + groups { Ok(()) } else { Err("too few".to_owned()) }
    });
}

/// Adds log partitions, and returns once they are read.
fn grow(driver: &mut Driver, server: &Server) {
    driver.ask(&json!({"do": "grow", "topic": LOG, "partitions": AFTER}));
    let live = "SELECT count(*) AS n FROM sources WHERE state = 'live' AND log_partition IS NOT NULL";
    wait_for("the new log partitions", LIMIT, || is(server, live, json!([{"n": AFTER}])));
}

/// Returns the result of Query for partition 0 of orders, including every acknowledged commit.
fn latest(server: &Server, group: &str) -> Value {
    try_latest(server, group).unwrap_or_else(|answer| panic!("{answer}"))
}

/// The same, or the answer that is no result.
fn try_latest(server: &Server, group: &str) -> Result<Value, String> {
    let group = group.replace(' ', "%20");
    let answer = server.get(&format!("/v1/query?group_id={group}&topic=orders&partition=0&freshness=latest"));
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    match answer.status {
        200 => Ok(body["entry"]["committed_offset"].clone()),
        404 => Ok(Value::Null),
        _ => Err(format!("{answer:?}")),
    }
}

/// Restarts the broker, and waits until each server has seen it go down and come back.
fn restart(broker: &mut Broker, servers: &[&Server]) {
    broker.stop();
    servers.iter().for_each(|server| wait_reachable(server, false));
    broker.start();
    servers.iter().for_each(|server| wait_reachable(server, true));
    // Queries for the latest use a connection of their own, which may come back later.
    for server in servers {
        wait_for("an answer with the latest", LIMIT, || try_latest(server, "g0"));
    }
}

/// Groups of which some change their log partition with the growth, and some do not.
const GROUPS: [&str; 8] = ["g0", "g1", "g2", "g3", "g4", "g5", "g6", "g7"];

fn commit_old(driver: &mut Driver) {
    driver.topic("orders", 3, 20);
    for group in GROUPS {
        driver.alter(group, "orders", 0, 1, "old");
        driver.alter(group, "orders", 1, 2, "old");
    }
    assert!(GROUPS.iter().any(|group| hashed_partition(group, BEFORE) == hashed_partition(group, AFTER)));
    assert!(GROUPS.iter().any(|group| hashed_partition(group, AFTER) >= BEFORE));
}

#[test]
fn after_growth_every_group_is_as_adminclient_says_before_and_after_the_restart() {
    let release = Release::of("4.1");
    let mut broker = Broker::started_with(release, &few_log_partitions());
    let mut driver = Driver::of(&broker);
    commit_old(&mut driver);
    for (name, group, protocol) in [("member-1", "classic", "classic"), ("member-2", "new", "consumer")] {
        consume(&mut driver, json!({"name": name, "group": group, "topics": ["orders"], "protocol": protocol}));
    }
    let consuming = [("classic", 1), ("new", 1)];
    driver.wait_caught_up(&consuming);
    let (_config, server) = audited_server(&broker.bootstrap_servers(), "");
    // Discovers new log partitions only for requests with `freshness=latest`.
    let (_other, blind) = audited_server(&broker.bootstrap_servers(), "[lag]\nmetadata_interval = \"1h\"\n");
    let label = |when: &str| format!("Kafka {}, {when}", release.version());
    equal_once_ready(&label("5 log partitions"), &mut driver, &server);

    driver.ask(&json!({"do": "commits", "name": "flow", "topic": "orders", "groups": ["flow 1", "flow 2", "flow 3"]}));
    grow(&mut driver, &server);
    driver.alter("late", "orders", 0, 3, "old");
    driver.stop("flow");
    driver.hashed_over = Some(BEFORE);
    equal_at_rest(&label("8 log partitions, brokers hash over 5"), &mut driver, &server);
    audit_finds_nothing(&server, 30);
    // A server that is started now does not know the earlier number of log partitions.
    let (_config, fresh) = audited_server(&broker.bootstrap_servers(), "");
    equal_once_ready(&label("started after the growth"), &mut driver, &fresh);
    fresh.stop_cleanly();

    restart(&mut broker, &[&server, &blind]);
    driver.hashed_over = None;
    for group in GROUPS {
        let moved = hashed_partition(group, BEFORE) != hashed_partition(group, AFTER);
        let expected = if moved { Value::Null } else { json!(1) };
        assert_eq!(latest(&server, group), expected, "{group}, restarted");
    }
    for offset in 10..15 {
        for group in &GROUPS[..6] {
            driver.alter(group, "orders", 0, offset, "new");
            assert_eq!((latest(&server, group), latest(&blind, group)), (json!(offset), json!(offset)), "{group}");
        }
    }
    driver.ask(&json!({"do": "produce", "topic": "orders", "records": 5}));
    driver.wait_caught_up(&consuming);
    equal_at_rest(&label("brokers hash over 8"), &mut driver, &server);
    audit_finds_nothing(&server, 30);
    // Reading the log partitions that groups have left reports no commits.
    let tombstones = "SELECT group_id, log_partition FROM commits WHERE kind = 'tombstone'";
    assert_eq!(Value::from(server.sql(tombstones)), json!([]));
    let (_config, fresh) = audited_server(&broker.bootstrap_servers(), "");
    equal_once_ready(&label("started after the restart"), &mut driver, &fresh);
    for server in [server, fresh, blind] {
        server.stop_cleanly();
    }
}

/// The coordinator of Kafka 3 stores groups by their ids only, so a broker continues to show groups that it loads from
/// log partitions they have left.
#[test]
fn after_growth_a_group_of_kafka_3_is_as_adminclient_says() {
    let release = Release::of("3.9");
    let mut broker = Broker::started_with(release, &few_log_partitions());
    let mut driver = Driver::of(&broker);
    commit_old(&mut driver);
    let (_config, server) = audited_server(&broker.bootstrap_servers(), "");
    let label = |when: &str| format!("Kafka {}, {when}", release.version());
    grow(&mut driver, &server);
    driver.alter("late", "orders", 0, 3, "old");
    driver.hashed_over = Some(BEFORE);
    equal_at_rest(&label("8 log partitions, brokers hash over 5"), &mut driver, &server);
    restart(&mut broker, &[&server]);
    equal_at_rest(&label("restarted, copies are shown"), &mut driver, &server);
    audit_finds_nothing(&server, 20);
    // The commit is written to the log partition of the current number. Which copy the broker shows depends on its
    // memory.
    let moved = GROUPS.iter().find(|group| hashed_partition(group, BEFORE) != hashed_partition(group, AFTER)).unwrap();
    driver.alter(moved, "orders", 0, 9, "new");
    equal_at_rest(&label("a commit after the restart"), &mut driver, &server);
    audit_finds_nothing(&server, 20);
    server.stop_cleanly();
}

/// Committed offsets of one group on partition 0 of orders, by the number of log partitions over which the group was
/// hashed.
#[derive(Clone, Copy, Debug, Default)]
struct Copies {
    old: Option<i64>,
    new: Option<i64>,
}

/// A cluster during a rolling restart.
struct Rolling {
    cluster: Cluster,
    driver: Driver,
    /// Whether each broker has restarted, by broker id.
    restarted: BTreeMap<i64, bool>,
    groups: BTreeMap<String, Copies>,
}

/// The offset that Kafka shows for a group.
#[derive(Debug, PartialEq)]
enum ShownOffset {
    Offset(Option<i64>),
    /// Two brokers, or none, consider themselves the coordinator.
    Disputed,
}

impl Rolling {
    fn started() -> Self {
        let release = Release::of("4.1");
        let cluster = Cluster::started_with(release, &few_log_partitions());
        let mut driver = Driver::at(release, &cluster.bootstrap_servers());
        driver.ask(&json!({"do": "create", "topic": "orders", "partitions": 1, "replicas": 3}));
        driver.ask(&json!({"do": "produce", "topic": "orders", "records": 50}));
        let mut groups = BTreeMap::new();
        for number in 0..40 {
            let group = format!("group {number}");
            driver.alter(&group, "orders", 0, 1, "");
            groups.insert(group, Copies { old: Some(1), new: None });
        }
        let restarted = (1..=3).map(|id| (id, false)).collect();
        Self { cluster, driver, restarted, groups }
    }

    fn leaders(&mut self) -> Vec<i64> {
        let answer = self.driver.ask(&json!({"do": "leaders", "topic": LOG}));
        rows(&answer, "leaders").iter().map(|leader| leader.as_i64().unwrap()).collect()
    }

    /// Returns the expected offset, given the number of log partitions that each broker uses.
    fn shown(&self, leaders: &[i64], group: &str) -> ShownOffset {
        let copies = self.groups[group];
        let (old, new) = (hashed_partition(group, BEFORE), hashed_partition(group, AFTER));
        if old == new {
            return ShownOffset::Offset(copies.old.max(copies.new));
        }
        let leader = |at: i32| leaders[usize::try_from(at).unwrap()];
        match (self.restarted[&leader(old)], self.restarted[&leader(new)]) {
            (false, false) => ShownOffset::Offset(copies.old),
            (true, true) => ShownOffset::Offset(copies.new),
            _ => ShownOffset::Disputed,
        }
    }

    /// Asserts AdminClient's answers, and waits until the server shows the same for every group.
    fn compare(&mut self, server: &Server) -> usize {
        let leaders = self.leaders();
        let groups: Vec<String> = self.groups.keys().cloned().collect();
        let mut expected = BTreeMap::new();
        for group in &groups {
            let ShownOffset::Offset(offset) = self.shown(&leaders, group) else { continue };
            let answer = self.driver.ask(&json!({"do": "committed", "group": group}));
            let said = rows(&answer, "offsets").first().map(|row| row["committed_offset"].as_i64().unwrap());
            assert_eq!(said, offset, "{group}: AdminClient");
            expected.insert(group.clone(), offset);
        }
        wait_for("the groups to be as AdminClient says", LIMIT, || {
            let shown = server.try_sql("SELECT group_id, committed_offset FROM offsets")?;
            let of = |group: &str| {
                let row = shown.iter().find(|row| row["group_id"] == group)?;
                row["committed_offset"].as_i64()
            };
            let wrong: Vec<_> = expected.iter().filter(|(group, offset)| of(group) != **offset).collect();
            let twice = shown.len()
                != shown.iter().map(|row| row["group_id"].to_string()).collect::<std::collections::BTreeSet<_>>().len();
            if wrong.is_empty() && !twice { Ok(()) } else { Err(format!("expected {wrong:?}; twice: {twice}")) }
        });
        expected.len()
    }

    /// Restarts a broker, and waits until it leads the same partitions as before.
    fn restart(&mut self, at: usize) {
        let before = self.leaders();
        self.cluster.0[at].stop();
        self.cluster.0[at].start();
        *self.restarted.get_mut(&(i64::try_from(at).unwrap() + 1)).unwrap() = true;
        wait_for("the leaders to come back", LIMIT, || {
            let now = self.leaders();
            if now == before { Ok(()) } else { Err(format!("{now:?}, not {before:?}")) }
        });
    }

    /// Commits in all groups that have exactly one coordinator.
    fn commit(&mut self, offset: i64) {
        let leaders = self.leaders();
        let groups: Vec<String> = self.groups.keys().cloned().collect();
        for group in groups {
            if self.shown(&leaders, &group) == ShownOffset::Disputed {
                continue;
            }
            self.driver.alter(&group, "orders", 0, offset, "");
            let leader = leaders[usize::try_from(hashed_partition(&group, BEFORE)).unwrap()];
            let restarted = self.restarted[&leader];
            let copies = self.groups.get_mut(&group).unwrap();
            *(if restarted { &mut copies.new } else { &mut copies.old }) = Some(offset);
        }
    }
}

#[test]
fn during_a_rolling_restart_every_group_with_one_coordinator_is_as_it_says() {
    let mut rolling = Rolling::started();
    let (_config, server) = audited_server(&rolling.cluster.bootstrap_servers(), "");
    grow(&mut rolling.driver, &server);
    // The controller distributes the new partitions over the brokers.
    wait_for("leaders of the new log partitions", LIMIT, || {
        let leaders = rolling.leaders();
        if leaders.len() == 8 && !leaders.contains(&-1) { Ok(()) } else { Err(format!("{leaders:?}")) }
    });
    assert_eq!(rolling.compare(&server), 40);
    rolling.commit(2);
    assert_eq!(rolling.compare(&server), 40);
    for at in 0..3 {
        rolling.restart(at);
        let compared = rolling.compare(&server);
        let _ = writeln!(std::io::stderr(), "    {} brokers restarted: {compared} of 40 groups compared", at + 1);
        rolling.commit(10 + i64::try_from(at).unwrap());
        rolling.compare(&server);
    }
    assert_eq!(rolling.compare(&server), 40);
    equal_at_rest("three brokers, all restarted", &mut rolling.driver, &server);
    audit_finds_nothing(&server, 40);
    server.stop_cleanly();
}
