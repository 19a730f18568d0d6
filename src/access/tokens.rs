//! The accepted tokens, and how a request presents one.

use std::{fmt, path::Path};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use super::{
    MAX_TOKEN_CHARS, MIN_TOKEN_CHARS,
    error::{FileError, FileFault},
    file::{Digest, digest},
};

/// Base64 with optional padding: Arrow's Go client, and so ADBC, omits the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The tokens of a file.
pub(super) struct Tokens(Vec<Token>);

/// A token, stored as a digest: digests are of equal length, and the token itself is not kept.
struct Token {
    digest: Digest,
    /// Cancelled when the token is no longer accepted.
    revoked: CancellationToken,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

impl Tokens {
    /// Reads one token per line; empty lines and lines that begin with `#` are skipped. Revokes those previous tokens
    /// that are missing in the new file.
    ///
    /// # Errors
    /// A line is not a valid token. The error names only its number: the line may be a token with a typing error.
    pub(super) fn parse(path: &Path, file: &[u8], previous: Option<&Self>) -> Result<Self, FileError> {
        let mut tokens = vec![];
        for (number, line) in (1..).zip(file.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            if !(MIN_TOKEN_CHARS..=MAX_TOKEN_CHARS).contains(&line.len()) || !line.iter().all(u8::is_ascii_graphic) {
                return Err(FileFault::Token(number).of(path));
            }
            let digest = digest(line);
            // A token that occurs twice is one token, with one revocation handle.
            if !tokens.contains(&digest) {
                tokens.push(digest);
            }
        }
        if tokens.is_empty() {
            return Err(FileFault::NoToken.of(path));
        }
        let previous = previous.map_or(&[][..], |previous| &previous.0);
        let gone = previous.iter().filter(|token| !tokens.contains(&token.digest));
        gone.for_each(|token| token.revoked.cancel());
        let token = |digest| {
            let known = previous.iter().find(|token| token.digest == digest);
            Token { digest, revoked: known.map(|token| token.revoked.clone()).unwrap_or_default() }
        };
        Ok(Self(tokens.into_iter().map(token).collect()))
    }

    /// Returns the token's revocation handle, or `None`. Compares against every token in constant time.
    pub(super) fn accept(&self, token: &[u8]) -> Option<CancellationToken> {
        let given = digest(token);
        self.0.iter().fold(None, |found, known| {
            let equal = bool::from(known.digest.ct_eq(&given));
            if equal { Some(known.revoked.clone()) } else { found }
        })
    }
}

/// Returns the token of a request: `Bearer TOKEN`, or `Basic` with any user and the token as password.
pub(super) fn presented(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.trim().split_once(' ')?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64.decode(credentials).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    decoded.get(colon + 1..).map(<[u8]>::to_vec)
}

/// Returns an accepted token as the `authorization` header that all later layers expect.
pub(super) fn bearer(token: &[u8]) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests;
