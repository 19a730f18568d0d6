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

/// Waits until every source that is loaded shows the latest offsets, at most `timeout`. Skips sources other than a
/// cluster's own that cannot be read now, as [`wait_for`] does.
///
/// # Errors
/// [`FreshnessError`], for the first cluster that fails.
///
/// # Cancel safety
/// Safe: no state is changed.
pub async fn wait_for_all(store: &Store, timeout: Duration) -> Result<(), FreshnessError> {
    let clusters = store.clusters();
    try_join_all(clusters.iter().map(async |cluster| {
        let sources = readable_sources(cluster, cluster.own.health().ready);
        wait_for_sources(&sources, &Scope::All, timeout).await
    }))
    .await?;
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
    wait_for_sources(&readable_sources(cluster, true), &scope, timeout).await
}

/// Returns the cluster's own source if `with_own`, and those of its further sources that can be read now.
fn readable_sources(cluster: &Cluster, with_own: bool) -> Vec<Arc<Source>> {
    let mut sources = cluster.sources();
    sources.retain(|source| {
        let health = source.health();
        if Arc::ptr_eq(source, &cluster.own) { with_own } else { health.ready && health.reachable }
    });
    sources
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
