//! The state: shards of committed offsets and members, log ends, and cuts of them.
//!
//! A cluster has sources of offsets, and a source shards, each written by one thread. The shards of a source are a map
//! that is replaced whole when one appears or is rebuilt. What a source is, and in which way it is read, is not known
//! here: it writes through a [`writer::SourceWriter`], and answers as [`latest::Latest`]. Invariants:
//!
//! * a shard moves only forward in its revisions: a fact below one that was applied is dropped, whichever reader brings
//!   it; what is shown ahead of the reader never outlives what the reader brings;
//! * no lock is held across an `.await`, nor for more than a few hundred records;
//! * nothing is deleted by guess: tombstones decide;
//! * what a writer replaces while a reader pins it is counted as retained, and the reader that retains too much is ended.

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
pub mod held;
pub mod homes;
pub mod latest;
pub mod membership;
pub mod names;
pub mod older;
pub mod placement;
pub mod progress;
pub mod samples;
pub mod shard;
pub mod silent;
pub mod source;
pub mod windows;
pub mod writer;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use cluster::Cluster;
use cut::{Cut, Settings, SourceCut};
use group::Kit;
use held::{Held, Pin};
use names::Names;
use shard::{Limits, Shard};
use source::Source;
use writer::SourceWriter;

use crate::{
    clock::Clock,
    model::{Millis, Name},
    work::{Board, Cancel},
};

/// Shards among which the commits that are kept are shared: as many as the log of a Kafka cluster usually has.
const USUAL_SHARDS: usize = 50;

/// Everything that offsetd knows.
#[derive(Debug)]
pub struct Store {
    /// Time, for whoever reads the store.
    pub clock: Clock,
    names: Arc<Names>,
    held: Arc<Held>,
    work: Board,
    clusters: ArcSwap<Vec<Arc<Cluster>>>,
    /// Wakes when clusters or sources come or go.
    changed: watch::Sender<()>,
    config: ArcSwap<ConfigState>,
    epochs: AtomicU64,
    cuts: AtomicU64,
    settings: Settings,
    started_at: Millis,
}

/// Which configuration is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigState {
    /// When it was read.
    pub loaded_at: Millis,
    /// What is wrong with a newer one, which is not in force for that.
    pub error: Option<String>,
}

/// Why a cluster cannot answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unready {
    /// No cluster of that name.
    #[error("no cluster {name:?}; there are: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// Several clusters, and none was named.
    #[error("name the cluster: there are {known}")]
    Ambiguous {
        /// The names that exist.
        known: String,
    },
    /// The initial load is not done.
    #[error("cluster {name:?} is not loaded yet: {percent:.0} % read{remaining}{error}")]
    Loading {
        /// The cluster; of a source beside the cluster's own, as `east/redis`.
        name: Name,
        /// Progress of the load.
        percent: f64,
        /// Text with the estimated time left, if known.
        remaining: String,
        /// Text with the last error, if any.
        error: String,
    },
}

impl Store {
    /// A store for some clusters, empty.
    #[must_use]
    pub fn new(clusters: Vec<Arc<Cluster>>, clock: Clock, settings: Settings) -> Self {
        let clock_now = clock.now();
        Self {
            started_at: clock_now,
            clock,
            names: Arc::default(),
            held: Arc::default(),
            work: Board::default(),
            clusters: ArcSwap::from_pointee(clusters),
            changed: watch::Sender::default(),
            config: ArcSwap::from_pointee(ConfigState { loaded_at: clock_now, error: None }),
            epochs: AtomicU64::new(1),
            cuts: AtomicU64::new(0),
            settings,
        }
    }

    /// The clusters, in the order of the configuration, as they are now.
    #[must_use]
    pub fn clusters(&self) -> Arc<Vec<Arc<Cluster>>> {
        self.clusters.load_full()
    }

    /// Shows these clusters from now on. Rows of those that are not among them go, and no deletions are told.
    pub fn set_clusters(&self, clusters: Vec<Arc<Cluster>>) {
        self.clusters.store(Arc::new(clusters));
        self.changed.send_replace(());
    }

    /// Adds a source to a cluster, in the place of one of the same name. Returns the door through which it is to write.
    pub fn add_source(self: &Arc<Self>, cluster: &Arc<Cluster>, source: Arc<Source>) -> SourceWriter {
        cluster.add_source(&source);
        self.changed.send_replace(());
        SourceWriter::new(self, cluster, &source)
    }

    /// Takes a source away. Its rows go, and no deletions are told.
    pub fn remove_source(&self, cluster: &Cluster, source: &Arc<Source>) {
        cluster.remove_source(source);
        self.changed.send_replace(());
    }

    /// Wakes whenever clusters or sources come or go.
    #[must_use]
    pub fn watch_sources(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Which configuration is in force.
    #[must_use]
    pub fn config(&self) -> Arc<ConfigState> {
        self.config.load_full()
    }

    /// Notes that a configuration is in force since now.
    pub fn set_config_loaded(&self) {
        self.config.store(Arc::new(ConfigState { loaded_at: self.clock.now(), error: None }));
    }

    /// Notes what is wrong with a newer configuration, or with `None` that nothing is.
    pub fn set_config_error(&self, error: Option<String>) {
        self.config.rcu(|state| ConfigState { loaded_at: state.loaded_at, error: error.clone() });
    }

    /// What counts as active, and how long a window is.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// When it was made, empty.
    #[must_use]
    pub fn started_at(&self) -> Millis {
        self.started_at
    }

    /// The names in use.
    #[must_use]
    pub fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// What only readers keep alive.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// How the server's own work does.
    #[must_use]
    pub fn work(&self) -> &Board {
        &self.work
    }

    /// A new shard of a source that no reader sees until it is put there: to load, or to rebuild aside.
    #[must_use]
    fn new_shard(&self, source: &Source, number: i32) -> Arc<Shard> {
        let epoch = self.epochs.fetch_add(1, Ordering::Relaxed);
        let limits =
            Limits { commits_kept: self.settings.commits_kept / USUAL_SHARDS, watch_queue: self.settings.watch_queue };
        let kit = Kit::new(epoch, Arc::clone(&self.held), Arc::clone(&source.copies));
        Arc::new(Shard::new(source.key(number), kit, Arc::clone(&self.names), self.clock.clone(), limits))
    }

    /// Drops everything known of the Kafka cluster that was read under this name, since another one answers at its
    /// addresses. No reader sees a part of the one beside a part of the other.
    pub fn forget(&self, cluster: &Cluster, error: String) {
        cluster.forget(error, &self.clock);
    }

    fn known(clusters: &[Arc<Cluster>]) -> String {
        clusters.iter().map(|cluster| format!("{:?}", cluster.name)).collect::<Vec<_>>().join(", ")
    }

    /// The cluster of that name; the only one for the empty name.
    ///
    /// # Errors
    /// [`Unready::Unknown`], [`Unready::Ambiguous`].
    pub fn cluster(&self, name: &str) -> Result<Arc<Cluster>, Unready> {
        let clusters = self.clusters.load();
        match (name, &***clusters) {
            ("", [only]) => Ok(Arc::clone(only)),
            ("", _) => Err(Unready::Ambiguous { known: Self::known(&clusters) }),
            _ => {
                let found = clusters.iter().find(|cluster| &*cluster.name == name);
                let unknown = || Unready::Unknown { name: name.to_owned(), known: Self::known(&clusters) };
                found.map(Arc::clone).ok_or_else(unknown)
            }
        }
    }

    /// Refuses a cluster that is not loaded.
    ///
    /// # Errors
    /// [`Unready::Loading`].
    pub fn check_loaded(&self, cluster: &Cluster) -> Result<(), Unready> {
        self.check_source(&cluster.own, Name::clone(&cluster.name))
    }

    /// Refuses a source that is not loaded, by the name that is shown.
    ///
    /// # Errors
    /// [`Unready::Loading`].
    pub fn check_source(&self, source: &Source, name: Name) -> Result<(), Unready> {
        let health = source.health();
        if health.ready {
            return Ok(());
        }
        Err(Unready::Loading {
            name,
            percent: source.progress() * 100.0,
            remaining: source
                .remaining(self.clock.ticks())
                .map_or_else(String::new, |left| format!(", about {} s left", left.as_secs() + 1)),
            error: health.last_error.as_ref().map_or_else(String::new, |error| format!("; {error}")),
        })
    }

    /// A name for what is read now, never given twice.
    #[must_use]
    pub fn snapshot_id(&self, taken_at: Millis) -> String {
        format!("{taken_at}-{}", self.cuts.fetch_add(1, Ordering::Relaxed))
    }

    /// One cut over the clusters that `wanted` names (empty: all). Clusters that are not loaded are
    /// set apart, unless `allow_partial`.
    ///
    /// # Errors
    /// A cluster was named that does not exist.
    pub fn cut(&self, wanted: &str, allow_partial: bool) -> Result<Cut, Unready> {
        let wanted = match wanted {
            "" => self.clusters(),
            name => Arc::new(vec![self.cluster(name)?]),
        };
        let (mut clusters, mut unloaded, mut unready) = (vec![], vec![], None);
        for cluster in &*wanted {
            if let Err(error) = self.check_loaded(cluster) {
                unready.get_or_insert(error);
            }
            for source in cluster.sources() {
                // Each by itself: offsets that are kept elsewhere are shown without the cluster's own, and the other way.
                let is_shown = allow_partial || source.health().ready;
                if is_shown { &mut clusters } else { &mut unloaded }.push(pin(cluster, &source));
            }
        }
        let (taken_at, taken) = (self.clock.now(), self.clock.ticks());
        let id = self.snapshot_id(taken_at);
        let unready = unready.filter(|_| clusters.is_empty() && !allow_partial);
        let (started_at, held_bytes, work) = (self.started_at, self.held.bytes(), self.work.status());
        let (settings, config) = (self.settings, self.config());
        Ok(Cut { id, taken_at, taken, settings, config, started_at, held_bytes, work, clusters, unloaded, unready })
    }

    /// Pins a cut of what [`Store::cut`] takes, for work that ends with `cancel`.
    ///
    /// # Errors
    /// A cluster was named that does not exist.
    pub fn pin_cut(&self, wanted: &str, allow_partial: bool, cancel: &Cancel) -> Result<Pin<Cut>, Unready> {
        Ok(self.held.pin(self.cut(wanted, allow_partial)?, cancel))
    }
}

/// A source's part of a cut, loaded or not.
#[must_use]
pub fn pin(cluster: &Arc<Cluster>, source: &Arc<Source>) -> SourceCut {
    // Held until all is pinned: all of it is of one Kafka cluster.
    let incarnation = cluster.incarnation();
    let health = source.health();
    // Shards first: a log end observed after a commit was pinned may only be newer than it.
    let (kind, shards) = source.pin();
    let of_cluster = (cluster.ends.current(), cluster.placement.load_full());
    let (windows, samples) = (source.windows.load_full(), source.samples.current());
    drop(incarnation);
    SourceCut::new((Arc::clone(cluster), Arc::clone(source)), health, (kind, shards), of_cluster, windows, samples)
}
