//! Where offsets come from.
//!
//! A source is a file or folder here: it implements [`Source`], or [`polled::Listing`] where it keeps offsets as a table.
//! It gets a [`SourceWriter`] and nothing else of the store.
//!
//! To add a kind that `[sources.NAME]` can have, write its file, with its settings and its `Configured`, and add its line
//! to `KINDS`.

use std::{fmt, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    config::{self, KindSettings, SourceForm},
    model::{Name, SourceId},
    store::{
        Store,
        cluster::Cluster,
        latest::{Latest, SourceError},
        source,
        writer::SourceWriter,
    },
};

pub mod import;
pub mod kafka;
pub mod layout;
pub mod polled;
#[cfg(feature = "store-redis")]
pub mod redis;

/// The kinds of sources that the configuration can name.
const KINDS: &[Kind] = &[
    Kind::of::<import::Import>(),
    #[cfg(feature = "store-redis")]
    Kind::of::<redis::Redis>(),
];

/// Reads committed offsets from where they are kept.
pub trait Source: Send + 'static {
    /// Why it cannot go on.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Returns what answers callers that want the latest.
    fn latest(&self) -> Arc<dyn Latest>;

    /// Reads until `stop` is cancelled. Blocks: give it a thread. What goes wrong with the store is tried again.
    ///
    /// # Errors
    /// Why it cannot go on.
    fn run(self: Box<Self>, writer: SourceWriter, stop: &CancellationToken) -> Result<(), Self::Error>;
}

/// Settings that a source is made of.
trait Configured: KindSettings {
    /// What they make.
    type Source: Source;

    /// Makes the source.
    fn open(&self, common: &config::Source) -> Self::Source;

    /// Tries whether it can be read, and tells what is there. May block.
    fn examine(&self, common: &config::Source) -> Result<String, SourceError>;
}

/// A kind of source.
#[derive(Clone, Copy)]
struct Kind {
    form: SourceForm,
    open: fn(&config::Source) -> Option<Reader>,
    examine: fn(&config::Source) -> Option<Result<String, SourceError>>,
}

impl Kind {
    const fn of<S: Configured>() -> Self {
        Self {
            form: SourceForm::of::<S>(),
            open: |source| source.own.get::<S>().map(|own| Reader::new(own.open(source))),
            examine: |source| source.own.get::<S>().map(|own| own.examine(source)),
        }
    }
}

/// Returns the kinds of sources, for the configuration.
#[must_use]
pub fn forms() -> Vec<SourceForm> {
    KINDS.iter().map(|kind| kind.form).collect()
}

/// Makes the source that a section of the configuration describes. `None` if no kind is called so.
#[must_use]
pub fn open(source: &config::Source) -> Option<Reader> {
    (KINDS.iter().find(|kind| kind.form.name == source.kind)?.open)(source)
}

/// Tries whether a source can be read, and tells what is there. `None` if no kind is called so. May block.
#[must_use]
pub fn examine(source: &config::Source) -> Option<Result<String, SourceError>> {
    (KINDS.iter().find(|kind| kind.form.name == source.kind)?.examine)(source)
}

/// A source of any kind, to be run once.
pub struct Reader {
    latest: Arc<dyn Latest>,
    run: Run,
}

type Run = Box<dyn FnOnce(SourceWriter, &CancellationToken) -> Result<(), ReaderError> + Send>;

/// Why a source of any kind cannot go on.
pub type ReaderError = Box<dyn std::error::Error + Send + Sync>;

impl Reader {
    /// Any kind, of a certain one.
    fn new(source: impl Source) -> Self {
        let latest = source.latest();
        let run = |writer: SourceWriter, stop: &CancellationToken| Ok(Box::new(source).run(writer, stop)?);
        Self { latest, run: Box::new(run) }
    }

    /// Reads until `stop` is cancelled. Blocks: give it a thread.
    ///
    /// # Errors
    /// Why it cannot go on.
    pub fn run(self, writer: SourceWriter, stop: &CancellationToken) -> Result<(), ReaderError> {
        writer.source().set_latest(self.latest);
        (self.run)(writer, stop)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// Adds a source that keeps its offsets as a table to a cluster. Returns the door through which it is to write.
pub fn add_table<S: Source>(
    (store, cluster): (&Arc<Store>, &Arc<Cluster>),
    (name, kind): (&str, &str),
    source: &S,
    clock: &Clock,
) -> SourceWriter {
    let added = table(cluster, (name, kind), source.latest(), clock);
    store.add_source(cluster, Arc::new(added))
}

/// Adds the source that a section of the configuration describes to its cluster, to be read by `reader`.
#[must_use]
pub fn add((store, cluster): (&Arc<Store>, &Arc<Cluster>), config: &config::Source, reader: &Reader) -> SourceWriter {
    let added = table(cluster, (&config.name, &config.kind), Arc::clone(&reader.latest), &store.clock);
    store.add_source(cluster, Arc::new(added.required(config.required)))
}

fn table(cluster: &Cluster, (name, kind): (&str, &str), latest: Arc<dyn Latest>, clock: &Clock) -> source::Source {
    let id = SourceId { cluster: Name::clone(&cluster.name), name: name.into() };
    source::Source::new((id, kind.into()), source::Kind::Table, latest, clock)
}
