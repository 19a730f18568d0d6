use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::*;
use crate::{
    clock::Clock,
    model::{Revision, log_partition_for},
    source::kafka::{LiveSource, PartitionEnds, Verdict, Verdicts},
    store::{
        cut::Settings,
        event::{Event, EventKind},
        group::Commit,
        writer::{ShardWriter, SourceWriter},
    },
};

/// The responses of a fake cluster.
#[derive(Debug, Default)]
struct Kafka {
    committed: Mutex<Vec<CommittedKey>>,
    refuses: Mutex<bool>,
    end: Mutex<i64>,
}

#[derive(Debug)]
struct Fake(Arc<Kafka>);

impl LiveSource for Fake {
    fn committed(&self, _: &str) -> Result<Vec<CommittedKey>, RequestError> {
        if *self.0.refuses.lock() { Err(RequestError::UnexpectedResponse) } else { Ok(self.0.committed.lock().clone()) }
    }

    fn log_ends(&self, log_partitions: &[i32], _: Duration) -> Result<PartitionEnds, RequestError> {
        Ok(log_partitions.iter().map(|number| (*number, Ok(*self.0.end.lock()))).collect())
    }
}

struct Audited {
    store: Arc<Store>,
    cluster: Arc<Cluster>,
    log: Arc<Log>,
    shards: Vec<ShardWriter>,
    kafka: Arc<Kafka>,
}

impl Audited {
    fn new() -> Self {
        Self::with_log_partitions(1)
    }

    fn with_log_partitions(count: i32) -> Self {
        let flags = config::Flags { bootstrap_servers: Some("h:1".to_owned()), ..config::Flags::default() };
        let layers = config::Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
        let config = config::Config::load(layers).unwrap().config.clusters.remove(0);
        let clock = Clock::manual(1_000);
        let (cluster, log) = Log::open(config, &clock);
        let settings = Settings { window: 100, active_within: 1, commits_kept: 1, watch_queue: 16 };
        let store = Arc::new(Store::new(vec![Arc::clone(&cluster)], clock, settings));
        let kafka = Arc::new(Kafka::default());
        log.set_live(Arc::new(Fake(Arc::clone(&kafka))));
        let writer = SourceWriter::own(&store, &cluster);
        let shards: Vec<ShardWriter> = (0..count).map(|number| writer.new_shard(number)).collect();
        for shard in &shards {
            writer.publish(shard);
            shard.reached(Revision(0));
        }
        Self { store, cluster, log, shards, kafka }
    }

    fn shard(&self) -> &ShardWriter {
        &self.shards[0]
    }

    fn commit(&self, log_offset: i64, partition: i32, offset: i64) {
        self.commit_in(0, log_offset, partition, offset);
        *self.kafka.end.lock() = log_offset + 1;
    }

    fn commit_in(&self, shard: usize, log_offset: i64, partition: i32, offset: i64) {
        let commit = Commit {
            committed_offset: offset,
            committed_at: 1,
            leader_epoch: 2,
            metadata: "m",
            expires_at: None,
            topic_id: None,
            first_seen_at: None,
        };
        let kind = EventKind::Commit { topic: "t", partition, commit };
        let event = Event { revision: Revision(log_offset), at: 1, group: "g", kind };
        self.shards[shard].apply(&[event], Revision(0));
        self.shards[shard].reached(Revision(log_offset + 1));
    }

    fn coordinator_says(&self, offsets: &[(i32, i64)]) {
        let key = |(partition, offset): &(i32, i64)| {
            ("t".to_owned(), *partition, Committed { offset: *offset, leader_epoch: 2, metadata: "m".to_owned() })
        };
        *self.kafka.committed.lock() = offsets.iter().map(key).collect();
    }

    /// Runs an audit. Returns the known differences as (partition, our offset, their offset).
    async fn audit(&self) -> Vec<(i32, Option<i64>, Option<i64>)> {
        let timeouts = Timeouts { catch_up: Duration::from_millis(20), recheck_delay: Duration::ZERO };
        audit(&self.store, (&self.cluster, &self.log), &"g".into(), timeouts).await;
        let listed = self.cluster.own.audit.differences();
        listed.into_iter().map(|(key, of)| (key.2, of.committed_offset, of.their_offset)).collect()
    }
}

#[tokio::test]
async fn differences_from_the_coordinator_are_listed_until_they_are_resolved() {
    let audited = Audited::new();
    audited.commit(0, 0, 5);
    audited.commit(1, 1, 6);
    audited.commit(2, 2, 7);
    audited.coordinator_says(&[(0, 5), (1, 6), (2, 7)]);
    assert_eq!(audited.audit().await, []);
    // Kafka has another offset, lacks one of ours, and has one that we lack.
    audited.coordinator_says(&[(0, 5), (1, 9), (3, 1)]);
    let expected = [(1, Some(6), Some(9)), (2, Some(7), None), (3, None, Some(1))];
    assert_eq!(audited.audit().await, expected);
    let first = audited.cluster.own.audit.differences()[0].1.first_seen_at;
    audited.store.clock.advance(500);
    assert_eq!(audited.audit().await, expected);
    let (_, again) = audited.cluster.own.audit.differences().remove(0);
    assert_eq!((again.first_seen_at, again.checked_at), (first, first + 500));
    assert_eq!(audited.cluster.own.audit.found.get(), 3, "each difference counts once");
    audited.coordinator_says(&[(0, 5), (1, 6), (2, 7)]);
    assert_eq!(audited.audit().await, []);
    let counters = &audited.cluster.own.audit;
    assert_eq!((counters.groups.get(), counters.keys.get(), counters.skipped.get()), (4, 3 + 4 + 4 + 3, 0));
}

#[tokio::test]
async fn a_group_that_cannot_be_compared_is_skipped() {
    let audited = Audited::new();
    audited.commit(0, 0, 5);
    audited.coordinator_says(&[(0, 6)]);
    // The shard does not reach the high watermark in time.
    *audited.kafka.end.lock() = 10;
    assert_eq!(audited.audit().await, []);
    *audited.kafka.end.lock() = 1;
    audited.shard().progress.set_open_transaction_since(Some(1));
    assert_eq!(audited.audit().await, []);
    audited.shard().progress.set_open_transaction_since(None);
    *audited.kafka.refuses.lock() = true;
    assert_eq!(audited.audit().await, []);
    assert_eq!(audited.cluster.own.audit.skipped.get(), 3);
    *audited.kafka.refuses.lock() = false;
    assert_eq!(audited.audit().await, [(0, Some(5), Some(6))]);
}

#[test]
fn keys_that_changed_during_the_comparison_and_hidden_topics_do_not_count_as_differences() {
    let audited = Audited::new();
    audited.commit(0, 0, 5);
    let before = audited.shard().group("g").unwrap();
    audited.commit(1, 0, 8);
    let after = audited.shard().group("g").unwrap();
    audited.coordinator_says(&[(0, 6)]);
    let answer = audited.kafka.committed.lock().clone();
    let count = |before, shown: bool| differences(&"g".into(), Some(before), &answer, Some(&after), |_| shown).1.len();
    assert_eq!(count(&before, true), 0);
    assert_eq!(count(&after, true), 1);
    assert_eq!(count(&after, false), 0);
}

/// Log partitions of group "g", with hash 103: with 5 log partitions, and with 8.
const EARLIER: usize = 3;
const HOME: usize = 7;

#[tokio::test]
async fn after_partitions_were_added_the_audit_reports_only_wrong_rows() {
    let audited = Audited::with_log_partitions(8);
    let home = log_partition_for("g", 8).map(usize::try_from);
    assert_eq!((log_partition_for("g", 5), home), (Some(3), Some(Ok(HOME))));
    audited.commit_in(EARLIER, 0, 0, 5);
    audited.commit_in(EARLIER, 1, 1, 6);
    // Brokers use the earlier number, so readers see the right copy, although the home has none.
    audited.coordinator_says(&[(0, 5), (1, 6)]);
    assert_eq!(audited.audit().await, []);
    // Brokers use the new number and return no offsets, but there is no verdict yet.
    audited.coordinator_says(&[]);
    assert_eq!(audited.audit().await, [(0, Some(5), None), (1, Some(6), None)]);
    let class = |verdicts: &Verdicts| {
        let at = i32::try_from(EARLIER).unwrap();
        verdicts.class(crate::model::java_hash("g"), at, 8, None).unwrap()
    };
    let set_verdict = |verdict| {
        let mut verdicts = Verdicts::default();
        verdicts.set_log_partitions(5, &[Some(1); 5]);
        verdicts.set_log_partitions(8, &[Some(1); 8]);
        verdicts.insert(class(&verdicts), verdict);
        audited.log.homes.set(verdicts);
    };
    set_verdict(Verdict::Outdated);
    assert_eq!(audited.audit().await, []);
    // The group commits at its home. Kafka returns no offset for the other key.
    audited.commit_in(HOME, 0, 0, 9);
    audited.coordinator_says(&[(0, 9)]);
    assert_eq!(audited.audit().await, []);
    // Readers see the wrong copy.
    audited.commit_in(EARLIER, 2, 2, 7);
    audited.coordinator_says(&[(0, 5), (1, 6), (2, 7)]);
    assert_eq!(audited.audit().await, [(0, Some(9), Some(5)), (1, None, Some(6)), (2, None, Some(7))]);
    assert_eq!(audited.cluster.own.audit.skipped.get(), 0);
}
