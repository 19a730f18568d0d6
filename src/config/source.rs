//! `[sources.NAME]`: the settings of sources that store offsets outside Kafka.
//!
//! This module reads the settings that all sources have. The other settings depend on the kind of source and are
//! defined in the module of that kind; the caller passes in the list of kinds.

use std::{any::Any, collections::BTreeSet, fmt, sync::Arc};

use super::{
    error::{Key, Problem},
    resolve::{Resolver, SectionValues},
    section::{Section, section},
    value::{OffsetIs, Setting},
};
use crate::model::SOURCE_KAFKA;

section! {
    /// `[sources.NAME]`: the settings of a source that all kinds have.
    #[derive(Clone, Debug)]
    pub struct Source {
        /// Kind of store that contains the offsets. Empty: the name of the section, which must then be a kind.
        pub kind: String = Text(""), "most servers have one source of each kind";
        /// Cluster that has the topics of the offsets. Empty: the only cluster.
        pub cluster: String = Text(""), "most servers have one cluster";
        /// Whether readiness waits for this source even if it keeps failing.
        pub required: bool = Flag("false"), "if a source fails, only its own rows are missing";
        /// Meaning of a stored offset: next is the offset of the next record to read, as in Kafka; last is the offset
        /// of the last processed record.
        pub offset_is: OffsetIs = WhichOffset("next"), "most applications store the next offset, as Kafka's clients and Spark do";
        /// Group of offsets that are stored without a group.
        pub group: String = Text(""), "most layouts contain the group";
        /// Topic of offsets that are stored without a topic.
        pub topic: String = TopicName(""), "most layouts contain the topic";
        /// Maximum number of requests per second that the store gets. Commands that are sent together count as one
        /// request. Polling every `interval` stays; a poll takes longer.
        pub max_requests_per_second: usize = Positive("1000"), "a full read of 1,000,000 Redis fields takes a few hundred requests";
    }
    with {
        /// The name: 1 to 64 characters of `[A-Za-z0-9_.-]`.
        pub name: String,
        /// The settings of the kind.
        pub kind_config: KindConfig,
        /// All values of the section, to detect changes.
        pub values: SectionValues,
    }
}

impl Source {
    /// Returns the offset of the next record to read, for a stored offset. `None` if the number is not an offset.
    #[must_use]
    pub fn next(&self, kept: i64) -> Option<i64> {
        let next = match self.offset_is {
            OffsetIs::Next => Some(kept),
            OffsetIs::Last => kept.checked_add(1),
        };
        next.filter(|_| (0..i64::MAX).contains(&kept))
    }
}

/// The settings of a kind of source. Only the module of the kind knows their type. The default has no settings.
#[derive(Clone)]
pub struct KindConfig(Arc<dyn KindConfigValue>);

trait KindConfigValue: Any + fmt::Debug + Send + Sync {}

impl<T: Any + fmt::Debug + Send + Sync> KindConfigValue for T {}

impl KindConfig {
    /// Wraps settings of any type.
    pub(crate) fn new(settings: impl Any + fmt::Debug + Send + Sync) -> Self {
        Self(Arc::new(settings))
    }

    /// Returns the settings, if they are of this type.
    #[must_use]
    pub fn get<T: Any>(&self) -> Option<&T> {
        let settings: &dyn Any = &*self.0;
        settings.downcast_ref()
    }
}

impl Default for KindConfig {
    fn default() -> Self {
        Self(Arc::new(()))
    }
}

impl fmt::Debug for KindConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The settings of a kind of source.
pub(crate) trait KindSettings: Section + fmt::Debug + Send + Sync + 'static {
    /// The value of `kind`.
    const KIND: &'static str;
    /// Example values, by key, for the settings that have no default.
    const EXAMPLES: &'static [(&'static str, &'static str)];

    /// Checks settings that depend on each other.
    ///
    /// # Errors
    /// Returns the first error.
    fn check(&self, common: &Source) -> Result<(), SettingError> {
        let _ = common;
        Ok(())
    }

    /// Returns the setting by which clients may write offsets, if it is on. It requires `server.auth.tokens_file`.
    fn write_setting(&self) -> Option<&'static str> {
        None
    }
}

/// An error in the settings of a kind of source.
#[derive(Debug)]
pub struct SettingError {
    /// The key of the setting. Names of nested sections precede it, each with a dot.
    pub setting: &'static str,
    /// The error.
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

type Visit = fn(&Key, &mut dyn FnMut(&Key, &[Setting]));

/// A kind of source: its name and the functions that read and document its settings.
#[derive(Clone, Copy, Debug)]
pub struct KindSpec {
    /// The value of `kind`.
    pub name: &'static str,
    pub(super) examples: &'static [(&'static str, &'static str)],
    pub(super) visit: Visit,
    resolve: fn(&mut Resolver<'_>, &Key, &Source, bool) -> KindConfig,
}

impl KindSpec {
    /// Returns the form of the kind with the settings `S`.
    pub(crate) const fn of<S: KindSettings>() -> Self {
        let resolve = |resolver: &mut Resolver<'_>, key: &Key, common: &Source, has_tokens: bool| {
            let settings = S::resolve(resolver, key);
            if let Some(setting) = settings.write_setting().filter(|_| !has_tokens) {
                resolver.error_of(&key.child(setting), Problem::WriteWithoutTokens);
            }
            if let Err(SettingError { setting, cause }) = settings.check(common) {
                let setting = setting.split('.').fold(key.clone(), |key, name| key.child(name));
                resolver.error_of(&setting, Problem::Source(cause));
            }
            KindConfig::new(settings)
        };
        Self { name: S::KIND, examples: S::EXAMPLES, visit: S::visit, resolve }
    }
}

/// The kinds that a build may not contain, each with its cargo feature.
const OPTIONAL: [(&str, &str); 6] = [
    ("hbase", "store-hbase"),
    ("mysql", "store-sql"),
    ("postgres", "store-sql"),
    ("redis", "store-redis"),
    ("spark", "store-spark"),
    ("zookeeper", "store-zookeeper"),
];

/// Reads the sources in the configuration file. `clusters` are the names of the clusters; `has_tokens` tells whether
/// clients need a token.
pub(super) fn sources(
    resolver: &mut Resolver<'_>,
    clusters: &[String],
    kinds: &[KindSpec],
    has_tokens: bool,
) -> Vec<Source> {
    let names: BTreeSet<String> = resolver.document.children("sources");
    let sources = names.into_iter().map(|name| source(resolver, name, (clusters, kinds), has_tokens));
    sources.collect()
}

fn source(
    resolver: &mut Resolver<'_>,
    name: String,
    (clusters, kinds): (&[String], &[KindSpec]),
    has_tokens: bool,
) -> Source {
    let key = Key::from("sources").child(&name);
    if !super::is_name(&name) {
        resolver.error(&key, Problem::SourceName);
    }
    if name == SOURCE_KAFKA {
        resolver.error(&key, Problem::SourceKafka);
    }
    let mut source = Source::resolve(resolver, &key);
    source.cluster = cluster(resolver, &key, source.cluster, clusters);
    let names = || kinds.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
    let is_named = !source.kind.is_empty();
    if !is_named {
        source.kind.clone_from(&name);
        resolver.show_value(&key.child("kind"), &name);
    }
    match kinds.iter().find(|kind| kind.name == source.kind) {
        Some(kind) => source.kind_config = (kind.resolve)(resolver, &key, &source, has_tokens),
        None => {
            let kind = key.child("kind");
            let left_out = OPTIONAL.iter().find(|(kind, _)| *kind == source.kind);
            let problem = if let Some((kind, feature)) = left_out {
                Problem::KindNotBuilt { kind, feature }
            } else if is_named {
                Problem::UnknownKind { kind: source.kind.clone(), kinds: names() }
            } else {
                Problem::KindNotSet { name: name.clone(), kinds: names() }
            };
            resolver.error_of(&kind, problem);
            // The settings of an unknown kind are not known, so they are not reported as unknown keys.
            resolver.ignore_section(&key);
        }
    }
    source.values = resolver.values(&key);
    Source { name, ..source }
}

/// Returns the cluster of a source: the one that it names, or the only one.
fn cluster(resolver: &mut Resolver<'_>, source: &Key, named: String, clusters: &[String]) -> String {
    let key = source.child("cluster");
    let known = || clusters.join(", ");
    match clusters {
        // A configuration without clusters is reported elsewhere.
        [] => named,
        [only] if named.is_empty() => {
            resolver.show_value(&key, only);
            only.clone()
        }
        _ if named.is_empty() => {
            resolver.error(&key, Problem::ClusterNotSet { clusters: known() });
            named
        }
        _ if clusters.contains(&named) => named,
        _ => {
            resolver.error_of(&key, Problem::UnknownCluster { cluster: named.clone(), clusters: known() });
            named
        }
    }
}
