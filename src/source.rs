//! Where offsets come from.
//!
//! A source is a file or folder here: it implements [`Source`], or [`polled::Listing`] where it keeps offsets as a table.
//! It gets a [`SourceWriter`] and nothing else of the store.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    model::{Name, SourceId},
    store::{Store, cluster::Cluster, latest::Latest, source, writer::SourceWriter},
};

pub mod kafka;
pub mod polled;

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

/// Adds a source that keeps its offsets as a table to a cluster. Returns the door through which it is to write.
pub fn add_table<S: Source>(
    (store, cluster): (&Arc<Store>, &Arc<Cluster>),
    (name, kind): (&str, &str),
    source: &S,
    clock: &Clock,
) -> SourceWriter {
    let id = SourceId { cluster: Name::clone(&cluster.name), name: name.into() };
    let added = Arc::new(source::Source::new((id, kind.into()), source::Kind::Table, source.latest(), clock));
    cluster.add_source(&added);
    SourceWriter::new(store, cluster, &added)
}
