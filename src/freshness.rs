//! Reading one's own writes: wait until the shards show what Kafka has now.
//!
//! Kafka may have more log partitions than are read: their number is asked for as well, and where copies of a group lie in
//! several, which of them counts. What Kafka has now is the high watermark: a commit is acknowledged once it lies below it, and so
//! are the offsets of a transaction, before its end is. Applied up to there means that every
//! transaction below is decided. Where one is open, the shard cannot follow; then the coordinators
//! of the groups concerned are asked, by the part of the source that looks behind transactions.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::try_join_all;
use tokio::sync::oneshot;

use crate::{
    model::Name,
    store::{
        Store,
        cluster::{Cluster, Fault},
        live::{AskError, Settle},
        shard::Shard,
    },
};

/// A shard that does not follow for so long may be held back by an open transaction.
const HELD_BACK: Duration = Duration::from_millis(250);

/// Why the latest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// Kafka does not say.
    #[error("cannot read the latest: {0}")]
    Unreachable(AskError),
    /// It took too long.
    #[error("the latest was not read within {after:?}{reason}")]
    Deadline {
        /// The time that was allowed.
        after: Duration,
        /// What held it up, if that is known.
        reason: String,
    },
}

/// What must be the latest.
#[derive(Clone, Debug)]
pub enum Scope {
    /// One committed offset: (group, topic, partition).
    Key(Name, Name, i32),
    /// Everything in the cluster.
    Cluster,
}

/// Waits until every loaded cluster shows what it has now, at most `timeout`.
///
/// # Errors
/// Why a cluster does not.
///
/// # Cancel safety
/// Holds nothing.
pub async fn wait_for_all(store: &Store, timeout: Duration) -> Result<(), Stale> {
    let clusters = store.clusters().iter().filter(|cluster| cluster.health().ready);
    try_join_all(clusters.map(|cluster| wait_for(cluster, Scope::Cluster, timeout))).await?;
    Ok(())
}

/// Waits until a cluster shows what it has now, at most `timeout`.
///
/// # Errors
/// Why it does not.
///
/// # Cancel safety
/// As [`wait_for_all`].
pub async fn wait_for(cluster: &Arc<Cluster>, scope: Scope, timeout: Duration) -> Result<(), Stale> {
    match tokio::time::timeout(timeout, follow(cluster, &scope)).await {
        Ok(result) => result.map_err(Stale::Unreachable),
        Err(_) => Err(Stale::Deadline { after: timeout, reason: held_up(cluster, &concerned(cluster, &scope)) }),
    }
}

fn concerned(cluster: &Cluster, scope: &Scope) -> Vec<Arc<Shard>> {
    match scope {
        Scope::Key(group, ..) => cluster.shards_written_by(group),
        Scope::Cluster => cluster.shards(),
    }
}

/// What holds partitions up, for people.
fn held_up(cluster: &Cluster, shards: &[Arc<Shard>]) -> String {
    let held = shards.iter().find_map(|shard| {
        let since = shard.progress.open_transaction_since()?;
        Some((shard, since))
    });
    let Some((shard, since)) = held else { return String::new() };
    let since = chrono::DateTime::from_timestamp_millis(since).unwrap_or_default().to_rfc3339();
    format!(
        ": a transaction open since {since} holds back log partition {} of cluster {} at offset {}",
        shard.key.log_partition,
        cluster.name,
        shard.applied()
    )
}

async fn follow(cluster: &Arc<Cluster>, scope: &Scope) -> Result<(), AskError> {
    let health = cluster.health();
    let shards = concerned(cluster, scope);
    if shards.is_empty() && health.log_partitions.is_none() {
        return Ok(());
    }
    if !health.reachable {
        let reason = health.faults.get(&Fault::Unreachable).cloned().unwrap_or_else(|| "no broker answers".to_owned());
        return Err(AskError::Unreachable { cluster: Name::clone(&cluster.name), reason });
    }
    let (count, ..) =
        tokio::try_join!(cluster.present_log_partitions(), follow_shards(cluster, &shards, scope), async {
            cluster.homes.refresh().await;
            Ok(())
        })?;
    let is_read = |count: i32| i32::try_from(cluster.shards().len()).is_ok_and(|read| read >= count);
    let Some(count) = count.filter(|count| !is_read(*count)) else { return Ok(()) };
    cluster.set_health(|health| health.log_partitions = health.log_partitions.max(Some(count)));
    let mut changes = cluster.watch_health();
    while !is_read(count) {
        changes.changed().await.map_err(|_| AskError::NotConnected { cluster: Name::clone(&cluster.name) })?;
    }
    follow_shards(cluster, &cluster.shards(), scope).await?;
    cluster.homes.refresh().await;
    Ok(())
}

/// Waits until log partitions show what they hold now.
async fn follow_shards(cluster: &Arc<Cluster>, shards: &[Arc<Shard>], scope: &Scope) -> Result<(), AskError> {
    // Before the question: an end below is of another log.
    let before: BTreeMap<i32, i64> = shards.iter().map(|shard| (shard.key.log_partition, shard.applied())).collect();
    let ends = cluster.present_ends(before.keys().copied().collect()).await?;
    let waits = shards.iter().map(|shard| {
        let number = shard.key.log_partition;
        let target = ends.get(&number).copied().unwrap_or(0);
        let moved = before.get(&number).is_some_and(|before| target < *before);
        reach(cluster, shard, target, moved, scope)
    });
    try_join_all(waits).await?;
    Ok(())
}

/// Waits until a log partition shows what lies below `target`.
async fn reach(
    cluster: &Arc<Cluster>,
    shard: &Arc<Shard>,
    target: i64,
    moved: bool,
    scope: &Scope,
) -> Result<(), AskError> {
    let number = shard.key.log_partition;
    let mut shard = Arc::clone(shard);
    let (mut target, mut moved) = (target, moved);
    // Before the shard is looked at: what changes in between is noticed.
    let mut changes = cluster.watch_health();
    let mut settled: Option<oneshot::Receiver<Result<(), AskError>>> = None;
    let patience =
        tokio::time::sleep(if shard.progress.open_transaction_since().is_some() { Duration::ZERO } else { HELD_BACK });
    tokio::pin!(patience);
    loop {
        changes.borrow_and_update();
        match cluster.shard(number) {
            // The partition is gone, and so are its groups.
            None => return Ok(()),
            Some(now) if now.epoch != shard.epoch => {
                // Loaded again, since the log moved: the target was of the log before.
                let ends = cluster.present_ends(vec![number]).await?;
                target = ends.get(&number).copied().unwrap_or(0);
                (shard, moved, settled) = (now, false, None);
                patience.set(tokio::time::sleep(HELD_BACK));
            }
            Some(_) => {}
        }
        tokio::select! {
            () = shard.wait_applied(target), if !moved => return Ok(()),
            // Without an answer the overlay does not work on it any more: the shard has changed.
            result = async { settled.as_mut()?.await.ok() }, if settled.is_some() => match result {
                Some(result) => return result,
                None => settled = None,
            },
            () = &mut patience, if !moved && settled.is_none() && !patience.is_elapsed() => {
                settled = Some(settle(cluster, number, target, scope));
            }
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

/// Asks for what lies behind an open transaction.
fn settle(
    cluster: &Cluster,
    log_partition: i32,
    target: i64,
    scope: &Scope,
) -> oneshot::Receiver<Result<(), AskError>> {
    let (done, settled) = oneshot::channel();
    let key = match scope {
        Scope::Key(group, topic, partition) => Some((Name::clone(group), Name::clone(topic), *partition)),
        Scope::Cluster => None,
    };
    if let Some(source) = cluster.source() {
        source.settle(Settle { log_partition, target, key, done });
    }
    settled
}
