//! Puts the layers together: flag > environment > file > default, and keeps where each value came from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::PathBuf,
};

use super::{
    error::{ConfigError, ConfigErrors},
    file::{Document, Leaf},
    kafka::{CheckProperty, Property},
    section::Setting,
    value::{Form, Kind},
};

/// What a configuration is made of.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// What the command line says.
    pub flags: &'a Flags,
    /// The environment. Names that do not start with `OFFSETD_` are read only where the file refers to them.
    pub env: &'a BTreeMap<String, String>,
    /// Says whether librdkafka takes a property.
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

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: None } => write!(f, "file {}", path.display()),
            Self::File { path, line: Some(line) } => write!(f, "file {}:{line}", path.display()),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A setting's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveValue {
    /// As in the file, with its section: `sql.timeout`.
    pub key: String,
    /// As TOML writes it; `None` when it is not set. A secret is `"***"`.
    pub value: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

/// The path of a setting in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub(super) Vec<String>);

impl Key {
    pub(super) fn child(&self, name: &str) -> Self {
        let mut path = self.0.clone();
        path.push(name.to_owned());
        Self(path)
    }

    /// `OFFSETD_SQL_TIMEOUT`
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

/// A string as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The cluster that flags or the environment define.
pub(super) struct SingleCluster {
    pub(super) servers: Option<(Origin, String)>,
    pub(super) name: Option<(Origin, String)>,
}

pub(super) struct Resolver<'a> {
    pub(super) sources: Sources<'a>,
    pub(super) document: Document,
    path: PathBuf,
    /// Variables not read so far.
    pub(super) env_left: BTreeSet<&'a str>,
    set: BTreeMap<Key, (Origin, String)>,
    asked: BTreeSet<Key>,
    errors: Vec<ConfigError>,
    effective: Vec<EffectiveValue>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(sources: Sources<'a>) -> Self {
        let env_left = sources.env.keys().map(String::as_str).collect();
        let mut resolver = Self {
            sources,
            document: Document::default(),
            path: PathBuf::new(),
            env_left,
            set: BTreeMap::new(),
            asked: BTreeSet::new(),
            errors: Vec::new(),
            effective: Vec::new(),
        };
        let given = sources.flags.config.clone().map(|path| (Origin::Flag("--config"), path));
        let named = || resolver.env("OFFSETD_CONFIG").map(|(origin, path)| (origin, path.into()));
        if let Some((origin, path)) = given.or_else(named) {
            resolver.read_file(origin, path);
        }
        let server = Key::from("server");
        if let Some(listen) = &sources.flags.listen {
            resolver.set(server.child("listen"), Origin::Flag("--listen"), listen.clone());
        }
        if let Some(path) = &sources.flags.address_file {
            let path = path.display().to_string();
            resolver.set(server.child("address_file"), Origin::Flag("--address-file"), path);
        }
        resolver
    }

    fn read_file(&mut self, origin: Origin, path: PathBuf) {
        match fs::read_to_string(&path) {
            Ok(text) => self.document = Document::parse(&text),
            Err(error) => self.error_at(origin, None, &format!("cannot read {}: {error}", path.display())),
        }
        self.path = path;
        for (problem, line) in std::mem::take(&mut self.document.errors) {
            self.error_at(Origin::File { path: self.path.clone(), line }, None, &problem);
        }
    }

    /// An environment variable that is set and not empty.
    fn env(&self, name: &str) -> Option<(Origin, String)> {
        let value = self.sources.env.get(name).filter(|value| !value.is_empty())?;
        Some((Origin::Env(name.to_owned()), value.clone()))
    }

    pub(super) fn line(&self, line: usize) -> Origin {
        Origin::File { path: self.path.clone(), line: Some(line) }
    }

    pub(super) fn file_children(&self, section: &str) -> BTreeSet<String> {
        self.document.children(section)
    }

    pub(super) fn single_cluster(&self) -> SingleCluster {
        let flag = |name, value: &Option<String>| value.clone().map(|value| (Origin::Flag(name), value));
        let flags = self.sources.flags;
        SingleCluster {
            servers: flag("--bootstrap-servers", &flags.bootstrap_servers)
                .or_else(|| self.env("OFFSETD_BOOTSTRAP_SERVERS")),
            name: flag("--cluster-name", &flags.cluster_name).or_else(|| self.env("OFFSETD_CLUSTER_NAME")),
        }
    }

    /// A value that goes before environment and file.
    pub(super) fn set(&mut self, key: Key, origin: Origin, value: String) {
        self.set.insert(key, (origin, value));
    }

    /// Says that a key may be in the file.
    pub(super) fn expect(&mut self, key: Key) {
        self.asked.insert(key);
    }

    /// Whether an error was found so far.
    pub(super) fn failed(&self) -> bool {
        !self.errors.is_empty()
    }

    pub(super) fn error_at(&mut self, origin: Origin, key: Option<&Key>, problem: &str) {
        self.errors.push(ConfigError { origin, key: key.map(Key::to_string), problem: problem.to_owned() });
    }

    /// An error about a setting as a whole.
    pub(super) fn error(&mut self, key: &Key, problem: &str) {
        self.error_at(Origin::Default, Some(key), problem);
    }

    pub(super) fn effective(&mut self, key: &Key, value: Option<String>, origin: Origin) {
        self.effective.push(EffectiveValue { key: key.to_string(), value, origin });
    }

    /// The value that counts. Each layer is checked, also where another one covers it.
    pub(super) fn get<K: Kind>(&mut self, section: &Key, setting: &Setting) -> K::Value {
        let key = section.child(setting.key);
        let env_name = key.env_name();
        let env = self.sources.env.get(&env_name).map(|value| (Origin::Env(env_name.clone()), value.clone()));
        self.env_left.remove(env_name.as_str());
        let layers = [self.file_text(&key, setting), env, self.set.get(&key).cloned()];
        self.expect(key.clone());
        let mut counts = None;
        let mut given = false;
        for (origin, text) in layers.into_iter().flatten() {
            given = true;
            match K::parse(&text) {
                Ok(value) => counts = Some((value, origin)),
                Err(why) => self.refuse(&key, origin, &text, &why, setting),
            }
        }
        let (value, origin) = counts.unwrap_or_else(|| match K::parse(setting.default) {
            Ok(value) => (value, Origin::Default),
            Err(_) if given => (K::Value::default(), Origin::Default),
            Err(why) => {
                self.error(&key, &format!("{why}; allowed: {}", setting.allowed));
                (K::Value::default(), Origin::Default)
            }
        });
        let bare = matches!(setting.form, Form::Integer | Form::Bool);
        let shown = K::show(&value).map(|text| if bare { text } else { quoted(&text) });
        self.effective(&key, shown, origin);
        value
    }

    fn refuse(&mut self, key: &Key, origin: Origin, text: &str, why: &str, setting: &Setting) {
        let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
        self.error_at(origin, Some(key), &format!("bad value {text:?}{why}; allowed: {}", setting.allowed));
    }

    /// The file's value as text, taken out of it.
    fn file_text(&mut self, key: &Key, setting: &Setting) -> Option<(Origin, String)> {
        let (leaf, line) = self.document.leaves.remove(key)?;
        let origin = self.line(line);
        let text = match (leaf, setting.form) {
            (Leaf::Text(text), Form::Text | Form::TextOrInteger | Form::TextOrArray)
            | (Leaf::Integer(text), Form::Integer | Form::TextOrInteger) => text,
            (Leaf::Bool(value), Form::Bool) => value.to_string(),
            (Leaf::Texts(texts), Form::TextOrArray) => texts.join(","),
            (leaf, _) => {
                let problem = format!("{} is not allowed here; allowed: {}", type_of(&leaf), setting.allowed);
                self.error_at(origin, Some(key), &problem);
                return None;
            }
        };
        Some((origin, text))
    }

    /// What is left over in the file or in the environment is unknown.
    ///
    /// # Errors
    /// Everything that was found.
    pub(super) fn finish(mut self) -> Result<Vec<EffectiveValue>, ConfigErrors> {
        for (key, (leaf, line)) in std::mem::take(&mut self.document.leaves) {
            let section = self.asked.iter().any(|asked| asked.0.len() > key.0.len() && asked.0.starts_with(&key.0));
            match leaf {
                Leaf::EmptyTable if section || key.0 == ["clusters"] => {}
                _ if section => self.error_at(self.line(line), Some(&key), "is a section, not a value"),
                _ => self.error_at(self.line(line), Some(&key), &format!("unknown key; {}", self.known(&key))),
            }
        }
        for name in self.env_left.iter().copied().filter(|name| self.looks_like_setting(name)).collect::<Vec<_>>() {
            let problem = "no setting has this name (OFFSETD_ + the key in capitals, as OFFSETD_SQL_TIMEOUT; \
                           a cluster must be in the file)";
            self.error_at(Origin::Env(name.to_owned()), None, problem);
        }
        if self.errors.is_empty() { Ok(self.effective) } else { Err(ConfigErrors(self.errors)) }
    }

    /// Whether a variable is meant as a setting. Kubernetes adds variables for each service of the namespace, so those
    /// of a service that is called `offsetd-server` must not stop the process.
    fn looks_like_setting(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix("OFFSETD_") else { return false };
        let section = ["SERVER_", "SQL_", "LAG_", "HISTORY_", "TRANSACTIONS_", "AUDIT_", "CLUSTERS_"]
            .iter()
            .any(|section| rest.starts_with(section));
        let is_url = || self.sources.env.get(name).is_some_and(|value| value.contains("://"));
        let service = rest.ends_with("_SERVICE_HOST")
            || rest.contains("_SERVICE_PORT")
            || rest.ends_with("_PORT") && is_url()
            || rest.contains("_PORT_") && ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| rest.contains(protocol));
        section && !service
    }

    /// What could have been written in the place of an unknown key.
    fn known(&self, key: &Key) -> String {
        let mut names = BTreeSet::new();
        let mut depth = key.0.len();
        while names.is_empty() && depth > 0 {
            depth -= 1;
            let below = self.asked.iter().filter(|asked| asked.0.iter().take(depth).eq(key.0.iter().take(depth)));
            names = below.filter_map(|asked| asked.0.get(depth)).map(String::as_str).collect();
        }
        if depth == 0 {
            names.insert("clusters");
        }
        let place = if depth == 0 {
            "at the top".to_owned()
        } else {
            format!("in [{}]", Key(key.0.iter().take(depth).cloned().collect()))
        };
        format!("allowed {place}: {}", names.into_iter().collect::<Vec<_>>().join(", "))
    }
}

fn type_of(leaf: &Leaf) -> &'static str {
    match leaf {
        Leaf::Text(_) => "a string",
        Leaf::Integer(_) => "an integer",
        Leaf::Float(_) => "a float",
        Leaf::Bool(_) => "a boolean",
        Leaf::EmptyTable => "a table",
        Leaf::Texts(_) => "an array",
        Leaf::Other(name) => name,
    }
}
