//! Samples of commits over time, for status and rates.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{
    clock::Ticks,
    lag,
    model::Name,
    store::{
        Store,
        cluster::Cluster,
        ends::Ends,
        group::GroupView,
        windows::{GroupWindows, KeyWindow, Windows},
    },
};

/// Takes a sample of every group that has committed since the load.
pub fn sample(store: &Store, cluster: &Cluster) {
    let before = cluster.windows.load_full();
    let ends = cluster.ends.current();
    let now = store.clock.ticks();
    let mut groups = HashMap::new();
    for shard in cluster.shards() {
        let view = shard.pin();
        for group in view.groups.iter().filter(|group| group.live_commits > 0) {
            let windows = sample_group(group, before.groups.get(&group.id), shard.key.log_partition, &ends, now);
            groups.insert(Name::clone(&group.id), Arc::new(windows));
        }
    }
    cluster.windows.store(Arc::new(Windows { groups }));
}

fn sample_group(
    group: &GroupView,
    before: Option<&Arc<GroupWindows>>,
    log_partition: i32,
    ends: &Ends,
    now: Ticks,
) -> GroupWindows {
    let topics: Vec<_> = group.topic_names().map(|name| ends.topic(name)).collect();
    let windows = group.entries().enumerate().map(|(position, entry)| {
        let topic = topics.get(entry.topic_index).copied().flatten().map(|topic| &**topic);
        let known = before.and_then(|before| before.get(position, &entry));
        // An unknown lag is no news: neither a fall nor a rise.
        let lag = lag::lag(entry.row, entry.rare, log_partition, topic, ends, now).lag;
        let lag = lag.unwrap_or_else(|_| known.map_or(0, |window| window.lag));
        known.map_or_else(|| KeyWindow::first(&entry, lag, now), |window| window.next(&entry, lag, now))
    });
    GroupWindows(windows.collect())
}
