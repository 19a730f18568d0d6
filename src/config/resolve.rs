//! Combines the layers of a configuration (flag > environment > file > default) and records the origin of each value.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::PathBuf,
};

use super::{
    error::{BadValue, ConfigError, ConfigErrors, Key, Origin, Problem, quoted},
    file::{Document, TomlValue},
    layers::Layers,
    value::{Setting, TomlForm, ValueKind},
};

/// The sections that contain named sections, such as `[clusters.NAME]`.
const NAMED: [&str; 3] = ["clusters", "queries", "sources"];

/// The effective value of a setting, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveValue {
    /// The key with its section, for example `sql.timeout`.
    pub key: String,
    /// The value in TOML notation; `None` if it is not set. A secret is `"***"`.
    pub value: Option<String>,
    /// The origin of the value.
    pub origin: Origin,
}

/// The values of a section as texts, by key, to detect changes. They include secrets, so `Debug` shows no values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SectionValues(BTreeMap<String, String>);

impl fmt::Debug for SectionValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values").finish_non_exhaustive()
    }
}

/// A value, as text, and its origin.
type ValueAndOrigin = (Origin, String);

/// Reads the settings one by one from the layers, and collects their values and the errors.
pub(crate) struct Resolver<'a> {
    pub(super) layers: Layers<'a>,
    pub(super) document: Document,
    path: PathBuf,
    /// The environment variables that have not been read yet.
    pub(super) unread_variables: BTreeSet<&'a str>,
    /// The values of flags, and of the variables that define the only cluster.
    overrides: BTreeMap<Key, ValueAndOrigin>,
    /// The keys that exist.
    known_keys: BTreeSet<Key>,
    errors: Vec<ConfigError>,
    effective: Vec<EffectiveValue>,
    values: BTreeMap<Key, String>,
    origins: BTreeMap<Key, Origin>,
}

impl<'a> Resolver<'a> {
    /// Returns a resolver for the layers. Reads the configuration file, unless its text is given.
    pub(super) fn new(layers: Layers<'a>, text: Option<&str>) -> Self {
        let unread_variables = layers.env.keys().map(String::as_str).collect();
        let mut resolver = Self {
            layers,
            document: Document::default(),
            path: PathBuf::new(),
            unread_variables,
            overrides: BTreeMap::new(),
            known_keys: BTreeSet::new(),
            errors: Vec::new(),
            effective: Vec::new(),
            values: BTreeMap::new(),
            origins: BTreeMap::new(),
        };
        let given = layers.flags.config.clone().map(|path| (Origin::Flag("--config"), path));
        let named = || resolver.env("OFFSETD_CONFIG").map(|(origin, path)| (origin, path.into()));
        if let Some((origin, path)) = given.or_else(named) {
            resolver.read_file(origin, path, text);
        }
        let server = Key::from("server");
        if let Some(listen) = &layers.flags.listen {
            resolver.set_override(server.child("listen"), Origin::Flag("--listen"), listen.clone());
        }
        if let Some(path) = &layers.flags.address_file {
            let path = path.display().to_string();
            resolver.set_override(server.child("address_file"), Origin::Flag("--address-file"), path);
        }
        resolver
    }

    fn read_file(&mut self, origin: Origin, path: PathBuf, text: Option<&str>) {
        match text.map_or_else(|| fs::read_to_string(&path).map(Cow::Owned), |text| Ok(Cow::Borrowed(text))) {
            Ok(text) => self.document = Document::parse(&text),
            Err(cause) => self.error_at(origin, None, Problem::CannotRead { path: path.clone(), cause }),
        }
        self.path = path;
        for (message, line) in std::mem::take(&mut self.document.errors) {
            self.error_at(Origin::File { path: self.path.clone(), line }, None, Problem::Syntax(message));
        }
    }

    /// Returns the value of an environment variable that is set and not empty.
    fn env(&self, name: &str) -> Option<ValueAndOrigin> {
        let value = self.layers.env.get(name).filter(|value| !value.is_empty())?;
        Some((Origin::Env(name.to_owned()), value.clone()))
    }

    pub(super) fn origin_of_line(&self, line: usize) -> Origin {
        Origin::File { path: self.path.clone(), line: Some(line) }
    }

    /// Returns the servers and the name of the cluster that flags or the environment define.
    pub(super) fn single_cluster(&self) -> (Option<ValueAndOrigin>, Option<ValueAndOrigin>) {
        let flag = |name, value: &Option<String>| value.clone().map(|value| (Origin::Flag(name), value));
        let flags = self.layers.flags;
        let servers = flag("--bootstrap-servers", &flags.bootstrap_servers);
        let name = flag("--cluster-name", &flags.cluster_name);
        (servers.or_else(|| self.env("OFFSETD_BOOTSTRAP_SERVERS")), name.or_else(|| self.env("OFFSETD_CLUSTER_NAME")))
    }

    /// Sets a value that takes precedence over the environment and the file.
    pub(super) fn set_override(&mut self, key: Key, origin: Origin, value: String) {
        self.overrides.insert(key, (origin, value));
    }

    /// Records that a key exists, so that it is allowed in the file.
    pub(super) fn add_known_key(&mut self, key: Key) {
        self.known_keys.insert(key);
    }

    /// Returns whether any error has been found so far.
    pub(super) fn failed(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Adds an error of a value with this origin.
    pub(super) fn error_at(&mut self, origin: Origin, key: Option<&Key>, problem: Problem) {
        self.errors.push(ConfigError { origin, key: key.map(Key::to_string), problem });
    }

    /// Adds an error of a setting, without the origin of its value.
    pub(super) fn error(&mut self, key: &Key, problem: Problem) {
        self.error_at(Origin::Default, Some(key), problem);
    }

    /// Adds an error of a setting, with the origin of its value if it has been read.
    pub(super) fn error_of(&mut self, key: &Key, problem: Problem) {
        let origin = self.origins.get(key).cloned().unwrap_or(Origin::Default);
        self.error_at(origin, Some(key), problem);
    }

    /// Records the text of a value for [`SectionValues`], which may differ from the text that is shown.
    pub(super) fn record_value(&mut self, key: Key, text: String) {
        self.values.insert(key, text);
    }

    /// Returns the values of a section that have been read so far.
    pub(super) fn values(&self, section: &Key) -> SectionValues {
        let ours = self.values.iter().filter(|(key, _)| key.0.starts_with(&section.0));
        SectionValues(ours.map(|(key, text)| (key.to_string(), text.clone())).collect())
    }

    /// Ignores the keys and variables of a section that have not been read.
    pub(super) fn ignore_section(&mut self, section: &Key) {
        self.document.values.retain(|key, _| !key.0.starts_with(&section.0));
        let prefix = section.env_name() + "_";
        self.unread_variables.retain(|name| !name.starts_with(&prefix));
    }

    /// Replaces the shown value of a setting that is not set by the value that is used instead.
    pub(super) fn show_value(&mut self, key: &Key, text: &str) {
        let key = key.to_string();
        for shown in self.effective.iter_mut().filter(|shown| shown.key == key) {
            shown.value = Some(quoted(text));
        }
    }

    /// Adds a value to those that `check-config` shows.
    pub(super) fn add_effective(&mut self, key: &Key, value: Option<String>, origin: Origin) {
        self.effective.push(EffectiveValue { key: key.to_string(), value, origin });
    }

    /// Returns the effective value of a setting. The values of all layers are checked, even if another layer takes
    /// precedence.
    pub(crate) fn get<K: ValueKind>(&mut self, section: &Key, setting: &Setting) -> K::Value {
        let key = section.child(setting.key);
        let env_name = key.env_name();
        let env = self.layers.env.get(&env_name).map(|value| (Origin::Env(env_name.clone()), value.clone()));
        self.unread_variables.remove(env_name.as_str());
        let layers = [self.file_text(&key, setting), env, self.overrides.get(&key).cloned()];
        self.add_known_key(key.clone());
        let (mut effective, mut raw) = (None, None);
        let mut given = false;
        for (origin, text) in layers.into_iter().flatten() {
            given = true;
            match K::parse(&text) {
                Ok(value) => {
                    effective = Some((value, origin));
                    raw = Some(text);
                }
                Err(cause) => {
                    let text = if cause == BadValue::UrlCredentials { "***".to_owned() } else { text };
                    self.error_at(origin, Some(&key), Problem::BadValue { text, cause, allowed: setting.allowed });
                }
            }
        }
        let (value, origin) = effective.unwrap_or_else(|| {
            let default = K::parse(setting.default);
            // The default is invalid if there is none, as for bootstrap_servers.
            if default.is_err() && !given {
                self.error(&key, Problem::Missing { allowed: setting.allowed });
            }
            (default.unwrap_or_default(), Origin::Default)
        });
        let bare = matches!(setting.form, TomlForm::Integer | TomlForm::Bool);
        let shown = K::show(&value);
        // `K::show` hides a secret, so its text is recorded as it was read.
        let text = if setting.form == TomlForm::Secret { raw } else { shown.clone() };
        self.record_value(key.clone(), text.unwrap_or_default());
        self.origins.insert(key.clone(), origin.clone());
        let shown = shown.map(|text| if bare { text } else { quoted(&text) });
        self.add_effective(&key, shown, origin);
        value
    }

    /// Reads the secret that `{ file = "PATH" }` or `{ env = "NAME" }` refers to.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or the variable is not set.
    pub(super) fn read_reference(&self, kind: &str, at: &str) -> Result<String, Problem> {
        let value = if kind == "file" {
            fs::read_to_string(at).map_err(|cause| Problem::CannotRead { path: at.into(), cause })?
        } else {
            self.layers.env.get(at).cloned().ok_or_else(|| Problem::NoVariable(at.to_owned()))?
        };
        // Editors and `echo` end a file with a line break, which is not part of the secret.
        let value = value.strip_suffix('\n').map_or(value.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        Ok(value.to_owned())
    }

    /// Removes the reference to a secret from the document, and reads the secret.
    fn file_secret(&mut self, key: &Key) -> Option<ValueAndOrigin> {
        let reference = |kind| Some((kind, self.document.values.remove(&key.child(kind))?));
        let (kind, (leaf, line)) = ["file", "env"].into_iter().find_map(reference)?;
        let origin = self.origin_of_line(line);
        let secret_or_problem = match leaf {
            TomlValue::Text(at) => self.read_reference(kind, &at),
            leaf => Err(Problem::WrongType { found: leaf.type_name(), allowed: "a string" }),
        };
        match secret_or_problem {
            Ok(secret) => Some((origin, secret)),
            Err(problem) => {
                self.error_at(origin, Some(key), problem);
                None
            }
        }
    }

    /// Removes a value from the document and returns it as text.
    fn file_text(&mut self, key: &Key, setting: &Setting) -> Option<ValueAndOrigin> {
        if setting.form == TomlForm::Secret
            && let Some(secret) = self.file_secret(key)
        {
            return Some(secret);
        }
        let (leaf, line) = self.document.values.remove(key)?;
        let origin = self.origin_of_line(line);
        let text = match (leaf, setting.form) {
            (
                TomlValue::Text(text),
                TomlForm::Text | TomlForm::TextOrInteger | TomlForm::TextOrArray | TomlForm::Secret,
            )
            | (TomlValue::Integer(text), TomlForm::Integer | TomlForm::TextOrInteger) => text,
            (TomlValue::Bool(value), TomlForm::Bool) => value.to_string(),
            (TomlValue::Texts(texts), TomlForm::TextOrArray) => texts.join(","),
            (leaf, _) => {
                let problem = Problem::WrongType { found: leaf.type_name(), allowed: setting.allowed };
                self.error_at(origin, Some(key), problem);
                return None;
            }
        };
        Some((origin, text))
    }

    /// Reports the keys of the file and the variables that have not been read as unknown, and returns the effective
    /// values.
    ///
    /// # Errors
    /// Returns all errors, if any have been found.
    pub(super) fn finish(mut self) -> Result<Vec<EffectiveValue>, ConfigErrors> {
        for (key, (leaf, line)) in std::mem::take(&mut self.document.values) {
            let section =
                self.known_keys.iter().any(|known| known.0.len() > key.0.len() && known.0.starts_with(&key.0));
            if leaf == TomlValue::EmptyTable && (section || matches!(&*key.0, [only] if NAMED.contains(&only.as_str())))
            {
                continue;
            }
            let problem = if section { Problem::Section } else { self.unknown_key(&key) };
            self.error_at(self.origin_of_line(line), Some(&key), problem);
        }
        for name in
            self.unread_variables.iter().copied().filter(|name| self.looks_like_setting(name)).collect::<Vec<_>>()
        {
            self.error_at(Origin::Env(name.to_owned()), None, Problem::UnknownVariable);
        }
        if self.errors.is_empty() { Ok(self.effective) } else { Err(ConfigErrors(self.errors)) }
    }

    /// Returns whether a variable is probably meant as a setting. Kubernetes sets variables for each service of the
    /// namespace; those of a service with the name `offsetd-server` must not be errors.
    fn looks_like_setting(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix("OFFSETD_") else { return false };
        let mut sections = self.known_keys.iter().filter_map(|key| key.0.first()).map(String::as_str).chain(NAMED);
        let section = sections.any(|section| name.starts_with(&(Key::from(section).env_name() + "_")));
        let is_url = || self.layers.env.get(name).is_some_and(|value| value.contains("://"));
        let service = rest.ends_with("_SERVICE_HOST")
            || rest.contains("_SERVICE_PORT")
            || rest.ends_with("_PORT") && is_url()
            || rest.contains("_PORT_") && ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| rest.contains(protocol));
        section && !service
    }

    /// Returns the error for an unknown key, with the keys that are allowed in its place.
    fn unknown_key(&self, key: &Key) -> Problem {
        let mut names = BTreeSet::new();
        let mut depth = key.0.len();
        while names.is_empty() && depth > 0 {
            depth -= 1;
            let below = self.known_keys.iter().filter(|known| known.0.iter().take(depth).eq(key.0.iter().take(depth)));
            names = below.filter_map(|known| known.0.get(depth)).map(String::as_str).collect();
        }
        if depth == 0 {
            names.extend(NAMED);
        }
        let place = if depth == 0 {
            "at the top level".to_owned()
        } else {
            format!("in [{}]", Key(key.0.iter().take(depth).cloned().collect()))
        };
        Problem::UnknownKey { place, names: names.into_iter().map(str::to_owned).collect() }
    }
}
