//! `[clusters.NAME.kafka]`: the properties of librdkafka that the operator sets.
//!
//! All properties are accepted except those that offsetd sets itself; these are refused with the reason. A value may
//! come from a file or an environment variable: `{ file = "/path" }`, `{ env = "NAME" }`. Secrets are shown as `***`.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Deref, DerefMut},
};

use super::{
    error::{Key, Origin, Problem, quoted},
    file::TomlValue,
    layers::{displayed, is_secret},
    resolve::Resolver,
};

/// Properties of librdkafka. `Debug` shows only their names, since any value may be a secret.
#[derive(Clone, Default)]
pub struct Properties(pub BTreeMap<String, String>);

impl Deref for Properties {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Properties {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The properties that offsetd sets itself, each with the reason.
const RESERVED: [(&str, &str); 17] = [
    ("bootstrap.servers", "set bootstrap_servers of the cluster instead"),
    ("metadata.broker.list", "set bootstrap_servers of the cluster instead"),
    ("group.id", "__consumer_offsets is read without a group, so that nothing is written to the cluster"),
    ("group.instance.id", "__consumer_offsets is read without a group"),
    ("group.protocol", "__consumer_offsets is read without a group"),
    ("group.remote.assignor", "__consumer_offsets is read without a group"),
    ("partition.assignment.strategy", "__consumer_offsets is read without a group"),
    ("enable.auto.commit", "offsetd never commits offsets"),
    ("auto.commit.enable", "offsetd never commits offsets"),
    ("enable.auto.offset.store", "offsetd never commits offsets"),
    ("auto.offset.reset", "it is always 'error', so that offsetd detects a log that was truncated or recreated"),
    ("isolation.level", "it is always 'read_committed', so that aborted commits are not shown"),
    ("enable.partition.eof", "offsetd needs the ends of partitions to determine its readiness"),
    ("allow.auto.create.topics", "offsetd must not create topics"),
    ("transactional.id", "offsetd never writes to Kafka"),
    ("client.rack", "only the leader knows the exact log ends"),
    ("statistics.interval.ms", "offsetd has its own statistics"),
];

/// The allowed values of a property, for errors.
const ALLOWED: &str = "a string, a number, true or false, { file = \"PATH\" } or { env = \"NAME\" }";

/// Returns the reason why a property cannot be set; `None` if it can.
fn reserved(key: &str) -> Option<&'static str> {
    // This build does not contain the OIDC client of librdkafka. `sasl.oauthbearer.config` configures its unsecured
    // tokens.
    if key.starts_with("sasl.oauthbearer.") && key != "sasl.oauthbearer.config" {
        return Some("offsetd requests the OAUTHBEARER tokens itself; use the settings of [clusters.NAME.oauth]");
    }
    RESERVED.iter().find(|(own, _)| own == &key).map(|(_, why)| *why)
}

/// A value with its origin.
struct PropertyValue {
    value: String,
    origin: Origin,
    /// Whether the value must not be shown, since it comes from a file or variable of a secret.
    hidden: bool,
}

/// The properties of one cluster while the layers are combined.
struct MergedProperties {
    section: Key,
    given: BTreeMap<String, PropertyValue>,
}

impl Properties {
    /// Reads the properties of one cluster from all layers.
    pub(super) fn resolve(resolver: &mut Resolver<'_>, section: &Key) -> Self {
        let mut properties = MergedProperties { section: section.clone(), given: BTreeMap::new() };
        // Any name is allowed; `*` stands for all of them in errors.
        resolver.add_known_key(section.child("*"));
        properties.add_file(resolver);
        properties.add_env(resolver);
        for property in &resolver.layers.flags.kafka {
            properties.add(resolver, &property.key, property.value.clone(), Origin::Flag("-X"), false);
        }
        for (key, given) in &properties.given {
            let value = if given.hidden { "***" } else { displayed(key, &given.value) };
            resolver.record_value(section.child(key), given.value.clone());
            resolver.add_effective(&section.child(key), Some(quoted(value)), given.origin.clone());
        }
        Self(properties.given.into_iter().map(|(key, given)| (key, given.value)).collect())
    }
}

impl MergedProperties {
    fn add_file(&mut self, resolver: &mut Resolver<'_>) {
        let is_in_section = |key: &Key| key.0.len() > self.section.0.len() && key.0.starts_with(&self.section.0);
        let keys: Vec<Key> = resolver.document.values.keys().filter(|key| is_in_section(key)).cloned().collect();
        for key in keys {
            let Some((leaf, line)) = resolver.document.values.remove(&key) else { continue };
            let origin = resolver.origin_of_line(line);
            let path = key.0.get(self.section.0.len()..).unwrap_or_default().join(".");
            let value = match leaf {
                TomlValue::Text(text) | TomlValue::Integer(text) | TomlValue::Float(text) => text,
                TomlValue::Bool(value) => value.to_string(),
                TomlValue::EmptyTable | TomlValue::Texts(_) | TomlValue::Other(_) => {
                    let problem = Problem::WrongType { found: leaf.type_name(), allowed: ALLOWED };
                    resolver.error_at(origin, Some(&key), problem);
                    continue;
                }
            };
            match reference(&path).filter(|(name, _)| reserved(name).is_none()) {
                None => self.add(resolver, &path, value, origin, false),
                Some((name, kind)) => match resolver.read_reference(kind, &value) {
                    Ok(value) => self.add(resolver, name, value, origin, true),
                    Err(problem) => resolver.error_at(origin, Some(&self.section.child(name)), problem),
                },
            }
        }
    }

    /// Adds the variables of the section, for example `OFFSETD_CLUSTERS_PROD_KAFKA_SASL_PASSWORD`.
    fn add_env(&mut self, resolver: &mut Resolver<'_>) {
        let prefix = self.section.env_name() + "_";
        let variables: Vec<(&String, &String)> =
            resolver.layers.env.iter().filter(|(name, _)| name.starts_with(&prefix)).collect();
        for (name, value) in variables {
            resolver.unread_variables.remove(name.as_str());
            let property = name.get(prefix.len()..).unwrap_or_default().to_ascii_lowercase().replace('_', ".");
            // All other properties that are set by text have dots instead of underscores.
            let property = if property == "log.level" { "log_level" } else { property.as_str() };
            self.add(resolver, property, value.clone(), Origin::Env(name.clone()), false);
        }
    }

    /// Adds a value of a layer. Later layers take precedence over earlier ones. Within the file, a property that is set
    /// twice is an error.
    fn add(&mut self, resolver: &mut Resolver<'_>, key: &str, value: String, origin: Origin, hidden: bool) {
        let full = self.section.child(key);
        if let Some(why) = reserved(key) {
            resolver.error_at(origin, Some(&full), Problem::Reserved { why });
            return;
        }
        if let Some(check) = resolver.layers.check_property
            && let Err(error) = check(key, &value)
        {
            let secret = hidden || is_secret(key);
            let problem = if secret { Problem::SecretRefused } else { Problem::Refused(error) };
            resolver.error_at(origin, Some(&full), problem);
            return;
        }
        let file = matches!(origin, Origin::File { .. });
        if self.given.insert(key.to_owned(), PropertyValue { value, origin: origin.clone(), hidden }).is_some() && file
        {
            resolver.error_at(origin, Some(&full), Problem::SetTwice);
        }
    }
}

/// Splits a path that refers to a file or a variable: `sasl.password.file` is the property `sasl.password`, of kind
/// `file`.
fn reference(path: &str) -> Option<(&str, &str)> {
    let (name, kind) = path.rsplit_once('.')?;
    matches!(kind, "file" | "env").then_some((name, kind))
}
