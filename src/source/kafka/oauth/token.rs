//! A token, and the claims that a JWT contains.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::error::TokenError;
use crate::model::Millis;

/// Maximum length of a token in bytes. Brokers accept at most `sasl.server.max.receive.size`, by default 512 KiB.
pub(super) const MAX_TOKEN_BYTES: usize = 64 * 1024;
/// Maximum lifetime that is accepted, in milliseconds.
const MAX_LIFETIME: Millis = 30 * 24 * 3600 * 1000;
/// Minimum time between two requests for a token.
const MIN_WAIT: Duration = Duration::from_secs(1);

/// A token. Its `Debug` output hides the value.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) value: String,
    pub(super) principal: String,
    pub(super) obtained_at: Millis,
    pub(super) expires_at: Millis,
    /// SASL extensions, as alternating names and values.
    pub(super) extensions: Vec<String>,
}

impl Token {
    /// Creates a token after validation. `lifetime` is its lifetime in milliseconds. If that is unknown, the expiry is
    /// taken from the token itself, or else calculated from `default_lifetime`.
    ///
    /// # Errors
    /// Returns why the token is unusable.
    pub(super) fn new(
        value: &str,
        lifetime: Option<Millis>,
        default_lifetime: Millis,
        now: Millis,
    ) -> Result<Self, TokenError> {
        if value.is_empty() {
            return Err(TokenError::Token { what: "it is empty" });
        }
        if value.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Token { what: "it is longer than 64 KiB" });
        }
        if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Token { what: "it contains spaces or characters other than ASCII" });
        }
        let claims = Claims::of(value);
        let expires_at = lifetime.map(|lifetime| now.saturating_add(lifetime)).or_else(|| claims.expires_at());
        let expires_at =
            expires_at.unwrap_or(now.saturating_add(default_lifetime)).min(now.saturating_add(MAX_LIFETIME));
        if expires_at <= now {
            return Err(TokenError::Token { what: "it has expired already; check the clock of this machine" });
        }
        let principal = claims.sub.filter(|sub| !sub.contains('\0')).unwrap_or_else(|| "offsetd".to_owned());
        Ok(Self { value: value.to_owned(), principal, obtained_at: now, expires_at, extensions: vec![] })
    }

    /// Returns the token with SASL extensions, each given as NAME=VALUE.
    pub(super) fn with_extensions(self, extensions: &[String]) -> Self {
        let pairs = extensions.iter().filter_map(|extension| extension.split_once('='));
        Self { extensions: pairs.flat_map(|(name, value)| [name.to_owned(), value.to_owned()]).collect(), ..self }
    }

    /// Returns the time until the token must be renewed, after three quarters of its lifetime. librdkafka logs in again
    /// after nine tenths of the time that the broker grants, which ends no later than the token.
    pub(super) fn renew_in(&self, now: Millis) -> Duration {
        let lifetime = self.expires_at.saturating_sub(self.obtained_at);
        let at = self.obtained_at.saturating_add(lifetime / 4 * 3);
        Duration::from_millis(u64::try_from(at.saturating_sub(now)).unwrap_or(0)).max(MIN_WAIT)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// Claims of a JWT, empty for other tokens. Only brokers verify the signature.
#[derive(Default, Deserialize)]
struct Claims {
    exp: Option<f64>,
    sub: Option<String>,
}

impl Claims {
    fn of(token: &str) -> Self {
        let payload = token.split('.').nth(1).unwrap_or_default();
        let json = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).unwrap_or_default();
        serde_json::from_slice(&json).unwrap_or_default()
    }

    fn expires_at(&self) -> Option<Millis> {
        self.exp.map(|seconds| (seconds * 1000.0) as Millis)
    }
}

#[cfg(test)]
mod tests;
