//! Freshness `LATEST`: waits until the store has applied everything that a source holds now, so that clients read their
//! own writes.

use std::{sync::Arc, time::Duration};

use futures::future::try_join_all;

pub use crate::store::latest::Scope;
use crate::store::{Store, cluster::Cluster, latest::SourceError, source::Source};

/// Why the latest offsets cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FreshnessError {
    /// The source does not answer.
    #[error("cannot read the latest offsets: {0}")]
    Unreachable(SourceError),
    /// The deadline passed.
    #[error("the latest offsets were not applied within {after:?}{reason}")]
    Deadline {
        /// The timeout.
        after: Duration,
        /// Text with the cause of the delay; empty if unknown.
        reason: String,
    },
}

/// Waits until every loaded cluster shows the latest offsets, at most `timeout`.
///
/// # Errors
/// [`FreshnessError`], for the first cluster that fails.
///
/// # Cancel safety
/// Safe: no state is changed.
pub async fn wait_for_all(store: &Store, timeout: Duration) -> Result<(), FreshnessError> {
    let clusters = store.clusters();
    let loaded = clusters.iter().filter(|cluster| cluster.health().ready);
    try_join_all(loaded.map(|cluster| wait_for(cluster, Scope::All, timeout))).await?;
    Ok(())
}

/// Waits until the sources of a cluster show the latest offsets, at most `timeout`. Skips sources other than the
/// cluster's own that cannot be read now: their rows are shown as stale.
///
/// # Errors
/// [`FreshnessError`], for the first source that fails.
///
/// # Cancel safety
/// As [`wait_for_all`].
pub async fn wait_for(cluster: &Arc<Cluster>, scope: Scope, timeout: Duration) -> Result<(), FreshnessError> {
    let mut sources = cluster.sources();
    sources.retain(|source| {
        let health = source.health();
        Arc::ptr_eq(source, &cluster.own) || (health.ready && health.reachable)
    });
    wait_for_sources(&sources, &scope, timeout).await
}

/// Waits until a source shows the latest offsets, at most `timeout`.
///
/// # Errors
/// [`FreshnessError`]
///
/// # Cancel safety
/// As [`wait_for_all`].
pub async fn wait_for_source(source: &Arc<Source>, scope: &Scope, timeout: Duration) -> Result<(), FreshnessError> {
    wait_for_sources(std::slice::from_ref(source), scope, timeout).await
}

async fn wait_for_sources(sources: &[Arc<Source>], scope: &Scope, timeout: Duration) -> Result<(), FreshnessError> {
    let reached = try_join_all(sources.iter().map(|source| wait_for_latest(source, scope)));
    match tokio::time::timeout(timeout, reached).await {
        Ok(result) => result.map(drop).map_err(FreshnessError::Unreachable),
        Err(_) => {
            let reason = sources.iter().find_map(|source| source.latest().delay_reason(scope));
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            Err(FreshnessError::Deadline { after: timeout, reason })
        }
    }
}

async fn wait_for_latest(source: &Source, scope: &Scope) -> Result<(), SourceError> {
    for (number, revision) in source.latest().required_revisions(scope).await? {
        if let Some(shard) = source.shard(number) {
            shard.wait_applied(revision).await;
        }
    }
    Ok(())
}
