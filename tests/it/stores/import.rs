//! Offsets that clients send to `POST /v1/offsets/import`.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::kafka::faults::serve;
use crate::process::wait_for;
use crate::support::{self, Answer};

const TOKEN: &str = "token-of-the-tests-1";

#[test]
fn a_client_with_a_token_writes_offsets_and_learns_which_lines_are_wrong() {
    let kafka = support::kafka(1);
    kafka.create_topic("orders", 3).unwrap();
    let folder = TempDir::new().unwrap();
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, format!("{TOKEN}\n")).unwrap();
    let (_config, server) = serve(&format!(
        "[server.auth]\ntokens_file = '{}'\n[clusters.east]\nbootstrap_servers = '{}'\n\
         [sources.push]\nkind = 'import'\nhttp = true\n[sources.other]\nkind = 'import'\nhttp = true\n",
        tokens.display(),
        kafka.bootstrap_servers()
    ));
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let post = |token: &str, path: &str, body: &str| {
        let request = agent.post(format!("http://{}{path}", server.address()));
        Answer::read(request.header("authorization", format!("Bearer {token}")).send(body).unwrap())
    };
    let import = |path: &str, body: &str| {
        let answer = post(TOKEN, path, body);
        (answer.status, answer.json())
    };
    let line = r#"{"group_id":"etl","topic":"orders","partition":0,"committed_offset":5}"#;
    assert_eq!(post("another-token-of-16", "/v1/offsets/import?source=push", line).status, 401);
    let (status, answer) = import("/v1/offsets/import", line);
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().unwrap().contains("add ?source= with one of other, push"), "{answer}");
    assert_eq!(import("/v1/offsets/import?source=pull", line).0, 404);

    let path = "/v1/offsets/import?source=push";
    wait_for("the source to be read", std::time::Duration::from_secs(60), || match import(path, "") {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let second = r#"{"group_id":"etl","topic":"orders","partition":1,"committed_offset":7}"#;
    let outcome = json!({"accepted": 2, "malformed": 1, "last_rejected": "line 2: not a JSON object (column 1)"});
    assert_eq!(import(path, &format!("{line}\nnonsense\n{second}\n")), (200, outcome));
    let sql = "SELECT source, group_id, partition, committed_offset FROM offsets ORDER BY partition";
    let row = |partition: i32, offset: i64| json!({"source": "push", "group_id": "etl", "partition": partition, "committed_offset": offset});
    assert_eq!(post(TOKEN, "/v1/sql", sql).json(), json!([row(0, 5), row(1, 7)]));

    let deletion = r#"{"group_id":"etl","topic":"orders","partition":0,"deleted":true}"#;
    assert_eq!(import(path, deletion), (200, json!({"accepted": 1, "malformed": 0, "last_rejected": null})));
    assert_eq!(post(TOKEN, "/v1/sql", sql).json(), json!([row(1, 7)]));
    let counted = "SELECT entries, malformed, state FROM sources WHERE source = 'push'";
    assert_eq!(post(TOKEN, "/v1/sql", counted).json(), json!([{"entries": 1, "malformed": 1, "state": "live"}]));
    assert_eq!(import(path, "nonsense").0, 400);
    let too_long = "x".repeat(4 * 1024 * 1024 + 1);
    let (status, answer) = import(path, &too_long);
    assert!(status == 400 && answer["error"].as_str().unwrap().contains("send it in parts"), "{status} {answer}");
}

#[test]
fn the_latest_rows_of_a_file_are_shown_although_no_broker_was_ever_reached() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("offsets.ndjson");
    let line = |offset: i64| {
        format!("{{\"group_id\":\"etl\",\"topic\":\"orders\",\"partition\":0,\"committed_offset\":{offset}}}\n")
    };
    fs::write(&file, line(1)).unwrap();
    let (_config, server) = serve(&format!(
        "[clusters.east]\nbootstrap_servers = '127.0.0.1:1'\n\
         [sources.dump]\nkind = 'import'\nfile = '{}'\ninterval = '1h'\n",
        file.display()
    ));
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let latest = |offset: i64| {
        let body = json!({"statement": "SELECT committed_offset FROM offsets", "freshness": "latest"}).to_string();
        let request = agent.post(format!("http://{}/v1/sql", server.address()));
        let answer = Answer::read(request.header("content-type", "application/json").send(&body).unwrap()).json();
        let expected = json!([{"committed_offset": offset}]);
        if answer == expected { Ok(()) } else { Err(answer.to_string()) }
    };
    wait_for("the first read of the file", std::time::Duration::from_secs(60), || latest(1));
    fs::write(&file, line(2)).unwrap();
    latest(2).unwrap();
}
