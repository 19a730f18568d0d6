//! Implements freshness `LATEST` for the log: readers wait until the shards show everything that Kafka has now.
//!
//! Each shard must reach the current high watermark of its log partition. Kafka acknowledges a commit, and the offsets
//! of a transaction, only when their records are below the high watermark. A shard that reached it has seen the end of
//! every transaction below. A shard cannot pass an open transaction; then the overlay polls the coordinators of the
//! groups concerned. Kafka may have more log partitions than are read, so their number is requested as well. For
//! misplaced groups, coordinators are polled to find out which copy is current.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, try_join_all},
};
use parking_lot::RwLock;
use tokio::sync::oneshot;

use super::{
    admin,
    counters::Counters,
    live_source::{LiveSource, RequestError},
    requests::{LatestRequests, Reached},
    verdicts::LogHomes,
};
use crate::{
    clock::Clock,
    config::{self, ReadMode},
    model::{Name, Revision, SOURCE_KAFKA, SourceId, SourceKind},
    store::{
        cluster::{Cluster, Fault},
        homes::Homes,
        latest::{LatestOffsets, Scope, SourceCounter, SourceError},
        shard::Shard,
        source::{Kind, Source},
    },
};

mod shared;

use shared::SharedRequests;

/// Time after which a shard that did not reach its target is assumed to wait for an open transaction.
const BLOCKED_AFTER: Duration = Duration::from_millis(250);

/// The state of a cluster's log in addition to its shards. It lives as long as the cluster, while the parts that read
/// the log may be restarted.
#[derive(Debug)]
pub struct Log {
    cluster: OnceLock<Weak<Cluster>>,
    /// Decides which log partition holds the current records of each group.
    pub(crate) homes: Arc<LogHomes>,
    /// Counters of the overlay.
    pub(super) counters: Counters,
    shared: SharedRequests,
    /// Requests of readers to the task that polls coordinators: the overlay, or the poller of `admin` mode.
    pub(super) requests: Arc<LatestRequests>,
    live: RwLock<Option<Arc<dyn LiveSource>>>,
}

/// The [`LatestOffsets`] of a log.
#[derive(Debug)]
struct LatestOfLog(Arc<Log>);

impl Log {
    /// Makes a cluster without data, and the log of its own source.
    #[must_use]
    pub fn open(config: config::Cluster, clock: &Clock) -> (Arc<Cluster>, Arc<Self>) {
        let log = Arc::new(Self {
            cluster: OnceLock::new(),
            homes: Arc::default(),
            counters: Counters::default(),
            shared: SharedRequests::default(),
            requests: Arc::default(),
            live: RwLock::default(),
        });
        let id = SourceId { cluster: Name::from(config.name.as_str()), name: SOURCE_KAFKA.into() };
        let kind = if config.mode == ReadMode::Admin { SourceKind::Table } else { SourceKind::Log };
        let (kind, latest) = log.kind_and_latest(kind);
        let source = Source::new((id, SOURCE_KAFKA.into()), kind, latest, clock);
        let cluster = Arc::new(Cluster::new(config, source));
        // The cell was just created, so it is empty.
        let _ = log.cluster.set(Arc::downgrade(&cluster));
        (cluster, log)
    }

    /// Returns the kind and the [`LatestOffsets`] of a source that reads the log or the Admin API.
    pub(super) fn kind_and_latest(self: &Arc<Self>, kind: SourceKind) -> (Kind, Arc<dyn LatestOffsets>) {
        match kind {
            SourceKind::Log => {
                let homes: Arc<dyn Homes> = Arc::<LogHomes>::clone(&self.homes);
                (Kind::Log(homes), Arc::new(LatestOfLog(Arc::clone(self))))
            }
            SourceKind::Table => (Kind::Table, Arc::new(admin::LatestOfAdmin(Arc::clone(&self.requests)))),
        }
    }

    /// Returns the [`LatestOffsets`] of the current read mode.
    pub(super) fn latest(self: &Arc<Self>) -> Arc<dyn LatestOffsets> {
        let kind = self.cluster.get().and_then(Weak::upgrade).map_or(SourceKind::Log, |cluster| cluster.own.kind());
        self.kind_and_latest(kind).1
    }

    /// Sets the client that requests the current state of the log.
    pub(crate) fn set_live(&self, live: Arc<dyn LiveSource>) {
        *self.live.write() = Some(live);
    }

    /// Drops the client, because the cluster is no longer read.
    pub(crate) fn disconnect(&self) {
        let live = self.live.write().take();
        // Closing a client blocks, so it is dropped after the lock was released.
        drop(live);
    }

    /// Returns the client that requests the current state of the log, or `None` before it is connected.
    pub(crate) fn live(&self) -> Option<Arc<dyn LiveSource>> {
        self.live.read().clone()
    }

    /// Waits until the log partitions of a scope show everything that Kafka has now. Returns how far each is applied.
    async fn reach(self: &Arc<Self>, scope: &Scope) -> Result<Vec<(i32, Revision)>, SourceError> {
        let Some(cluster) = self.cluster.get().and_then(Weak::upgrade) else { return Ok(vec![]) };
        let health = cluster.health();
        let shards = shards_in_scope(&cluster.own, scope);
        if shards.is_empty() && health.shards.is_none() {
            return Ok(vec![]);
        }
        if !health.reachable {
            let reason = health.faults.get(&Fault::Unreachable).cloned();
            let reason = reason.unwrap_or_else(|| "no broker answers".to_owned());
            return Err(RequestError::Unreachable { cluster: Name::clone(&cluster.name), reason }.into());
        }
        let (count, reached, ()) = tokio::try_join!(
            async { Ok(self.current_log_partitions(&cluster).await?) },
            self.wait_for_shards(&cluster, &shards, scope),
            async {
                self.homes.refresh().await;
                Ok(())
            }
        )?;
        let is_read = |count: i32| i32::try_from(cluster.own.shards().len()).is_ok_and(|read| read >= count);
        let Some(count) = count.filter(|count| !is_read(*count)) else { return Ok(reached) };
        cluster.set_health(|health| health.shards = health.shards.max(Some(count)));
        let mut changes = cluster.watch_health();
        while !is_read(count) {
            changes.changed().await.map_err(|_| RequestError::NotConnected { cluster: Name::clone(&cluster.name) })?;
        }
        let reached = self.wait_for_shards(&cluster, &cluster.own.shards(), scope).await?;
        self.homes.refresh().await;
        Ok(reached)
    }

    /// Waits until log partitions show everything that they contain now. Returns the minimum revision of each.
    async fn wait_for_shards(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
        shards: &[Arc<Shard>],
        scope: &Scope,
    ) -> Result<Vec<(i32, Revision)>, SourceError> {
        // Read this before the request is sent: an end below it belongs to another log.
        let before: BTreeMap<i32, i64> = shards.iter().map(|shard| (shard.key.number, shard.applied().0)).collect();
        let ends = self.current_ends(cluster, before.keys().copied().collect()).await?;
        let waits = shards.iter().map(|shard| {
            let number = shard.key.number;
            let target = ends.get(&number).copied().unwrap_or(0);
            let replaced = before.get(&number).is_some_and(|before| target < *before);
            self.wait_for_shard(cluster, shard, target, replaced, scope)
        });
        Ok(try_join_all(waits).await?.into_iter().flatten().collect())
    }

    /// Waits until a log partition shows everything below `target`. Returns `None` if the partition was deleted.
    /// `replaced`: the log was truncated or replaced, so the shard must be loaded again first.
    async fn wait_for_shard(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
        shard: &Arc<Shard>,
        target: i64,
        replaced: bool,
        scope: &Scope,
    ) -> Result<Option<(i32, Revision)>, SourceError> {
        let number = shard.key.number;
        let mut shard = Arc::clone(shard);
        let (mut target, mut replaced) = (target, replaced);
        // Subscribe before the shard is read, so that no change is missed.
        let mut changes = cluster.watch_health();
        let mut settled: Option<oneshot::Receiver<Reached>> = None;
        let is_open = shard.progress.open_transaction_since().is_some();
        let blocked_timer = tokio::time::sleep(if is_open { Duration::ZERO } else { BLOCKED_AFTER });
        tokio::pin!(blocked_timer);
        loop {
            changes.borrow_and_update();
            match cluster.own.shard(number) {
                // The partition was deleted with its groups.
                None => return Ok(None),
                Some(now) if now.key != shard.key => {
                    let reason = "the read mode has changed to the Admin API; retry the request".to_owned();
                    return Err(SourceError::Unreachable { reason });
                }
                Some(now) if now.epoch != shard.epoch => {
                    // The shard was loaded again because its log was replaced: the target belongs to the previous log.
                    let ends = self.current_ends(cluster, vec![number]).await?;
                    target = ends.get(&number).copied().unwrap_or(0);
                    (shard, replaced, settled) = (now, false, None);
                    blocked_timer.set(tokio::time::sleep(BLOCKED_AFTER));
                }
                Some(_) => {}
            }
            tokio::select! {
                () = shard.wait_applied(Revision(target)), if !replaced => return Ok(Some((number, Revision(target)))),
                // A dropped sender means that the overlay gave up because the shard was replaced.
                result = async { settled.as_mut()?.await.ok() }, if settled.is_some() => match result {
                    // The overlay shows the rest, so the reader need not wait for a higher revision.
                    Some(reached) => return Ok(Some((number, reached?))),
                    None => settled = None,
                },
                () = &mut blocked_timer, if !replaced && settled.is_none() && !blocked_timer.is_elapsed() => {
                    settled = match self.requests.send((number, Revision(target)), scope) {
                        Err(busy @ SourceError::Busy { .. }) => return Err(busy),
                        // Without an overlay, the caller waits for the end of the transaction.
                        sent => sent.ok(),
                    };
                }
                changed = changes.changed() => if changed.is_err() { return Ok(None) },
            }
        }
    }

    /// Returns the text that names the open transaction that blocks a log partition.
    fn delay_reason(&self, scope: &Scope) -> Option<String> {
        let cluster = self.cluster.get().and_then(Weak::upgrade)?;
        let (shard, since) = shards_in_scope(&cluster.own, scope).into_iter().find_map(|shard| {
            let since = shard.progress.open_transaction_since()?;
            Some((shard, since))
        })?;
        let since = chrono::DateTime::from_timestamp_millis(since).unwrap_or_default().to_rfc3339();
        Some(format!(
            "a transaction open since {since} blocks log partition {} of cluster {} at offset {}",
            shard.key.number,
            cluster.name,
            shard.applied().0
        ))
    }
}

/// Returns the shards in which groups of the scope may have records.
fn shards_in_scope(source: &Source, scope: &Scope) -> Vec<Arc<Shard>> {
    match scope {
        Scope::Key(group, ..) => source.shards_written_by(group),
        Scope::All => source.shards(),
    }
}

impl LatestOffsets for LatestOfLog {
    fn required_revisions<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, Result<Vec<(i32, Revision)>, SourceError>> {
        self.0.reach(scope).boxed()
    }

    fn delay_reason(&self, scope: &Scope) -> Option<String> {
        self.0.delay_reason(scope)
    }

    fn counters(&self) -> Vec<SourceCounter> {
        self.0.counters.all()
    }
}
