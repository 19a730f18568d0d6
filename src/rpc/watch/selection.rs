//! The clusters and sources that a watch selects. They may be added and removed while it runs.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    error::Error,
    rpc::filter::Filter,
    store::{Store, Unready, cluster::Cluster, source::Source},
};

/// The clusters and sources that a watch selects.
#[derive(Clone)]
pub(super) struct WatchSelection {
    store: Arc<Store>,
    filter: Arc<Filter>,
    /// The cluster that the filter names exactly. The watch ends when it is removed.
    named: Option<Arc<Cluster>>,
    /// The sources that the filter named at the start. The watch ends when all of them are removed.
    named_sources: Vec<Arc<Source>>,
}

impl WatchSelection {
    /// Returns the selection of a filter.
    ///
    /// # Errors
    /// The filter names a cluster that does not exist.
    pub(super) fn new(store: &Arc<Store>, filter: &Arc<Filter>) -> Result<Self, Unready> {
        let named = match filter.named_cluster() {
            "" => None,
            name => Some(store.cluster(name)?),
        };
        let selection = Self { store: Arc::clone(store), filter: Arc::clone(filter), named, named_sources: vec![] };
        let named_sources = if filter.selects_sources() { selection.sources() } else { vec![] };
        Ok(Self { named_sources, ..selection })
    }

    /// Returns the selected clusters that exist now.
    pub(super) fn clusters(&self) -> Vec<Arc<Cluster>> {
        let clusters = self.store.clusters();
        let is_watched = |cluster: &&Arc<Cluster>| match &self.named {
            // A new cluster of the same name is not the requested one.
            Some(named) => Arc::ptr_eq(named, cluster),
            None => self.filter.cluster.accepts(&cluster.name),
        };
        clusters.iter().filter(is_watched).map(Arc::clone).collect()
    }

    /// Returns the selected sources that exist now.
    pub(super) fn sources(&self) -> Vec<Arc<Source>> {
        let sources = self.clusters().into_iter().flat_map(|cluster| cluster.sources());
        sources.filter(|source| self.filter.accepts_source(&source.id.name)).collect()
    }

    /// Returns a receiver that wakes when clusters or sources are added or removed.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.store.watch_sources()
    }

    /// Waits until the named cluster or sources are removed. Returns the error for the client.
    pub(super) async fn removed(&self) -> Error {
        let mut changes = self.changes();
        loop {
            if let Some(named) = &self.named
                && self.clusters().is_empty()
            {
                let text =
                    format!("cluster {:?} was removed from the configuration or its settings changed", named.name);
                return Error::NotFound(text);
            }
            let sources = self.sources();
            let is_gone = |named: &Arc<Source>| !sources.iter().any(|source| Arc::ptr_eq(source, named));
            if !self.named_sources.is_empty() && self.named_sources.iter().all(is_gone) {
                let text = "the sources of the filter were removed from the configuration or their settings changed";
                return Error::NotFound(text.to_owned());
            }
            // The sender lives as long as the store.
            let _ = changes.changed().await;
        }
    }
}
