//! What a watch sees. Clusters and sources may come and go meanwhile.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    error::Error,
    rpc::filter::Filter,
    store::{Store, Unready, cluster::Cluster, source::Source},
};

/// The clusters and sources that a watch is about.
#[derive(Clone)]
pub(super) struct Watched {
    store: Arc<Store>,
    filter: Arc<Filter>,
    /// The cluster that the filter names: without it the watch ends.
    named: Option<Arc<Cluster>>,
    /// The sources that the filter names, as they were: without any of them the watch ends.
    named_sources: Vec<Arc<Source>>,
}

impl Watched {
    /// What is there now.
    ///
    /// # Errors
    /// The filter names a cluster that does not exist.
    pub(super) fn new(store: &Arc<Store>, filter: &Arc<Filter>) -> Result<Self, Unready> {
        let named = match filter.named_cluster() {
            "" => None,
            name => Some(store.cluster(name)?),
        };
        let watched = Self { store: Arc::clone(store), filter: Arc::clone(filter), named, named_sources: vec![] };
        let named_sources = if filter.names_sources() { watched.sources() } else { vec![] };
        Ok(Self { named_sources, ..watched })
    }

    /// The clusters as they are now.
    pub(super) fn clusters(&self) -> Vec<Arc<Cluster>> {
        let clusters = self.store.clusters();
        let is_watched = |cluster: &&Arc<Cluster>| match &self.named {
            // Another one of the same name is not what was asked for.
            Some(named) => Arc::ptr_eq(named, cluster),
            None => self.filter.cluster.accepts(&cluster.name),
        };
        clusters.iter().filter(is_watched).map(Arc::clone).collect()
    }

    /// The sources as they are now.
    pub(super) fn sources(&self) -> Vec<Arc<Source>> {
        let sources = self.clusters().into_iter().flat_map(|cluster| cluster.sources());
        sources.filter(|source| self.filter.accepts_source(&source.id.name)).collect()
    }

    /// Wakes when clusters or sources come or go.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.store.watch_sources()
    }

    /// Returns once what the watch names is gone.
    pub(super) async fn gone(&self) -> Error {
        let mut changes = self.changes();
        loop {
            if let Some(named) = &self.named
                && self.clusters().is_empty()
            {
                let text = format!("cluster {:?} was removed from the configuration, or changed in it", named.name);
                return Error::NotFound(text);
            }
            let sources = self.sources();
            let is_gone = |named: &Arc<Source>| !sources.iter().any(|source| Arc::ptr_eq(source, named));
            if !self.named_sources.is_empty() && self.named_sources.iter().all(is_gone) {
                let text = "the sources of the filter were removed from the configuration, or changed in it";
                return Error::NotFound(text.to_owned());
            }
            // The sender lives as long as the store.
            let _ = changes.changed().await;
        }
    }
}
