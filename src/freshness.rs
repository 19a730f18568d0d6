//! Reading one's own writes: a source says what must be applied to show what it holds now, and that is waited for.

use std::{sync::Arc, time::Duration};

use futures::future::try_join_all;

pub use crate::store::latest::Scope;
use crate::store::{Store, cluster::Cluster, latest::SourceError, source::Source};

/// Why the latest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// The source does not say.
    #[error("cannot read the latest: {0}")]
    Unreachable(SourceError),
    /// It took too long.
    #[error("the latest was not read within {after:?}{reason}")]
    Deadline {
        /// The time that was allowed.
        after: Duration,
        /// What held it up, if that is known.
        reason: String,
    },
}

/// Waits until every loaded cluster shows what it has now, at most `timeout`.
///
/// # Errors
/// Why a cluster does not.
///
/// # Cancel safety
/// Holds nothing.
pub async fn wait_for_all(store: &Store, timeout: Duration) -> Result<(), Stale> {
    let clusters = store.clusters();
    let loaded = clusters.iter().filter(|cluster| cluster.health().ready);
    try_join_all(loaded.map(|cluster| wait_for(cluster, Scope::All, timeout))).await?;
    Ok(())
}

/// Waits until the sources of a cluster show what they hold now, at most `timeout`. Sources beside the cluster's own that
/// are not read now are passed over: their rows are shown as stale.
///
/// # Errors
/// Why one does not.
///
/// # Cancel safety
/// As [`wait_for_all`].
pub async fn wait_for(cluster: &Arc<Cluster>, scope: Scope, timeout: Duration) -> Result<(), Stale> {
    let mut sources = cluster.sources();
    sources.retain(|source| {
        let health = source.health();
        Arc::ptr_eq(source, &cluster.own) || (health.ready && health.reachable)
    });
    wait_for_sources(&sources, &scope, timeout).await
}

/// Waits until a source shows what it holds now, at most `timeout`.
///
/// # Errors
/// Why it does not.
///
/// # Cancel safety
/// As [`wait_for_all`].
pub async fn wait_for_source(source: &Arc<Source>, scope: &Scope, timeout: Duration) -> Result<(), Stale> {
    wait_for_sources(std::slice::from_ref(source), scope, timeout).await
}

async fn wait_for_sources(sources: &[Arc<Source>], scope: &Scope, timeout: Duration) -> Result<(), Stale> {
    let reached = try_join_all(sources.iter().map(|source| follow(source, scope)));
    match tokio::time::timeout(timeout, reached).await {
        Ok(result) => result.map(drop).map_err(Stale::Unreachable),
        Err(_) => {
            let reason = sources.iter().find_map(|source| source.latest().held_up(scope));
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            Err(Stale::Deadline { after: timeout, reason })
        }
    }
}

async fn follow(source: &Source, scope: &Scope) -> Result<(), SourceError> {
    for (number, revision) in source.latest().reach(scope).await? {
        if let Some(shard) = source.shard(number) {
            shard.wait_applied(revision).await;
        }
    }
    Ok(())
}
