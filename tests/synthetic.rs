//! Stores that are filled without Kafka, for tests and benchmarks of the modules above the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use offsetd::clock::Clock;
use offsetd::config::{self, Config, Flags, Layers};
use offsetd::model::{Millis, Revision, log_partition_for};
use offsetd::source::kafka::Log;
use offsetd::store::Store;
use offsetd::store::cluster::Cluster;
use offsetd::store::cut::Settings;
use offsetd::store::ends::{OffsetAnswer, OffsetSpec, TopicMetadata};
use offsetd::store::event::{Event, EventKind};
use offsetd::store::group::Commit;
use offsetd::store::writer::SourceWriter;

/// Number of events that a poll thread applies at a time.
const AT_ONCE: usize = 256;

/// Returns the default configuration.
pub(crate) fn config() -> Config {
    let flags = Flags { bootstrap_servers: Some("127.0.0.1:9".to_owned()), ..Flags::default() };
    Config::load(Layers { flags: &flags, env: &BTreeMap::new(), check_property: None }).unwrap().config
}

/// A key and its committed offset.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) at: Millis,
    pub(crate) metadata: &'static str,
}

/// Creates loaded, empty clusters with this many log partitions each.
pub(crate) fn store(clusters: &[&str], log_partitions: i32, clock: Clock) -> Arc<Store> {
    let of = |name: &&str| {
        let config = config::Cluster { name: (*name).to_owned(), ..config().clusters.remove(0) };
        let (cluster, _) = Log::open(config, &clock);
        cluster.set_health(|health| {
            health.ready = true;
            health.reachable = true;
            health.faults.clear();
        });
        cluster
    };
    let settings = Settings { window: 1000, active_within: 300_000, commits_kept: 1_000_000, watch_queue: 4096 };
    let store = Arc::new(Store::new(clusters.iter().map(of).collect(), clock.clone(), settings));
    for cluster in &*store.clusters() {
        let writer = SourceWriter::own(&store, cluster);
        (0..log_partitions).for_each(|number| writer.publish(&writer.new_shard(number)));
    }
    store
}

/// Commits offsets as the log would; `live` commits are reported as changes.
pub(crate) fn commit(store: &Arc<Store>, cluster: &Arc<Cluster>, commits: &[Committed], live: bool) {
    let mut by_shard: BTreeMap<i32, Vec<Event<'_>>> = BTreeMap::new();
    let writer = SourceWriter::own(store, cluster);
    let shards = i32::try_from(cluster.own.shards().len()).unwrap();
    for each in commits {
        let log_partition = log_partition_for(&each.group, shards).unwrap();
        let events = by_shard.entry(log_partition).or_default();
        let next = cluster.own.shard(log_partition).unwrap().applied().0.max(0);
        let commit = Commit {
            committed_offset: each.offset,
            committed_at: each.at,
            leader_epoch: 0,
            metadata: each.metadata,
            expires_at: None,
            topic_id: None,
            first_seen_at: None,
        };
        events.push(Event {
            revision: Revision(next + i64::try_from(events.len()).unwrap()),
            at: each.at,
            group: &each.group,
            kind: EventKind::Commit { topic: &each.topic, partition: each.partition, commit },
        });
    }
    for (log_partition, events) in by_shard {
        let shard = writer.shard(log_partition).unwrap();
        let live_from = if live { Revision(0) } else { Revision::MAX };
        events.chunks(AT_ONCE).for_each(|events| shard.apply(events, live_from));
        shard.reached(events.last().unwrap().revision.next());
    }
}

/// Sets the log ends of all partitions of these topics.
pub(crate) fn ends(cluster: &Cluster, topics: &[(String, usize)], end: impl Fn(&str, usize) -> i64, clock: &Clock) {
    let listed = topics
        .iter()
        .map(|(name, partitions)| TopicMetadata { name: name.as_str().into(), leaders: vec![Some(1); *partitions] });
    cluster.ends.set_topics(listed.collect(), clock.ticks(), &BTreeMap::new());
    let current = cluster.ends.current();
    for (kind, is_start) in [(OffsetSpec::Start, true), (OffsetSpec::High, false)] {
        let answers = current.topics().flat_map(|topic| {
            topic.partitions.iter().enumerate().map(|(number, partition)| OffsetAnswer {
                slot: partition.slot,
                result: Ok((if is_start { 0 } else { end(&topic.name, number) }, 0)),
            })
        });
        cluster.ends.observe(kind, &answers.collect::<Vec<_>>(), clock.ticks(), clock.now());
    }
}
