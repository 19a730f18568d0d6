//! The clusters and sources that the server reads, and the tasks that read them.
//!
//! Clusters and sources are added and removed when the configuration changes. Those with unchanged settings keep
//! running.

use std::{mem, sync::Arc};

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    AppError,
    supervise::{Run, Supervisor, TaskFailure, TaskOwner, on_thread},
};
use crate::{
    audit,
    config::{self, Config},
    history::{self, Sampler, parquet_store::ParquetStore},
    model::Name,
    source::{
        self, AnySource, Source as _,
        kafka::{
            Log,
            tasks::{self, KafkaSource, TaskError},
        },
    },
    store::{Store, cluster::Cluster, source::Source, writer::SourceWriter},
};

/// Shared dependencies of all tasks. The clusters and sources of `config` are ignored.
#[derive(Debug)]
pub(super) struct Dependencies {
    pub(super) store: Arc<Store>,
    pub(super) history_store: Option<Arc<ParquetStore>>,
    pub(super) config: Config,
    /// Stops all tasks.
    pub(super) stop: CancellationToken,
}

/// The clusters that are being read.
#[derive(Debug)]
pub(super) struct ActiveClusters {
    pub(super) dependencies: Dependencies,
    clusters: Vec<ActiveCluster>,
}

/// A cluster that is being read.
#[derive(Debug)]
struct ActiveCluster {
    config: config::Cluster,
    cluster: Arc<Cluster>,
    log: Arc<Log>,
    /// Reader that was built during validation; taken by the first start.
    first: Option<KafkaSource>,
    sources: Vec<ActiveSource>,
    stop: CancellationToken,
}

/// A source that is read in addition to a cluster's own source.
#[derive(Debug)]
struct ActiveSource {
    config: config::Source,
    writer: SourceWriter,
    first: Option<AnySource>,
    stop: CancellationToken,
}

impl ActiveClusters {
    /// Creates an empty set.
    pub(super) fn new(dependencies: Dependencies) -> Self {
        Self { dependencies, clusters: vec![] }
    }

    /// Replaces the set of clusters and sources. New ones are read after the next [`ActiveClusters::start`].
    ///
    /// # Errors
    /// The settings of a cluster are invalid. In this case nothing has changed.
    pub(super) fn set(&mut self, clusters: &[config::Cluster], sources: &[config::Source]) -> Result<(), AppError> {
        let is_kept = |config: &config::Cluster| self.clusters.iter().any(|entry| entry.matches(config));
        let new = clusters.iter().filter(|config| !is_kept(config));
        let mut new = new.map(|config| self.dependencies.open(config)).collect::<Result<Vec<_>, _>>()?;

        let mut before = mem::take(&mut self.clusters);
        for config in clusters {
            for entries in [&mut before, &mut new] {
                if let Some(at) = entries.iter().position(|entry| entry.matches(config)) {
                    self.clusters.push(entries.swap_remove(at));
                }
            }
        }
        for entry in &mut self.clusters {
            entry.set_sources(sources, &self.dependencies.store);
        }
        self.dependencies.store.set_clusters(self.clusters.iter().map(|entry| Arc::clone(&entry.cluster)).collect());
        for entry in before {
            tracing::info!(cluster = &*entry.cluster.name, "cluster removed or reconfigured; stopped reading it");
            entry.stop.cancel();
        }
        Ok(())
    }

    /// Starts the tasks of all clusters and sources that were added.
    pub(super) fn start(&mut self, tasks: &mut Supervisor) {
        for entry in &mut self.clusters {
            entry.start(&self.dependencies, tasks);
        }
    }
}

impl Dependencies {
    fn open(&self, config: &config::Cluster) -> Result<ActiveCluster, AppError> {
        let (cluster, log) = Log::open(config.clone(), &self.store.clock);
        self.history_store
            .iter()
            .for_each(|history_store| cluster.set_history_store(Box::new(Arc::clone(history_store))));
        let (writer, stop) = (SourceWriter::own(&self.store, &cluster), self.stop.child_token());
        let first = KafkaSource::new(&writer, Arc::clone(&log), self.settings(), &stop);
        let bad =
            |error: TaskError| AppError::Cluster { cluster: cluster.name.to_string(), reason: error.cause.to_string() };
        let first = Some(first.map_err(bad)?);
        Ok(ActiveCluster { config: config.clone(), cluster, log, first, sources: vec![], stop })
    }

    fn settings(&self) -> tasks::Settings {
        let (lag, transactions) = (self.config.lag.clone(), self.config.transactions.clone());
        tasks::Settings { lag, transactions, ending: self.stop.clone() }
    }
}

impl ActiveCluster {
    fn matches(&self, config: &config::Cluster) -> bool {
        self.config.name == config.name && self.config.values == config.values
    }

    /// Keeps the unchanged sources, stops those that were removed or changed, and adds the new ones.
    fn set_sources(&mut self, sources: &[config::Source], store: &Arc<Store>) {
        let wanted = || sources.iter().filter(|config| config.cluster == self.config.name);
        self.sources.retain(|entry| {
            let is_kept = wanted().any(|config| entry.matches(config));
            if !is_kept {
                let (cluster, source) = (&*self.cluster.name, &*entry.config.name);
                tracing::info!(cluster, source, "source removed or reconfigured; stopped reading it");
                entry.stop.cancel();
                store.remove_source(&self.cluster, entry.writer.source());
            }
            is_kept
        });
        for config in wanted() {
            if self.sources.iter().any(|entry| entry.matches(config)) {
                continue;
            }
            // The configuration rejects all other kinds.
            let Some(reader) = source::open(config) else { continue };
            let writer = source::add((store, &self.cluster), config, &reader);
            let stop = self.stop.child_token();
            self.sources.push(ActiveSource { config: config.clone(), writer, first: Some(reader), stop });
        }
    }

    fn start(&mut self, dependencies: &Dependencies, tasks: &mut Supervisor) {
        let Dependencies { store, config, .. } = dependencies;
        let (cluster, stop) = (&self.cluster, &self.stop);
        if let Some(first) = self.first.take() {
            tracing::info!(cluster = &*cluster.name, servers = self.config.bootstrap_servers, "reading");
            let owner = TaskOwner::new(store, &cluster.own, true, stop);
            let read_by = (Arc::clone(cluster), Arc::clone(&self.log));
            tasks.start_restarting(
                &owner,
                "source",
                read(first, store, read_by.clone(), dependencies.settings(), stop),
            );
            tasks.start_restarting(&owner, "sampler", sample(store, (cluster, &cluster.own), config, stop));
            tasks.start_restarting(&owner, "audit", compare(store, read_by, config, stop));
        }
        for entry in &mut self.sources {
            let Some(first) = entry.first.take() else { continue };
            let (source, stop) = (Arc::clone(entry.writer.source()), &entry.stop);
            tracing::info!(cluster = &*cluster.name, source = &*source.id.name, kind = &*source.store, "reading");
            let owner = TaskOwner::new(store, &source, false, stop);
            let name = Name::clone(&source.id.name);
            tasks.start_restarting(&owner, &name, entry.read(first));
            tasks.start_restarting(&owner, &format!("{name}/sampler"), sample(store, (cluster, &source), config, stop));
        }
    }
}

impl ActiveSource {
    fn matches(&self, config: &config::Source) -> bool {
        let same = |config: &config::Source| (config.name.clone(), config.kind.clone(), config.cluster.clone());
        same(&self.config) == same(config) && self.config.values == config.values
    }

    /// Reads the source. The first run uses the given reader; each restart opens a new one.
    fn read(&self, first: AnySource) -> impl FnMut() -> Run + Send + use<> {
        let (config, writer, stop) = (self.config.clone(), self.writer.clone(), self.stop.clone());
        let mut first = Some(first);
        move || {
            let reader = first.take().or_else(|| source::open(&config));
            let (writer, stop) = (writer.clone(), stop.clone());
            on_thread(&format!("{}/{}", config.cluster, config.name), move || {
                let reader = reader.ok_or(TaskFailure::Exited)?;
                reader.run(writer, &stop).map_err(TaskFailure::failed)
            })
        }
    }
}

/// Reads a cluster. The first run uses the given source; each restart builds a new one.
fn read(
    first: KafkaSource,
    store: &Arc<Store>,
    (cluster, log): (Arc<Cluster>, Arc<Log>),
    settings: tasks::Settings,
    stop: &CancellationToken,
) -> impl FnMut() -> Run + Send + use<> {
    let (writer, stop, mut first) = (SourceWriter::own(store, &cluster), stop.clone(), Some(first));
    move || {
        let (writer, log, stop) = (writer.clone(), Arc::clone(&log), stop.clone());
        let (settings, built) = (settings.clone(), first.take());
        on_thread(&format!("{}/source", cluster.name), move || {
            let source = built.map_or_else(|| KafkaSource::new(&writer, Arc::clone(&log), settings, &stop), Ok)?;
            let ended = Box::new(source).run(writer, &stop);
            if stop.is_cancelled() {
                // Closing a librdkafka client blocks, so it happens on this thread and not where the last reference is
                // dropped.
                log.disconnect();
            }
            Ok(ended?)
        })
    }
}

/// Samples a source at each interval once it is ready.
fn sample(
    store: &Arc<Store>,
    (cluster, source): (&Arc<Cluster>, &Arc<Source>),
    config: &Config,
    stop: &CancellationToken,
) -> impl FnMut() -> Run + Send + use<> {
    let (store, cluster, source, stop) = (Arc::clone(store), Arc::clone(cluster), Arc::clone(source), stop.clone());
    let (settings, interval) = (history::Settings::new(&config.history, &config.lag), config.lag.sample_interval);
    move || {
        let mut sampler = Sampler::new(Arc::clone(&store), (Arc::clone(&cluster), Arc::clone(&source)), settings);
        let stop = stop.clone();
        let samples = async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(interval) => {}
                    () = stop.cancelled() => return Ok(()),
                }
                if sampler.source().health().ready {
                    let sample = tokio::task::spawn_blocking(move || {
                        sampler.sample();
                        sampler
                    });
                    sampler = sample.await.map_err(TaskFailure::failed)?;
                }
            }
        };
        samples.boxed()
    }
}

/// Compares a cluster's offsets with those that its coordinators return.
fn compare(
    store: &Arc<Store>,
    (cluster, log): (Arc<Cluster>, Arc<Log>),
    config: &Config,
    stop: &CancellationToken,
) -> impl FnMut() -> Run + Send + use<> {
    let (store, stop) = (Arc::clone(store), stop.clone());
    let settings = config.audit.clone();
    move || {
        let (store, read) = (Arc::clone(&store), (Arc::clone(&cluster), Arc::clone(&log)));
        audit::run(store, read, settings.clone(), stop.clone()).map(Ok).boxed()
    }
}
