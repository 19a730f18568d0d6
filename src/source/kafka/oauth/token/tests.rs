use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::*;

const NOW: Millis = 1_700_000_000_000;
const DEFAULT: Millis = 60_000;

fn jwt(claims: &str) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

fn expiry(value: &str, lifetime: Option<Millis>) -> Result<Millis, String> {
    Token::new(value, lifetime, DEFAULT, NOW).map(|token| token.expires_at - NOW).map_err(|error| error.to_string())
}

#[test]
fn the_expiry_comes_from_the_endpoint_the_token_or_the_default() {
    let own = jwt("{\"exp\": 1700000100, \"sub\": \"svc\"}");
    assert_eq!(expiry(&own, Some(5000)), Ok(5000));
    assert_eq!(expiry(&own, None), Ok(100_000));
    assert_eq!(expiry("opaque", None), Ok(DEFAULT));
    assert_eq!(expiry(&jwt("{\"exp\": \"later\"}"), None), Ok(DEFAULT));
    assert_eq!(expiry("a..b", None), Ok(DEFAULT));
    assert_eq!(Token::new(&own, None, DEFAULT, NOW).unwrap().principal, "svc");
    assert_eq!(expiry("x", Some(Millis::MAX)), Ok(MAX_LIFETIME));
}

#[test]
fn unusable_tokens_are_refused_without_being_shown() {
    let long = "x".repeat(MAX_TOKEN_BYTES + 1);
    let expired = jwt("{\"exp\": 1600000000}");
    for (value, lifetime, reason) in [
        ("", None, "empty"),
        (long.as_str(), None, "longer"),
        ("secret secret", None, "ASCII"),
        ("secret\u{1}auth=x", None, "ASCII"),
        ("sécret", None, "ASCII"),
        ("secret", Some(0), "expired"),
        ("secret", Some(-5), "expired"),
        (expired.as_str(), None, "expired"),
    ] {
        let error = expiry(value, lifetime).unwrap_err();
        assert!(error.contains(reason) && !error.contains("cret"), "{error}");
    }
}

#[test]
fn a_token_is_renewed_before_its_expiry_with_a_minimum_wait() {
    let token = Token::new("x", Some(400_000), 0, NOW).unwrap();
    assert_eq!(token.renew_in(NOW), Duration::from_secs(300));
    assert_eq!(token.renew_in(NOW + 250_000), Duration::from_secs(50));
    assert_eq!(token.renew_in(NOW + 500_000), MIN_WAIT);
    assert_eq!(Token::new("x", Some(1), 0, NOW).unwrap().renew_in(NOW), MIN_WAIT);
}

#[test]
fn extensions_are_alternating_names_and_values() {
    let token = Token::new("x", None, DEFAULT, NOW).unwrap();
    let token = token.with_extensions(&["logicalCluster=lkc-1".to_owned(), "pool=a=b".to_owned()]);
    assert_eq!(token.extensions, ["logicalCluster", "lkc-1", "pool", "a=b"]);
    assert!(!format!("{token:?}").contains("\"x\""));
}
