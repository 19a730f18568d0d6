//! `[sources.NAME]`: offsets that are kept elsewhere.
//!
//! What every source has is read here. The rest is the kind's own: its module says which settings it has, and this one is
//! given the list of kinds.

use std::{any::Any, collections::BTreeSet, fmt, sync::Arc};

use super::{
    error::{Key, Problem},
    resolve::{Resolver, Values},
    section::{Section, section},
    value::{OffsetIs, Setting},
};
use crate::model::SOURCE_KAFKA;

section! {
    /// `[sources.NAME]`: offsets that are kept elsewhere. These settings are the same for every kind.
    #[derive(Clone, Debug)]
    pub struct Source {
        /// What keeps the offsets. Empty: the name of the section, where that is a kind.
        pub kind: String = Text(""), "most have one source of a kind";
        /// The cluster whose topics the offsets are about. Empty: the only one.
        pub cluster: String = Text(""), "most have one cluster";
        /// Readiness waits for this source, however long it fails.
        pub required: bool = Flag("false"), "a source that is down costs nothing but its own rows";
        /// What is kept: next, the offset that is read next, as Kafka keeps it; last, the offset that was processed last.
        pub offset_is: OffsetIs = WhichOffset("next"), "Kafka's clients, Spark and most others keep the next one";
        /// Group of offsets that are kept without one.
        pub group: String = Text(""), "most layouts name the group";
        /// Topic of offsets that are kept without one.
        pub topic: String = TopicName(""), "most layouts name the topic";
    }
    with {
        /// `[A-Za-z0-9_.-]`, 1 to 64 of them.
        pub name: String,
        /// The settings of its kind.
        pub own: Own,
        /// All values, to tell whether any has changed.
        pub values: Values,
    }
}

impl Source {
    /// Returns the offset that is read next, from the one that is kept. `None` if it is no offset.
    #[must_use]
    pub fn next(&self, kept: i64) -> Option<i64> {
        let next = match self.offset_is {
            OffsetIs::Next => Some(kept),
            OffsetIs::Last => kept.checked_add(1),
        };
        next.filter(|_| (0..i64::MAX).contains(&kept))
    }
}

/// Settings of a kind, to be read by the module of the kind. Those of none by default.
#[derive(Clone)]
pub struct Own(Arc<dyn AnySettings>);

trait AnySettings: Any + fmt::Debug + Send + Sync {}

impl<T: Any + fmt::Debug + Send + Sync> AnySettings for T {}

impl Own {
    /// Returns the settings, if they are of this type.
    #[must_use]
    pub fn get<T: Any>(&self) -> Option<&T> {
        let settings: &dyn Any = &*self.0;
        settings.downcast_ref()
    }
}

impl Default for Own {
    fn default() -> Self {
        Self(Arc::new(()))
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The settings of a kind of source.
pub(crate) trait KindSettings: Section + fmt::Debug + Send + Sync + 'static {
    /// What `kind` says.
    const KIND: &'static str;
    /// Examples of the settings that have no default.
    const EXAMPLES: &'static [(&'static str, &'static str)];

    /// Checks what the settings say together.
    ///
    /// # Errors
    /// The first setting at fault.
    fn check(&self, common: &Source) -> Result<(), SettingError> {
        let _ = common;
        Ok(())
    }
}

/// What is wrong with a setting of a kind.
#[derive(Debug)]
pub struct SettingError {
    /// Which setting.
    pub setting: &'static str,
    /// Why.
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

type Visit = fn(&Key, &mut dyn FnMut(&Key, &[Setting]));

/// A kind of source, as the configuration sees it.
#[derive(Clone, Copy, Debug)]
pub struct SourceForm {
    /// What `kind` says.
    pub name: &'static str,
    pub(super) examples: &'static [(&'static str, &'static str)],
    pub(super) visit: Visit,
    resolve: fn(&mut Resolver<'_>, &Key, &Source) -> Own,
}

impl SourceForm {
    /// The form of a kind with these settings.
    pub(crate) const fn of<S: KindSettings>() -> Self {
        let resolve = |resolver: &mut Resolver<'_>, key: &Key, common: &Source| {
            let settings = S::resolve(resolver, key);
            if let Err(SettingError { setting, cause }) = settings.check(common) {
                resolver.error_of(&key.child(setting), Problem::Source(cause));
            }
            Own(Arc::new(settings))
        };
        Self { name: S::KIND, examples: S::EXAMPLES, visit: S::visit, resolve }
    }
}

/// Kinds that a build may leave out, and the cargo feature of each.
const OPTIONAL: [(&str, &str); 1] = [("redis", "store-redis")];

/// Reads the sources of the file. `clusters`: the names that there are.
pub(super) fn sources(resolver: &mut Resolver<'_>, clusters: &[String], kinds: &[SourceForm]) -> Vec<Source> {
    let names: BTreeSet<String> = resolver.document.children("sources");
    let sources = names.into_iter().map(|name| source(resolver, name, clusters, kinds));
    sources.collect()
}

fn source(resolver: &mut Resolver<'_>, name: String, clusters: &[String], kinds: &[SourceForm]) -> Source {
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
        resolver.amend(&key.child("kind"), &name);
    }
    match kinds.iter().find(|kind| kind.name == source.kind) {
        Some(kind) => source.own = (kind.resolve)(resolver, &key, &source),
        None => {
            let kind = key.child("kind");
            let left_out = OPTIONAL.iter().find(|(kind, _)| *kind == source.kind);
            let problem = if let Some((kind, feature)) = left_out {
                Problem::KindNotBuilt { kind, feature }
            } else if is_named {
                Problem::UnknownKind { kind: source.kind.clone(), kinds: names() }
            } else {
                Problem::NoKind { name: name.clone(), kinds: names() }
            };
            resolver.error_of(&kind, problem);
            // Of what kind they are is not known, so that none of the other settings is unknown.
            resolver.forget(&key);
        }
    }
    source.values = resolver.values(&key);
    Source { name, ..source }
}

/// Returns the cluster that a source names, or the only one.
fn cluster(resolver: &mut Resolver<'_>, source: &Key, named: String, clusters: &[String]) -> String {
    let key = source.child("cluster");
    let known = || clusters.join(", ");
    match clusters {
        // That there is none is an error of its own.
        [] => named,
        [only] if named.is_empty() => {
            resolver.amend(&key, only);
            only.clone()
        }
        _ if named.is_empty() => {
            resolver.error(&key, Problem::WhichCluster { clusters: known() });
            named
        }
        _ if clusters.contains(&named) => named,
        _ => {
            resolver.error_of(&key, Problem::UnknownCluster { cluster: named.clone(), clusters: known() });
            named
        }
    }
}
