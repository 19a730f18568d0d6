//! The settings of the server. A flag takes precedence over an environment variable, the variable over the
//! configuration file, and the file over the default. Each value is stored with its origin.
//!
//! Invariants: all errors of all layers are reported together; an unknown key is an error; a secret never appears in an
//! error, in `Debug` output or in the output of `check-config`; callers pass the environment in, this module never
//! reads it.
//!
//! # Adding a setting
//!
//! 1. Add a line to its section in `settings.rs`. If no kind of value in `value.rs` fits, add one.
//! 2. If the setting depends on another one, add the condition to `Config::check` and a variant to `Problem`.
//! 3. Write the example file: `UPDATE_EXAMPLE=1 cargo test --lib check_config`.
//!
//! A new section is a struct in `settings.rs` and a field below `sections` of the struct that contains it.
//!
//! Each module uses only the modules that are declared before it.

use std::{collections::BTreeSet, fmt::Write as _};

mod layers;
pub(crate) mod error;
pub(crate) mod value;
mod file;
pub(crate) mod resolve;
mod kafka;
pub(crate) mod section;
mod oauth;
mod settings;
mod source;

pub use error::{ConfigError, ConfigErrors, Origin};
pub use kafka::Properties;
pub use layers::{CheckProperty, Flags, Layers, NotAProperty, Property, PropertyError};
pub use oauth::{AwsVariables, Oauth};
pub use resolve::{EffectiveValue, SectionValues};
pub use settings::{
    Admin, Audit, Auth, Cluster, History, Http, Lag, Limits, NameFilter, NamedQuery, Server, Sql, Tls, Transactions,
};
pub(crate) use source::KindSettings;
pub use source::{KindConfig, KindSpec, SettingError, Source};
pub use value::{OauthMethod, OffsetIs, ReadMode, Secret};

use error::{Key, Problem, quoted};
use resolve::Resolver;
use section::{Section as _, section};
use value::{Setting, TomlForm};

section! {
    /// All settings.
    #[derive(Clone, Debug)]
    pub struct Config {}
    sections {
        /// The listener, and limits of the process.
        pub server: Server,
        /// Limits of SQL.
        pub sql: Sql,
        /// Polling of log ends, and lag.
        pub lag: Lag,
        /// Samples of offsets over time.
        pub history: History,
        /// Commits behind open transactions.
        pub transactions: Transactions,
        /// The comparison with Kafka's group coordinators.
        pub audit: Audit,
    }
    with {
        /// The clusters to watch. Not empty; names are unique.
        pub clusters: Vec<Cluster>,
        /// Statements of the operator, by name.
        pub queries: Vec<NamedQuery>,
        /// Sources of offsets that are stored outside Kafka. Names are unique; each source names an existing cluster.
        pub sources: Vec<Source>,
    }
}

/// The inputs of a configuration that are not layers.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadContext<'a> {
    /// The kinds of sources.
    pub kinds: &'a [KindSpec],
    /// Checks the syntax and the limits of a statement; `None` accepts all statements.
    pub check_statement: Option<CheckStatement>,
    /// The text of the configuration file, if the caller has already read it.
    pub file: Option<&'a str>,
}

/// A function that checks the syntax of one statement, and the limits that apply before planning.
pub type CheckStatement = fn(&str, &Sql) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A configuration, and the origin of each value.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// The values.
    pub config: Config,
    /// The values as text, in the order of the sections. Secrets are hidden.
    pub effective: Vec<EffectiveValue>,
}

impl Config {
    /// Loads a configuration without `[sources.NAME]`: no kind of source is known.
    ///
    /// # Errors
    /// Returns all errors of all layers.
    pub fn load(layers: Layers<'_>) -> Result<LoadedConfig, ConfigErrors> {
        Self::load_with(layers, LoadContext::default())
    }

    /// Reads the configuration file, if there is one, and combines it with the other layers.
    ///
    /// # Errors
    /// Returns all errors of all layers.
    pub fn load_with(layers: Layers<'_>, context: LoadContext<'_>) -> Result<LoadedConfig, ConfigErrors> {
        let mut resolver = Resolver::new(layers, context.file);
        let names = clusters(&mut resolver);
        let mut config = Self::resolve(&mut resolver, &Key::default());
        for name in names.clone() {
            let key = Key::from("clusters").child(&name);
            let mut cluster = Cluster::resolve(&mut resolver, &key);
            let kafka = Properties::resolve(&mut resolver, &key.child("kafka"));
            cluster.oauth.check(&mut resolver, &key, &kafka);
            cluster.oauth.aws = AwsVariables::of(resolver.layers.env);
            cluster.values = resolver.values(&key);
            config.clusters.push(Cluster { name, kafka, ..cluster });
        }
        let has_tokens = config.server.auth.tokens_file.is_some();
        config.sources = source::sources(&mut resolver, &names, context.kinds, has_tokens);
        config.queries = queries(&mut resolver, &config.sql, context.check_statement);
        config.check(&mut resolver);
        Ok(LoadedConfig { config, effective: resolver.finish()? })
    }

    /// Checks settings that depend on each other.
    fn check(&self, resolver: &mut Resolver<'_>) {
        if self.sql.memory_total < self.sql.memory_per_query {
            let problem = Problem::LessThan { other: "sql.memory_per_query" };
            resolver.error(&Key::from("sql").child("memory_total"), problem);
        }
        let Tls { cert, key, client_ca } = &self.server.tls;
        for (name, given) in [("cert", cert), ("key", key)] {
            if given.is_none() && (cert.is_some() || key.is_some() || client_ca.is_some()) {
                resolver.error(&Key::from("server").child("tls").child(name), Problem::IncompleteTls);
            }
        }
    }
}

/// Returns the names of the clusters: those in the file, or the one that flags or the environment define.
fn clusters(resolver: &mut Resolver<'_>) -> Vec<String> {
    let mut names: BTreeSet<String> = resolver.document.children("clusters");
    let (servers, name) = resolver.single_cluster();
    match servers {
        Some((origin, _)) if !names.is_empty() => resolver.error_at(origin, None, Problem::SecondDefinition),
        Some((origin, servers)) => {
            let name = name.map_or_else(|| "default".to_owned(), |(_, name)| name);
            resolver.set_override(Key::from("clusters").child(&name).child("bootstrap_servers"), origin, servers);
            names.insert(name);
        }
        None => {
            if let Some((origin, _)) = name {
                resolver.error_at(origin, None, Problem::NameWithoutServers);
            }
            // If the file could not be read, it may define clusters, so this error would be misleading.
            if names.is_empty() && !resolver.failed() {
                resolver.error_at(Origin::Default, None, Problem::NoCluster);
            }
        }
    }
    for name in &names {
        if !is_name(name) {
            resolver.error(&Key::from("clusters").child(name), Problem::ClusterName);
        }
    }
    names.into_iter().collect()
}

/// Reads the statements of the operator.
fn queries(resolver: &mut Resolver<'_>, limits: &Sql, check: Option<CheckStatement>) -> Vec<NamedQuery> {
    let mut queries = vec![];
    for name in resolver.document.children("queries") {
        let key = Key::from("queries").child(&name);
        if !is_name(&name) {
            resolver.error(&key, Problem::QueryName);
        }
        let query = NamedQuery::resolve(resolver, &key);
        // An empty statement is reported where it is read.
        let checked = check.filter(|_| !query.statement.is_empty()).map(|check| check(&query.statement, limits));
        if let Some(Err(cause)) = checked {
            resolver.error_of(&key.child("statement"), Problem::Statement(cause));
        }
        queries.push(NamedQuery { name, ..query });
    }
    queries
}

/// Returns whether a text is a valid name of a cluster, source or query.
fn is_name(name: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    (1..=64).contains(&name.len()) && name.chars().all(valid)
}

const EXAMPLE_HEADER: &str = "\
# offsetd.toml: every setting with its meaning, unit, default and the reason for the default.
#
# A flag takes precedence over an environment variable, the variable over this file, and this file over the default.
# Unknown keys are errors. `offsetd check-config` shows the effective values and their origins.
";

const EXAMPLE_KAFKA: &str = "\
# Properties of librdkafka: https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
# Properties that offsetd sets itself, for example group.id and auto.offset.reset, are not allowed.
# A value may also come from a file or from an environment variable:
#   sasl.password = { file = \"/run/secrets/kafka\" }
#   sasl.password = { env = \"KAFKA_PASSWORD\" }
# Environment: for example OFFSETD_CLUSTERS_DEFAULT_KAFKA_SECURITY_PROTOCOL for security.protocol.
[clusters.default.kafka]
# security.protocol = \"SASL_SSL\"
";

const EXAMPLE_QUERIES: &str = "
# Statements that the SQL table `queries` and the dashboard offer to all users, one section per statement. None is
# configured by default, so this section is commented out.
";

/// Example values of [`NamedQuery`].
const EXAMPLE_QUERY: [(&str, &str); 2] = [
    ("statement", "SELECT cluster, group_id, lag FROM groups WHERE status = 'stopped' ORDER BY lag DESC"),
    ("description", "Groups that no longer commit"),
];

const EXAMPLE_SOURCES: &str = "
# Sources of offsets that are stored outside Kafka, one section per source. The name of a section is the value of the
# column `source`. No source is configured by default, so these sections, one for each kind, are commented out.
";

/// Returns an example of `offsetd.toml` that documents every setting and sets it to its default.
#[must_use]
pub fn example(kinds: &[KindSpec]) -> String {
    let mut out = EXAMPLE_HEADER.to_owned();
    Config::visit(&Key::default(), &mut |key, settings| write_section(&mut out, key, settings));
    out.push_str("\n# One section per cluster. The name of a section is the value of the column `cluster`.");
    Cluster::visit(&Key::from("clusters").child("default"), &mut |key, settings| {
        write_section(&mut out, key, settings)
    });
    out.push('\n');
    out.push_str(EXAMPLE_KAFKA);
    out.push_str(EXAMPLE_QUERIES);
    let mut query = String::new();
    write_section(&mut query, &Key::from("queries").child("stopped"), NamedQuery::SETTINGS);
    write_commented(&mut out, &query, &EXAMPLE_QUERY);
    out.push_str(EXAMPLE_SOURCES);
    for kind in kinds {
        let key = Key::from("sources").child(kind.name);
        out.push('\n');
        write_kind(&mut out, &key, kind);
    }
    out
}

/// Writes the section of a kind of source, commented out.
fn write_kind(out: &mut String, section: &Key, kind: &KindSpec) {
    let mut text = String::new();
    write_section(&mut text, section, source::Source::SETTINGS);
    text.push('\n');
    let mut kind_text = String::new();
    (kind.visit)(section, &mut |key, settings| write_section(&mut kind_text, key, settings));
    // The settings of the kind belong to the same section, so its header is removed.
    text.push_str(kind_text.trim_start().strip_prefix(&format!("[{section}]\n")).unwrap_or(&kind_text));
    write_commented(out, &text, &[&[("kind", kind.name)], kind.examples].concat());
}

/// Writes a section, commented out, with example values. Its settings begin with `#` without a space after it.
fn write_commented(out: &mut String, section: &str, examples: &[(&str, &str)]) {
    for line in section.trim_start().lines() {
        let name = line.split_once(" = ").map_or("", |(name, _)| name);
        let example = examples.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let _ = match example {
            _ if line.is_empty() || line.starts_with('#') => writeln!(out, "{line}"),
            Some(example) => writeln!(out, "#{name} = {}", quoted(example)),
            None => writeln!(out, "#{line}"),
        };
    }
}

/// Writes a section with the documentation and the default of each setting.
fn write_section(out: &mut String, section: &Key, settings: &[Setting]) {
    if settings.is_empty() {
        return;
    }
    // Writing to a `String` never fails.
    let _ = writeln!(out, "\n[{section}]");
    for setting in settings {
        let default = match (setting.key, setting.form) {
            ("bootstrap_servers", _) => quoted("localhost:9092"),
            (_, TomlForm::Integer | TomlForm::Bool) => setting.default.to_owned(),
            (_, TomlForm::Text | TomlForm::TextOrInteger | TomlForm::TextOrArray | TomlForm::Secret) => {
                quoted(setting.default)
            }
        };
        let _ = writeln!(out, "#{}", setting.doc);
        let _ = writeln!(out, "# Why: {}.", setting.why);
        let _ = writeln!(out, "# Allowed: {}.", setting.allowed);
        let _ = writeln!(out, "# Environment: {}.", section.child(setting.key).env_name());
        let _ = writeln!(out, "{} = {default}\n", setting.key);
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
}

#[cfg(test)]
mod tests;
