//! The log of a cluster as readers of the latest see it: they wait until the shards show what Kafka has now.
//!
//! Kafka may have more log partitions than are read: their number is asked for as well, and where copies of a group lie in
//! several, which of them counts. What Kafka has now is the high watermark: a commit is acknowledged once it lies below it, and so
//! are the offsets of a transaction, before its end is. Applied up to there means that every
//! transaction below is decided. Where one is open, the shard cannot follow; then the coordinators
//! of the groups concerned are asked, by the part of the source that looks behind transactions.

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
    ask::{AskError, LiveSource},
    counters::Counters,
    requests::{Reached, Requests},
    verdicts::LogHomes,
};
use crate::{
    clock::Clock,
    config::{self, ReadMode},
    model::{Name, Revision, SOURCE_KAFKA, SourceId, SourceKind},
    store::{
        cluster::{Cluster, Fault},
        homes::Homes,
        latest::{Count, Latest, Scope, SourceError},
        shard::Shard,
        source::{Kind, Source},
    },
};

mod lanes;

use lanes::Lanes;

/// A shard that does not follow for so long may be held back by an open transaction.
const HELD_BACK: Duration = Duration::from_millis(250);

/// What is known of the log of one cluster beside its shards. Lives as long as the cluster, whatever parts read it.
#[derive(Debug)]
pub struct Log {
    cluster: OnceLock<Weak<Cluster>>,
    /// Which log partition holds the present records of each group.
    pub(crate) homes: Arc<LogHomes>,
    /// What looking behind transactions cost.
    pub(super) counters: Counters,
    lanes: Lanes,
    /// Requests of readers to the part that asks coordinators: the overlay, or the reader by the Admin API.
    pub(super) requests: Arc<Requests>,
    live: RwLock<Option<Arc<dyn LiveSource>>>,
}

/// The [`Latest`] of a log.
#[derive(Debug)]
struct LatestOfLog(Arc<Log>);

impl Log {
    /// Makes a cluster whose own source is the log of its groups, and of which nothing is known yet.
    #[must_use]
    pub fn open(config: config::Cluster, clock: &Clock) -> (Arc<Cluster>, Arc<Self>) {
        let log = Arc::new(Self {
            cluster: OnceLock::new(),
            homes: Arc::default(),
            counters: Counters::default(),
            lanes: Lanes::default(),
            requests: Arc::default(),
            live: RwLock::default(),
        });
        let id = SourceId { cluster: Name::from(config.name.as_str()), name: SOURCE_KAFKA.into() };
        let kind = if config.mode == ReadMode::Admin { SourceKind::Table } else { SourceKind::Log };
        let (kind, latest) = log.reading(kind);
        let source = Source::new((id, SOURCE_KAFKA.into()), kind, latest, clock);
        let cluster = Arc::new(Cluster::new(config, source));
        // Just made.
        let _ = log.cluster.set(Arc::downgrade(&cluster));
        (cluster, log)
    }

    /// Returns the kind of the source, and its [`Latest`]: of the log, or of the Admin API.
    pub(super) fn reading(self: &Arc<Self>, kind: SourceKind) -> (Kind, Arc<dyn Latest>) {
        match kind {
            SourceKind::Log => {
                let homes: Arc<dyn Homes> = Arc::<LogHomes>::clone(&self.homes);
                (Kind::Log(homes), Arc::new(LatestOfLog(Arc::clone(self))))
            }
            SourceKind::Table => (Kind::Table, Arc::new(admin::LatestOfAdmin(Arc::clone(&self.requests)))),
        }
    }

    /// What answers callers that want the latest, in the way in which offsets are read now.
    pub(super) fn latest(self: &Arc<Self>) -> Arc<dyn Latest> {
        let kind = self.cluster.get().and_then(Weak::upgrade).map_or(SourceKind::Log, |cluster| cluster.own.kind());
        self.reading(kind).1
    }

    /// Sets what answers questions about the present state of the log.
    pub(crate) fn set_live(&self, live: Arc<dyn LiveSource>) {
        *self.live.write() = Some(live);
    }

    /// Lets go of the clients, since the cluster is not read any more.
    pub(crate) fn disconnect(&self) {
        let live = self.live.write().take();
        // Outside of the lock: closing a client blocks.
        drop(live);
    }

    /// Returns what answers questions about the present state of the log, once it is read.
    pub(crate) fn live(&self) -> Option<Arc<dyn LiveSource>> {
        self.live.read().clone()
    }

    async fn reach(self: &Arc<Self>, scope: &Scope) -> Result<Vec<(i32, Revision)>, SourceError> {
        let Some(cluster) = self.cluster.get().and_then(Weak::upgrade) else { return Ok(vec![]) };
        let health = cluster.health();
        let shards = concerned(&cluster.own, scope);
        if shards.is_empty() && health.shards.is_none() {
            return Ok(vec![]);
        }
        if !health.reachable {
            let reason = health.faults.get(&Fault::Unreachable).cloned();
            let reason = reason.unwrap_or_else(|| "no broker answers".to_owned());
            return Err(AskError::Unreachable { cluster: Name::clone(&cluster.name), reason }.into());
        }
        let (count, reached, ()) = tokio::try_join!(
            async { Ok(self.present_log_partitions(&cluster).await?) },
            self.follow_shards(&cluster, &shards, scope),
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
            changes.changed().await.map_err(|_| AskError::NotConnected { cluster: Name::clone(&cluster.name) })?;
        }
        let reached = self.follow_shards(&cluster, &cluster.own.shards(), scope).await?;
        self.homes.refresh().await;
        Ok(reached)
    }

    /// Waits until log partitions show what they hold now. Returns how far each is applied at least.
    async fn follow_shards(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
        shards: &[Arc<Shard>],
        scope: &Scope,
    ) -> Result<Vec<(i32, Revision)>, SourceError> {
        // Before the question: an end below is of another log.
        let before: BTreeMap<i32, i64> = shards.iter().map(|shard| (shard.key.number, shard.applied().0)).collect();
        let ends = self.present_ends(cluster, before.keys().copied().collect()).await?;
        let waits = shards.iter().map(|shard| {
            let number = shard.key.number;
            let target = ends.get(&number).copied().unwrap_or(0);
            let moved = before.get(&number).is_some_and(|before| target < *before);
            self.follow(cluster, shard, target, moved, scope)
        });
        Ok(try_join_all(waits).await?.into_iter().flatten().collect())
    }

    /// Waits until a log partition shows what lies below `target`. `None`: it is gone.
    async fn follow(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
        shard: &Arc<Shard>,
        target: i64,
        moved: bool,
        scope: &Scope,
    ) -> Result<Option<(i32, Revision)>, SourceError> {
        let number = shard.key.number;
        let mut shard = Arc::clone(shard);
        let (mut target, mut moved) = (target, moved);
        // Before the shard is looked at: what changes in between is noticed.
        let mut changes = cluster.watch_health();
        let mut settled: Option<oneshot::Receiver<Reached>> = None;
        let is_open = shard.progress.open_transaction_since().is_some();
        let patience = tokio::time::sleep(if is_open { Duration::ZERO } else { HELD_BACK });
        tokio::pin!(patience);
        loop {
            changes.borrow_and_update();
            match cluster.own.shard(number) {
                // The partition is gone, and so are its groups.
                None => return Ok(None),
                Some(now) if now.key != shard.key => {
                    let reason = "committed offsets are read by the Admin API since; ask again".to_owned();
                    return Err(SourceError::Unreachable { reason });
                }
                Some(now) if now.epoch != shard.epoch => {
                    // Loaded again, since the log moved: the target was of the log before.
                    let ends = self.present_ends(cluster, vec![number]).await?;
                    target = ends.get(&number).copied().unwrap_or(0);
                    (shard, moved, settled) = (now, false, None);
                    patience.set(tokio::time::sleep(HELD_BACK));
                }
                Some(_) => {}
            }
            tokio::select! {
                () = shard.wait_applied(Revision(target)), if !moved => return Ok(Some((number, Revision(target)))),
                // Without an answer the overlay does not work on it any more: the shard has changed.
                result = async { settled.as_mut()?.await.ok() }, if settled.is_some() => match result {
                    // Shown, though not read: what is applied is all that the reader waits for.
                    Some(reached) => return Ok(Some((number, reached?))),
                    None => settled = None,
                },
                () = &mut patience, if !moved && settled.is_none() && !patience.is_elapsed() => {
                    settled = match self.requests.send((number, Revision(target)), scope) {
                        Err(busy @ SourceError::Busy { .. }) => return Err(busy),
                        // Without an overlay, the end of the transaction is waited for.
                        asked => asked.ok(),
                    };
                }
                changed = changes.changed() => if changed.is_err() { return Ok(None) },
            }
        }
    }

    /// Says which open transaction holds a log partition up.
    fn held_up(&self, scope: &Scope) -> Option<String> {
        let cluster = self.cluster.get().and_then(Weak::upgrade)?;
        let (shard, since) = concerned(&cluster.own, scope).into_iter().find_map(|shard| {
            let since = shard.progress.open_transaction_since()?;
            Some((shard, since))
        })?;
        let since = chrono::DateTime::from_timestamp_millis(since).unwrap_or_default().to_rfc3339();
        Some(format!(
            "a transaction open since {since} holds back log partition {} of cluster {} at offset {}",
            shard.key.number,
            cluster.name,
            shard.applied().0
        ))
    }
}

fn concerned(source: &Source, scope: &Scope) -> Vec<Arc<Shard>> {
    match scope {
        Scope::Key(group, ..) => source.shards_written_by(group),
        Scope::All => source.shards(),
    }
}

impl Latest for LatestOfLog {
    fn reach<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, Result<Vec<(i32, Revision)>, SourceError>> {
        self.0.reach(scope).boxed()
    }

    fn held_up(&self, scope: &Scope) -> Option<String> {
        self.0.held_up(scope)
    }

    fn counters(&self) -> Vec<Count> {
        self.0.counters.all()
    }
}
