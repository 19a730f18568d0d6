//! Tests of the sampler and of its reader, over a store that is filled by hand.

use std::collections::BTreeMap;

use super::{in_memory::MemoryReader, *};
use crate::{
    clock::Clock,
    config::{Config, Flags, Layers},
    model::{Revision, Uuid},
    source::kafka::Log,
    store::{
        cut,
        ends::{IdsSeen, OffsetAnswer, OffsetSpec, TopicMetadata},
        event::{Event, EventKind},
        group::Commit,
        history_store::Bounds,
        writer::{ShardWriter, SourceWriter},
    },
};

mod replaced_cluster;
mod memory;
mod mode_change;

pub(crate) struct Lab {
    pub(crate) clock: Clock,
    pub(crate) store: Arc<Store>,
    pub(crate) sampler: Sampler,
    shard: ShardWriter,
    next: i64,
}

const STEP: i64 = 10_000;

pub(crate) fn config() -> Config {
    let flags = Flags { bootstrap_servers: Some("127.0.0.1:9".to_owned()), ..Flags::default() };
    Config::load(Layers { flags: &flags, env: &BTreeMap::new(), check_property: None }).unwrap().config
}

pub(crate) fn lab(max_bytes: usize) -> Lab {
    let config = config();
    let clock = Clock::manual(1_700_000_000_000);
    let (cluster, _) = Log::open(config.clusters[0].clone(), &clock);
    cluster.set_health(|health| (health.ready, health.reachable) = (true, true));
    let settings = cut::Settings { window: 1000, active_within: 1, commits_kept: 1, watch_queue: 16 };
    let store = Arc::new(Store::new(vec![cluster], clock.clone(), settings));
    let cluster = Arc::clone(&store.clusters()[0]);
    let writer = SourceWriter::own(&store, &cluster);
    let shard = writer.new_shard(0);
    writer.publish(&shard);
    let settings = Settings { max_bytes, ..Settings::new(&config.history, &config.lag) };
    assert_eq!((settings.step, settings.memory_for), (100, 36_000));
    let sampler = Sampler::new(Arc::clone(&store), (Arc::clone(&cluster), Arc::clone(&cluster.own)), settings);
    Lab { clock, store, sampler, shard, next: 0 }
}

impl Lab {
    pub(crate) fn apply(&mut self, group: &str, key: (&str, i32), offset: Option<i64>, live: bool) {
        self.apply_at(group, key, offset, self.clock.now(), live);
    }

    /// Applies an event like [`Lab::apply`], with the commit time given in the record.
    pub(crate) fn apply_at(
        &mut self,
        group: &str,
        key: (&str, i32),
        offset: Option<i64>,
        committed_at: i64,
        live: bool,
    ) {
        let (topic, partition) = key;
        let kind = match offset {
            None => EventKind::Delete { topic, partition },
            Some(committed_offset) => EventKind::Commit {
                topic,
                partition,
                commit: Commit {
                    committed_offset,
                    committed_at,
                    leader_epoch: -1,
                    metadata: "",
                    expires_at: None,
                    topic_id: None,
                    first_seen_at: None,
                },
            },
        };
        let event = Event { revision: Revision(self.next), at: self.clock.now(), group, kind };
        self.next += 1;
        self.shard.apply(&[event], if live { Revision(0) } else { Revision::MAX });
    }

    pub(crate) fn commit(&mut self, group: &str, key: (&str, i32), offset: i64) {
        self.apply(group, key, Some(offset), true);
    }

    pub(crate) fn topics(&self, topics: &[(&str, usize)]) {
        let listed = topics
            .iter()
            .map(|(name, partitions)| TopicMetadata { name: (*name).into(), leaders: vec![Some(1); *partitions] });
        self.cluster().ends.set_topics(listed.collect(), self.clock.ticks(), &BTreeMap::new());
    }

    pub(crate) fn end(&self, topic: &str, partition: usize, end: i64) {
        self.observe(OffsetSpec::High, topic, partition, end);
    }

    pub(crate) fn observe(&self, kind: OffsetSpec, topic: &str, partition: usize, offset: i64) {
        let ends = &self.cluster().ends;
        let slot = ends.current().topic(topic).unwrap().partitions[partition].slot;
        ends.observe(kind, &[OffsetAnswer { slot, result: Ok((offset, 0)) }], self.clock.ticks(), self.clock.now());
    }

    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.store.clusters()[0])
    }

    pub(crate) fn sample(&mut self) {
        self.clock.advance(STEP);
        self.sampler.sample();
    }

    /// Returns the committed offsets of a key at all samples in memory.
    pub(crate) fn committed(&self, group: &str, key: (&str, i32)) -> Vec<Option<i64>> {
        self.read(group, key, |point| point.committed_offset)
    }

    fn lags(&self, group: &str, key: (&str, i32)) -> Vec<Option<Option<i64>>> {
        self.read(group, key, |point| point.lag)
    }

    fn read<T>(
        &self,
        group: &str,
        key: (&str, i32),
        get: impl Fn(crate::store::history_store::Point) -> T,
    ) -> Vec<Option<T>> {
        let cut = self.store.cut("", false).unwrap();
        let mut reader = MemoryReader::new(&cut.sources[0], 0, Bounds::default());
        reader.begin_group(&group.into(), |topic, partition| (topic, partition) == key).unwrap();
        let keys = reader.next_keys().unwrap();
        let samples = &cut.sources[0].samples;
        let values = |key: &in_memory::MemoryKey| samples.times().map(|(index, _)| key.at(index).map(&get)).collect();
        keys.first().map(values).unwrap_or_default()
    }
}

pub(crate) const KEY: (&str, i32) = ("orders", 0);

#[test]
fn a_key_has_values_from_its_first_sample() {
    let mut lab = lab(usize::MAX);
    lab.apply("g", KEY, Some(5), false);
    lab.sample();
    lab.sample();
    assert!(lab.cluster().own.samples.current().groups.is_empty(), "a replayed offset that does not move has no line");
    lab.commit("g", ("orders", 1), 7);
    lab.sample();
    lab.commit("g", KEY, 8);
    lab.sample();
    lab.sample();
    assert_eq!(lab.committed("g", KEY), [Some(5), Some(5), Some(5), Some(8), Some(8)]);
    assert_eq!(lab.committed("g", ("orders", 1)), [None, None, Some(7), Some(7), Some(7)]);
    lab.commit("g", KEY, 3);
    assert_eq!(lab.committed("g", KEY).last(), Some(&Some(8)), "a commit that is not sampled yet is not visible");
    lab.sample();
    assert_eq!(lab.committed("g", KEY).last(), Some(&Some(3)), "a rewind is sampled like any other commit");
}

#[test]
fn samples_of_a_deleted_key_remain_until_they_expire() {
    let mut lab = lab(usize::MAX);
    lab.apply("g", KEY, Some(5), false);
    lab.sample();
    lab.commit("g", KEY, 6);
    lab.sample();
    lab.apply("g", KEY, None, true);
    lab.sample();
    assert_eq!(lab.committed("g", KEY), [Some(5), Some(6), None]);
    let cut = lab.store.cut("", false).unwrap();
    assert_eq!(MemoryReader::new(&cut.sources[0], 0, Bounds::default()).groups(|_| true), [Name::from("g")]);
    drop(cut);
    (0..361).for_each(|_| lab.sample());
    let samples = lab.cluster().own.samples.current();
    assert_eq!(samples.times().len(), 361, "an hour, both ends included");
    assert!(samples.groups.is_empty());
}

#[test]
fn an_unreachable_cluster_is_not_sampled() {
    let mut lab = lab(usize::MAX);
    lab.commit("g", KEY, 5);
    lab.sample();
    lab.cluster().set_health(|health| health.reachable = false);
    (0..6).for_each(|_| lab.sample());
    lab.cluster().set_health(|health| health.reachable = true);
    lab.commit("g", KEY, 9);
    lab.sample();
    let at: Vec<_> = lab.cluster().own.samples.current().times().map(|(_, moment)| moment.ticks).collect();
    assert_eq!(at, [100, 800]);
    assert_eq!(lab.committed("g", KEY), [Some(5), Some(9)]);
}

#[test]
fn lag_belongs_to_the_log_of_the_commit() {
    let mut lab = lab(usize::MAX);
    lab.topics(&[("orders", 1)]);
    lab.end("orders", 0, 10);
    lab.commit("g", KEY, 4);
    lab.sample();
    // The group reads faster than the log end is polled.
    lab.commit("g", KEY, 12);
    lab.sample();
    lab.end("orders", 0, 15);
    lab.sample();
    // The topic was deleted and created again.
    lab.end("orders", 0, 14);
    lab.sample();
    lab.commit("g", KEY, 1);
    lab.sample();
    // Beyond the log end, which no later poll explains.
    lab.commit("g", KEY, 99);
    lab.sample();
    lab.sample();
    let lags = [Some(6), Some(0), Some(3), None, Some(13), None, None];
    assert_eq!(lab.lags("g", KEY), lags.map(Some));
}

#[test]
fn added_partitions_start_when_seen_and_a_recreated_topic_is_a_new_log() {
    let mut lab = lab(usize::MAX);
    lab.topics(&[("orders", 1)]);
    lab.end("orders", 0, 10);
    lab.commit("g", ("orders", 1), 4);
    lab.commit("g", KEY, 4);
    lab.sample();
    lab.topics(&[("orders", 2)]);
    lab.end("orders", 1, 20);
    lab.sample();
    assert_eq!(lab.lags("g", ("orders", 1)), [Some(None), Some(Some(16))]);
    // Two listings without the topic, far enough apart.
    lab.topics(&[]);
    lab.sample();
    lab.topics(&[]);
    lab.sample();
    lab.topics(&[("orders", 1)]);
    lab.end("orders", 0, 1000);
    lab.sample();
    let lags = [Some(6), Some(6), Some(6), None, None];
    assert_eq!(lab.lags("g", KEY), lags.map(Some));
    lab.commit("g", KEY, 400);
    lab.sample();
    assert_eq!(lab.lags("g", KEY).last(), Some(&Some(Some(600))));
}

#[test]
fn a_topic_with_a_new_id_is_a_new_log() {
    let mut lab = lab(usize::MAX);
    lab.topics(&[("orders", 1)]);
    let set_id = |lab: &Lab, id: u8| {
        let ids = [(Name::from("orders"), Uuid([id; 16]))].into_iter().collect();
        lab.cluster().ends.set_ids(&ids, &IdsSeen::default(), lab.clock.ticks());
    };
    set_id(&lab, 1);
    lab.end("orders", 0, 10);
    lab.commit("g", KEY, 4);
    lab.sample();
    set_id(&lab, 2);
    lab.end("orders", 0, 5000);
    lab.sample();
    assert_eq!(lab.lags("g", KEY), [Some(Some(6)), Some(None)]);
}

#[test]
fn memory_is_bounded_and_the_oldest_samples_are_dropped_first() {
    let mut lab = lab(100_000);
    for round in 0..300_i64 {
        for group in 0..100 {
            lab.commit(&format!("g{group}"), KEY, round * 1000 + round * round % 97);
        }
        lab.sample();
        let samples = lab.cluster().own.samples.current();
        assert!(samples.bytes <= 100_000, "{}", samples.bytes);
    }
    let samples = lab.cluster().own.samples.current();
    assert!(samples.dropped > 0 && samples.times().len() < 300 && samples.times().len() > 20);
    let committed = lab.committed("g7", KEY);
    let newest = 299_000 + 299 * 299 % 97;
    assert_eq!(committed.last(), Some(&Some(newest)));
    assert!(committed.iter().all(Option::is_some));
    (0..361).for_each(|_| lab.sample());
    assert!(lab.cluster().own.samples.current().groups.is_empty(), "a key that no longer moves has no line");
}

#[test]
fn changes_between_samples_are_not_lost() {
    let mut lab = lab(usize::MAX);
    lab.sampler.settings.step = 300;
    lab.apply("g", KEY, Some(1), false);
    lab.commit("g", ("orders", 9), 1);
    lab.sample();
    lab.commit("g", KEY, 2);
    lab.commit("g", ("orders", 8), 4);
    lab.sample();
    lab.sample();
    lab.sample();
    assert_eq!(lab.committed("g", KEY), [Some(1), Some(2)], "the windows hold the offset from before the sample");
    assert_eq!(lab.committed("g", ("orders", 8)), [None, Some(4)]);
}

#[test]
fn a_group_reaches_every_status() {
    let mut lab = lab(usize::MAX);
    lab.topics(&[("orders", 1)]);
    let status = |lab: &Lab| lab.cluster().own.samples.current().changes.last().map_or(Status::Ok, |change| change.to);
    let (mut end, mut committed) = (10, 10);
    lab.end("orders", 0, end);
    lab.commit("g", KEY, committed);
    lab.sample();
    let mut seen = vec![status(&lab)];
    // Takes samples, with this many records produced and read before each; `None`: no commit.
    let mut go = |lab: &mut Lab, samples: usize, produced: i64, read: Option<i64>| {
        for _ in 0..samples {
            end += produced;
            lab.end("orders", 0, end);
            if let Some(read) = read {
                committed = (committed + read).min(end);
                lab.commit("g", KEY, committed);
            }
            lab.sample();
        }
        seen.push(status(lab));
    };
    // A window is ten samples.
    go(&mut lab, 15, 20, Some(10));
    go(&mut lab, 1, 0, Some(1000));
    go(&mut lab, 15, 5, Some(0));
    go(&mut lab, 1, 5, Some(-40));
    go(&mut lab, 15, 5, Some(5));
    go(&mut lab, 15, 5, None);
    lab.observe(OffsetSpec::Start, "orders", 0, 400);
    go(&mut lab, 1, 5, None);
    lab.topics(&[]);
    lab.sample();
    lab.topics(&[]);
    lab.sample();
    seen.push(status(&lab));
    let [ok, lagging, rewind, stalled, stopped, data_lost, unknown] = [
        Status::Ok,
        Status::Lagging,
        Status::Rewind,
        Status::Stalled,
        Status::Stopped,
        Status::DataLost,
        Status::Unknown,
    ];
    assert_eq!(seen, [ok, lagging, ok, stalled, rewind, ok, stopped, data_lost, unknown]);
    // A new topic of that name, and a commit to it.
    lab.topics(&[("orders", 1)]);
    lab.end("orders", 0, 7);
    lab.commit("g", KEY, 7);
    lab.sample();
    assert_eq!(status(&lab), ok);
}

#[test]
fn a_status_change_is_detected() {
    let mut lab = lab(usize::MAX);
    lab.topics(&[("orders", 1)]);
    lab.end("orders", 0, 10);
    lab.commit("g", KEY, 10);
    lab.sample();
    let mut watch = lab.cluster().own.samples.watch_changes();
    lab.commit("g", KEY, 4);
    lab.clock.advance(100_000);
    lab.commit("g", KEY, 3);
    lab.sample();
    assert!(watch.has_changed().unwrap());
    watch.mark_unchanged();
    let samples = lab.cluster().own.samples.current();
    let changes: Vec<_> = samples.changes.iter().map(|change| (&*change.group, change.from, change.to)).collect();
    assert_eq!(changes, [("g", Status::Ok, Status::Rewind)]);
    assert_eq!(samples.changes[0].at, lab.clock.now());
}
