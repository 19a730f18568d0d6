//! Keys, origins, and errors of a configuration. No error holds a secret.

use std::{fmt, io, path::PathBuf};

use super::layers::PropertyError;

/// The path of a setting in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(pub(super) Vec<String>);

impl Key {
    pub(crate) fn child(&self, name: &str) -> Self {
        let mut path = self.0.clone();
        path.push(name.to_owned());
        Self(path)
    }

    /// Returns the name of the environment variable: `OFFSETD_SQL_TIMEOUT`.
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

/// As TOML writes it.
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

/// Returns a string as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Given nowhere.
    Default,
    /// The configuration file.
    File {
        /// As given.
        path: PathBuf,
        /// From 1; `None` when the whole file is meant.
        line: Option<usize>,
    },
    /// An environment variable.
    Env(String),
    /// A flag.
    Flag(&'static str),
}

impl Origin {
    /// Returns the file with its line, or the name of the variable or flag; `None` for a default.
    fn place(&self) -> Option<String> {
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
        write!(f, "{kind}{}", self.place().unwrap_or_default())
    }
}

/// Why a text is not a value of its kind.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum BadValue {
    /// The list of allowed values says it all.
    #[error("")]
    NotAllowed,
    #[error("not given")]
    Empty,
    #[error("an IPv6 address must be written in brackets")]
    NoBrackets,
    #[error("the host is missing or malformed")]
    Host,
    #[error("the port is missing")]
    NoPort,
    #[error("the port is not a number up to 65535")]
    Port,
    #[error("in {server:?}: {cause}")]
    Server { server: String, cause: Box<Self> },
    #[error("the bucket is missing")]
    NoBucket,
    #[error("unsupported scheme {0:?}; use a local path or s3://bucket/prefix")]
    Scheme(String),
    #[error("{0}")]
    Pattern(String),
    #[error("{0}")]
    Url(String),
    /// The text is not shown, since it contains the password.
    #[error("it contains a user name or password; use client_id and client_secret")]
    UrlCredentials,
    #[error("{0:?} is not NAME=VALUE, with letters only in the name, and a name other than auth")]
    Extension(String),
    #[error("a topic's name is made of A-Z, a-z, 0-9, '_', '.' and '-', at most 249 of them")]
    Topic,
    #[error("{0:?} is not a host name")]
    HostName(String),
    #[error("{0:?} is not an origin")]
    WebOrigin(String),
    #[error(transparent)]
    Duration(#[from] humantime::DurationError),
    #[error("out of range")]
    OutOfRange,
    #[error("too large")]
    TooLarge,
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: io::Error },
    #[error("not TOML: {0}")]
    Syntax(String),
    #[error("bad value {text:?}{}; allowed: {allowed}", in_brackets(cause))]
    BadValue { text: String, cause: BadValue, allowed: &'static str },
    #[error("{found} is not allowed here; allowed: {allowed}")]
    WrongType { found: &'static str, allowed: &'static str },
    #[error("not given; allowed: {allowed}")]
    Missing { allowed: &'static str },
    #[error("is a section, not a value")]
    Section,
    #[error("unknown key; allowed {place}: {}", names.join(", "))]
    UnknownKey { place: String, names: Vec<String> },
    #[error(
        "no setting has this name (OFFSETD_ + the key in capitals, as OFFSETD_SQL_TIMEOUT; a cluster or source must be in the file)"
    )]
    UnknownVariable,
    #[error("the environment has no {0}")]
    NoVariable(String),
    #[error("cannot be set: {why}")]
    Reserved { why: &'static str },
    #[error(transparent)]
    Refused(PropertyError),
    /// librdkafka's message may hold the secret.
    #[error("librdkafka refuses it")]
    SecretRefused,
    #[error("is given twice")]
    Duplicate,
    #[error("must not be below {other}")]
    Below { other: &'static str },
    #[error("is missing: TLS needs a certificate and its key")]
    IncompleteTls,
    #[error("is missing: oauth.method = \"{0}\" needs it")]
    OauthMissing(&'static str),
    #[error("is not used by oauth.method = \"{0}\"; remove it")]
    OauthUnused(&'static str),
    #[error("is set without oauth.method; allowed methods: client_credentials, file, msk_iam")]
    OauthNoMethod,
    #[error("defines a cluster, and so does [clusters.*] of the file: leave one of them out")]
    SecondDefinition,
    #[error("names the cluster of --bootstrap-servers, which is not given")]
    NameOnly,
    #[error(
        "no cluster to watch: give --bootstrap-servers HOST:PORT (or OFFSETD_BOOTSTRAP_SERVERS), \
         or --config FILE with a section [clusters.NAME]"
    )]
    NoCluster,
    #[error("a cluster's name is made of A-Z, a-z, 0-9, '_', '.' and '-', at most 64 of them")]
    ClusterName,
    #[error("a source's name is made of A-Z, a-z, 0-9, '_', '.' and '-', at most 64 of them")]
    SourceName,
    /// A fault that only the kind of source knows.
    #[error("{0}")]
    Source(Box<dyn std::error::Error + Send + Sync>),
    #[error("is the name of each cluster's own offsets; choose another name")]
    SourceKafka,
    #[error("no kind of source is called {kind:?}; allowed: {kinds}")]
    UnknownKind { kind: String, kinds: String },
    #[error("this build cannot read {kind}; build it with the cargo feature {feature:?}")]
    KindNotBuilt { kind: &'static str, feature: &'static str },
    #[error("not given, and the name {name:?} is no kind of source; allowed: {kinds}")]
    NoKind { name: String, kinds: String },
    #[error("not given; name one of the clusters: {clusters}")]
    WhichCluster { clusters: String },
    #[error("there is no cluster {cluster:?}; there are: {clusters}")]
    UnknownCluster { cluster: String, clusters: String },
}

fn in_brackets(cause: &BadValue) -> String {
    if *cause == BadValue::NotAllowed { String::new() } else { format!(" ({cause})") }
}

/// One problem, and where it is.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    /// Where it was given; [`Origin::Default`] when it was given nowhere.
    pub(super) origin: Origin,
    /// The setting; `None` when it concerns no single one.
    pub(super) key: Option<String>,
    pub(super) problem: Problem,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin.place().iter().chain(&self.key).try_for_each(|prefix| write!(f, "{prefix}: "))?;
        write!(f, "{}", self.problem)
    }
}

/// All problems of a configuration, a line each.
#[derive(Debug, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} error{plural} in the configuration", self.0.len())?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}
