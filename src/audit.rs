//! The self-audit: compares the rows that readers see with the committed offsets that coordinators return, continuously
//! at a low rate, one group at a time. It finds the rows of a group as a point query does, so rows shown from the wrong
//! log partition count as differences.
//!
//! Groups commit during the comparison. A difference therefore counts only if the row did not change between a read
//! before the response and one after it, the shard was applied up to the high watermark read after the response, and a
//! second comparison finds it again. Groups behind an open transaction, and groups without a response, are skipped and
//! counted.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::join_all;
use hashbrown::HashMap;
use tokio_util::sync::CancellationToken;

use crate::{
    config,
    model::{Name, Revision, SourceKind},
    source::kafka::{Committed, CommittedKey, Log, RequestError},
    store::{
        Store,
        audit::Finding,
        cluster::Cluster,
        group::{Entry, GroupView},
        shard::Shard,
    },
};

/// Maximum time from the start of the process to the first round.
const FIRST: Duration = Duration::from_secs(60);
/// Waiting times in production.
const TIMEOUTS: Timeouts = Timeouts { catch_up: Duration::from_secs(5), recheck_delay: Duration::from_secs(1) };

/// Waiting times of a comparison.
#[derive(Clone, Copy, Debug)]
struct Timeouts {
    /// Timeout for a shard that is behind the high watermark.
    catch_up: Duration,
    /// Time between the two comparisons of a group.
    recheck_delay: Duration,
}

/// Audits a cluster until `stop` is cancelled.
pub async fn run(
    store: Arc<Store>,
    (cluster, log): (Arc<Cluster>, Arc<Log>),
    settings: config::Audit,
    stop: CancellationToken,
) {
    let off_reason = (!settings.enabled).then(|| settings.off_reason.unwrap_or("audit.enabled is false"));
    cluster.own.audit.set_off_reason(off_reason);
    tokio::select! {
        () = rounds(&store, (&cluster, &log), &settings), if settings.enabled => {}
        () = stop.cancelled() => {}
    }
}

/// Audits all groups in each interval, at the configured rate.
async fn rounds(store: &Store, (cluster, log): (&Arc<Cluster>, &Arc<Log>), settings: &config::Audit) {
    let per_second = u32::try_from(settings.calls_per_second).unwrap_or(u32::MAX).max(1);
    let mut wait = settings.interval.min(FIRST);
    loop {
        tokio::time::sleep(wait).await;
        wait = settings.interval;
        for group in groups(cluster) {
            tokio::time::sleep(Duration::from_secs(1) / per_second).await;
            let health = cluster.health();
            if cluster.own.kind() == SourceKind::Log && health.ready && health.reachable {
                audit(store, (cluster, log), &group, TIMEOUTS).await;
            }
        }
        if let Some(live) = log.live() {
            // Closing connections may block. Nothing depends on the result.
            let _ = tokio::task::spawn_blocking(move || live.disconnect()).await;
        }
    }
}

/// Returns the groups with committed offsets, and those with known differences.
fn groups(cluster: &Cluster) -> BTreeSet<Name> {
    let mut groups: BTreeSet<Name> = cluster.own.audit.differences().into_iter().map(|(key, _)| key.0).collect();
    for shard in cluster.own.shards() {
        groups.extend(shard.pin().groups.iter().filter(|group| !group.is_empty()).map(|group| Name::clone(&group.id)));
    }
    groups
}

/// Audits a group, and records its differences.
async fn audit(store: &Store, (cluster, log): (&Arc<Cluster>, &Arc<Log>), group: &Name, timeouts: Timeouts) {
    let audit = &cluster.own.audit;
    let Some((keys, found)) = compare_twice((cluster, log), group, timeouts).await else {
        audit.skipped.add(1);
        return;
    };
    audit.groups.add(1);
    audit.keys.add(keys as u64);
    for (group, topic, partition) in audit.set(group, store.clock.now(), found) {
        tracing::warn!(
            cluster = &*cluster.name,
            group = &*group,
            topic = &*topic,
            partition,
            "a committed offset differs from the one that its coordinator returns; see the table audit"
        );
    }
}

/// Compares a group, and again if it differs. Returns the number of keys and the keys that differed both times, or
/// `None` if the group cannot be compared now.
async fn compare_twice(
    (cluster, log): (&Arc<Cluster>, &Arc<Log>),
    group: &Name,
    timeouts: Timeouts,
) -> Option<(usize, Vec<Finding>)> {
    let (keys, first) = compare((cluster, log), group, timeouts.catch_up).await?;
    if first.is_empty() {
        return Some((keys, first));
    }
    tokio::time::sleep(timeouts.recheck_delay).await;
    // Brokers may have restarted, so that another log partition holds the group's offsets.
    let _ = tokio::time::timeout(timeouts.catch_up, log.homes.refresh()).await;
    let (_, mut second) = compare((cluster, log), group, timeouts.catch_up).await?;
    second.retain(|(key, ..)| first.iter().any(|(other, ..)| other == key));
    Some((keys, second))
}

/// Compares a group once. `catch_up`: timeout for shards behind the high watermark.
async fn compare(
    (cluster, log): (&Arc<Cluster>, &Arc<Log>),
    group: &Name,
    catch_up: Duration,
) -> Option<(usize, Vec<Finding>)> {
    let before = shown(cluster, group);
    let shards = cluster.own.shards_with_group(group);
    if shards.is_empty() || shards.iter().any(|shard| shard.progress.open_transaction_since().is_some()) {
        return None;
    }
    let (live, id) = (log.live()?, Name::clone(group));
    let reply = tokio::task::spawn_blocking(move || live.committed(&id)).await.ok()?;
    let log_error = |error: &RequestError| {
        tracing::debug!(cluster = &*cluster.name, group = &**group, %error, "cannot audit a group");
    };
    let reply = reply.inspect_err(log_error).ok()?;
    let ends = log.current_ends(cluster, shards.iter().map(|shard| shard.key.number).collect()).await.ok()?;
    let applied = shards.iter().map(|shard| {
        let end = ends.get(&shard.key.number).copied().unwrap_or(0);
        shard.wait_applied(Revision(end))
    });
    tokio::time::timeout(catch_up, join_all(applied)).await.ok()?;
    let after = shown(cluster, group);
    let place = |shown: &Shown| shown.as_ref().map(|(shard, _)| (shard.key.number, shard.epoch));
    if before.is_some() && place(&before) != place(&after) {
        // Another log partition has the group now, or the shard was loaded again.
        return None;
    }
    let ends = cluster.ends.current();
    let is_visible =
        |topic: &str| cluster.config.topics.accepts(topic) && !ends.topic(topic).is_some_and(|of| of.refused);
    let view = |shown: Shown| shown.map(|(_, group)| group);
    Some(differences(group, view(before).as_deref(), &reply, view(after).as_deref(), is_visible))
}

/// The rows of a group that readers see, and their shard.
type Shown = Option<(Arc<Shard>, Arc<GroupView>)>;

/// Returns the rows of a group that readers see.
fn shown(cluster: &Cluster, group: &str) -> Shown {
    let shard = cluster.own.shard_of_group(group)?;
    let view = shard.group(group)?;
    Some((shard, view))
}

/// Returns the entries of a group by topic and partition.
fn index(view: Option<&GroupView>) -> HashMap<(&str, i32), Entry<'_>> {
    let entries = view.into_iter().flat_map(GroupView::entries);
    entries.map(|entry| ((&**entry.topic, entry.row.partition), entry)).collect()
}

/// Returns the number of keys, and the keys for which the response differs from the row. Ignores rows that changed
/// between `before` and `after`, and topics that the coordinator may hide.
fn differences(
    group: &Name,
    before: Option<&GroupView>,
    reply: &[CommittedKey],
    after: Option<&GroupView>,
    is_visible: impl Fn(&str) -> bool,
) -> (usize, Vec<Finding>) {
    let (before, after) = (index(before), index(after));
    let reply: HashMap<(&str, i32), &Committed> =
        reply.iter().map(|(topic, partition, of)| ((&**topic, *partition), of)).collect();
    let keys: BTreeSet<(&str, i32)> =
        after.keys().chain(reply.keys()).copied().filter(|key| is_visible(key.0)).collect();
    let differs = |key: &(&str, i32)| {
        let (ours, theirs) = (after.get(key), reply.get(key));
        let has_changed = before.get(key).map(|entry| entry.row.revision) != ours.map(|entry| entry.row.revision);
        let is_same = match (ours, theirs) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => theirs.equals_row(ours.row, ours.extras),
            _ => false,
        };
        let key = (Name::clone(group), Name::from(key.0), key.1);
        (!has_changed && !is_same)
            .then(|| (key, ours.map(|ours| ours.row.committed_offset), theirs.map(|of| of.offset)))
    };
    (keys.len(), keys.iter().filter_map(differs).collect())
}

#[cfg(test)]
mod tests;
