//! The keys, the origins and the errors of a configuration. No error contains a secret.

use std::{fmt, io, path::PathBuf};

use super::layers::PropertyError;

/// The path of a setting in the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(pub(super) Vec<String>);

impl Key {
    pub(crate) fn child(&self, name: &str) -> Self {
        let mut path = self.0.clone();
        path.push(name.to_owned());
        Self(path)
    }

    /// Returns the name of the environment variable, for example `OFFSETD_SQL_TIMEOUT`.
    pub(super) fn env_name(&self) -> String {
        let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        format!("OFFSETD_{}", self.0.join("_").chars().map(upper).collect::<String>())
    }
}

impl From<&str> for Key {
    fn from(name: &str) -> Self {
        Self::default().child(name)
    }
}

/// Writes the key in TOML notation.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.iter().enumerate() {
            let dot = if at == 0 { "" } else { "." };
            let bare = !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
            if bare { write!(f, "{dot}{part}")? } else { write!(f, "{dot}{}", quoted(part))? }
        }
        Ok(())
    }
}

/// Returns a string in TOML notation.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The default: the value is set nowhere.
    Default,
    /// The configuration file.
    File {
        /// The path as the operator gave it.
        path: PathBuf,
        /// The line, from 1; `None` for the whole file.
        line: Option<usize>,
    },
    /// An environment variable, by name.
    Env(String),
    /// A flag, by name.
    Flag(&'static str),
}

impl Origin {
    /// Returns the file and line, or the name of the variable or flag; `None` for a default.
    fn location(&self) -> Option<String> {
        match self {
            Self::Default => None,
            Self::File { path, line: None } => Some(path.display().to_string()),
            Self::File { path, line: Some(line) } => Some(format!("{}:{line}", path.display())),
            Self::Env(name) => Some(name.clone()),
            Self::Flag(name) => Some((*name).to_owned()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Default => "default",
            Self::File { .. } => "file ",
            Self::Env(_) => "env ",
            Self::Flag(_) => "flag ",
        };
        write!(f, "{kind}{}", self.location().unwrap_or_default())
    }
}

/// The reason why a text is not a valid value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum BadValue {
    /// No further reason: the error lists the allowed values.
    #[error("")]
    NotAllowed,
    #[error("it is empty")]
    Empty,
    #[error("an IPv6 address must be written in brackets")]
    NoBrackets,
    #[error("the host is missing or malformed")]
    Host,
    #[error("the port is missing")]
    NoPort,
    #[error("the port is not a number from 0 to 65535")]
    Port,
    #[error("{server:?}: {cause}")]
    Server { server: String, cause: Box<Self> },
    #[error("the bucket is missing")]
    NoBucket,
    #[error("unsupported scheme {0:?}; use a local path or s3://bucket/prefix")]
    Scheme(String),
    #[error("{0}")]
    Pattern(String),
    #[error("{0}")]
    Url(String),
    /// A URL with credentials. The URL is not shown, since it contains the password.
    #[error("it contains a user name or password; use client_id and client_secret")]
    UrlCredentials,
    #[error("{0:?} is not NAME=VALUE with only letters in the name, or the name is auth")]
    Extension(String),
    #[error("a topic name consists of A-Z, a-z, 0-9, '_', '.' and '-', and has at most 249 characters")]
    Topic,
    #[error("{0:?} is not a host name")]
    HostName(String),
    #[error("{0:?} is not an origin")]
    WebOrigin(String),
    #[error(transparent)]
    Duration(#[from] humantime::DurationError),
    #[error("it is out of range")]
    OutOfRange,
    #[error("it is too large")]
    TooLarge,
}

/// An error in a configuration, without its location.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("cannot read {}: {cause}", path.display())]
    CannotRead { path: PathBuf, cause: io::Error },
    #[error("invalid TOML: {0}")]
    Syntax(String),
    #[error("bad value {text:?}{}; allowed: {allowed}", in_parentheses(cause))]
    BadValue { text: String, cause: BadValue, allowed: &'static str },
    #[error("{found} is not allowed here; allowed: {allowed}")]
    WrongType { found: &'static str, allowed: &'static str },
    #[error("not set; allowed: {allowed}")]
    Missing { allowed: &'static str },
    #[error("is a section; expected a value")]
    Section,
    #[error("unknown key; allowed {place}: {}", names.join(", "))]
    UnknownKey { place: String, names: Vec<String> },
    #[error(
        "no setting has this variable; the variable of sql.timeout is OFFSETD_SQL_TIMEOUT, and clusters and sources \
         must be in the configuration file"
    )]
    UnknownVariable,
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
    #[error("cannot be set: {why}")]
    Reserved { why: &'static str },
    #[error(transparent)]
    Refused(PropertyError),
    /// librdkafka refuses a secret. Its message is not shown, since it may quote the value.
    #[error("librdkafka refuses the value")]
    SecretRefused,
    #[error("is set twice")]
    SetTwice,
    #[error("must not be less than {other}")]
    LessThan { other: &'static str },
    #[error("is missing; TLS needs a certificate and its key")]
    IncompleteTls,
    #[error("is missing; oauth.method = \"{0}\" needs it")]
    OauthMissing(&'static str),
    #[error("is not used by oauth.method = \"{0}\"; remove it")]
    OauthUnused(&'static str),
    #[error("is set without oauth.method; allowed methods: client_credentials, file, msk_iam")]
    OauthNoMethod,
    #[error("defines a cluster, but the configuration file also defines clusters; remove one of the two")]
    SecondDefinition,
    #[error("sets the name of the cluster of --bootstrap-servers, but --bootstrap-servers is not given")]
    NameWithoutServers,
    #[error(
        "no cluster is configured; set --bootstrap-servers HOST:PORT (or OFFSETD_BOOTSTRAP_SERVERS), \
         or --config FILE with a section [clusters.NAME]"
    )]
    NoCluster,
    #[error("a cluster name consists of A-Z, a-z, 0-9, '_', '.' and '-', and has 1 to 64 characters")]
    ClusterName,
    #[error("a query name consists of A-Z, a-z, 0-9, '_', '.' and '-', and has 1 to 64 characters")]
    QueryName,
    #[error("a source name consists of A-Z, a-z, 0-9, '_', '.' and '-', and has 1 to 64 characters")]
    SourceName,
    /// A statement that cannot be parsed or exceeds a limit.
    #[error("{0}")]
    Statement(Box<dyn std::error::Error + Send + Sync>),
    /// An error that the kind of source has found.
    #[error("{0}")]
    Source(Box<dyn std::error::Error + Send + Sync>),
    #[error("lets clients write offsets, which needs tokens; set server.auth.tokens_file")]
    WriteWithoutTokens,
    #[error("is the reserved name of the cluster's own offsets; choose another name")]
    SourceKafka,
    #[error("unknown kind of source {kind:?}; allowed: {kinds}")]
    UnknownKind { kind: String, kinds: String },
    #[error("this build cannot read {kind}; build it with the cargo feature {feature:?}")]
    KindNotBuilt { kind: &'static str, feature: &'static str },
    #[error("not set, and the section name {name:?} is not a kind of source; allowed: {kinds}")]
    KindNotSet { name: String, kinds: String },
    #[error("not set; set it to one of the clusters: {clusters}")]
    ClusterNotSet { clusters: String },
    #[error("unknown cluster {cluster:?}; configured clusters: {clusters}")]
    UnknownCluster { cluster: String, clusters: String },
}

fn in_parentheses(cause: &BadValue) -> String {
    if *cause == BadValue::NotAllowed { String::new() } else { format!(" ({cause})") }
}

/// An error in a configuration, with its location.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    /// The origin of the value; [`Origin::Default`] if it is set nowhere or the origin is not known.
    pub(super) origin: Origin,
    /// The setting; `None` if the error does not concern a single one.
    pub(super) key: Option<String>,
    pub(super) problem: Problem,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin.location().iter().chain(&self.key).try_for_each(|prefix| write!(f, "{prefix}: "))?;
        write!(f, "{}", self.problem)
    }
}

/// All errors of a configuration. They are shown one per line.
#[derive(Debug, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} error{plural} in the configuration", self.0.len())?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}
