//! The in-memory state of all clusters: shards of committed offsets and members, log ends, and cuts (consistent views)
//! of them.
//!
//! A cluster has sources of offsets, and a source has shards. Each shard is written by one thread. The shards of a
//! source are a map that is replaced as a whole when a shard is added or rebuilt. The store does not know how a source
//! is read: a source writes through a [`writer::SourceWriter`] and implements [`latest::LatestOffsets`]. Invariants:
//!
//! * A shard only moves forward in its revisions: a fact below the highest applied revision is dropped, whichever
//!   reader delivers it. An entry of the transaction overlay, which is ahead of the reader, is dropped once the reader
//!   has passed it.
//! * No lock is held across an `.await`, nor while more than a few hundred records are applied.
//! * Nothing is deleted by guess: only tombstones delete.
//! * A version that a writer replaces while a reader pins it is counted as retained. The reader that retains too much
//!   is cancelled.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

pub mod audit;
pub mod cluster;
pub mod commits;
pub mod copies;
pub mod counter;
pub mod cut;
pub mod ends;
pub mod event;
pub mod group;
pub mod pins;
pub mod homes;
pub mod latest;
pub mod membership;
pub mod names;
pub mod history_store;
pub mod placement;
pub mod progress;
pub mod samples;
pub mod shard;
pub mod trailing;
pub mod source;
pub mod windows;
pub mod writer;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use cluster::Cluster;
use cut::{Cut, Settings, SourceCut};
use group::ShardContext;
use names::NameInterner;
use pins::{Pin, Pins};
use shard::{Limits, Shard};
use source::{LoadPhase, Source};
use writer::SourceWriter;

use crate::{
    clock::Clock,
    config::NamedQuery,
    model::{Millis, Name},
    work::{CancelHandle, StatusBoard},
};

/// Number of shards among which the limit of kept commits is divided: the default of `offsets.topic.num.partitions`.
const DEFAULT_SHARDS: usize = 50;

/// The state of all clusters, shared by all readers and writers.
#[derive(Debug)]
pub struct Store {
    /// The clock of the server.
    pub clock: Clock,
    names: Arc<NameInterner>,
    pins: Arc<Pins>,
    work: StatusBoard,
    clusters: ArcSwap<Vec<Arc<Cluster>>>,
    /// Notified when a cluster or source is added or removed.
    changed: watch::Sender<()>,
    config: ArcSwap<ConfigState>,
    epochs: AtomicU64,
    cuts: AtomicU64,
    settings: Settings,
    started_at: Millis,
}

/// The configuration that is in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigState {
    /// Time at which it was loaded.
    pub loaded_at: Millis,
    /// Why a newer configuration was rejected, if one was.
    pub error: Option<String>,
    /// The statements of the operator.
    pub queries: Arc<[NamedQuery]>,
}

/// Why a cluster or source cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unready {
    /// No cluster has this name.
    #[error("unknown cluster {name:?}; configured: {known}")]
    Unknown {
        /// The requested name.
        name: String,
        /// The names of the configured clusters.
        known: String,
    },
    /// The request names no cluster, and several are configured.
    #[error("name the cluster; configured: {known}")]
    Ambiguous {
        /// The names of the configured clusters.
        known: String,
    },
    /// The initial load is not complete.
    #[error("cluster {name:?} is not loaded yet: {phase}{remaining}{error}")]
    Loading {
        /// The cluster, or a source that is not the cluster's own, as `east/redis`.
        name: Name,
        /// Phase of the load.
        phase: LoadPhase,
        /// Text with the estimated time left; empty if unknown.
        remaining: String,
        /// Text with the last error; empty without one.
        error: String,
    },
}

impl Store {
    /// Creates a store of these clusters, without data.
    #[must_use]
    pub fn new(clusters: Vec<Arc<Cluster>>, clock: Clock, settings: Settings) -> Self {
        let clock_now = clock.now();
        Self {
            started_at: clock_now,
            clock,
            names: Arc::default(),
            pins: Arc::default(),
            work: StatusBoard::default(),
            clusters: ArcSwap::from_pointee(clusters),
            changed: watch::Sender::default(),
            config: ArcSwap::from_pointee(ConfigState { loaded_at: clock_now, error: None, queries: Arc::default() }),
            epochs: AtomicU64::new(1),
            cuts: AtomicU64::new(0),
            settings,
        }
    }

    /// Returns the current clusters, in the order of the configuration.
    #[must_use]
    pub fn clusters(&self) -> Arc<Vec<Arc<Cluster>>> {
        self.clusters.load_full()
    }

    /// Replaces the clusters. The rows of removed clusters disappear without deletion events.
    pub fn set_clusters(&self, clusters: Vec<Arc<Cluster>>) {
        self.clusters.store(Arc::new(clusters));
        self.changed.send_replace(());
    }

    /// Adds a source to a cluster and replaces a source of the same name. Returns the writer of the source.
    pub fn add_source(self: &Arc<Self>, cluster: &Arc<Cluster>, source: Arc<Source>) -> SourceWriter {
        cluster.add_source(&source);
        self.changed.send_replace(());
        SourceWriter::new(self, cluster, &source)
    }

    /// Removes a source. Its rows disappear without deletion events.
    pub fn remove_source(&self, cluster: &Cluster, source: &Arc<Source>) {
        cluster.remove_source(source);
        self.changed.send_replace(());
    }

    /// Returns a receiver that is notified when a cluster or source is added or removed.
    #[must_use]
    pub fn watch_sources(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Returns the configuration that is in effect.
    #[must_use]
    pub fn config(&self) -> Arc<ConfigState> {
        self.config.load_full()
    }

    /// Records that a configuration with these queries was loaded now.
    pub fn set_config_loaded(&self, queries: Vec<NamedQuery>) {
        self.config.store(Arc::new(ConfigState { loaded_at: self.clock.now(), error: None, queries: queries.into() }));
    }

    /// Records why a newer configuration was rejected; `None` clears the error.
    pub fn set_config_error(&self, error: Option<String>) {
        self.config.rcu(|state| ConfigState { error: error.clone(), ..ConfigState::clone(state) });
    }

    /// Returns the settings of the store.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the time at which the store was created.
    #[must_use]
    pub fn started_at(&self) -> Millis {
        self.started_at
    }

    /// Returns the interned names.
    #[must_use]
    pub fn names(&self) -> &Arc<NameInterner> {
        &self.names
    }

    /// Returns the counter of bytes that only readers retain.
    #[must_use]
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Returns the status board of the server's own work.
    #[must_use]
    pub fn work(&self) -> &StatusBoard {
        &self.work
    }

    /// Creates a shard that no reader sees until it is published, for a load or a rebuild.
    #[must_use]
    fn new_shard(&self, source: &Source, number: i32) -> Arc<Shard> {
        let epoch = self.epochs.fetch_add(1, Ordering::Relaxed);
        let limits = Limits {
            commits_kept: self.settings.commits_kept / DEFAULT_SHARDS,
            watch_queue: self.settings.watch_queue,
        };
        let context = ShardContext::new(epoch, Arc::clone(&self.pins), Arc::clone(&source.copies));
        Arc::new(Shard::new(source.key(number), context, Arc::clone(&self.names), self.clock.clone(), limits))
    }

    /// Drops all data of the Kafka cluster that was read under this name, because another Kafka cluster answers at its
    /// addresses. No cut contains data of both.
    pub fn forget(&self, cluster: &Cluster, error: String) {
        cluster.forget(error, &self.clock);
    }

    fn names_of(clusters: &[Arc<Cluster>]) -> String {
        clusters.iter().map(|cluster| format!("{:?}", cluster.name)).collect::<Vec<_>>().join(", ")
    }

    /// Returns the cluster of this name. The empty name stands for the only cluster.
    ///
    /// # Errors
    /// [`Unready::Unknown`], [`Unready::Ambiguous`].
    pub fn cluster(&self, name: &str) -> Result<Arc<Cluster>, Unready> {
        let clusters = self.clusters.load();
        match (name, &***clusters) {
            ("", [only]) => Ok(Arc::clone(only)),
            ("", _) => Err(Unready::Ambiguous { known: Self::names_of(&clusters) }),
            _ => {
                let found = clusters.iter().find(|cluster| &*cluster.name == name);
                let unknown = || Unready::Unknown { name: name.to_owned(), known: Self::names_of(&clusters) };
                found.map(Arc::clone).ok_or_else(unknown)
            }
        }
    }

    /// Fails if the cluster's own source is not loaded.
    ///
    /// # Errors
    /// [`Unready::Loading`].
    pub fn check_loaded(&self, cluster: &Cluster) -> Result<(), Unready> {
        self.check_source((cluster, &cluster.own), Name::clone(&cluster.name))
    }

    /// Fails if a source of a cluster is not loaded. `name` is used in the error.
    ///
    /// # Errors
    /// [`Unready::Loading`].
    pub fn check_source(&self, (cluster, source): (&Cluster, &Source), name: Name) -> Result<(), Unready> {
        let health = source.health();
        if health.ready {
            return Ok(());
        }
        Err(Unready::Loading {
            name,
            phase: source.load_phase(&cluster.ends.current()),
            remaining: source
                .remaining(self.clock.ticks())
                .map_or_else(String::new, |left| format!(", about {} s left", left.as_secs() + 1)),
            error: health.last_error.as_ref().map_or_else(String::new, |error| format!("; {error}")),
        })
    }

    /// Returns a new snapshot id, which is never returned again.
    #[must_use]
    pub fn snapshot_id(&self, taken_at: Millis) -> String {
        format!("{taken_at}-{}", self.cuts.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns a cut of the cluster named `wanted` (empty: all clusters). Sources that are not loaded are listed
    /// separately, unless `allow_partial` is set.
    ///
    /// # Errors
    /// [`Unready::Unknown`].
    pub fn cut(&self, wanted: &str, allow_partial: bool) -> Result<Cut, Unready> {
        let wanted = match wanted {
            "" => self.clusters(),
            name => Arc::new(vec![self.cluster(name)?]),
        };
        let (mut sources, mut unloaded, mut unready) = (vec![], vec![], None);
        for cluster in &*wanted {
            if let Err(error) = self.check_loaded(cluster) {
                unready.get_or_insert(error);
            }
            for source in cluster.sources() {
                // Each source is checked on its own: other stores are shown while the cluster's own source loads,
                // and the other way round.
                let is_shown = allow_partial || source.health().ready;
                if is_shown { &mut sources } else { &mut unloaded }.push(pin(cluster, &source));
            }
        }
        let (taken_at, taken) = (self.clock.now(), self.clock.ticks());
        let id = self.snapshot_id(taken_at);
        let unready = unready.filter(|_| sources.is_empty() && !allow_partial);
        let (started_at, retained_bytes, work) = (self.started_at, self.pins.bytes(), self.work.status());
        let (settings, config) = (self.settings, self.config());
        Ok(Cut { id, taken_at, taken, settings, config, started_at, retained_bytes, work, sources, unloaded, unready })
    }

    /// Pins the same cut as [`Store::cut`] for work that `cancel` can end.
    ///
    /// # Errors
    /// [`Unready::Unknown`].
    pub fn pin_cut(&self, wanted: &str, allow_partial: bool, cancel: &CancelHandle) -> Result<Pin<Cut>, Unready> {
        Ok(self.pins.pin(self.cut(wanted, allow_partial)?, cancel))
    }
}

/// Returns one source's part of a cut, loaded or not.
#[must_use]
pub fn pin(cluster: &Arc<Cluster>, source: &Arc<Source>) -> SourceCut {
    // The guard is held until everything is pinned, so that all of it belongs to the same Kafka cluster.
    let incarnation = cluster.incarnation();
    let health = source.health();
    // Shards are pinned first, so that a log end is never older than a pinned commit.
    let (kind, shards) = source.pin();
    let of_cluster = (cluster.ends.current(), cluster.placement.load_full());
    let (windows, samples) = (source.windows.load_full(), source.samples.current());
    drop(incarnation);
    SourceCut::new((Arc::clone(cluster), Arc::clone(source)), health, (kind, shards), of_cluster, windows, samples)
}
