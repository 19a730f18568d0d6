//! Tests of the origin and host checks.

use super::*;

const OWN: &str = "127.0.0.1:8088";

fn policy(hosts: &[&str], origins: &[&str]) -> OriginPolicy {
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    OriginPolicy { hosts: Some(own(hosts)), origins: own(origins), encrypts: false }
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request {
    let request = Request::builder().method(method).uri(uri);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Body::empty()).unwrap()
}

/// Returns the HTTP status of the refusal of a request, or 200.
fn status(policy: &OriginPolicy, request: &Request) -> u16 {
    policy.refusal(request).map_or(200, |error| error.codes().1)
}

fn sql(policy: &OriginPolicy, headers: &[(&str, &str)]) -> u16 {
    status(policy, &request("POST", "/v1/sql", headers))
}

#[test]
fn only_names_that_a_page_cannot_choose_are_served() {
    let policy = policy(&["offsetd.example.org", "kafka-1.corp.example"], &[]);
    let of = |host: &str| sql(&policy, &[("host", host)]);
    for good in [
        "127.0.0.1:8088",
        "127.1:8088",
        "10.0.0.5",
        "[::1]:8088",
        "[fe80::1%25eth0]:8088",
        "[2001:DB8::1]",
        "localhost:8088",
        "LOCALHOST",
        "localhost.:8088",
        "web1:8088",
        "offsetd.localhost",
        "a.b.local:1",
        "x.internal",
        "offsetd.monitoring.svc",
        "offsetd.monitoring.svc.cluster.local",
        "offsetd.example.org:443",
        "OFFSETD.Example.ORG",
        "offsetd.example.org.",
        "kafka-1.corp.example:8088",
        "under_score:8088",
        "",
    ] {
        assert_eq!(of(good), 200, "{good:?}");
    }
    for bad in [
        "evil.example:8088",
        "evil.example",
        "evil.example.",
        "127.0.0.1.nip.io",
        "localhost.evil.example",
        "offsetd.example.org.evil.example",
        "evil-offsetd.example.org",
        "local.evil",
        "evil.svc.example",
        "e.local.com:1",
        "evil.example@127.0.0.1.example",
        "a b",
        "evil.example:99999999",
        "[::1",
        "\u{e9}vil.example",
    ] {
        assert_eq!(of(bad), 421, "{bad:?}");
    }
    let error = policy.refusal(&request("POST", "/v1/sql", &[("host", "evil.example")])).unwrap().to_string();
    assert!(error.contains("evil.example") && error.contains("server.http.allowed_hosts"), "{error}");
    assert_eq!(sql(&policy, &[]), 200, "HTTP/1.0 has no Host");
    assert_eq!(sql(&policy, &[("host", OWN), ("host", "evil.example")]), 421);
    let absolute = request("POST", "http://evil.example:8088/v1/sql", &[("host", OWN)]);
    assert_eq!(status(&policy, &absolute), 421, "the request line takes precedence over Host");
    let any = OriginPolicy { hosts: None, ..self::policy(&[], &[]) };
    assert_eq!(sql(&any, &[("host", "evil.example")]), 200);
}

#[test]
fn any_name_is_served_with_tokens_with_a_star_and_over_http_2_without_tls() {
    let mut server = config::Server { http: config::Http::default(), ..server() };
    let evil = [("host", "evil.example")];
    assert_eq!(sql(&OriginPolicy::new(&server, false, false), &evil), 421);
    assert_eq!(sql(&OriginPolicy::new(&server, true, false), &evil), 200);
    let mut call = request("POST", "http://evil.example/offsetd.v1.OffsetService/Sql", &[]);
    *call.version_mut() = Version::HTTP_2;
    assert_eq!(status(&OriginPolicy::new(&server, false, false), &call), 200);
    assert_eq!(status(&OriginPolicy::new(&server, false, true), &call), 421, "browsers speak HTTP/2 with TLS");
    server.http.allowed_hosts = vec!["*".to_owned()];
    assert_eq!(sql(&OriginPolicy::new(&server, false, false), &evil), 200);
    assert_eq!(
        sql(&OriginPolicy::new(&server, false, false), &[evil[0], ("origin", "null")]),
        403,
        "the origin check stays"
    );
}

fn server() -> config::Server {
    let flags = config::Flags { bootstrap_servers: Some("127.0.0.1:9".to_owned()), ..config::Flags::default() };
    let layers = config::Layers { flags: &flags, env: &std::collections::BTreeMap::new(), check_property: None };
    config::Config::load(layers).unwrap().config.server
}

#[test]
fn a_request_of_another_origin_is_refused_unless_it_is_allowed() {
    let policy = policy(&[], &["https://grafana.example"]);
    let of = |headers: &[(&str, &str)]| sql(&policy, &[&[("host", OWN)], headers].concat());
    let cases: [(u16, &[(&str, &str)]); 24] = [
        (200, &[]),
        (200, &[("origin", "http://127.0.0.1:8088")]),
        (200, &[("origin", "https://127.0.0.1:8088")]),
        (200, &[("sec-fetch-site", "same-origin")]),
        (200, &[("sec-fetch-site", "none")]),
        (200, &[("sec-fetch-site", "same-origin"), ("origin", "https://behind.a.proxy.example")]),
        (200, &[("sec-fetch-site", "cross-site"), ("origin", "https://grafana.example")]),
        (200, &[("origin", "https://grafana.example:443")]),
        (403, &[("origin", "http://grafana.example")]),
        (403, &[("origin", "https://grafana.example.evil.example")]),
        (403, &[("origin", "http://127.0.0.1:8089")]),
        (403, &[("origin", "http://127.0.0.1")]),
        (403, &[("origin", "http://localhost:8088")]),
        (403, &[("origin", "null")]),
        (403, &[("origin", "")]),
        (403, &[("origin", "file://")]),
        (403, &[("origin", "chrome-extension://abcdefghijklmnop")]),
        (403, &[("origin", "http://127.0.0.1:8088"), ("origin", "http://evil.example")]),
        (403, &[("origin", "https://grafana.example"), ("origin", "http://evil.example")]),
        (403, &[("sec-fetch-site", "cross-site")]),
        (403, &[("sec-fetch-site", "same-site")]),
        (403, &[("sec-fetch-site", "new-kind-of-site")]),
        (403, &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")]),
        (403, &[("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:8088")]),
    ];
    for (expected, headers) in cases {
        assert_eq!(of(headers), expected, "{headers:?}");
    }
    let error = policy.refusal(&request("POST", "/v1/sql", &[("host", OWN), ("origin", "http://evil.example")]));
    let error = error.unwrap().to_string();
    assert!(error.contains("http://evil.example") && error.contains("server.http.allowed_origins"), "{error}");
    assert_eq!(sql(&policy, &[("origin", "http://127.0.0.1:8088")]), 403, "the request names no host to compare with");
    assert_eq!(sql(&policy, &[("host", "web1"), ("origin", "http://web1")]), 200, "the default port");
    assert_eq!(sql(&policy, &[("host", "[::1]:80"), ("origin", "http://[::1]")]), 200);
    let encrypted = OriginPolicy { encrypts: true, ..policy };
    assert_eq!(sql(&encrypted, &[("host", "web1"), ("origin", "http://web1")]), 403);
    assert_eq!(sql(&encrypted, &[("host", "web1:443"), ("origin", "https://web1")]), 200);
}

#[test]
fn links_to_pages_assets_and_probes_are_served() {
    let policy = policy(&[], &[]);
    let foreign = [("host", OWN), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    let rebound = [("host", "evil.example")];
    let of = |method: &str, path: &str, headers: &[(&str, &str)]| status(&policy, &request(method, path, headers));
    for page in web_pages() {
        assert_eq!(of("GET", page, &foreign), 200, "{page}");
        assert_eq!(of("POST", page, &foreign), 403, "{page}");
        assert_eq!(of("GET", page, &foreign[..2]), 403, "{page}");
        assert_eq!(of("GET", page, &rebound), 421, "{page}");
        assert_eq!(of("GET", page, &[foreign, [rebound[0]; 3]].concat()[1..4]), 421, "{page}");
    }
    for data in ["/metrics", "/v1/query?group_id=a", "/v1/sql", "/nothing", "/livezz", "/assets", "//livez"] {
        assert_eq!(of("GET", data, &foreign), 403, "{data}");
        assert_eq!(of("GET", data, &rebound), 421, "{data}");
    }
    for open in ["/livez", "/readyz", "/readyz?x", "/assets/a-1.js", "/grpc.health.v1.Health/Check"] {
        for headers in [&foreign[..], &rebound[..], &[("host", OWN), ("origin", "null")][..]] {
            assert_eq!(of("GET", open, headers), 200, "{open}");
        }
    }
}

fn web_pages() -> [&'static str; 3] {
    ["/", "/sql?q=SELECT%201", "/group"]
}

#[test]
fn pages_of_allowed_origins_are_told_what_they_may_send_and_read() {
    let policy = policy(&[], &["https://grafana.example"]);
    let asks = |origin: &str| {
        let headers = [("host", OWN), ("origin", origin), ("access-control-request-method", "POST")];
        policy.preflight(&request("OPTIONS", "/v1/sql", &headers))
    };
    assert!(asks("https://evil.example").is_none());
    let mut answer = asks("https://grafana.example").unwrap();
    policy.add_cors_headers(&mut answer, Some(HeaderValue::from_static("https://grafana.example")));
    let header = |name: HeaderName| answer.headers().get(name).unwrap().to_str().unwrap();
    assert_eq!((answer.status().as_u16(), header(VARY)), (204, "origin"));
    assert_eq!(header(ACCESS_CONTROL_ALLOW_ORIGIN), "https://grafana.example");
    assert_eq!(header(ACCESS_CONTROL_ALLOW_METHODS), "GET, POST");
    assert!(header(ACCESS_CONTROL_ALLOW_HEADERS).contains("x-grpc-web"));
    assert!(header(ACCESS_CONTROL_EXPOSE_HEADERS).contains("grpc-status"));
    let mut other = Response::new(Body::empty());
    policy.add_cors_headers(
        &mut other,
        policy.allowed_origin(&HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("null"))])),
    );
    assert!(!other.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    assert_eq!(other.headers().get(VARY).unwrap(), "origin");
}
