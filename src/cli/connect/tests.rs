use super::*;

#[test]
fn failed_calls_have_a_hint() {
    let text = |status| call_failed(status).to_string();
    assert_eq!(text(Status::not_found("no group \"x\"")), "no group \"x\"");
    assert!(text(Status::unauthenticated("no token")).contains("--token"));
    let mut status = Status::unavailable("cluster default is loading: 40 %");
    status.metadata_mut().insert("retry-after-ms", "1500".parse().unwrap());
    assert_eq!(text(status), "cluster default is loading: 40 % (try again in 1s 500ms)");
    assert!(!text(Status::new(Code::Internal, "")).is_empty());
}

#[test]
fn a_server_may_be_given_without_scheme() {
    assert_eq!(url("localhost:8088"), "http://localhost:8088");
    assert_eq!(url("https://a:1"), "https://a:1");
}

#[tokio::test]
async fn a_missing_server_is_reported_with_a_hint() {
    let args = |server: &str| ServerArgs { server: Some(server.to_owned()), ..ServerArgs::default() };
    let failure = connect(&args("127.0.0.1:1")).await.unwrap_err();
    let text = failure.to_string();
    assert!(text.contains("no server at http://127.0.0.1:1 (") && text.contains("; start one with"), "{text}");
    assert_eq!(failure.code(), 1);
    for bad in ["ftp://x:1", "http://", "not a url"] {
        let failure = connect(&args(bad)).await.unwrap_err();
        assert_eq!(failure.code(), 64, "{bad}: {failure}");
    }
}

#[test]
fn a_closed_connection_hints_at_a_missing_client_certificate() {
    for why in [
        "received fatal alert: CertificateRequired",
        "connection error: stream closed because of a broken pipe",
        "Broken pipe (os error 32)",
        "Connection reset by peer (os error 104)",
        "operation was canceled",
    ] {
        assert!(connection_failed(why).contains("--client-cert"), "{why}");
    }
    assert!(!connection_failed("invalid peer certificate: UnknownIssuer").contains("--client-cert"));
}
