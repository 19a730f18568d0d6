//! Signed JWTs that replace a client secret (RFC 7523, section 2.2).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::{SecureRandom as _, SystemRandom},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::json;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};

use super::error::TokenError;
use crate::model::Millis;

/// Lifetime of an assertion in seconds.
const LIFETIME: i64 = 300;

/// A private key that signs assertions.
#[derive(Debug)]
pub(super) enum SigningKey {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl SigningKey {
    /// Parses a private key.
    ///
    /// # Errors
    /// Returns an error if the text is not a private key of a supported kind. The error does not contain the key.
    pub(super) fn from_pem(pem: &str) -> Result<Self, TokenError> {
        let bad = |what| TokenError::Key { what };
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| bad("no private key (PEM) found"))?;
        let unusable = |_| bad("the key cannot be used");
        match &key {
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()).map(Self::Rsa).map_err(unusable),
            PrivateKeyDer::Pkcs8(key) => {
                let der = key.secret_pkcs8_der();
                let rsa = || RsaKeyPair::from_pkcs8(der).map(Self::Rsa);
                let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new());
                ec.map(Self::Ec).or_else(|_| rsa()).map_err(unusable)
            }
            _ => Err(bad("the format of the key is not supported")),
        }
    }

    /// Creates an assertion for a client at an endpoint.
    ///
    /// # Errors
    /// Returns an error if signing fails.
    pub(super) fn sign_assertion(&self, client_id: &str, endpoint: &str, now: Millis) -> Result<String, TokenError> {
        let random = SystemRandom::new();
        let failed = |_| TokenError::Key { what: "signing failed" };
        let mut id = [0; 16];
        random.fill(&mut id).map_err(failed)?;
        let seconds = now / 1000;
        let algorithm = match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
        };
        let header = json!({"alg": algorithm, "typ": "JWT"});
        let claims = json!({"iss": client_id, "sub": client_id, "aud": endpoint, "iat": seconds, "nbf": seconds,
            "exp": seconds + LIFETIME, "jti": URL_SAFE_NO_PAD.encode(id)});
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = format!("{header}.{claims}");
        let signature = match self {
            Self::Ec(key) => key.sign(&random, message.as_bytes()).map_err(failed)?.as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).map_err(failed)?;
                signature
            }
        };
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests;
