//! Requests of web pages of other origins, over real connections: the status for each combination of headers, over
//! every protocol.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use offsetd::rpc::proto::{GetStatusRequest, offset_service_client::OffsetServiceClient};
use tonic::Code;
use tonic::transport::Endpoint;

use super::{TOKEN, guarded};
use crate::support::{LIMIT, Lab, Setup, kafka};

/// Sends a request byte by byte as given, and returns the text of the response.
fn raw(lab: &Lab, request: &str) -> String {
    let url = lab.url("");
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

/// Sends a request for a path with these header lines; a POST carries a statement.
fn ask(lab: &Lab, method: &str, path: &str, lines: &[&str]) -> String {
    let body = if method == "POST" { "SELECT 1 AS x" } else { "" };
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    raw(lab, &format!("{method} {path} HTTP/1.1\r\n{lines}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"))
}

fn own(lab: &Lab) -> String {
    lab.url("").replace("http://", "host: ")
}

#[test]
fn no_page_of_another_origin_runs_sql() {
    let lab = Setup::default().start(&kafka(1));
    let own = own(&lab);
    let origin = format!("origin: {}", lab.url(""));
    let kinds = ["content-type: text/plain", "content-type: application/x-www-form-urlencoded", "x: y"];
    for (expected, lines) in [
        (200, vec![]),
        (200, vec![&*origin]),
        (200, vec!["sec-fetch-site: same-origin", "origin: https://behind.a.proxy.example"]),
        (200, vec!["sec-fetch-site: none"]),
        (403, vec!["sec-fetch-site: cross-site", "sec-fetch-mode: no-cors"]),
        (403, vec!["sec-fetch-site: same-site", "sec-fetch-mode: no-cors"]),
        (403, vec!["origin: http://127.0.0.1:1"]),
        (403, vec!["origin: http://evil.example"]),
        (403, vec!["origin: null"]),
    ] {
        for kind in kinds {
            let answer = ask(&lab, "POST", "/v1/sql", &[&[&*own, kind], &lines[..]].concat());
            assert_eq!(status(&answer), expected, "{lines:?} {kind}: {answer}");
            assert_eq!(answer.contains("[{\"x\":1}]"), expected == 200, "{answer}");
            assert_eq!(answer.contains("server.http.allowed_origins"), expected == 403, "{answer}");
        }
    }
    let link = ["sec-fetch-site: cross-site", "sec-fetch-mode: navigate", "accept: text/html"];
    for (path, expected) in
        [("/", 200), ("/sql", 200), ("/livez", 200), ("/metrics", 403), ("/v1/query?a=b", 403), ("/x", 403)]
    {
        assert_eq!(status(&ask(&lab, "GET", path, &[&[&*own], &link[..]].concat())), expected, "{path}");
    }
    assert_eq!(
        status(&ask(
            &lab,
            "OPTIONS",
            "/v1/sql",
            &[&own, "origin: http://evil.example", "access-control-request-method: POST"]
        )),
        403
    );
}

#[test]
fn no_name_that_a_page_chose_is_served() {
    let lab = Setup::default().with("SERVER_HTTP_ALLOWED_HOSTS", "offsetd.example.org").start(&kafka(1));
    for (expected, host) in [
        (200, "host: 127.0.0.1:8088"),
        (200, "host: [::1]:8088"),
        (200, "host: LocalHost"),
        (200, "host: some-machine:8088"),
        (200, "host: offsetd.monitoring.svc:8088"),
        (200, "host: OFFSETD.example.org.:443"),
        (421, "host: evil.example:8088"),
        (421, "host: evil.example."),
        (421, "host: 127.0.0.1.evil.example"),
        (421, "host: 127.0.0.1\r\nhost: evil.example"),
    ] {
        for (method, path) in [("POST", "/v1/sql"), ("GET", "/metrics"), ("GET", "/")] {
            let answer = ask(&lab, method, path, &[host]);
            assert_eq!(status(&answer), expected, "{host} {path}: {answer}");
            assert_eq!(answer.contains("server.http.allowed_hosts"), expected == 421, "{answer}");
        }
        assert_eq!(status(&ask(&lab, "GET", "/livez", &[host])), 200, "{host}");
    }
    assert_eq!(status(&ask(&lab, "POST", "http://evil.example/v1/sql", &["host: 127.0.0.1"])), 421);
    assert_eq!(status(&raw(&lab, "GET /metrics HTTP/1.0\r\n\r\n")), 200);
    // HTTP/2 without TLS is never used by browsers.
    let endpoint = Endpoint::from_shared(lab.url("")).unwrap().origin("http://evil.example".parse().unwrap());
    lab.block_on(async {
        let channel = endpoint.connect().await.unwrap();
        OffsetServiceClient::new(channel).get_status(GetStatusRequest {}).await.unwrap();
    });
}

#[test]
fn a_refused_call_of_grpc_web_has_status_7_and_the_same_text() {
    let lab = Setup::default().start(&kafka(1));
    let own = own(&lab);
    for kind in ["application/grpc-web+proto", "application/grpc-web-text"] {
        let kind = format!("content-type: {kind}");
        for (lines, setting) in [
            ([&*own, "origin: http://evil.example"], "server.http.allowed_origins"),
            (["host: evil.example", "origin: http://evil.example"], "server.http.allowed_hosts"),
        ] {
            let answer = ask(&lab, "POST", "/offsetd.v1.OffsetService/GetStatus", &[&[&*kind], &lines[..]].concat());
            assert_eq!(status(&answer), 200, "{answer}");
            assert!(answer.contains("grpc-status: 7\r\n") && answer.contains(setting), "{answer}");
        }
    }
}

#[test]
fn with_tokens_any_name_is_served_and_no_other_origin() {
    let (lab, _dir) = guarded();
    let token = format!("authorization: Bearer {TOKEN}");
    assert_eq!(status(&ask(&lab, "POST", "/v1/sql", &["host: offsetd.example.org", &token])), 200);
    assert_eq!(status(&ask(&lab, "POST", "/v1/sql", &["host: offsetd.example.org", &token, "origin: null"])), 403);
    assert_eq!(status(&ask(&lab, "POST", "/v1/sql", &["host: offsetd.example.org"])), 401);
}

#[test]
fn a_page_of_an_allowed_origin_may_send_and_read() {
    let setup = Setup::default().with("SERVER_HTTP_ALLOWED_ORIGINS", "https://grafana.example");
    let lab = setup.start(&kafka(1));
    let (own, origin) = (own(&lab), "origin: https://grafana.example");
    let preflight = |origin: &str| {
        let asks = ["access-control-request-method: POST", "access-control-request-headers: content-type"];
        ask(&lab, "OPTIONS", "/v1/sql", &[&own, origin, asks[0], asks[1]])
    };
    let answer = preflight(origin);
    assert_eq!(status(&answer), 204, "{answer}");
    for line in [
        "access-control-allow-origin: https://grafana.example",
        "access-control-allow-methods: GET, POST",
        "content-type",
    ] {
        assert!(answer.contains(line), "{answer}");
    }
    let other = preflight("origin: https://evil.example");
    assert!(status(&other) == 403 && !other.contains("access-control-allow"), "{other}");
    let answer = ask(&lab, "POST", "/v1/sql", &[&own, origin, "sec-fetch-site: cross-site"]);
    assert!(status(&answer) == 200 && answer.contains("[{\"x\":1}]"), "{answer}");
    assert!(answer.contains("access-control-allow-origin: https://grafana.example\r\n"), "{answer}");
    assert!(answer.contains("access-control-expose-headers: grpc-status"), "{answer}");
    assert!(!ask(&lab, "POST", "/v1/sql", &[&own]).contains("access-control-allow-origin"));
}

#[test]
fn over_tls_the_authority_of_http_2_is_checked_too() {
    let secured = super::tls::Secured::open("");
    let endpoint = secured.endpoint();
    let call = |name: &str| {
        let endpoint = endpoint.clone().origin(format!("https://{name}").parse().unwrap());
        super::tls::block_on(async {
            let channel = endpoint.connect().await.unwrap();
            OffsetServiceClient::new(channel).get_status(GetStatusRequest {}).await.map(drop)
        })
    };
    call("localhost").unwrap();
    let refused = call("evil.example").unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert!(refused.message().contains("server.http.allowed_hosts"), "{refused}");
}
