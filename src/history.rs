//! Samples of commits over time, for status and rates.

use std::{collections::BTreeSet, sync::Arc};

use hashbrown::HashMap;

use crate::{
    clock::Ticks,
    lag,
    model::Name,
    store::{
        Store,
        cluster::Cluster,
        ends::{Ends, Topic},
        group::{Entry, GroupView},
        silent::{LONGEST, Tail},
        windows::{GroupWindows, KeyWindow, Windows},
    },
};

/// How long neither the commit nor the end may have moved before a look at what lies between is worth it.
const QUIET: Ticks = 20;

/// Takes a sample of every group that has committed since the load, and notes where a look for
/// markers of transactions is due, for all groups.
pub fn sample(store: &Store, cluster: &Cluster) {
    let before = cluster.windows.load_full();
    let ends = cluster.ends.current();
    let mut sampler = Sampler { ends: &ends, now: store.clock.ticks(), tails: BTreeSet::new() };
    let mut groups = HashMap::new();
    for shard in cluster.shards() {
        let view = shard.pin();
        for group in view.groups.iter() {
            let windows = sampler.group(group, before.groups.get(&group.id), shard.key.log_partition);
            if group.live_commits > 0 {
                groups.insert(Name::clone(&group.id), Arc::new(windows));
            }
        }
    }
    cluster.tails.set(sampler.tails.into_iter());
    cluster.windows.store(Arc::new(Windows { groups }));
}

/// One look at all offsets.
struct Sampler<'a> {
    ends: &'a Ends,
    now: Ticks,
    tails: BTreeSet<Tail>,
}

impl Sampler<'_> {
    /// The next windows of a group; none where nothing was committed since the load.
    fn group(&mut self, group: &GroupView, before: Option<&Arc<GroupWindows>>, log_partition: i32) -> GroupWindows {
        let ends = self.ends;
        let topics: Vec<_> = group.topic_names().map(|name| ends.topic(name)).collect();
        let mut windows = Vec::with_capacity(if group.live_commits > 0 { group.len() } else { 0 });
        for (position, entry) in group.entries().enumerate() {
            let topic = topics.get(entry.topic_index).copied().flatten().map(|topic| &**topic);
            let lag = lag::lag(entry.row, entry.rare, log_partition, topic, ends, self.now);
            if lag.lag.is_ok_and(|lag| (1..=LONGEST).contains(&lag)) {
                self.note_tail(&entry, topic);
            }
            if group.live_commits > 0 {
                let known = before.and_then(|before| before.get(position, &entry));
                // An unknown lag is no news: neither a fall nor a rise.
                let lag = lag.lag.unwrap_or_else(|_| known.map_or(0, |window| window.lag));
                let first = || KeyWindow::first(&entry, lag, self.now);
                windows.push(known.map_or_else(first, |window| window.next(&entry, lag, self.now)));
            }
        }
        GroupWindows(windows)
    }

    fn note_tail(&mut self, entry: &Entry<'_>, topic: Option<&Topic>) {
        let since = self.now.saturating_sub(QUIET);
        let number = usize::try_from(entry.row.partition).ok();
        let partition = topic.zip(number).and_then(|(topic, number)| topic.partitions.get(number));
        if entry.row.applied <= since && partition.is_some_and(|partition| self.ends.is_quiet(*partition, since)) {
            self.tails.insert((Name::clone(entry.topic), entry.row.partition, entry.row.committed_offset));
        }
    }
}
