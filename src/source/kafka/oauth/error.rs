//! Errors of obtaining a token. No error contains a secret.

use std::{io, path::PathBuf, time::Duration};

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    /// The request got no response.
    #[error("{url}: no answer: {reason}")]
    NoResponse { url: String, reason: String },
    /// The endpoint refused to issue a token.
    #[error("{url}: refused with HTTP status {status}: {answer}")]
    Refused { url: String, status: u16, answer: String },
    /// The endpoint's response is malformed.
    #[error("{url}: unusable answer: {what}")]
    BadResponse { url: String, what: &'static str },
    /// A file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    File { path: PathBuf, cause: io::Error },
    /// A file is larger than any token or certificate.
    #[error("{} is larger than {limit} bytes", path.display())]
    LargeFile { path: PathBuf, limit: u64 },
    /// The file of the setting `ca` contains no usable certificate.
    #[error("oauth.ca: {} holds no usable certificate (PEM)", path.display())]
    Authorities { path: PathBuf },
    /// The HTTP client cannot be created.
    #[error("cannot create an HTTP client: {reason}")]
    HttpClient { reason: String },
    /// The token is unusable.
    #[error("the token is unusable: {what}")]
    Token { what: &'static str },
    /// The private key is unusable.
    #[error("oauth.private_key: {what}; use PEM with an RSA key, or with a P-256 key in PKCS #8")]
    Key { what: &'static str },
    /// The region of an MSK cluster is unknown.
    #[error("oauth.region: not set, and neither bootstrap_servers nor AWS_REGION names a region; set it")]
    NoRegion,
    /// An AWS profile has no keys.
    #[error("AWS profile {name:?}: {what}")]
    Profile { name: String, what: &'static str },
    /// AWS credentials cannot be obtained.
    #[error("cannot obtain AWS credentials: {reason}")]
    Credentials { reason: String },
    /// The thread that obtains tokens has panicked; its message is in the log.
    #[error("the thread that obtains tokens exited unexpectedly; restart offsetd, and report this")]
    Exited,
    /// The attempt timed out.
    #[error("no token within {} s", limit.as_secs())]
    Timeout { limit: Duration },
}

/// Maximum number of characters of another program's text that are shown.
const MAX_TEXT_CHARS: usize = 300;

/// Returns the text of another program in a form that may be shown: shortened, without secrets and control characters.
pub(super) fn redact(text: &str, secrets: &[&str]) -> String {
    let hidden = secrets
        .iter()
        .filter(|secret| !secret.is_empty())
        .fold(text.to_owned(), |text, secret| text.replace(secret, "***"));
    let plain = hidden.chars().map(|character| if character.is_control() { ' ' } else { character });
    let mut short: String = plain.take(MAX_TEXT_CHARS).collect();
    if hidden.chars().nth(MAX_TEXT_CHARS).is_some() {
        short.push('…');
    }
    let short = short.trim();
    if short.is_empty() { "an empty answer".to_owned() } else { short.to_owned() }
}

/// Returns the text of an error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let mut text = error.to_string();
    for cause in causes.take(8).map(ToString::to_string) {
        // Some errors already contain the text of their cause.
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    redact(&text, &[])
}
