//! The layers of a configuration: flags, environment, and the file that one of them names.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr};

/// librdkafka's message about a property that it refuses. It may quote the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PropertyError(pub String);

/// Asks librdkafka whether it knows a property and takes the value, without making a client.
pub type CheckProperty = dyn Fn(&str, &str) -> Result<(), PropertyError>;

/// The layers.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Flags of the command line.
    pub flags: &'a Flags,
    /// The environment. Names that do not start with `OFFSETD_` are read only where the file refers to them.
    pub env: &'a BTreeMap<String, String>,
    /// Checks properties of librdkafka.
    pub check_property: Option<&'a CheckProperty>,
}

impl fmt::Debug for Sources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("flags", self.flags).finish_non_exhaustive()
    }
}

/// The settings that the command line has flags for.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`, the file; or else `OFFSETD_CONFIG`.
    pub config: Option<PathBuf>,
    /// `--bootstrap-servers`, which defines the only cluster; or else `OFFSETD_BOOTSTRAP_SERVERS`.
    pub bootstrap_servers: Option<String>,
    /// `--cluster-name`, its name; or else `OFFSETD_CLUSTER_NAME`, or else `default`.
    pub cluster_name: Option<String>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--address-file`
    pub address_file: Option<PathBuf>,
    /// `-X`, for every cluster.
    pub kafka: Vec<Property>,
}

/// A property of the command line: `-X key=value`. `Debug` hides secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Property {
    /// librdkafka's name.
    pub key: String,
    /// The value.
    pub value: String,
}

/// A property without `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected KEY=VALUE, as security.protocol=SSL")]
pub struct NotAProperty;

impl FromStr for Property {
    type Err = NotAProperty;

    fn from_str(text: &str) -> Result<Self, NotAProperty> {
        let (key, value) = text.split_once('=').ok_or(NotAProperty)?;
        Ok(Self { key: key.trim().to_owned(), value: value.to_owned() })
    }
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, shown(&self.key, &self.value))
    }
}

/// Parts of names whose values are secrets.
const SECRET: [&str; 10] = [
    "password",
    "passphrase",
    "secret",
    "token",
    "jaas",
    "key.pem",
    "ssl_key",
    "private.key",
    "oauthbearer.config",
    "credential",
];

/// Returns the value of a property, or `***` for a secret.
pub(super) fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    if is_secret(key) { "***" } else { value }
}

pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET.iter().any(|part| key.contains(part))
}
