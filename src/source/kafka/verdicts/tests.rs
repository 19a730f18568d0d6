use super::*;
use crate::{
    clock::Clock,
    model::{Millis, Revision, log_partition_for},
    source::kafka::Log,
    store::{
        Store,
        cluster::Cluster,
        cut::Settings,
        event::{Event, EventKind},
        group::Commit,
        writer::{ShardWriter, SourceWriter},
    },
};

const BEFORE: i32 = 5;
const NOW: i32 = 8;

/// Returns ids of groups that belong to log partition `from` of five, and to log partition `to` of eight.
fn ids(from: i32, to: i32) -> impl Iterator<Item = String> {
    let is = move |id: &String| (log_partition_for(id, BEFORE), log_partition_for(id, NOW)) == (Some(from), Some(to));
    (0..).map(|number| format!("group {number}")).filter(is)
}

fn verdicts() -> Verdicts {
    let mut verdicts = Verdicts::default();
    verdicts.set_log_partitions(BEFORE, &[Some(1); 5]);
    verdicts.set_log_partitions(NOW, &[Some(1); 8]);
    verdicts
}

fn class_of(verdicts: &Verdicts, id: &str, at: i32) -> Class {
    verdicts.class(java_hash(id), at, NOW, None).unwrap()
}

#[test]
fn earlier_partition_counts_are_derived_from_the_positions_of_copies() {
    let mut verdicts = Verdicts::default();
    verdicts.set_log_partitions(NOW, &[Some(1); 8]);
    let copy = |count: i32| move |number: i32| (number * 7919, log_partition_of(number * 7919, count).unwrap());
    let mut copies: Vec<(i32, i32)> = (0..30).map(copy(5)).collect();
    copies.extend((0..9).map(copy(3)));
    copies.retain(|(hash, at)| log_partition_of(*hash, NOW) != Some(*at));
    verdicts.derive_earlier_counts(&copies);
    assert_eq!(verdicts.earlier_counts, [5, 3]);
}

#[test]
fn a_copy_is_shown_until_a_verdict_hides_it() {
    let mut verdicts = verdicts();
    let id = ids(2, 7).next().unwrap();
    let candidates = |verdicts: &Verdicts, home| verdicts.candidates(&id, &[2], home, NOW);
    assert_eq!(candidates(&verdicts, None), [2], "a copy is not hidden without a verdict");
    assert_eq!(candidates(&verdicts, Some(7)), [7], "a commit at the home proves that brokers use the new number");
    let class = class_of(&verdicts, &id, 2);
    verdicts.insert(class.clone(), Verdict::Current);
    assert_eq!(candidates(&verdicts, None), [2]);
    assert_eq!(candidates(&verdicts, Some(7)), [7, 2], "the copy with the newest commit is shown");
    let of_group = Class { group: Some(id.as_str().into()), ..class.clone() };
    verdicts.insert(of_group.clone(), Verdict::Current);
    assert_eq!(candidates(&verdicts, Some(7)), [2]);
    verdicts.insert(of_group, Verdict::Outdated);
    assert_eq!(candidates(&verdicts, Some(7)), [7]);
    verdicts.insert(class, Verdict::Outdated);
    assert_eq!(candidates(&verdicts, None), [] as [i32; 0]);
    assert_eq!(candidates(&verdicts, Some(7)), [7]);
}

#[test]
fn brokers_disagree_during_a_rolling_restart() {
    let mut verdicts = verdicts();
    // Broker 2 leads the new partitions and was restarted.
    let leaders = [Some(1), Some(1), Some(1), Some(1), Some(1), Some(2), Some(2), Some(1)];
    verdicts.set_log_partitions(NOW, &leaders);
    let (moves, stays) = (ids(1, 6).next().unwrap(), ids(2, 7).next().unwrap());
    verdicts.insert(class_of(&verdicts, &moves, 1), Verdict::Outdated);
    assert!(verdicts.candidates(&moves, &[1], None, NOW).is_empty());
    assert_eq!(verdicts.candidates(&stays, &[2], None, NOW), [2], "there is no verdict about broker 1");
    // While a leader is unknown, the last known leader counts.
    verdicts.set_log_partitions(NOW, &[None; 8]);
    assert!(verdicts.candidates(&moves, &[1], None, NOW).is_empty());
    // Leaders change: broker 2 is known to use the new number, and may lead any partition.
    verdicts.set_log_partitions(NOW, &[Some(3), Some(3), Some(3), None, None, None, Some(2), Some(2)]);
    assert!(verdicts.candidates(&moves, &[1], None, NOW).is_empty());
    assert!(verdicts.candidates(&stays, &[2], None, NOW).is_empty());
}

#[test]
fn hidden_copies_stay_hidden_when_the_topic_grows_again() {
    let mut verdicts = verdicts();
    let id = ids(2, 7).find(|id| log_partition_for(id, 12) != Some(7)).unwrap();
    verdicts.insert(class_of(&verdicts, &id, 2), Verdict::Outdated);
    verdicts.set_log_partitions(12, &[Some(1); 12]);
    assert!(verdicts.candidates(&id, &[2], None, 12).is_empty());
    assert_eq!(verdicts.candidates(&id, &[7], None, 12), [7], "the previous number counts until there is a verdict");
    // Fewer partitions mean that the topic was created again.
    verdicts.set_log_partitions(3, &[Some(1); 3]);
    assert_eq!(verdicts, {
        let mut expected = Verdicts::default();
        expected.set_log_partitions(3, &[Some(1); 3]);
        expected
    });
}

struct Grown {
    store: Arc<Store>,
    cluster: Arc<Cluster>,
    log: Arc<Log>,
    shards: Vec<ShardWriter>,
}

impl Grown {
    fn new() -> Self {
        let flags =
            crate::config::Flags { bootstrap_servers: Some("h:1".to_owned()), ..crate::config::Flags::default() };
        let layers = crate::config::Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
        let config = crate::config::Config::load(layers).unwrap().config.clusters.remove(0);
        let clock = Clock::manual(1_000);
        let (cluster, log) = Log::open(config, &clock);
        cluster.set_health(|health| health.ready = true);
        let settings = Settings { window: 100, active_within: 1, commits_kept: 1, watch_queue: 16 };
        let store = Arc::new(Store::new(vec![Arc::clone(&cluster)], clock, settings));
        let writer = SourceWriter::own(&store, &cluster);
        let shards: Vec<ShardWriter> = (0..NOW).map(|number| writer.new_shard(number)).collect();
        shards.iter().for_each(|shard| writer.publish(shard));
        log.homes.set(verdicts());
        Self { store, cluster, log, shards }
    }

    fn commit(&self, at: usize, group: &str, committed_at: Millis, partitions: i32) {
        for partition in 0..partitions {
            let commit = Commit {
                committed_offset: 10 * i64::try_from(at).unwrap(),
                committed_at,
                leader_epoch: -1,
                metadata: "",
                expires_at: None,
                topic_id: None,
                first_seen_at: None,
            };
            let revision = Revision(committed_at + i64::from(partition));
            let kind = EventKind::Commit { topic: "t", partition, commit };
            self.shards[at].apply(&[Event { revision, at: committed_at, group, kind }], Revision(0));
        }
    }

    fn delete(&self, at: usize, group: &str, log_offset: i64) {
        let kind = EventKind::Delete { topic: "t", partition: 0 };
        self.shards[at].apply(&[Event { revision: Revision(log_offset), at: 0, group, kind }], Revision(0));
    }

    fn set_verdict(&self, id: &str, at: i32, verdict: Verdict) {
        let mut verdicts = Verdicts::clone(&self.log.homes.verdicts());
        verdicts.insert(class_of(&verdicts, id, at), verdict);
        self.log.homes.set(verdicts);
    }

    /// Returns the log partition from which a group is shown and its number of rows; all interfaces must agree.
    fn shown(&self, id: &str) -> Option<(i32, usize)> {
        let cut = self.store.cut("", false).unwrap();
        let cluster = &cut.sources[0];
        let all: Vec<(i32, usize)> =
            cluster.groups().filter(|of| *of.group.id == *id).map(|of| (of.shard.key.number, of.group.len())).collect();
        assert!(all.len() <= 1, "{id} is shown from {all:?}");
        let by_id = cluster.group(id).map(|of| (of.shard.key.number, of.group.len()));
        let point = self.cluster.own.shard_of_group(id).map(|shard| (shard.key.number, shard.group(id).unwrap().len()));
        assert_eq!((all.first().copied(), by_id), (point, point));
        assert_eq!(cluster.group_count(), cluster.groups().count());
        point
    }
}

#[test]
fn all_lookups_show_a_group_from_its_current_log_partition() {
    let grown = Grown::new();
    let (id, other) = (ids(2, 7).next().unwrap(), ids(2, 7).nth(1).unwrap());
    grown.commit(2, &id, 10, 3);
    grown.commit(2, &other, 10, 2);
    assert_eq!(grown.shown(&id), Some((2, 3)));
    grown.set_verdict(&id, 2, Verdict::Current);
    assert_eq!(grown.shown(&id), Some((2, 3)));
    // Brokers disagree: two of them write to the group.
    grown.commit(7, &id, 20, 1);
    assert_eq!(grown.shown(&id), Some((7, 1)));
    grown.commit(2, &id, 30, 3);
    assert_eq!(grown.shown(&id), Some((2, 3)));
    grown.set_verdict(&id, 2, Verdict::Outdated);
    assert_eq!(grown.shown(&id), Some((7, 1)));
    assert_eq!(grown.shown(&other), None, "its coordinator has no offsets of it");
}

#[test]
fn changes_of_a_hidden_copy_are_not_reported() {
    let grown = Grown::new();
    let id = ids(2, 7).next().unwrap();
    grown.commit(2, &id, 10, 2);
    let (_, mut changes) = grown.shards[2].subscribe();
    grown.commit(2, &id, 12, 1);
    assert!(changes.try_recv().is_ok());
    grown.commit(7, &id, 20, 1);
    let hide = || {
        let shards = grown.cluster.own.pin_shards();
        grown.cluster.own.set_hidden(&grown.log.homes.layout(&shards).hidden_in(&shards));
    };
    let mut health = grown.cluster.watch_health();
    health.borrow_and_update();
    hide();
    assert!(health.has_changed().unwrap(), "watchers are woken");
    assert_eq!(grown.shards[2].hidden().iter().map(|id| &**id).collect::<Vec<_>>(), [id.as_str()]);
    health.borrow_and_update();
    hide();
    assert!(!health.has_changed().unwrap(), "nothing changed");
    // The hidden copy expires.
    let before = grown.shards[2].pin().commits.iter().count();
    grown.delete(2, &id, 30);
    assert!(changes.try_recv().is_err());
    assert_eq!(grown.shards[2].pin().commits.iter().count(), before);
    let (view, _) = grown.shards[2].subscribe();
    assert!(view.hidden.contains(&Name::from(id.as_str())));
}

#[tokio::test]
async fn a_latest_reader_waits_until_coordinators_are_polled() {
    let homes = LogHomes::default();
    homes.refresh().await;
    homes.set(Verdicts { unsettled: true, ..verdicts() });
    let mut waits = Box::pin(homes.refresh());
    assert!(futures::poll!(&mut waits).is_pending());
    let number = homes.last_request();
    homes.set_answered(number - 1);
    assert!(futures::poll!(&mut waits).is_pending());
    homes.set_answered(number);
    waits.await;
}
