//! Readers of committed offsets: the Kafka log itself, and the other stores in which applications keep offsets.
//!
//! Each kind of source is a file or folder here. It implements [`Source`], or [`polled::Listing`] if its store can only
//! be listed. It writes through a [`SourceWriter`] and uses nothing else of the store.
//!
//! To add a kind for `[sources.NAME]`, write its file with its settings and their `SourceSettings` implementation, and
//! add a line to `KINDS`.

use std::{fmt, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    config::{self, KindConfig, KindSettings, KindSpec, OffsetIs, SectionValues},
    model::{Name, SourceId},
    store::{
        Store,
        cluster::Cluster,
        latest::{LatestOffsets, SourceError},
        source,
        writer::SourceWriter,
    },
};

#[cfg(feature = "store-sql")]
pub mod database;
#[cfg(feature = "store-hbase")]
pub mod hbase;
pub mod import;
pub mod kafka;
pub mod layout;
pub mod polled;
#[cfg(any(feature = "store-redis", feature = "store-zookeeper"))]
mod node;
#[cfg_attr(not(feature = "store-redis"), allow(dead_code, reason = "a build may contain no kind of store"))]
mod rate_limit;
#[cfg(feature = "store-redis")]
pub mod redis;
#[cfg(feature = "store-spark")]
pub mod spark;
#[cfg(feature = "store-zookeeper")]
pub mod zookeeper;

/// Kinds of sources that the configuration can name.
const KINDS: &[KindEntry] = &[
    #[cfg(feature = "store-hbase")]
    KindEntry::of::<hbase::Hbase>(),
    KindEntry::of::<import::Import>(),
    #[cfg(feature = "store-sql")]
    KindEntry::of::<database::Database<database::Mysql>>(),
    #[cfg(feature = "store-sql")]
    KindEntry::of::<database::Database<database::Postgres>>(),
    #[cfg(feature = "store-redis")]
    KindEntry::of::<redis::Redis>(),
    #[cfg(feature = "store-spark")]
    KindEntry::of::<spark::Spark>(),
    #[cfg(feature = "store-zookeeper")]
    KindEntry::of::<zookeeper::ZooKeeper>(),
];

/// A reader of committed offsets.
pub trait Source: Send + 'static {
    /// An error that ends the reader.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Returns the handle by which callers wait until the source has been read up to now.
    fn latest(&self) -> Arc<dyn LatestOffsets>;

    /// Reads until `stop` is cancelled. Blocks, so it needs a thread of its own. Failures of the store are retried.
    ///
    /// # Errors
    /// Returns an error if the source cannot continue.
    fn run(self: Box<Self>, writer: SourceWriter, stop: &CancellationToken) -> Result<(), Self::Error>;
}

/// Settings from which a source is built.
trait SourceSettings: KindSettings {
    /// The source that these settings build.
    type Source: Source;

    /// Builds the source.
    fn open(&self, common: &config::Source) -> Self::Source;

    /// Returns the layout of the source's keys and values, if its kind has one.
    fn layout(&self, common: &config::Source) -> Option<layout::Layout> {
        let _ = common;
        None
    }

    /// Returns the place in the store that is read, such as the path of a znode.
    fn location(&self) -> Option<String> {
        None
    }

    /// Checks whether the source can be read and returns a description of its content. May block.
    fn examine(&self, common: &config::Source) -> Result<String, SourceError>;
}

/// A kind of source, with its constructors.
#[derive(Clone, Copy)]
struct KindEntry {
    form: KindSpec,
    open: fn(&config::Source) -> Option<AnySource>,
    layout: fn(&config::Source) -> Option<layout::Layout>,
    location: fn(&config::Source) -> Option<String>,
    examine: fn(&config::Source) -> Option<Result<String, SourceError>>,
}

impl KindEntry {
    const fn of<S: SourceSettings>() -> Self {
        Self {
            form: KindSpec::of::<S>(),
            location: |source| source.kind_config.get::<S>()?.location(),
            layout: |source| source.kind_config.get::<S>()?.layout(source),
            open: |source| source.kind_config.get::<S>().map(|own| AnySource::new(own.open(source))),
            examine: |source| source.kind_config.get::<S>().map(|own| own.examine(source)),
        }
    }
}

/// Returns the kinds of sources that the configuration can name.
#[must_use]
pub fn kinds() -> Vec<KindSpec> {
    KINDS.iter().map(|kind| kind.form).collect()
}

/// The constructor of a source that is not of a configurable kind.
#[derive(Clone)]
struct Embedded(Arc<dyn Fn() -> AnySource + Send + Sync>);

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}

/// Returns the settings of a source of a cluster that the program itself contains, which is listed every `interval`.
#[must_use]
pub fn embedded<L: polled::Listing + Clone + Sync>(
    (cluster, name): (&str, &str),
    kind: &str,
    listing: L,
    interval: Duration,
) -> config::Source {
    let open = move || AnySource::new(polled::PolledSource::new(listing.clone(), interval));
    config::Source {
        kind: kind.to_owned(),
        cluster: cluster.to_owned(),
        required: false,
        offset_is: OffsetIs::Next,
        group: String::new(),
        topic: String::new(),
        max_requests_per_second: 1,
        name: name.to_owned(),
        kind_config: KindConfig::new(Embedded(Arc::new(open))),
        values: SectionValues::default(),
    }
}

/// Builds the source of a `[sources.NAME]` section, or an [`embedded`] one. Returns `None` if the kind is unknown.
#[must_use]
pub fn open(source: &config::Source) -> Option<AnySource> {
    if let Some(Embedded(open)) = source.kind_config.get() {
        return Some(open());
    }
    (KINDS.iter().find(|kind| kind.form.name == source.kind)?.open)(source)
}

/// Checks whether a source can be read and returns a description of its content. Returns `None` if the kind is unknown.
/// May block.
#[must_use]
pub fn examine(source: &config::Source) -> Option<Result<String, SourceError>> {
    (KINDS.iter().find(|kind| kind.form.name == source.kind)?.examine)(source)
}

/// Returns how a configured source reads keys and values. Returns `None` for an unknown kind, and for one without layout.
#[must_use]
pub fn layout_of(source: &config::Source) -> Option<layout::Layout> {
    (KINDS.iter().find(|kind| kind.form.name == source.kind)?.layout)(source)
}

/// A source of any kind, ready to run once.
pub struct AnySource {
    latest: Arc<dyn LatestOffsets>,
    run: Run,
}

type Run = Box<dyn FnOnce(SourceWriter, &CancellationToken) -> Result<(), AnySourceError> + Send>;

/// An error that ends a source of any kind.
pub type AnySourceError = Box<dyn std::error::Error + Send + Sync>;

impl AnySource {
    /// Erases the type of a source.
    fn new(source: impl Source) -> Self {
        let latest = source.latest();
        let run = |writer: SourceWriter, stop: &CancellationToken| Ok(Box::new(source).run(writer, stop)?);
        Self { latest, run: Box::new(run) }
    }

    /// Reads until `stop` is cancelled. Blocks, so it needs a thread of its own.
    ///
    /// # Errors
    /// Returns an error if the source cannot continue.
    pub fn run(self, writer: SourceWriter, stop: &CancellationToken) -> Result<(), AnySourceError> {
        writer.source().set_latest(self.latest);
        (self.run)(writer, stop)
    }
}

impl fmt::Debug for AnySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnySource").finish_non_exhaustive()
    }
}

/// Adds a source that keeps its offsets as a table to a cluster. Returns the writer of its rows.
pub fn add_table<S: Source>(
    (store, cluster): (&Arc<Store>, &Arc<Cluster>),
    (name, kind): (&str, &str),
    source: &S,
    clock: &Clock,
) -> SourceWriter {
    let added = table_source(cluster, (name, kind), source.latest(), clock);
    store.add_source(cluster, Arc::new(added))
}

/// Adds the source of a `[sources.NAME]` section to its cluster. Returns the writer with which `reader` is to run.
#[must_use]
pub fn add(
    (store, cluster): (&Arc<Store>, &Arc<Cluster>),
    config: &config::Source,
    reader: &AnySource,
) -> SourceWriter {
    let added = table_source(cluster, (&config.name, &config.kind), Arc::clone(&reader.latest), &store.clock);
    let kind = KINDS.iter().find(|kind| kind.form.name == config.kind);
    let location = kind.and_then(|kind| (kind.location)(config)).map(Name::from);
    store.add_source(cluster, Arc::new(added.at(location).required(config.required)))
}

fn table_source(
    cluster: &Cluster,
    (name, kind): (&str, &str),
    latest: Arc<dyn LatestOffsets>,
    clock: &Clock,
) -> source::Source {
    let id = SourceId { cluster: Name::clone(&cluster.name), name: name.into() };
    source::Source::new((id, kind.into()), source::Kind::Table, latest, clock)
}

#[cfg(test)]
mod tests;
