use ring::signature::{
    ECDSA_P256_SHA256_FIXED, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};

use super::*;

const NOW: Millis = 1_700_000_000_123;

fn pem(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/fixtures/oauth/{name}.pem", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Verifies an assertion, and returns its header and claims.
fn verified(jwt: &str, algorithm: &'static dyn VerificationAlgorithm, key: &[u8]) -> [serde_json::Value; 2] {
    let (message, signature) = jwt.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(algorithm, key).verify(message.as_bytes(), &signature).unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    [header, claims].map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
}

#[test]
fn an_assertion_names_client_and_endpoint_and_verifies_with_the_public_key() {
    for name in ["rsa", "rsa-pkcs1", "ec"] {
        let key = SigningKey::from_pem(&pem(name)).unwrap();
        let jwt = key.sign_assertion("offsetd", "https://login/token", NOW).unwrap();
        let [header, claims] = match &key {
            SigningKey::Rsa(key) => verified(&jwt, &RSA_PKCS1_2048_8192_SHA256, key.public().as_ref()),
            SigningKey::Ec(key) => verified(&jwt, &ECDSA_P256_SHA256_FIXED, key.public_key().as_ref()),
        };
        assert_eq!(header["alg"], if name == "ec" { "ES256" } else { "RS256" });
        for (claim, value) in [("iss", "offsetd"), ("sub", "offsetd"), ("aud", "https://login/token")] {
            assert_eq!(claims[claim], value, "{name}");
        }
        assert_eq!(claims["exp"], 1_700_000_300, "{name}");
        let other = key.sign_assertion("offsetd", "https://login/token", NOW).unwrap();
        assert_ne!(jwt, other, "{name}: each has an id of its own");
    }
}

#[test]
fn a_key_that_cannot_be_used_is_refused_without_being_shown() {
    let cut: String = pem("rsa").chars().take(300).collect();
    for text in ["hunter2", "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n", &cut] {
        let error = SigningKey::from_pem(text).unwrap_err().to_string();
        assert!(error.starts_with("oauth.private_key: ") && !error.contains("unter"), "{error}");
    }
}
