//! The self-audit: compares what is shown with what Kafka's coordinators say, group by group, all
//! the time and slowly. What is shown of a group is found as for a point query, so that rows shown from the wrong log
//! partition are differences, and rows shown from the right one are not, wherever it is.
//!
//! Commits go on meanwhile, so a difference counts only where the key did not move here between the
//! looks before and after the answer, where everything below the high watermark read after the
//! answer is applied, and where a second look a while later sees it again. A group behind an open
//! transaction, or of a coordinator that does not tell, is passed over and counted.

use std::{sync::Arc, time::Duration};

use hashbrown::HashMap;
use tokio_util::sync::CancellationToken;

use crate::{
    config,
    model::{Name, Revision, SourceKind},
    source::kafka::{AskError, Committed, CommittedKey, Log},
    store::{
        Store,
        audit::AuditKey,
        cluster::Cluster,
        group::{Entry, GroupView},
        shard::Shard,
    },
};

/// Bound of one question.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The first round begins no later than so long after the start.
const FIRST: Duration = Duration::from_secs(60);

/// How patient an audit is.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// With a reader that is behind.
    follow: Duration,
    /// Between two looks at what differs.
    again: Duration,
}

const PATIENCE: Patience = Patience { follow: TIMEOUT, again: Duration::from_secs(1) };

/// A key that differs: ours, theirs.
type Found = (AuditKey, Option<i64>, Option<i64>);

/// Audits a cluster until the token is cancelled.
pub async fn run(
    store: Arc<Store>,
    (cluster, log): (Arc<Cluster>, Arc<Log>),
    settings: config::Audit,
    stop: CancellationToken,
) {
    tokio::select! {
        () = rounds(&store, (&cluster, &log), &settings) => {}
        () = stop.cancelled() => {}
    }
    // Off, it has nothing to do until the end.
    stop.cancelled().await;
}

async fn rounds(store: &Store, (cluster, log): (&Arc<Cluster>, &Arc<Log>), settings: &config::Audit) {
    if !settings.enabled {
        return;
    }
    let per_second = u32::try_from(settings.calls_per_second).unwrap_or(u32::MAX).max(1);
    let between = Duration::from_secs(1) / per_second;
    let mut wait = settings.interval.min(FIRST);
    loop {
        tokio::time::sleep(wait).await;
        wait = settings.interval;
        for group in groups(cluster) {
            tokio::time::sleep(between).await;
            let is_log = cluster.own.kind() == SourceKind::Log;
            if is_log && cluster.health().ready && cluster.health().reachable {
                audit(store, (cluster, log), &group, PATIENCE).await;
            }
        }
        if let Some(live) = log.live() {
            // Closing connections may block; nothing depends on whether it succeeds.
            let _ = tokio::task::spawn_blocking(move || live.rest()).await;
        }
    }
}

/// The groups of a cluster, and those that once differed.
fn groups(cluster: &Cluster) -> Vec<Name> {
    let mut groups = cluster.own.audit.groups_with_differences();
    for shard in cluster.own.shards() {
        groups.extend(shard.pin().groups.iter().filter(|group| !group.is_empty()).map(|group| Name::clone(&group.id)));
    }
    groups.sort();
    groups.dedup();
    groups
}

/// Looks at a group, and once more at what differs.
async fn audit(store: &Store, (cluster, log): (&Arc<Cluster>, &Arc<Log>), group: &Name, patience: Patience) {
    let Some((keys, first)) = compare((cluster, log), group, patience).await else {
        cluster.own.audit.skipped.add(1);
        return;
    };
    let mut found = vec![];
    if !first.is_empty() {
        tokio::time::sleep(patience.again).await;
        // Brokers may have restarted: readers see what coordinators tell as soon as these have been asked.
        let _ = tokio::time::timeout(patience.follow, log.homes.refresh()).await;
        let Some((_, second)) = compare((cluster, log), group, patience).await else {
            cluster.own.audit.skipped.add(1);
            return;
        };
        found.extend(second.into_iter().filter(|(key, ..)| first.iter().any(|(other, ..)| other == key)));
    }
    cluster.own.audit.groups.add(1);
    cluster.own.audit.keys.add(keys as u64);
    for (group, topic, partition) in cluster.own.audit.set(group, store.clock.now(), found) {
        tracing::warn!(
            cluster = &*cluster.name,
            group = &*group,
            topic = &*topic,
            partition,
            "a committed offset is not what its coordinator says; see the table audit"
        );
    }
}

/// Compares a group once. `None`: it cannot be compared now. Returns how many keys, and what differs.
async fn compare(
    (cluster, log): (&Arc<Cluster>, &Arc<Log>),
    group: &Name,
    patience: Patience,
) -> Option<(usize, Vec<Found>)> {
    let before = shown(cluster, group);
    let shards = cluster.own.shards_with_group(group);
    if shards.is_empty() || shards.iter().any(|shard| shard.progress.open_transaction_since().is_some()) {
        return None;
    }
    let answer = ask(cluster, log, group).await;
    let answer =
        answer.inspect_err(|error| tracing::debug!(cluster = &*cluster.name, group = &**group, %error, "cannot audit"));
    let answer = answer.ok()?;
    let ends = log.present_ends(cluster, shards.iter().map(|shard| shard.key.number).collect()).await.ok()?;
    let follow = shards.iter().map(|shard| {
        let end = ends.get(&shard.key.number).copied().unwrap_or(0);
        shard.wait_applied(Revision(end))
    });
    tokio::time::timeout(patience.follow, futures::future::join_all(follow)).await.ok()?;
    // A shard that was loaded again is another.
    let is_same = |shard: &Arc<Shard>| cluster.own.shard(shard.key.number).is_some_and(|now| now.epoch == shard.epoch);
    if !shards.iter().all(is_same) {
        return None;
    }
    let after = shown(cluster, group);
    let place = |shown: &Option<(Arc<Shard>, Arc<GroupView>)>| shown.as_ref().map(|(shard, _)| shard.key.number);
    if before.is_some() && place(&before) != place(&after) {
        // Shown from elsewhere since.
        return None;
    }
    let ends = cluster.ends.current();
    let is_listed =
        |topic: &str| cluster.config.topics.accepts(topic) && !ends.topic(topic).is_some_and(|of| of.refused);
    let view = |shown: Option<(Arc<Shard>, Arc<GroupView>)>| shown.map(|(_, group)| group);
    Some(differences(group, view(before).as_deref(), &answer, view(after).as_deref(), is_listed))
}

async fn ask(cluster: &Cluster, log: &Log, group: &Name) -> Result<Vec<CommittedKey>, AskError> {
    let not_connected = || AskError::NotConnected { cluster: Name::clone(&cluster.name) };
    let (live, group) = (log.live().ok_or_else(not_connected)?, Name::clone(group));
    let ask = tokio::task::spawn_blocking(move || live.committed(&group, TIMEOUT));
    ask.await.unwrap_or(Err(AskError::NoAnswer))
}

/// What readers see of a group, and the shard that it is shown from.
fn shown(cluster: &Cluster, group: &str) -> Option<(Arc<Shard>, Arc<GroupView>)> {
    let shard = cluster.own.shard_of_group(group)?;
    let view = shard.group(group)?;
    Some((shard, view))
}

/// The entries of a group by key.
fn index(view: Option<&GroupView>) -> HashMap<(Name, i32), Entry<'_>> {
    let entries = view.into_iter().flat_map(GroupView::entries);
    entries.map(|entry| ((Name::clone(entry.topic), entry.row.partition), entry)).collect()
}

/// Keys of the answer that are neither what was shown before it nor what is shown after; of those that did not move in
/// between. Topics that the coordinator may hide from us do not count.
fn differences(
    group: &Name,
    before: Option<&GroupView>,
    answer: &[CommittedKey],
    after: Option<&GroupView>,
    shown: impl Fn(&str) -> bool,
) -> (usize, Vec<Found>) {
    let (before, after) = (index(before), index(after));
    let theirs: HashMap<(Name, i32), &Committed> =
        answer.iter().map(|(topic, partition, of)| ((Name::from(topic.as_str()), *partition), of)).collect();
    let mut keys: Vec<(Name, i32)> = after.keys().chain(theirs.keys()).filter(|key| shown(&key.0)).cloned().collect();
    keys.sort();
    keys.dedup();
    let differs = |key: &(Name, i32)| {
        let (ours, theirs) = (after.get(key), theirs.get(key));
        let at = |entry: Option<&Entry<'_>>| entry.map(|entry| entry.row.revision);
        let moved = at(before.get(key)) != at(ours);
        let same = match (ours, theirs) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => theirs.is(ours.row, ours.extras),
            _ => false,
        };
        let offset = (ours.map(|ours| ours.row.committed_offset), theirs.map(|of| of.offset));
        (!moved && !same).then(|| ((Name::clone(group), Name::clone(&key.0), key.1), offset.0, offset.1))
    };
    (keys.len(), keys.iter().filter_map(differs).collect())
}

#[cfg(test)]
mod tests;
