//! A token, and the claims that a JWT contains.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::error::TokenError;
use crate::model::Millis;

/// Maximum length of a token in bytes. Brokers accept at most `sasl.server.max.receive.size`, by default 512 KiB.
pub(super) const LONGEST: usize = 64 * 1024;
/// Maximum lifetime that is accepted, in milliseconds.
const LONGEST_LIFE: Millis = 30 * 24 * 3600 * 1000;
/// Minimum time between two requests for a token.
const LEAST_WAIT: Duration = Duration::from_secs(1);

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
    /// Creates a token after validation. `life` is its lifetime in milliseconds. If that is unknown, the expiry is
    /// taken from the token itself, or else calculated from `else_life`.
    ///
    /// # Errors
    /// Returns why the token is unusable.
    pub(super) fn new(value: &str, life: Option<Millis>, else_life: Millis, now: Millis) -> Result<Self, TokenError> {
        if value.is_empty() {
            return Err(TokenError::Token { what: "it is empty" });
        }
        if value.len() > LONGEST {
            return Err(TokenError::Token { what: "it is longer than 64 KiB" });
        }
        if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Token { what: "it contains spaces or characters other than ASCII" });
        }
        let claims = Claims::of(value);
        let expires_at = life.map(|life| now.saturating_add(life)).or_else(|| claims.expires_at());
        let expires_at = expires_at.unwrap_or(now.saturating_add(else_life)).min(now.saturating_add(LONGEST_LIFE));
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
        let life = self.expires_at.saturating_sub(self.obtained_at);
        let at = self.obtained_at.saturating_add(life / 4 * 3);
        Duration::from_millis(u64::try_from(at.saturating_sub(now)).unwrap_or(0)).max(LEAST_WAIT)
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
