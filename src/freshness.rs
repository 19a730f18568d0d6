//! Reading one's own writes: wait until the shards have applied what Kafka has now.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::{join_all, try_join_all};

use crate::store::{Store, cluster::Cluster, shard::Shard};

/// How long the question for the present ends may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits until every log partition of every loaded cluster is applied up to the end it has now.
///
/// # Errors
/// Why a cluster does not answer.
///
/// # Cancel safety
/// Holds nothing. Bound it by a deadline: an end may never be reached when Kafka goes away.
pub async fn wait_for_all(store: &Store, timeout: Duration) -> Result<(), String> {
    let clusters = store.clusters().iter().filter(|cluster| cluster.health().ready);
    try_join_all(clusters.map(|cluster| wait_for(cluster, cluster.shards(), timeout))).await?;
    Ok(())
}

/// Waits until the given log partitions of a cluster are applied up to the end they have now.
///
/// # Errors
/// Why the cluster does not answer.
///
/// # Cancel safety
/// As [`wait_for_all`].
pub async fn wait_for(cluster: &Arc<Cluster>, shards: Vec<Arc<Shard>>, timeout: Duration) -> Result<(), String> {
    if shards.is_empty() {
        return Ok(());
    }
    let health = cluster.health();
    if !health.reachable {
        let reason = health.last_error.unwrap_or_else(|| "no broker answers".to_owned());
        return Err(format!("cluster {} cannot be reached: {reason}", cluster.name));
    }
    // A broker that does not answer within this is as good as away.
    let timeout = timeout.min(ASK_TIMEOUT);
    let numbers: Vec<i32> = shards.iter().map(|shard| shard.key.log_partition).collect();
    let asked = Arc::clone(cluster);
    let ask = move || match asked.log_ends() {
        Some(log_ends) => log_ends.log_ends(&numbers, timeout),
        None => Err(format!("cluster {} is not connected", asked.name)),
    };
    let ends: BTreeMap<i32, i64> =
        tokio::task::spawn_blocking(ask).await.map_err(|error| error.to_string())??.into_iter().collect();
    let waits = shards.iter().filter_map(|shard| {
        let end = *ends.get(&shard.key.log_partition)?;
        Some(shard.wait_applied(end))
    });
    join_all(waits).await;
    Ok(())
}
