//! Groups of every protocol, and groups that change their protocol.

use serde_json::{Value, json};

use super::broker::{Broker, Release};
use super::compare::{between_while_moving, equal_at_rest, equal_once_ready};
use super::driver::{Driver, rows};
use super::{LIMIT, consume};
use crate::process::wait_for;
use crate::server::Server;

fn label(when: &str) -> String {
    format!("Kafka 4.1, {when}")
}

#[test]
fn groups_of_every_protocol_equal_adminclient() {
    let broker = Broker::with_every_protocol(Release::of("4.1"));
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 3, 50);
    driver.topic("orders-eu", 2, 20);
    let both = json!(["orders", "orders-eu"]);
    for command in [
        json!({"name": "consumer-1", "group": "consumer", "topics": both, "protocol": "consumer"}),
        json!({"name": "consumer-2", "group": "consumer", "topics": both, "protocol": "consumer"}),
        json!({"name": "static-1", "group": "static", "topics": ["orders"], "protocol": "consumer", "assignor": "range",
            "instance_id": "instance_1"}),
        json!({"name": "regex-1", "group": "regex", "regex": "orders.*", "protocol": "consumer"}),
        json!({"name": "classic-1", "group": "classic", "topics": both}),
    ] {
        consume(&mut driver, command);
    }
    for (name, group) in [("share-1", "share"), ("share-2", "share")] {
        driver.ask(&json!({"do": "share", "name": name, "group": group, "topics": ["orders"]}));
    }
    driver.ask(&json!({"do": "streams", "name": "streams-1", "group": "streams", "topics": both}));
    let consuming = [("consumer", 2), ("static", 1), ("regex", 1), ("classic", 1), ("streams", 1)];
    driver.wait_caught_up(&consuming);
    wait_members(&mut driver, "share", 2);

    let server = Server::serve(&broker.bootstrap_servers());
    equal_at_rest(&label("every protocol"), &mut driver, &server);
    let kinds = server.sql("SELECT group_id, kind, state FROM groups ORDER BY 1");
    let kinds: Vec<String> = kinds
        .iter()
        .map(|row| format!("{} {} {}", row["group_id"], row["kind"], row["state"]).replace('"', ""))
        .collect();
    let expected = [
        "classic classic Stable",
        "consumer consumer Stable",
        "regex consumer Stable",
        "share share Stable",
        "static consumer Stable",
        "streams streams Stable",
    ];
    assert_eq!(kinds, expected);
    let regex = server.sql("SELECT subscribed_topic_regex, subscribed_topics FROM members WHERE group_id = 'regex'");
    assert_eq!(Value::from(regex), json!([{"subscribed_topic_regex": "orders.*", "subscribed_topics": both}]));
    let owners = "SELECT count(*) FROM lag WHERE group_id <> 'share' AND member_id IS NULL";
    assert_eq!(server.sql_value(owners), 0, "every committed partition has an owner");

    driver.ask(&json!({"do": "traffic", "name": "traffic", "topics": both}));
    between_while_moving(&label("commits of every protocol"), &mut driver, &server);
    driver.stop("traffic");
    driver.wait_caught_up(&consuming);

    // Members join and leave: each protocol rebalances and moves partitions between members.
    consume(&mut driver, json!({"name": "consumer-3", "group": "consumer", "topics": both, "protocol": "consumer"}));
    driver.ask(&json!({"do": "streams", "name": "streams-2", "group": "streams", "topics": both}));
    driver.stop("share-1");
    driver.wait_caught_up(&[("consumer", 3), ("static", 1), ("regex", 1), ("streams", 2)]);
    wait_members(&mut driver, "share", 1);
    equal_at_rest(&label("members joined and left"), &mut driver, &server);

    for name in ["consumer-1", "consumer-2", "consumer-3", "static-1", "regex-1", "streams-1", "streams-2", "share-2"] {
        driver.stop(name);
    }
    for group in ["consumer", "regex", "share", "streams"] {
        wait_members(&mut driver, group, 0);
    }
    equal_at_rest(&label("all members left"), &mut driver, &server);
    for group in ["consumer", "regex"] {
        driver.ask(&json!({"do": "delete_group", "group": group}));
    }
    equal_at_rest(&label("groups deleted"), &mut driver, &server);
    server.stop_cleanly();
    let server = Server::serve(&broker.bootstrap_servers());
    equal_once_ready(&label("loaded again"), &mut driver, &server);
    server.stop_cleanly();
}

#[test]
fn a_group_that_changes_its_protocol_keeps_its_offsets() {
    let broker = Broker::with_every_protocol(Release::of("4.1"));
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 3, 50);
    let member = |name: &str, protocol: &str| json!({"name": name, "group": "moving", "topics": ["orders"], "protocol": protocol});
    consume(&mut driver, member("old-1", "classic"));
    driver.wait_caught_up(&[("moving", 1)]);
    let server = Server::serve(&broker.bootstrap_servers());
    equal_once_ready(&label("classic"), &mut driver, &server);
    let kind = |server: &Server| server.sql_value("SELECT kind FROM groups WHERE group_id = 'moving'");
    assert_eq!(kind(&server), "classic");

    // A member with the new protocol turns it into a consumer group that still contains the old member.
    consume(&mut driver, member("new-1", "consumer"));
    driver.wait_caught_up(&[("moving", 2)]);
    equal_at_rest(&label("upgraded, a classic member inside"), &mut driver, &server);
    assert_eq!(kind(&server), "consumer");
    assert_eq!(server.sql_value("SELECT count(*) FROM offsets WHERE group_id = 'moving'"), 3);
    let classic = "SELECT count(*) FROM members WHERE group_id = 'moving' AND session_timeout_ms IS NOT NULL";
    assert_eq!(server.sql_value(classic), 1);

    driver.stop("new-1");
    driver.wait_caught_up(&[("moving", 1)]);
    equal_at_rest(&label("downgraded"), &mut driver, &server);
    assert_eq!(kind(&server), "classic");
    assert_eq!(server.sql_value("SELECT count(*) FROM offsets WHERE group_id = 'moving'"), 3);

    // The tombstone of the classic group leaves no gap.
    driver.stop("old-1");
    wait_members(&mut driver, "moving", 0);
    consume(&mut driver, member("new-2", "consumer"));
    driver.wait_caught_up(&[("moving", 1)]);
    equal_at_rest(&label("an empty classic group, converted"), &mut driver, &server);
    assert_eq!(kind(&server), "consumer");
    server.stop_cleanly();
}

fn wait_members(driver: &mut Driver, group: &str, members: usize) {
    wait_for(&format!("{members} members of {group}"), LIMIT, || {
        let state = driver.state()?;
        let found = rows(&state, "groups").iter().find(|row| row["group_id"] == group).ok_or("no such group")?;
        match (rows(found, "members").len(), &found["state"]) {
            (count, state) if count == members && (state == "Stable" || state == "Empty") => Ok(()),
            (count, state) => Err(format!("{count} members, {state}")),
        }
    });
}
