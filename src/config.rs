//! Settings: flag > environment > file > default, each with its origin.
//!
//! Invariants: all errors of all layers are reported at once; an unknown key is an error; a secret is never shown, not in an
//! error, in `Debug` or in `check-config`; the environment is passed in, never read here.
//!
//! # Adding a setting
//!
//! 1. Add a line to its section in `settings.rs`. Where no kind of `value.rs` fits, add one there.
//! 2. If it depends on another setting, add the condition to `Config::check` and a variant to `Problem`.
//! 3. Write the example file: `UPDATE_EXAMPLE=1 cargo test --lib config`.
//!
//! A new section is a struct in `settings.rs` and a field below `sections` of the struct that contains it.
//!
//! Each module uses only those declared before it.

use std::{collections::BTreeSet, fmt::Write as _};

// Flags and environment; keys, origins and problems; kinds of values; the file; the layers put together; properties of
// librdkafka; the macro of a section; how to log in by OAUTHBEARER; the table of settings.
mod sources;
mod error;
mod value;
mod file;
mod resolve;
mod kafka;
mod section;
mod oauth;
mod settings;

pub use error::{ConfigError, ConfigErrors, Origin};
pub use kafka::Properties;
pub use oauth::{AwsVariables, Oauth};
pub use resolve::EffectiveValue;
pub use settings::{
    Admin, Audit, Auth, Cluster, History, Http, Lag, Limits, NameFilter, Server, Sql, Tls, Transactions,
};
pub use sources::{CheckProperty, Flags, NotAProperty, Property, PropertyError, Sources};
pub use value::ReadMode;
pub use value::{OauthMethod, Secret};

use error::{Key, Problem, quoted};
use resolve::Resolver;
use section::{Section as _, section};
use value::{Form, Setting};

section! {
    /// All settings.
    #[derive(Clone, Debug)]
    pub struct Config {}
    sections {
        /// The listener, and limits of the process.
        pub server: Server,
        /// Limits of SQL.
        pub sql: Sql,
        /// Log ends and lag.
        pub lag: Lag,
        /// Samples over time.
        pub history: History,
        /// Commits behind open transactions.
        pub transactions: Transactions,
        /// The comparison with what Kafka's coordinators say.
        pub audit: Audit,
    }
    with {
        /// The clusters to watch; never empty, names are unique.
        pub clusters: Vec<Cluster>,
    }
}

/// A configuration, and where each value of it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The values as text, in the order of the sections, secrets hidden.
    pub effective: Vec<EffectiveValue>,
}

impl Config {
    /// Reads the file, if any, and puts the layers together.
    ///
    /// # Errors
    /// All errors of all layers.
    pub fn load(sources: Sources<'_>) -> Result<Loaded, ConfigErrors> {
        let mut resolver = Resolver::new(sources);
        let names = clusters(&mut resolver);
        let mut config = Self::resolve(&mut resolver, &Key::default());
        for name in names {
            let key = Key::from("clusters").child(&name);
            let mut cluster = Cluster::resolve(&mut resolver, &key);
            let kafka = Properties::resolve(&mut resolver, &key.child("kafka"));
            cluster.oauth.check(&mut resolver, &key, &kafka);
            cluster.oauth.aws = AwsVariables::of(resolver.sources.env);
            config.clusters.push(Cluster { name, kafka, ..cluster });
        }
        config.check(&mut resolver);
        Ok(Loaded { config, effective: resolver.finish()? })
    }

    /// Checks settings that depend on each other.
    fn check(&self, resolver: &mut Resolver<'_>) {
        if self.sql.memory_total < self.sql.memory_per_query {
            let problem = Problem::Below { other: "sql.memory_per_query" };
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

/// Returns the names of the clusters: those of the file, or the one that flags or the environment give.
fn clusters(resolver: &mut Resolver<'_>) -> Vec<String> {
    let mut names: BTreeSet<String> = resolver.document.children("clusters");
    let (servers, name) = resolver.single_cluster();
    match servers {
        Some((origin, _)) if !names.is_empty() => resolver.error_at(origin, None, Problem::SecondDefinition),
        Some((origin, servers)) => {
            let name = name.map_or_else(|| "default".to_owned(), |(_, name)| name);
            resolver.set(Key::from("clusters").child(&name).child("bootstrap_servers"), origin, servers);
            names.insert(name);
        }
        None => {
            if let Some((origin, _)) = name {
                resolver.error_at(origin, None, Problem::NameOnly);
            }
            // A file that could not be read may define some.
            if names.is_empty() && !resolver.failed() {
                resolver.error_at(Origin::Default, None, Problem::NoCluster);
            }
        }
    }
    for name in &names {
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if !(1..=64).contains(&name.len()) || !name.chars().all(valid) {
            resolver.error(&Key::from("clusters").child(name), Problem::ClusterName);
        }
    }
    names.into_iter().collect()
}

const HEAD: &str = "\
# offsetd.toml: every setting, its unit, its default, and why.
#
# A flag takes precedence over an environment variable, that over this file, and this file over the default.
# Unknown keys are errors. `offsetd check-config` shows the effective values and where each came from.
";

const KAFKA: &str = "\
# Properties of librdkafka: https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
# All but those that offsetd must control itself, as group.id or auto.offset.reset.
# A value may be in a file of its own or in an environment variable:
#   sasl.password = { file = \"/run/secrets/kafka\" }
#   sasl.password = { env = \"KAFKA_PASSWORD\" }
# Environment: OFFSETD_CLUSTERS_DEFAULT_KAFKA_SECURITY_PROTOCOL for security.protocol, and so on.
[clusters.default.kafka]
# security.protocol = \"SASL_SSL\"
";

/// Returns `offsetd.toml` with every setting at its default, documented.
#[must_use]
pub fn example() -> String {
    let mut out = HEAD.to_owned();
    Config::visit(&Key::default(), &mut |key, settings| write_section(&mut out, key, settings));
    out.push_str("\n# One section a cluster; its name is what `cluster` shows in every answer.");
    Cluster::visit(&Key::from("clusters").child("default"), &mut |key, settings| {
        write_section(&mut out, key, settings)
    });
    out.push('\n');
    out.push_str(KAFKA);
    out
}

fn write_section(out: &mut String, section: &Key, settings: &[Setting]) {
    if settings.is_empty() {
        return;
    }
    // Writing to a String does not fail.
    let _ = writeln!(out, "\n[{section}]");
    for setting in settings {
        let default = match (setting.key, setting.form) {
            ("bootstrap_servers", _) => quoted("localhost:9092"),
            (_, Form::Integer | Form::Bool) => setting.default.to_owned(),
            (_, Form::Text | Form::TextOrInteger | Form::TextOrArray | Form::Secret) => quoted(setting.default),
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
