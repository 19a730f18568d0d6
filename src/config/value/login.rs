//! Kinds of values of `[clusters.NAME.oauth]`.

use std::fmt;

use crate::config::error::BadValue;

/// Where tokens come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OauthMethod {
    /// OAUTHBEARER is not used.
    #[default]
    None,
    /// A token endpoint.
    ClientCredentials,
    /// A file.
    File,
    /// A request signed with the credentials of AWS.
    MskIam,
}

const METHODS: [(&str, OauthMethod); 4] = [
    ("", OauthMethod::None),
    ("client_credentials", OauthMethod::ClientCredentials),
    ("file", OauthMethod::File),
    ("msk_iam", OauthMethod::MskIam),
];

impl OauthMethod {
    pub(in super::super) fn name(self) -> &'static str {
        METHODS.iter().find(|(_, method)| *method == self).map_or("", |(name, _)| name)
    }
}

pub(super) fn method(text: &str) -> Result<OauthMethod, BadValue> {
    METHODS.iter().find(|(name, _)| *name == text).map(|(_, method)| *method).ok_or(BadValue::NotAllowed)
}

/// A secret. It is shown as `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl Secret {
    /// Returns whether it is not set.
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

/// Whether SASL takes it (RFC 7628, section 3.1). `auth` is the token itself.
fn is_extension(text: &str) -> bool {
    let Some((name, value)) = text.split_once('=') else { return false };
    let letters = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic());
    letters && name != "auth" && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}
