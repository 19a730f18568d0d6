//! `[clusters.NAME.kafka]`: properties of librdkafka.
//!
//! All are accepted but those that offsetd itself must control; these are refused with the reason. A value may be in a file
//! of its own or in a variable: `{ file = "/path" }`, `{ env = "NAME" }`. Secrets are shown as `***`.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Deref, DerefMut},
};

use super::{
    error::{Key, Origin, Problem, quoted},
    file::Leaf,
    layers::{is_secret, shown},
    resolve::Resolver,
};

/// Properties of librdkafka. `Debug` shows their names only: any value may come from a secret's file.
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

/// Properties that offsetd sets itself, and why.
const OWN: [(&str, &str); 17] = [
    ("bootstrap.servers", "set bootstrap_servers of the cluster instead"),
    ("metadata.broker.list", "set bootstrap_servers of the cluster instead"),
    ("group.id", "__consumer_offsets is read without a group, so that nothing is written to the cluster"),
    ("group.instance.id", "__consumer_offsets is read without a group"),
    ("group.protocol", "__consumer_offsets is read without a group"),
    ("group.remote.assignor", "__consumer_offsets is read without a group"),
    ("partition.assignment.strategy", "__consumer_offsets is read without a group"),
    ("enable.auto.commit", "nothing is ever committed"),
    ("auto.commit.enable", "nothing is ever committed"),
    ("enable.auto.offset.store", "nothing is ever committed"),
    ("auto.offset.reset", "a log that moves under the reader must be noticed, so it is always 'error'"),
    ("isolation.level", "aborted commits must not show, so it is always 'read_committed'"),
    ("enable.partition.eof", "readiness is counted by the ends of partitions"),
    ("allow.auto.create.topics", "reading must not create topics"),
    ("transactional.id", "nothing is ever written"),
    ("client.rack", "only the leader's log ends are exact"),
    ("statistics.interval.ms", "statistics are offsetd's own"),
];

/// What may be written as a value.
const ALLOWED: &str = "a string, a number, true or false, { file = \"PATH\" } or { env = \"NAME\" }";

/// Why a property cannot be set; `None` if it can.
fn reserved(key: &str) -> Option<&'static str> {
    // librdkafka's own OIDC client is not in this build. `sasl.oauthbearer.config` is for its unsecured tokens.
    if key.starts_with("sasl.oauthbearer.") && key != "sasl.oauthbearer.config" {
        return Some("offsetd gets the tokens of OAUTHBEARER itself; see the settings of [clusters.NAME.oauth]");
    }
    OWN.iter().find(|(own, _)| own == &key).map(|(_, why)| *why)
}

/// A value, where it was given, and whether it must not be shown.
struct Given {
    value: String,
    origin: Origin,
    hidden: bool,
}

/// The properties of one cluster while the layers are read.
struct Layers {
    section: Key,
    given: BTreeMap<String, Given>,
}

impl Properties {
    /// Reads the properties of one cluster from all layers.
    pub(super) fn resolve(resolver: &mut Resolver<'_>, section: &Key) -> Self {
        let mut properties = Layers { section: section.clone(), given: BTreeMap::new() };
        // Any name is allowed: this one stands for all of them.
        resolver.expect(section.child("*"));
        properties.add_file(resolver);
        properties.add_env(resolver);
        for property in &resolver.sources.flags.kafka {
            properties.add(resolver, &property.key, property.value.clone(), Origin::Flag("-X"), false);
        }
        for (key, given) in &properties.given {
            let value = if given.hidden { "***" } else { shown(key, &given.value) };
            resolver.note(section.child(key), given.value.clone());
            resolver.effective(&section.child(key), Some(quoted(value)), given.origin.clone());
        }
        Self(properties.given.into_iter().map(|(key, given)| (key, given.value)).collect())
    }
}

impl Layers {
    fn add_file(&mut self, resolver: &mut Resolver<'_>) {
        let is_ours = |key: &Key| key.0.len() > self.section.0.len() && key.0.starts_with(&self.section.0);
        let keys: Vec<Key> = resolver.document.leaves.keys().filter(|key| is_ours(key)).cloned().collect();
        for key in keys {
            let Some((leaf, line)) = resolver.document.leaves.remove(&key) else { continue };
            let origin = resolver.line(line);
            let path = key.0.get(self.section.0.len()..).unwrap_or_default().join(".");
            let value = match leaf {
                Leaf::Text(text) | Leaf::Integer(text) | Leaf::Float(text) => text,
                Leaf::Bool(value) => value.to_string(),
                Leaf::EmptyTable | Leaf::Texts(_) | Leaf::Other(_) => {
                    let problem = Problem::WrongType { found: leaf.type_name(), allowed: ALLOWED };
                    resolver.error_at(origin, Some(&key), problem);
                    continue;
                }
            };
            match reference(&path).filter(|(name, _)| reserved(name).is_none()) {
                None => self.add(resolver, &path, value, origin, false),
                Some((name, kind)) => match resolver.follow(kind, &value) {
                    Ok(value) => self.add(resolver, name, value, origin, true),
                    Err(problem) => resolver.error_at(origin, Some(&self.section.child(name)), problem),
                },
            }
        }
    }

    /// `OFFSETD_CLUSTERS_PROD_KAFKA_SASL_PASSWORD`
    fn add_env(&mut self, resolver: &mut Resolver<'_>) {
        let prefix = self.section.env_name() + "_";
        let variables: Vec<(&String, &String)> =
            resolver.sources.env.iter().filter(|(name, _)| name.starts_with(&prefix)).collect();
        for (name, value) in variables {
            resolver.env_left.remove(name.as_str());
            let property = name.get(prefix.len()..).unwrap_or_default().to_ascii_lowercase().replace('_', ".");
            // The only property with an underscore that text can set.
            let property = if property == "log.level" { "log_level" } else { property.as_str() };
            self.add(resolver, property, value.clone(), Origin::Env(name.clone()), false);
        }
    }

    /// Adds a value. Later layers take precedence over earlier ones; within the file, a property is given once.
    fn add(&mut self, resolver: &mut Resolver<'_>, key: &str, value: String, origin: Origin, hidden: bool) {
        let full = self.section.child(key);
        if let Some(why) = reserved(key) {
            resolver.error_at(origin, Some(&full), Problem::Reserved { why });
            return;
        }
        if let Some(check) = resolver.sources.check_property
            && let Err(error) = check(key, &value)
        {
            let secret = hidden || is_secret(key);
            let problem = if secret { Problem::SecretRefused } else { Problem::Refused(error) };
            resolver.error_at(origin, Some(&full), problem);
            return;
        }
        let file = matches!(origin, Origin::File { .. });
        if self.given.insert(key.to_owned(), Given { value, origin: origin.clone(), hidden }).is_some() && file {
            resolver.error_at(origin, Some(&full), Problem::Duplicate);
        }
    }
}

/// `sasl.password.file` is property `sasl.password` in a file.
fn reference(path: &str) -> Option<(&str, &str)> {
    let (name, kind) = path.rsplit_once('.')?;
    matches!(kind, "file" | "env").then_some((name, kind))
}
