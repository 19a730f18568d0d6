//! Users of a real broker that lack some right.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::broker::{Broker, Release};
use super::compare::equal_at_rest;
use super::driver::{self, Driver};
use super::faults::{OFTEN, is, serve};
use crate::process::wait_for;
use crate::program::{offsetd, stdout};
use crate::server::Server;

const LIMIT: Duration = Duration::from_secs(90);
const LOG: &str = "__consumer_offsets";
const FRESH: &str = "no group has committed yet";

impl Driver {
    pub(super) fn grant(&mut self, user: &str, operation: &str, resource: &str, name: &str) {
        self.ask(&right("grant", user, operation, resource, name));
    }

    pub(super) fn revoke(&mut self, user: &str, operation: &str, resource: &str, name: &str) {
        self.ask(&right("revoke", user, operation, resource, name));
    }
}

fn right(what: &str, user: &str, operation: &str, resource: &str, name: &str) -> Value {
    json!({"do": what, "user": user, "operation": operation, "resource": resource, "name": name})
}

fn serve_as(broker: &Broker, user: &str) -> (TempDir, Server) {
    serve(&format!("{OFTEN}{}", broker.cluster_of_user(user).replacen('\n', "\nmode = \"log\"\n", 1)))
}

fn status(server: &Server) -> String {
    stdout(&offsetd(&["status", "--server", &format!("http://{}", server.address())], ""))
}

fn behind(server: &Server) -> Value {
    server.sql_value("SELECT count(behind) FROM sources")
}

/// Asserts that every interface for operators states, in the same words, that the user may not do this to the log, and
/// which command grants the right.
fn wait_refused(server: &Server, user: &str, operation: &str) {
    let command = format!("--add --allow-principal 'User:{user}' --operation Read --topic {LOG}");
    let reason = wait_for("the missing right", LIMIT, || {
        let reason = server.sql_value("SELECT last_error FROM clusters").as_str().unwrap_or_default().to_owned();
        let named = reason.starts_with(&format!("not authorized to {operation} {LOG}")) && reason.ends_with(&command);
        if named { Ok(reason) } else { Err(reason) }
    });
    let probe = server.get("/readyz");
    assert!(probe.status == 503 && probe.body.contains(&reason), "{reason}: {probe:?}");
    let status = status(server);
    for part in [reason.as_str(), "ready:       no\n", "behind:             unknown\n"] {
        assert!(status.contains(part), "{part}:\n{status}");
    }
    let told = "SELECT DISTINCT state, last_error FROM sources";
    wait_for("the reason in sources", LIMIT, || is(server, told, json!([{"state": "failing", "last_error": reason}])));
    assert_eq!(behind(server), 0, "behind must be unknown");
    assert!(server.log().contains(&reason), "{}", server.log());
    let refused = server.try_sql("SELECT * FROM groups").unwrap_err();
    assert!(refused.contains("503") && refused.contains(&reason), "{refused}");
}

#[test]
fn a_missing_right_is_told_with_its_remedy_and_is_no_empty_cluster() {
    let broker = Broker::with_users(Release::of("4.1"), &["unprivileged", "describer", "reader", "all"]);
    let mut driver = Driver::of(&broker);
    driver.topic("orders", 2, 10);
    driver.grant("describer", "DESCRIBE", "topic", LOG);
    driver.grant("reader", "READ", "topic", LOG);
    driver.grant("all", "READ", "topic", LOG);
    driver.grant("all", "READ", "topic", "*");
    driver.grant("all", "DESCRIBE", "group", "*");

    // No group has committed yet: users that may see this get a note about it, the others get an error that names the
    // missing right.
    for user in ["describer", "reader", "all"] {
        let (_config, mut server) = serve_as(&broker, user);
        server.wait_ready();
        assert_eq!(server.sql_value("SELECT count(*) FROM groups"), 0, "{user}");
        assert!(status(&server).contains(FRESH) && server.log().contains(FRESH), "{user}: {}", status(&server));
        assert!(server.get("/readyz").body.contains(FRESH), "{user}");
        server.stop_cleanly();
    }
    let (_config, unprivileged) = serve_as(&broker, "unprivileged");
    wait_refused(&unprivileged, "unprivileged", "describe");
    let state = driver.state().unwrap();
    let internal = |p: &Value| p["topic"] == LOG;
    assert!(!driver::rows(&state, "partitions").iter().any(internal), "describing the topic created it");

    for group in ["a", "b", "c"] {
        driver.alter(group, "orders", 1, 4, "");
    }
    wait_refused(&unprivileged, "unprivileged", "describe");
    assert_eq!(unprivileged.log().matches("not authorized").count(), 1, "logged once: {}", unprivileged.log());
    unprivileged.stop_cleanly();

    let (_config, describer) = serve_as(&broker, "describer");
    wait_refused(&describer, "describer", "read");
    describer.stop_cleanly();

    let (_config, mut all) = serve_as(&broker, "all");
    all.wait_ready();
    equal_at_rest("Kafka 4.1, a user with all rights", &mut driver, &all);
    assert!(!status(&all).contains(FRESH) && !all.get("/readyz").body.contains(FRESH));
    all.stop_cleanly();

    // With rights on the log only, commits are known, and log ends are not.
    let (_config, mut reader) = serve_as(&broker, "reader");
    reader.wait_ready();
    let lag = "SELECT group_id, committed_offset, lag, lag_unknown FROM lag ORDER BY 1";
    let row = |group: &str, offset| json!({"group_id": group, "committed_offset": offset, "lag": null, "lag_unknown": "not_authorized"});
    let rows = json!([row("a", 4), row("b", 4), row("c", 4)]);
    wait_for("commits without log ends", LIMIT, || is(&reader, lag, rows.clone()));

    // Rights are revoked and granted again while the server runs: first all of them, then only READ.
    driver.revoke("reader", "READ", "topic", LOG);
    wait_refused(&reader, "reader", "describe");
    driver.alter("a", "orders", 1, 5, "");
    driver.grant("reader", "READ", "topic", LOG);
    let rows = json!([row("a", 5), row("b", 4), row("c", 4)]);
    wait_for("the commit made meanwhile", LIMIT, || is(&reader, lag, rows.clone()));
    wait_healthy(&reader);

    driver.grant("reader", "DESCRIBE", "topic", LOG);
    driver.revoke("reader", "READ", "topic", LOG);
    wait_refused(&reader, "reader", "read");
    driver.ask(&json!({"do": "delete_group", "group": "b"}));
    driver.grant("reader", "READ", "topic", LOG);
    let rows = json!([row("a", 5), row("c", 4)]);
    wait_for("the deletion made meanwhile", LIMIT, || is(&reader, lag, rows.clone()));
    wait_healthy(&reader);
    reader.stop_cleanly();
}

fn wait_healthy(server: &Server) {
    let state = "SELECT ready, last_error, stale_since FROM clusters";
    let healthy = json!([{"ready": true, "last_error": null, "stale_since": null}]);
    wait_for("the granted right to take effect", LIMIT, || is(server, state, healthy.clone()));
    let sources = "SELECT DISTINCT state, last_error FROM sources";
    wait_for("all partitions to be read", LIMIT, || {
        is(server, sources, json!([{"state": "live", "last_error": null}]))
    });
    assert_eq!(server.get("/readyz").status, 200);
}
