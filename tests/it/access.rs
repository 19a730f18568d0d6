//! Tokens: which requests are accepted, over every protocol, and the rotation of the token file.

mod origin;
mod tls;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use arrow_flight::sql::client::FlightSqlServiceClient;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::TryStreamExt as _;
use offsetd::rpc::proto::{DESCRIPTORS, QueryRequest, WatchRequest, offset_service_client::OffsetServiceClient};
use prost::Message as _;
use tempfile::TempDir;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::program::{offsetd, stdout};
use crate::support::{Answer, LIMIT, Lab, Setup, kafka, until};

const TOKEN: &str = "token-of-the-tests-1";
const OTHER: &str = "token-of-the-tests-2";
const QUERY: &str = "/v1/query?group_id=billing&topic=orders&partition=0";

/// Starts a server that requires tokens; returns it with the folder of its token file.
fn guarded() -> (Lab, TempDir) {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("tokens");
    fs::write(&file, format!("# of the tests\n{TOKEN}\n")).unwrap();
    let kafka = kafka(1);
    let setup = Setup::default().with("SERVER_AUTH_TOKENS_FILE", file.to_str().unwrap());
    let lab = setup.ready(&kafka);
    lab.commit("billing", "orders", 0, 90);
    until("the commit", || get(&lab, QUERY, Some(&bearer(TOKEN))).status == 200);
    (lab, dir)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

fn get(lab: &Lab, path: &str, authorization: Option<&str>) -> Answer {
    let mut request = lab.http().get(lab.url(path));
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    Answer::read(request.call().unwrap())
}

fn post(lab: &Lab, path: &str, headers: &[(&str, &str)], authorization: Option<&str>) -> Answer {
    let mut request = lab.http().post(lab.url(path));
    let authorization = authorization.map(|value| ("authorization", value));
    for (name, value) in headers.iter().copied().chain(authorization) {
        request = request.header(name, value);
    }
    Answer::read(request.send("SELECT group_id FROM offsets").unwrap())
}

fn wrong() -> [Option<String>; 7] {
    [
        None,
        Some(bearer(OTHER)),
        Some(bearer("")),
        Some(bearer(TOKEN.trim_end_matches('1'))),
        Some(TOKEN.to_owned()),
        Some(basic("user", OTHER)),
        Some(basic(TOKEN, "")),
    ]
}

fn right() -> [String; 4] {
    [bearer(TOKEN), format!("bearer {TOKEN}"), basic("any-user", TOKEN), basic("", TOKEN)]
}

#[test]
fn http_tells_nothing_without_a_token_and_all_with_one() {
    let (lab, _dir) = guarded();
    let ask = |path: &str, authorization: Option<&str>| match path {
        "POST /v1/sql" => post(&lab, "/v1/sql", &[("accept", "text/csv")], authorization),
        path => get(&lab, path, authorization),
    };
    // Unknown paths and wrong methods are refused without a token as well, so that they reveal nothing.
    let pages = [("/metrics", 200), (QUERY, 200), ("POST /v1/sql", 200), ("/v1/sql", 405), ("/nowhere", 404)];
    for (path, status) in pages {
        for authorization in wrong() {
            let answer = ask(path, authorization.as_deref());
            assert_eq!(answer.status, 401, "{path} {authorization:?}");
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"offsetd\"");
            let error = answer.json()["error"].as_str().unwrap().to_owned();
            let none = authorization.as_deref().is_none_or(|value| [TOKEN, "Bearer "].contains(&value));
            let says = if none { "is required" } else { "not accepted" };
            assert!(error.contains(says) && error.contains("authorization: Bearer"), "{authorization:?}: {error}");
            assert!(!answer.text().contains("of-the-tests") && !answer.text().contains("billing"), "{}", answer.text());
        }
        for authorization in right() {
            assert_eq!(ask(path, Some(&authorization)).status, status, "{path} {authorization}");
        }
    }
}

#[test]
fn probes_and_the_dashboards_files_need_no_token() {
    let (lab, _dir) = guarded();
    for authorization in [None, Some(bearer(OTHER))] {
        for path in ["/", "/livez", "/readyz"] {
            assert_eq!(get(&lab, path, authorization.as_deref()).status, 200, "{path}");
        }
    }
    let page = Answer::read(lab.http().get(lab.url("/group?id=x")).header("accept", "text/html").call().unwrap());
    assert!(page.text().contains("<!doctype html>"), "{page:?}");
    let assets: Vec<&str> = page.text().split('"').filter(|part| part.starts_with("/assets/")).collect();
    assert!(!assets.is_empty(), "{page:?}");
    for asset in assets {
        assert_eq!(get(&lab, asset, None).status, 200, "{asset}");
    }
    let health = lab.block_on(HealthClient::new(lab.channel()).check(HealthCheckRequest::default()));
    assert!(health.is_ok(), "{health:?}");
}

/// Returns all methods of the service descriptors, and those of Flight.
fn methods() -> Vec<String> {
    let described = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let mut methods = vec!["/grpc.reflection.v1.ServerReflection/ServerReflectionInfo".to_owned()];
    for file in &described {
        for service in &file.service {
            let path = |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
            methods.extend(service.method.iter().map(|method| path(method.name())));
        }
    }
    for method in
        ["Handshake", "ListFlights", "GetFlightInfo", "GetSchema", "DoGet", "DoPut", "DoAction", "ListActions"]
    {
        methods.push(format!("/arrow.flight.protocol.FlightService/{method}"));
    }
    methods.push("/no.such.Service/Method".to_owned());
    assert!(methods.len() > 15, "{methods:?}");
    methods
}

fn call(lab: &Lab, path: &str, authorization: Option<&str>) -> Status {
    lab.block_on(async {
        let mut grpc = tonic::client::Grpc::new(lab.channel());
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<QueryRequest, QueryRequest>::default();
        let mut request = Request::new(QueryRequest::default());
        if let Some(value) = authorization {
            request.metadata_mut().insert("authorization", value.parse().unwrap());
        }
        let answer = grpc.unary(request, PathAndQuery::try_from(path).unwrap(), codec).await;
        answer.err().unwrap_or_else(|| Status::ok(""))
    })
}

#[test]
fn no_grpc_call_is_answered_without_a_token() {
    let (lab, _dir) = guarded();
    for path in methods() {
        for authorization in [None, Some(bearer(OTHER)), Some(basic("user", OTHER))] {
            let status = call(&lab, &path, authorization.as_deref());
            assert_eq!(status.code(), Code::Unauthenticated, "{path}: {status}");
            assert!(!status.message().contains("of-the-tests"), "{status}");
        }
    }
    for authorization in right() {
        // The call is accepted and fails only because of its arguments.
        assert_eq!(call(&lab, "/offsetd.v1.OffsetService/Query", Some(&authorization)).code(), Code::NotFound);
        assert_eq!(call(&lab, "/no.such.Service/Method", Some(&authorization)).code(), Code::Unimplemented);
    }
}

#[test]
fn a_browsers_call_is_refused_in_its_own_protocol() {
    let (lab, _dir) = guarded();
    for content_type in ["application/grpc-web+proto", "application/grpc-web-text"] {
        let headers = [("content-type", content_type), ("x-grpc-web", "1")];
        let answer = post(&lab, "/offsetd.v1.OffsetService/GetStatus", &headers, None);
        assert_eq!((answer.status, answer.header("content-type")), (200, content_type));
        assert_eq!((answer.header("grpc-status"), answer.text()), ("16", ""), "{answer:?}");
        assert_eq!(answer.header("www-authenticate"), "", "the browser must not show its login dialog");
    }
    let headers = [("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")];
    let request = headers.iter().chain([&("authorization", "Bearer token-of-the-tests-1")]);
    let mut call = lab.http().post(lab.url("/offsetd.v1.OffsetService/GetStatus"));
    for (name, value) in request {
        call = call.header(*name, *value);
    }
    let answer = Answer::read(call.send(&[0_u8; 5][..]).unwrap());
    assert!(answer.body.len() > 5 && String::from_utf8_lossy(&answer.body).contains("grpc-status:0"), "{answer:?}");
}

#[test]
fn a_refused_call_leaves_its_connection_open_for_the_next() {
    let (lab, _dir) = guarded();
    let mut connection = TcpStream::connect(lab.url("").trim_start_matches("http://")).unwrap();
    connection.set_read_timeout(Some(LIMIT)).unwrap();
    let head = "POST /offsetd.v1.OffsetService/GetStatus HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\ncontent-length: 5\r\n\r\n";
    for _ in 0..20 {
        // The body is sent after the server could have refused the call.
        connection.write_all(head.as_bytes()).unwrap();
        connection.write_all(&[0; 5]).unwrap();
        let mut answer = vec![];
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("grpc-status: 16") && answer.contains("content-length: 0"), "{answer}");
    }
}

#[test]
fn flight_clients_give_the_token_as_password_and_get_it_as_bearer() {
    let (lab, _dir) = guarded();
    lab.block_on(async {
        let mut client = FlightSqlServiceClient::new(lab.channel());
        assert!(client.execute("SELECT 1".to_owned(), None).await.is_err());
        assert!(client.handshake("any-user", OTHER).await.is_err());
        let answer = client.handshake("any-user", TOKEN).await.unwrap();
        assert_eq!((&*answer, client.token().map(String::as_str)), (TOKEN.as_bytes(), Some(TOKEN)));
        let info = client.execute("SELECT group_id FROM offsets".to_owned(), None).await.unwrap();
        let rows = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
        let batches: Vec<_> = rows.try_collect().await.unwrap();
        assert_eq!(batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 1);
    });
}

#[test]
fn commands_show_their_token_and_say_when_one_is_needed() {
    let (lab, _dir) = guarded();
    let url = lab.url("");
    let query = ["query", "billing", "orders", "0", "--server", &url];
    assert!(stdout(&offsetd(&[&query[..], &["--token", TOKEN]].concat(), "")).contains("90"));
    for more in [&[][..], &["--token", OTHER]] {
        let output = offsetd(&[&query[..], more].concat(), "");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("give --token or OFFSETD_TOKEN") && !error.contains("of-the-tests"), "{error}");
    }
}

#[test]
fn tokens_change_without_a_restart() {
    let (lab, dir) = guarded();
    let file = dir.path().join("tokens");
    let accepted = |token: &str| get(&lab, QUERY, Some(&bearer(token))).status == 200;
    fs::write(&file, format!("{TOKEN}\n{OTHER}\n")).unwrap();
    until("the second token", || accepted(OTHER));
    assert!(accepted(TOKEN));
    // Orchestrators replace the file by renaming a new one.
    fs::write(dir.path().join("next"), OTHER).unwrap();
    fs::rename(dir.path().join("next"), &file).unwrap();
    until("the end of the first token", || !accepted(TOKEN));
    assert!(accepted(OTHER));
    let status = lab.block_on(async {
        // A connection that was opened earlier must present a valid token, too.
        let mut client = OffsetServiceClient::new(lab.channel());
        client.get_status(offsetd::rpc::proto::GetStatusRequest {}).await.unwrap_err()
    });
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[test]
fn a_watch_ends_with_its_token_and_no_other_does() {
    let (lab, dir) = guarded();
    fs::write(dir.path().join("tokens"), format!("{TOKEN}\n{OTHER}\n")).unwrap();
    until("the second token", || get(&lab, QUERY, Some(&bearer(OTHER))).status == 200);
    let watch = |token: &str| {
        let mut request = Request::new(WatchRequest::default());
        request.metadata_mut().insert("authorization", bearer(token).parse().unwrap());
        lab.block_on(async { lab.client().watch(request).await.unwrap().into_inner() })
    };
    let (mut ends, mut lasts) = (watch(TOKEN), watch(OTHER));
    fs::write(dir.path().join("tokens"), OTHER).unwrap();
    lab.block_on(async {
        let end = tokio::time::timeout(LIMIT, ends.message()).await.expect("an end of the watch").unwrap_err();
        assert_eq!(end.code(), Code::Unauthenticated, "{end}");
    });
    lab.commit("billing", "orders", 0, 91);
    let change =
        lab.block_on(async { tokio::time::timeout(LIMIT, lasts.message()).await }).expect("a change within the limit");
    assert!(change.unwrap().is_some());
}

#[test]
fn files_that_cannot_be_used_are_refused_at_the_start_all_at_once() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::write(path("tokens"), format!("{TOKEN}\nhunter2 hunter2 hunter2\n")).unwrap();
    fs::write(path("none"), "# to come\n").unwrap();
    let config = |tokens: &str, key: &str| {
        let file = path("offsetd.toml");
        let tls = format!("cert = '{}'\nkey = '{key}'\n", tls::fixture("server.pem"));
        let cluster = "[clusters.a]\nbootstrap_servers = '127.0.0.1:1'\n";
        fs::write(&file, format!("[server.auth]\ntokens_file = '{tokens}'\n[server.tls]\n{tls}{cluster}")).unwrap();
        file
    };
    let cases = [
        (path("tokens"), tls::fixture("client.key"), ["tokens: line 2: a token is 16 to 512", "is not the key of"]),
        (path("none"), tls::fixture("server.pem"), ["none: contains no token", "contains no private key"]),
        (path("nowhere"), path("nowhere.key"), ["cannot read", "nowhere.key"]),
    ];
    for (tokens, key, says) in cases {
        let file = config(&tokens, &key);
        for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["check-config"]] {
            let output = offsetd(&[command, &["--config", &file]].concat(), "");
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(64), "{error}");
            assert!(error.contains("server.auth.tokens_file: ") && error.contains("server.tls: "), "{error}");
            assert!(says.iter().all(|says| error.contains(says)) && !error.contains("hunter2"), "{error}");
            assert!(output.stdout.is_empty());
        }
    }
}
