//! The audit against real coordinators.

use std::time::Duration;

use serde_json::{Value, json};

use super::broker::{Broker, Release};
use super::driver::Driver;
use super::faults::{cluster, is, serve};
use super::transaction;
use crate::process::wait_for;
use crate::server::Server;

const LIMIT: Duration = Duration::from_secs(90);

mod release_4_1 {
    #[test]
    fn the_audit_finds_what_is_wrong_and_nothing_else() {
        super::the_audit_finds_what_is_wrong_and_nothing_else(super::Release::of("4.1"));
    }
}

mod release_3_9 {
    #[test]
    fn the_audit_finds_what_is_wrong_and_nothing_else() {
        super::the_audit_finds_what_is_wrong_and_nothing_else(super::Release::of("3.9"));
    }
}

fn the_audit_finds_what_is_wrong_and_nothing_else(release: Release) {
    let broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 2, 10);
    for group in ["", "grüp", "a/b:c\n\"d\"'e'", "still"] {
        driver.alter(group, "orders", 1, 11, "métadonnées 😀\n");
    }
    transaction(&mut driver, "t", "committed", 6, true);
    transaction(&mut driver, "t", "aborted", 7, false);
    // The coordinator does not know this offset.
    driver.ask(&json!({"do": "append", "group": "past", "topic": "orders", "offset": 4}));
    driver.ask(&json!({"do": "commits", "name": "flow", "topic": "orders", "groups": ["moving 1", "moving 2"]}));
    let (_config, mut server) =
        serve(&format!("[audit]\ninterval = \"500ms\"\ncalls_per_second = 100\n{}", cluster(&broker)));
    server.wait_ready();

    let listed = "SELECT group_id, topic, partition, committed_offset, kafka_offset FROM audit";
    let difference =
        json!([{"group_id": "past", "topic": "orders", "partition": 0, "committed_offset": 4, "kafka_offset": null}]);
    wait_for("the difference", LIMIT, || is(&server, listed, difference.clone()));
    // Many more rounds find nothing else, while offsets move.
    wait_for("200 groups to be compared", LIMIT, || {
        assert_eq!(Value::from(server.sql(listed)), difference);
        if audited(&server) >= 200 { Ok(()) } else { Err("too few".to_owned()) }
    });
    driver.stop("flow");
    driver.alter("past", "orders", 0, 5, "");
    wait_for("no difference", LIMIT, || is(&server, listed, json!([])));
    server.stop_cleanly();
}

/// Returns the number of groups that were compared.
pub(super) fn audited(server: &Server) -> u64 {
    let page = server.get("/metrics").body;
    let line = page.lines().find(|line| line.starts_with("offsetd_audit_groups_total{")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}
