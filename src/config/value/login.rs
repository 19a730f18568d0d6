//! The kinds of values that only the settings of logins have: secrets, URLs, methods and SASL extensions.

use std::fmt;

use crate::config::error::BadValue;

/// The method that obtains the tokens of OAUTHBEARER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OauthMethod {
    /// OAUTHBEARER is not used.
    #[default]
    None,
    /// Tokens are requested from a token endpoint.
    ClientCredentials,
    /// Tokens are read from a file.
    File,
    /// Tokens are requests that are signed with AWS credentials, for Amazon MSK.
    MskIam,
}

const METHODS: [(&str, OauthMethod); 4] = [
    ("", OauthMethod::None),
    ("client_credentials", OauthMethod::ClientCredentials),
    ("file", OauthMethod::File),
    ("msk_iam", OauthMethod::MskIam),
];

impl OauthMethod {
    /// Returns the name in the configuration.
    pub(in super::super) fn name(self) -> &'static str {
        METHODS.iter().find(|(_, method)| *method == self).map_or("", |(name, _)| name)
    }
}

pub(super) fn method(text: &str) -> Result<OauthMethod, BadValue> {
    METHODS.iter().find(|(name, _)| *name == text).map(|(_, method)| *method).ok_or(BadValue::NotAllowed)
}

/// A secret. `Debug` shows it as `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl Secret {
    /// Returns whether the secret is not set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "\"\"" } else { "***" })
    }
}

pub(super) fn secret_text(secret: &Secret) -> Option<String> {
    Some(if secret.is_empty() { String::new() } else { "***".to_owned() })
}

pub(super) fn http_url(text: &str) -> Result<String, BadValue> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let url = url::Url::parse(text).map_err(|error| BadValue::Url(error.to_string()))?;
    if !["https", "http"].contains(&url.scheme()) {
        return Err(BadValue::Url("the scheme is neither https nor http".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadValue::UrlCredentials);
    }
    Ok(text.to_owned())
}

pub(super) fn extension(text: &str) -> Result<String, BadValue> {
    if is_extension(text) { Ok(text.to_owned()) } else { Err(BadValue::Extension(text.to_owned())) }
}

/// Returns whether a text is a valid SASL extension (RFC 7628 §3.1). The name `auth` is reserved for the token.
fn is_extension(text: &str) -> bool {
    let Some((name, value)) = text.split_once('=') else { return false };
    let letters = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic());
    letters && name != "auth" && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}
