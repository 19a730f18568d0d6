//! `[clusters.NAME.kafka]`: properties of librdkafka.
//!
//! Any may be given, but for those that offsetd itself must control: refused with the reason. A value may stand in a
//! file of its own or in a variable: `{ file = "/path" }`, `{ env = "NAME" }`. Secrets are shown as `***`.

use std::{collections::BTreeMap, fmt, fs, str::FromStr};

use super::{
    file::Leaf,
    resolve::{Key, Origin, Resolver, quoted},
};

/// Says whether librdkafka knows a property and takes the value, without making a client.
pub type CheckProperty = dyn Fn(&str, &str) -> Result<(), String>;

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

/// Properties that end like a reference.
const NOT_REFERENCES: [&str; 3] = [
    "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.assertion.file",
    "sasl.oauthbearer.assertion.jwt.template.file",
];

/// A property of the command line: `-X key=value`. `Debug` hides secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Property {
    /// librdkafka's name.
    pub key: String,
    /// The value.
    pub value: String,
}

impl FromStr for Property {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, as security.protocol=SSL")?;
        Ok(Self { key: key.trim().to_owned(), value: value.to_owned() })
    }
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, shown(&self.key, &self.value))
    }
}

/// The value, or `***`.
pub(super) fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    if is_secret(key) { "***" } else { value }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET.iter().any(|part| key.contains(part))
}

/// A value, where it was given, and whether it must not be shown.
struct Given {
    value: String,
    origin: Origin,
    hidden: bool,
}

/// The properties of one cluster while they are put together.
pub(super) struct Properties {
    section: Key,
    given: BTreeMap<String, Given>,
}

impl Properties {
    pub(super) fn resolve(resolver: &mut Resolver<'_>, section: &Key) -> BTreeMap<String, String> {
        let mut properties = Self { section: section.clone(), given: BTreeMap::new() };
        // Any name may come: this one stands for all of them.
        resolver.expect(section.child("*"));
        properties.add_file(resolver);
        properties.add_env(resolver);
        for property in &resolver.sources.flags.kafka {
            properties.add(resolver, &property.key, property.value.clone(), Origin::Flag("-X"), false);
        }
        for (key, given) in &properties.given {
            let value = if given.hidden { "***" } else { shown(key, &given.value) };
            resolver.effective(&section.child(key), Some(quoted(value)), given.origin.clone());
        }
        properties.given.into_iter().map(|(key, given)| (key, given.value)).collect()
    }

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
                    let allowed =
                        "expected a string, a number, true or false, { file = \"PATH\" } or { env = \"NAME\" }";
                    resolver.error_at(origin, Some(&key), allowed);
                    continue;
                }
            };
            match reference(&path) {
                None => self.add(resolver, &path, value, origin, false),
                Some((name, kind)) => match follow(resolver, kind, &value) {
                    Ok(value) => self.add(resolver, name, value, origin, true),
                    Err(problem) => resolver.error_at(origin, Some(&self.section.child(name)), &problem),
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

    /// Later layers cover earlier ones; within the file, a property is given once.
    fn add(&mut self, resolver: &mut Resolver<'_>, key: &str, value: String, origin: Origin, hidden: bool) {
        let full = self.section.child(key);
        if let Some((_, why)) = OWN.iter().find(|(own, _)| own == &key) {
            resolver.error_at(origin, Some(&full), &format!("cannot be set: {why}"));
            return;
        }
        if let Some(check) = resolver.sources.check_property
            && let Err(problem) = check(key, &value)
        {
            // librdkafka's message may quote the value.
            let problem = if hidden || is_secret(key) { "librdkafka refuses it".to_owned() } else { problem };
            resolver.error_at(origin, Some(&full), &problem);
            return;
        }
        let file = matches!(origin, Origin::File { .. });
        if self.given.insert(key.to_owned(), Given { value, origin: origin.clone(), hidden }).is_some() && file {
            resolver.error_at(origin, Some(&full), "is given twice");
        }
    }
}

/// `sasl.password.file` is property `sasl.password` in a file.
fn reference(path: &str) -> Option<(&str, &str)> {
    let (name, kind) = path.rsplit_once('.')?;
    (matches!(kind, "file" | "env") && !NOT_REFERENCES.contains(&path)).then_some((name, kind))
}

fn follow(resolver: &Resolver<'_>, kind: &str, at: &str) -> Result<String, String> {
    let value = if kind == "file" {
        fs::read_to_string(at).map_err(|error| format!("cannot read {at}: {error}"))?
    } else {
        resolver.sources.env.get(at).cloned().ok_or_else(|| format!("the environment has no {at}"))?
    };
    // Editors and `echo` end a file with a line end that is no part of the secret.
    let value = value.strip_suffix('\n').map_or(value.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(value.to_owned())
}
