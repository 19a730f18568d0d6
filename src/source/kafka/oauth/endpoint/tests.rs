use super::{
    super::tests::{answer, answering, answering_securely, block_on, tls_fixture},
    *,
};
use crate::config::OauthMethod;

const NOW: Millis = 1_700_000_000_000;

fn oauth(url: &str) -> config::Oauth {
    let flags = config::Flags { bootstrap_servers: Some("127.0.0.1:1".to_owned()), ..config::Flags::default() };
    let layers = config::Layers { flags: &flags, env: &Default::default(), check_property: None };
    let oauth = config::Config::load(layers).unwrap().config.clusters.remove(0).oauth;
    config::Oauth {
        method: OauthMethod::ClientCredentials,
        token_endpoint: format!("{url}/token?tenant=1"),
        client_id: "offsetd".to_owned(),
        client_secret: Secret("hunter2".to_owned()),
        scope: "kafka read".to_owned(),
        ..oauth
    }
}

/// Returns the token that an endpoint's response leads to, and the request.
fn ask(answer: String, change: impl FnOnce(&mut config::Oauth)) -> (Result<Token, String>, String) {
    let (url, server) = answering(vec![answer]);
    let mut oauth = oauth(&url);
    change(&mut oauth);
    let token = block_on(Endpoint::new(&oauth).unwrap().token(&Clock::manual(NOW)));
    let request = server.join().unwrap().remove(0);
    (token.map_err(|error| error.to_string().replace(&url, "URL")), request)
}

fn error(reply: String) -> String {
    ask(reply, |_| ()).0.unwrap_err()
}

#[test]
fn the_secret_goes_in_the_header_and_the_scope_in_the_body() {
    let granted = answer("200 OK", r#"{"access_token": "abc", "expires_in": 60, "token_type": "Bearer"}"#);
    let (token, request) = ask(granted, |_| ());
    let token = token.unwrap();
    assert_eq!((token.value.as_str(), token.expires_at), ("abc", NOW + 60_000));
    assert!(request.starts_with("POST /token?tenant=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: Basic b2Zmc2V0ZDpodW50ZXIy\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\ngrant_type=client_credentials&scope=kafka+read"), "{request}");
    // Some endpoints send a string.
    let granted = answer("200 OK", r#"{"access_token": "abc", "expires_in": "60"}"#);
    assert_eq!(ask(granted, |_| ()).0.unwrap().expires_at, NOW + 60_000);
}

#[test]
fn a_signed_assertion_replaces_the_secret() {
    let (token, request) = ask(answer("200 OK", r#"{"access_token": "abc"}"#), |oauth| {
        oauth.private_key = Secret(include_str!("../../../../../tests/fixtures/oauth/ec.pem").to_owned());
    });
    assert_eq!(token.unwrap().expires_at, NOW + DEFAULT_LIFETIME);
    for part in ["client_id=offsetd", "client_assertion_type=urn%3Aietf%3Aparams", "client_assertion=eyJ"] {
        assert!(request.contains(part), "{part}: {request}");
    }
    assert!(!request.contains("authorization") && !request.contains("hunter2"), "{request}");
}

#[test]
fn a_refusal_shows_the_response_without_the_secret() {
    let refusal = r#"{"error": "invalid_client", "error_description": "no such client, or its secret is wrong"}"#;
    assert_eq!(
        error(answer("401 Unauthorized", refusal)),
        "URL/token: refused with HTTP status 401: invalid_client: no such client, or its secret is wrong"
    );
    let echo = "offsetd:hunter2 Basic b2Zmc2V0ZDpodW50ZXIy\u{1b}[2J";
    let text = error(answer("400 Bad Request", echo));
    assert!(text.ends_with("offsetd:*** Basic *** [2J"), "{text}");
    let text = error(answer("500 Internal Server Error", &"<html>".repeat(1000)));
    assert!(text.len() < 500, "{text}");
}

#[test]
fn a_malformed_response_is_refused_and_not_quoted() {
    for (reply, reason) in [
        (answer("200 OK", "{\"token\": \"hunter3\"}"), "not JSON with access_token"),
        (answer("200 OK", "hunter3"), "not JSON with access_token"),
        (answer("200 OK", &"x".repeat(200_000)), "longer than 128 KiB"),
        (answer("200 OK", r#"{"access_token": "hunter3\u0001"}"#), "characters other than ASCII"),
        (answer("200 OK", r#"{"access_token": "hunter3", "expires_in": -1}"#), "expired already"),
        ("hunter3\r\n\r\n".to_owned(), "no answer"),
    ] {
        let text = error(reply);
        assert!(text.contains(reason) && !text.contains("hunter3"), "{text}");
    }
}

#[test]
fn a_redirection_is_not_followed() {
    // The redirect leads to a server that would respond; the secret must not be sent there.
    let (other, _server) = answering(vec![answer("200 OK", r#"{"access_token": "abc"}"#)]);
    let redirect = format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {other}\r\ncontent-length: 0\r\n\r\n");
    assert!(error(redirect).contains("HTTP status 307"));
}

#[test]
fn an_endpoint_that_is_down_is_named_with_the_reason() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let token = block_on(Endpoint::new(&oauth(&url)).unwrap().token(&Clock::manual(NOW)));
    let text = token.unwrap_err().to_string();
    assert!(text.starts_with(&format!("{url}/token: no answer: ")) && text.contains("refused"), "{text}");
    assert!(!text.contains("tenant"), "{text}");
}

#[test]
fn the_secret_is_sent_only_to_a_trusted_endpoint() {
    let ask = |authority: Option<&str>| {
        let (url, server) = answering_securely(vec![answer("200 OK", r#"{"access_token": "abc"}"#)]);
        let oauth = config::Oauth { ca: authority.map(|name| tls_fixture(name).into()), ..oauth(&url) };
        let token = block_on(Endpoint::new(&oauth).unwrap().token(&Clock::manual(NOW)));
        (token.map(|token| token.value).map_err(|error| error.to_string()), server.join().unwrap().remove(0))
    };
    let (token, request) = ask(Some("ca.pem"));
    assert_eq!(token.unwrap(), "abc");
    assert!(request.contains("authorization: Basic "), "{request}");
    // Without a CA file, the CA certificates of the system are used.
    for authority in [Some("other-ca.pem"), None] {
        let (token, request) = ask(authority);
        let error = token.unwrap_err();
        assert!(error.contains("no answer: ") && error.contains("certificate") && request.is_empty(), "{error}");
    }
    for (name, reason) in [("server.key", "holds no usable certificate"), ("nowhere", "cannot read ")] {
        let oauth = config::Oauth { ca: Some(tls_fixture(name).into()), ..oauth("https://127.0.0.1:1") };
        let error = Endpoint::new(&oauth).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains(name), "{error}");
    }
}
