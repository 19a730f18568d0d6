//! The setting `url`: server, user, database and TLS mode.

use std::fmt;

use url::Url;

use super::Dialect;

/// The parsed URL of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// The URL, without password.
    pub(super) url: Url,
    /// The TLS mode, if the URL has one.
    pub(super) tls: Option<TlsMode>,
}

/// When TLS is used, and which parts of the certificate are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsMode {
    /// Never.
    Disabled,
    /// If the server supports it. The certificate is not checked.
    Preferred,
    /// Always. The certificate is not checked.
    Required,
    /// Always. The certificate must be signed by a CA, for any host.
    VerifyCa,
    /// Always. The certificate must be signed by a CA, for the host of the URL.
    VerifyFull,
}

/// An error in the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is not a URL of this kind.
    #[error("expected {scheme}://USER@HOST:PORT/DATABASE")]
    Form {
        /// The expected scheme.
        scheme: &'static str,
    },
    /// The user is missing.
    #[error("the user is missing; expected {scheme}://USER@HOST:PORT/DATABASE")]
    NoUser {
        /// The expected scheme.
        scheme: &'static str,
    },
    /// The URL contains a password, which would be shown wherever the URL is.
    #[error("a password in a URL would be shown in logs; set `password` to a file or an environment variable")]
    Password,
    /// A parameter is unknown.
    #[error("unknown parameter {name:?}; allowed: sslmode, {socket}; there are settings for password and certificates")]
    Parameter {
        /// The name of the parameter.
        name: String,
        /// The parameter of the Unix socket.
        socket: &'static str,
    },
    /// The value of sslmode is unknown.
    #[error("unknown sslmode {0:?}; allowed: disable, prefer, require, verify-ca, verify-full")]
    TlsMode(String),
}

impl Address {
    /// Parses a URL.
    pub(super) fn parse(text: &str, dialect: Dialect) -> Result<Self, AddressError> {
        let (scheme, socket) = match dialect {
            Dialect::Postgres => ("postgres", "host"),
            Dialect::Mysql => ("mysql", "socket"),
        };
        // The parser's error is not shown, because the text may hold a password.
        let url = Url::parse(text).map_err(|_| AddressError::Form { scheme })?;
        let is_known = match dialect {
            Dialect::Postgres => matches!(url.scheme(), "postgres" | "postgresql"),
            Dialect::Mysql => matches!(url.scheme(), "mysql" | "mariadb"),
        };
        let has_host = url.host_str().is_some_and(|host| !host.is_empty());
        if !is_known || !has_host || url.fragment().is_some() {
            return Err(AddressError::Form { scheme });
        }
        if url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password") {
            return Err(AddressError::Password);
        }
        if url.username().is_empty() {
            return Err(AddressError::NoUser { scheme });
        }
        let mut tls = None;
        for (name, value) in url.query_pairs() {
            match &*name {
                "sslmode" | "ssl-mode" => tls = Some(TlsMode::parse(&value)?),
                name if name == socket => {}
                name => return Err(AddressError::Parameter { name: name.to_owned(), socket }),
            }
        }
        Ok(Self { url, tls })
    }

    /// Returns the host, without the brackets of an IPv6 address.
    pub(super) fn host(&self) -> &str {
        let host = self.url.host_str().unwrap_or_default();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }
}

/// Shows host, port and database.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = self.url.query_pairs().find(|(name, _)| matches!(&**name, "host" | "socket"));
        match socket {
            Some((_, path)) => f.write_str(&path)?,
            None => f.write_str(self.url.host_str().unwrap_or_default())?,
        }
        if let Some(port) = self.url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.url.path())
    }
}

impl TlsMode {
    /// Parses the name of a mode, as PostgreSQL's or as MySQL's client spells it.
    fn parse(text: &str) -> Result<Self, AddressError> {
        match &*text.to_ascii_lowercase().replace('_', "-") {
            "disable" | "disabled" => Ok(Self::Disabled),
            "prefer" | "preferred" => Ok(Self::Preferred),
            "require" | "required" => Ok(Self::Required),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" | "verify-identity" => Ok(Self::VerifyFull),
            _ => Err(AddressError::TlsMode(text.to_owned())),
        }
    }

    /// Returns whether the mode checks the certificate of the server.
    pub(super) fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "disable",
            Self::Preferred => "prefer",
            Self::Required => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        })
    }
}

#[cfg(test)]
mod tests;
