//! Tests of the demo groups of the protocols that the broker runs.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    decode::{Record, decode, group},
    demo::{scenario::TICK_MS, tests::workload, tick::Event},
};

type Bytes = (Vec<u8>, Option<Vec<u8>>);

/// Runs the workload for this many minutes and returns the records of the broker's protocols.
fn play(minutes: u64) -> Vec<Bytes> {
    let mut workload = workload();
    let ticks = 0..i64::try_from(minutes * 60_000 / TICK_MS).unwrap();
    let events = ticks.flat_map(|tick| workload.tick(tick * 250));
    let log = events.filter_map(|event| match event {
        Event::Log { key, value, .. } => Some((key, value)),
        Event::Data { .. } => None,
    });
    log.filter(|(key, _)| crate::decode::kind(Some(key)).unwrap() > 2).collect()
}

#[test]
fn every_type_of_a_4_x_broker_is_played_with_values_and_members_also_with_deletions() {
    let kinds = |deleted: bool| -> BTreeSet<i16> {
        let tape = play(6);
        let of = tape.iter().filter(|(_, value)| value.is_none() == deleted);
        of.map(|(key, value)| decode(Some(key), value.as_deref()).unwrap().kind()).collect()
    };
    // Type 9 occurs only in Kafka 4.0, and type 18 in no release.
    let all: Vec<i16> = (3..=23).filter(|kind| ![9, 18].contains(kind)).collect();
    assert_eq!(kinds(false).into_iter().collect::<Vec<_>>(), all);
    assert_eq!(kinds(true).into_iter().collect::<Vec<_>>(), [5, 7, 8, 10, 13, 14, 19, 21, 22]);
}

/// Returns the state of a record of type 8, and the partitions that are owned or not yet given up.
fn owned(record: &Record<'_>) -> Option<(i8, Vec<(Uuid, i32)>)> {
    let Record::ConsumerGroupCurrentMemberAssignment { value: Some(value), .. } = record else { return None };
    let value = value.value;
    let topics = value.assigned_partitions.iter().chain(value.partitions_pending_revocation.iter());
    let partitions = topics.flat_map(|topic| topic.partitions.iter().map(move |partition| (topic.topic_id, partition)));
    Some((value.state, partitions.collect()))
}

#[test]
fn no_partition_of_a_consumer_group_has_two_owners_and_at_rest_every_one_has_its_owner() {
    let tape = play(20);
    let mut members = BTreeMap::new();
    let (mut states, mut complete) = (BTreeSet::new(), 0);
    for (key, value) in tape.iter().filter(|(key, _)| group(Some(key)) == Some("order-events")) {
        let record = decode(Some(key), value.as_deref()).unwrap();
        let Record::ConsumerGroupCurrentMemberAssignment { key, .. } = record else { continue };
        match owned(&record) {
            Some(now) => members.insert(key.member_id.to_owned(), now),
            None => members.remove(key.member_id),
        };
        let all: Vec<(Uuid, i32)> = members.values().flat_map(|(_, owned)| owned.clone()).collect();
        let distinct: BTreeSet<(Uuid, i32)> = all.iter().copied().collect();
        assert_eq!(all.len(), distinct.len(), "{members:?}");
        states.extend(members.values().map(|(state, _)| *state));
        let expected: BTreeSet<(Uuid, i32)> =
            ["orders", "payments"].into_iter().flat_map(|topic| (0..6).map(move |of| (topic_id(topic), of))).collect();
        complete += usize::from(distinct == expected && members.values().all(|(state, _)| *state == 0));
    }
    assert!(complete > 20, "{complete}");
    assert_eq!(states.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn topic_ids_are_told_by_the_records_and_distinct() {
    let mut told: BTreeMap<String, Uuid> = BTreeMap::new();
    for (key, value) in &play(1) {
        let record = decode(Some(key), value.as_deref()).unwrap();
        if let Record::ConsumerGroupPartitionMetadata { value: Some(value), .. } = &record {
            told.extend(value.value.topics.iter().map(|topic| (topic.topic_name.to_owned(), topic.topic_id)));
        }
        if let Record::ShareGroupStatePartitionMetadata { value: Some(value), .. } = &record {
            let topics = value.value.initialized_topics;
            told.extend(topics.iter().map(|topic| (topic.topic_name.to_owned(), topic.topic_id)));
        }
    }
    let topics = ["audit-log", "clickstream", "orders", "payments", "shipments"];
    assert_eq!(told.keys().map(String::as_str).collect::<Vec<_>>(), topics);
    assert_eq!(told.values().collect::<BTreeSet<_>>().len(), told.len());
}
