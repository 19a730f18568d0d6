//! The layers of a configuration: the flags, the environment, and the file that one of them names.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr};

/// The message of librdkafka about a property that it refuses. It may quote the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PropertyError(pub String);

/// A function that checks, without creating a client, whether librdkafka accepts a property and its value.
pub type CheckProperty = dyn Fn(&str, &str) -> Result<(), PropertyError>;

/// The layers above the defaults.
#[derive(Clone, Copy)]
pub struct Layers<'a> {
    /// The flags of the command line.
    pub flags: &'a Flags,
    /// The environment. A variable without the prefix `OFFSETD_` is read only if the file refers to it.
    pub env: &'a BTreeMap<String, String>,
    /// Checks the properties of librdkafka; `None` accepts all of them.
    pub check_property: Option<&'a CheckProperty>,
}

impl fmt::Debug for Layers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("flags", self.flags).finish_non_exhaustive()
    }
}

/// The settings for which the command line has flags.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`: the configuration file. Without it, `OFFSETD_CONFIG` is used.
    pub config: Option<PathBuf>,
    /// `--bootstrap-servers`: defines the only cluster. Without it, `OFFSETD_BOOTSTRAP_SERVERS` is used.
    pub bootstrap_servers: Option<String>,
    /// `--cluster-name`: the name of the only cluster. Without it, `OFFSETD_CLUSTER_NAME` or `default` is used.
    pub cluster_name: Option<String>,
    /// `--listen`: the setting `server.listen`.
    pub listen: Option<String>,
    /// `--address-file`: the setting `server.address_file`.
    pub address_file: Option<PathBuf>,
    /// `-X`: properties of librdkafka for every cluster.
    pub kafka: Vec<Property>,
}

/// A property of librdkafka on the command line: `-X key=value`. `Debug` hides secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Property {
    /// The name of the property.
    pub key: String,
    /// The value.
    pub value: String,
}

/// The error for a property without `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected KEY=VALUE, for example security.protocol=SSL")]
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
        write!(f, "{}={}", self.key, displayed(&self.key, &self.value))
    }
}

/// The value of a property is a secret if its name contains one of these texts.
const SECRET_PARTS: [&str; 10] = [
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
pub(super) fn displayed<'a>(key: &str, value: &'a str) -> &'a str {
    if is_secret(key) { "***" } else { value }
}

/// Returns whether the value of a property is a secret.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_PARTS.iter().any(|part| key.contains(part))
}
