use std::{cell::Cell, collections::BTreeMap, hash::Hasher, sync::Arc};

use rdkafka::error::RDKafkaErrorCode;

use super::*;
use crate::{
    clock::Clock,
    config::{Config, Flags, Layers},
    model::Revision,
    source::kafka::Log,
    store::{
        Store,
        cut::Settings,
        event::{Event, EventKind},
        group::Commit,
        writer::SourceWriter,
    },
};

thread_local! {
    static COMPARISONS: Cell<usize> = const { Cell::new(0) };
}

/// A key that counts how often it is compared.
#[derive(Debug)]
struct Counted(usize);

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        COMPARISONS.set(COMPARISONS.get() + 1);
        self.0 == other.0
    }
}

impl Eq for Counted {}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[test]
fn results_are_paired_with_keys_in_linear_time() {
    const KEYS: usize = 10_000;
    let keys: Vec<Counted> = (0..KEYS).map(Counted).collect();
    // The results have another order, and every tenth is missing.
    let answers = (0..KEYS).rev().filter(|number| number % 10 != 0).map(|number| (Counted(number), number));
    for (key, answer) in pair_with_results(&keys, answers) {
        assert_eq!(answer, (key.0 % 10 != 0).then_some(key.0));
    }
    let comparisons = COMPARISONS.get();
    // The table also compares keys with similar hashes.
    assert!(comparisons < 3 * KEYS, "{comparisons} comparisons for {KEYS} keys");
}

fn answer(partition: i32, offset: Option<i64>) -> CommittedOffset {
    let committed = |offset| Some(Committed { offset, leader_epoch: -1, metadata: String::new() });
    let result = offset.map(committed).ok_or(RDKafkaErrorCode::UnstableOffsetCommit);
    CommittedOffset { topic: "t".to_owned(), partition, result }
}

#[test]
fn a_stable_response_is_shown_and_new_keys_with_a_pending_transaction_are_requested_again() {
    let flags = Flags { bootstrap_servers: Some("h:1".to_owned()), ..Flags::default() };
    let sources = Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
    let clock = Clock::manual(1_000);
    let (cluster, _) = Log::open(Config::load(sources).unwrap().config.clusters.remove(0), &clock);
    let settings = Settings { window: 1, active_within: 1, commits_kept: 1, watch_queue: 1 };
    let store = Arc::new(Store::new(vec![Arc::clone(&cluster)], clock, settings));
    let writer = SourceWriter::own(&store, &cluster);
    let shard = writer.new_shard(0);
    shard.reached(Revision(10));

    let (mut range, mut free_bytes) = (BlockedRange::new(10, 0, crate::source::kafka::now()), usize::MAX);
    let mut add = |log_offset, partition, committed_offset| {
        let commit = Commit {
            committed_offset,
            committed_at: log_offset,
            leader_epoch: -1,
            metadata: "",
            expires_at: None,
            topic_id: None,
            first_seen_at: None,
        };
        let kind = EventKind::Commit { topic: "t", partition, commit };
        let event = Event { revision: Revision(log_offset), at: log_offset, group: "g", kind };
        range.add(&event, writer.names(), &mut free_bytes);
    };
    add(10, 0, 5);
    add(11, 1, 6);
    add(12, 0, 7);
    let key = |partition| -> Key { ("g".into(), "t".into(), partition) };
    let shown = |partition| {
        let row = shard.get("g", "t", partition).and_then(|found| found.entry)?.row;
        Some((row.committed_offset, row.committed_at))
    };
    let mut request = range.next_request(0, &"g".into()).unwrap();
    let response = vec![answer(0, Some(5)), answer(1, None)];
    let (changes, unstable) = apply_response(0, &request, response, (&mut range, shard.shard()));
    assert_eq!((changes, unstable), (1, [key(1)].into()));
    assert_eq!((shown(0), shown(1)), (Some((5, 10)), None), "the record of an aborted transaction does not count");
    // The consumer has not read a record with offset 9.
    let response = vec![answer(0, Some(9)), answer(1, None)];
    request.new_keys.clear();
    assert_eq!(apply_response(1, &request, response, (&mut range, shard.shard())), (0, BTreeSet::new()));
    let response = vec![answer(0, Some(7)), answer(1, Some(6))];
    request.require_stable = false;
    assert_eq!(apply_response(2, &request, response, (&mut range, shard.shard())), (2, BTreeSet::new()));
    assert_eq!((shown(0), shown(1)), (Some((7, 12)), Some((6, 11))));
}
