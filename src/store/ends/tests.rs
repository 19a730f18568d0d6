use super::*;
use crate::{
    model::{Revision, SourceId, SourceKind},
    store::event::ShardKey,
};

fn shard(number: i32) -> ShardKey {
    let source = SourceId { cluster: "c".into(), name: "own".into() };
    ShardKey { source, kind: SourceKind::Log, number }
}

fn topic(name: &str, partitions: usize) -> TopicMetadata {
    TopicMetadata { name: name.into(), leaders: vec![Some(1); partitions] }
}

fn board(topics: &[(&str, usize)]) -> LogEndsBoard {
    let board = LogEndsBoard::default();
    board.set_topics(topics.iter().map(|(name, partitions)| topic(name, *partitions)).collect(), 0, &BTreeMap::new());
    board
}

#[test]
fn a_topic_is_deleted_when_two_refreshes_ten_seconds_apart_miss_it() {
    let board = board(&[("t", 1)]);
    board.set_topics(vec![], 50, &BTreeMap::new());
    assert!(board.current().topic("t").is_some(), "one refresh is not enough");
    board.set_topics(vec![], 100, &BTreeMap::new());
    assert!(board.current().topic("t").is_some(), "too close to the first refresh that missed it");
    board.set_topics(vec![], 150, &BTreeMap::new());
    assert!(board.current().topic("t").is_none());
}

#[test]
fn a_topic_never_seen_is_deleted_only_for_commits_before_two_refreshes() {
    let board = board(&[]);
    assert!(!board.current().is_deleted(0));
    board.set_topics(vec![], 10, &BTreeMap::new());
    assert!(!board.current().is_deleted(0), "the refreshes are too close together");
    board.set_topics(vec![], 120, &BTreeMap::new());
    board.set_topics(vec![], 230, &BTreeMap::new());
    assert!(board.current().is_deleted(5));
    assert!(!board.current().is_deleted(200), "the commit is newer than the first of the two refreshes");
}

#[test]
fn partitions_added_later_keep_the_values_of_the_first() {
    let board = board(&[("t", 1)]);
    let first = board.current().topic("t").unwrap().partitions[0];
    board.observe(OffsetSpec::High, &[OffsetAnswer { slot: first.slot, result: Ok((7, 0)) }], 1, 100);
    board.set_topics(vec![topic("t", 3)], 5, &BTreeMap::new());
    let ends = board.current();
    let partitions = &ends.topic("t").unwrap().partitions;
    assert_eq!(ends.value(partitions[0]).log_end, 7);
    let added = ends.value(partitions[2]);
    assert_eq!((added.log_end, added.since, added.absent_at), (-1, 5, Some(0)), "it was not in the first list");
}

#[test]
fn a_new_topic_id_resets_the_ends_and_keeps_the_applied_revisions() {
    let board = board(&[("t", 1)]);
    let slot = board.current().topic("t").unwrap().partitions[0].slot;
    board.set_ids(&[("t".into(), Uuid([1; 16]))].into(), &IdsSeen::default(), 0);
    board.observe(OffsetSpec::High, &[OffsetAnswer { slot, result: Ok((7, 0)) }], 1, 100);
    let before = IdsSeen { asked: Some(0), applied: [(shard(3), Revision(99))].into() };
    board.set_ids(&[("t".into(), Uuid([2; 16]))].into(), &before, 9);
    let ends = board.current();
    let topic = ends.topic("t").unwrap();
    let value = ends.value(topic.partitions[0]);
    assert_eq!((value.log_end, value.observed, value.since), (-1, 0, 9));
    assert_eq!(value.absent_at, Some(0), "the old id was seen at that time");
    assert_eq!(topic.earlier.as_ref().unwrap()[&shard(3)], Revision(99));
}

#[test]
fn a_failed_request_keeps_the_last_log_end() {
    let board = board(&[("t", 1)]);
    let partition = board.current().topic("t").unwrap().partitions[0];
    board.observe(OffsetSpec::High, &[OffsetAnswer { slot: partition.slot, result: Ok((7, 0)) }], 1, 100);
    board.observe(
        OffsetSpec::High,
        &[OffsetAnswer { slot: partition.slot, result: Err(EndError::Other(-1)) }],
        11,
        1100,
    );
    let value = board.current().value(partition);
    assert_eq!((value.log_end, value.observed, value.error), (7, 1, Some(EndError::Other(-1))));
}

#[test]
fn samples_reach_an_hour_back_and_stay_few() {
    let board = board(&[("t", 1)]);
    let partition = board.current().topic("t").unwrap().partitions[0];
    for second in 0..7200_u32 {
        let answer = OffsetAnswer { slot: partition.slot, result: Ok((i64::from(second) * 5, 0)) };
        board.observe(OffsetSpec::High, &[answer], second * 10, 0);
        board.sample(second * 10);
    }
    let ends = board.current();
    assert!(ends.samples.len() < 100, "{}", ends.samples.len());
    let reach = ends.samples.last().unwrap().taken - ends.samples[0].taken;
    assert!((30_000..=SAMPLE_SPAN).contains(&reach), "{reach}");
    assert!((ends.produce_rate(partition, 600).unwrap() - 5.0).abs() < 0.01);
}

#[test]
fn commits_to_a_deleted_topic_do_not_belong_to_a_later_topic_of_its_name() {
    let board = board(&[("t", 1)]);
    board.set_topics(vec![], 50, &[(shard(7), Revision(10))].into());
    board.set_topics(vec![], 160, &[(shard(7), Revision(20))].into());
    assert!(board.current().topic("t").is_none());
    board.set_topics(vec![topic("t", 1)], 170, &[(shard(7), Revision(30))].into());
    let earlier = board.current().topic("t").unwrap().earlier.clone();
    assert_eq!(earlier.unwrap()[&shard(7)], Revision(20), "the revision that was applied when the deletion was found");
    // A later refresh and the new id do not change this.
    board.set_topics(vec![topic("t", 1)], 180, &[(shard(7), Revision(40))].into());
    let before = IdsSeen { asked: Some(175), applied: [(shard(7), Revision(35))].into() };
    board.set_ids(&[("t".into(), Uuid([1; 16]))].into(), &before, 185);
    assert_eq!(board.current().topic("t").unwrap().earlier.as_ref().unwrap()[&shard(7)], Revision(20));
}

/// Polls a partition each second; `ends` has one log end per second.
fn poll(board: &LogEndsBoard, slot: u32, from: Ticks, ends: &[i64]) {
    for (at, end) in (from..).step_by(10).zip(ends) {
        board.observe(OffsetSpec::High, &[OffsetAnswer { slot, result: Ok((*end, 0)) }], at, 0);
        board.sample(at);
    }
}

#[test]
fn the_samples_of_a_log_that_was_replaced_are_not_those_of_the_new_one() {
    // The log is replaced either by a new topic id or by an end that goes back.
    for by_id in [true, false] {
        let board = board(&[("t", 1), ("other", 1)]);
        let partition = board.current().topic("t").unwrap().partitions[0];
        let other = board.current().topic("other").unwrap().partitions[0];
        board.set_ids(&[("t".into(), Uuid([1; 16]))].into(), &IdsSeen::default(), 0);
        poll(&board, other.slot, 0, &[5]);
        poll(&board, partition.slot, 0, &[100, 200, 300, 400]);
        board.set_trailing([(partition.slot, (399, 400)), (other.slot, (4, 5))].into());
        assert_eq!(board.current().trailing_markers(partition), 1);
        if by_id {
            board.set_ids(&[("t".into(), Uuid([2; 16]))].into(), &IdsSeen::default(), 35);
            // The request was sent before, so the response may be of either log.
            board.observe(OffsetSpec::High, &[OffsetAnswer { slot: partition.slot, result: Ok((400, 0)) }], 34, 0);
            assert_eq!(board.current().value(partition).log_end, -1);
        }
        poll(&board, partition.slot, 40, &[33, 66, 99, 132]);
        let ends = board.current();
        let samples: Vec<i64> = ends.samples_of(partition).map(|(_, end)| end).collect();
        assert!(samples.iter().all(|end| *end <= 132) && samples.len() >= 3, "{samples:?}");
        assert!((ends.produce_rate(partition, 600).unwrap() - 33.0).abs() < 0.1);
        assert_eq!((ends.trailing_markers(partition), ends.trailing_markers(other)), (0, 1));
        assert!(ends.samples_of(other).next().is_some(), "other partitions keep theirs");
    }
}

#[test]
fn a_late_response_adds_no_sample_of_the_old_log_to_the_new_one() {
    let board = board(&[("t", 1), ("quick", 1)]);
    let slot = |name: &str| board.current().topic(name).unwrap().partitions[0].slot;
    let (slow, quick) = (slot("t"), slot("quick"));
    let answer =
        |slot, end, sent| board.observe(OffsetSpec::High, &[OffsetAnswer { slot, result: Ok((end, 0)) }], sent, 0);
    for at in [0, 10] {
        answer(slow, 900, at);
        answer(quick, 1, at);
        board.sample(at);
    }
    // The quick broker answers requests of 20 and 30 before the slow one answers that of 20.
    answer(quick, 1, 20);
    board.sample(20);
    answer(quick, 1, 30);
    board.sample(30);
    assert!(answer(slow, 5, 20), "the end went back");
    answer(slow, 38, 40);
    board.sample(40);
    let ends = board.current();
    let partition = ends.topic("t").unwrap().partitions[0];
    assert!(ends.samples_of(partition).all(|(_, end)| end < 900));
}

#[test]
fn a_topic_that_is_listed_again_may_have_been_recreated() {
    let board = board(&[("known", 1), ("unknown", 1)]);
    let partition = |name: &str| board.current().topic(name).unwrap().partitions[0];
    board.set_ids(&[("known".into(), Uuid([1; 16]))].into(), &IdsSeen::default(), 0);
    for name in ["known", "unknown"] {
        poll(&board, partition(name).slot, 0, &[100, 200]);
    }
    board.set_topics(vec![], 20, &BTreeMap::new());
    let listed = || vec![topic("known", 1), topic("unknown", 1)];
    assert!(board.set_topics(listed(), 30, &BTreeMap::new()), "their ids must be requested");
    assert!(!board.set_topics(listed(), 40, &BTreeMap::new()));
    let ends = board.current();
    assert_eq!(ends.samples_of(partition("known")).count(), 2, "its id will show whether it is the same topic");
    assert_eq!(ends.samples_of(partition("unknown")).count(), 0);
    assert_eq!(ends.value(partition("unknown")).absent_at, None, "it may have existed all the time");
}

#[test]
fn a_new_log_is_younger_than_the_last_list_without_it() {
    let board = board(&[("t", 1)]);
    board.set_topics(vec![topic("t", 2), topic("new", 1)], 70, &BTreeMap::new());
    let ends = board.current();
    let absent = |name: &str, at: usize| ends.value(ends.topic(name).unwrap().partitions[at]).absent_at;
    assert_eq!((absent("t", 0), absent("t", 1), absent("new", 0)), (None, Some(0), Some(0)));
    // A topic that was hidden may be old.
    board.set_refused(&"hidden".into(), true, 80);
    board.set_topics(vec![topic("t", 2), topic("hidden", 1)], 90, &BTreeMap::new());
    let ends = board.current();
    assert_eq!(ends.value(ends.topic("hidden").unwrap().partitions[0]).absent_at, None);
}

#[test]
fn a_partition_without_a_leader_has_an_unknown_end_until_its_next_leader_answers() {
    let board = board(&[("t", 2)]);
    let partition = |number: usize| board.current().topic("t").unwrap().partitions[number];
    let answer = |sent| {
        let ends = [0, 1].map(|number| OffsetAnswer { slot: partition(number).slot, result: Ok((50, 0)) });
        board.observe(OffsetSpec::High, &ends, sent, 100);
    };
    let end = |number| match board.current().value(partition(number)) {
        LogOffsets { error: Some(EndError::NoLeader), .. } => None,
        value => Some(value.log_end),
    };
    let listing = |leaders: &[Option<i32>], at| {
        let topic = TopicMetadata { name: "t".into(), leaders: leaders.to_vec() };
        board.set_topics(vec![topic], at, &BTreeMap::new());
    };
    answer(1);
    assert_eq!((end(0), end(1)), (Some(50), Some(50)));
    listing(&[None, Some(2)], 2);
    assert_eq!((end(0), end(1)), (None, Some(50)), "only that partition is affected");
    answer(1);
    assert_eq!(end(0), None, "a late answer of the previous leader is ignored");
    listing(&[None, Some(2)], 3);
    listing(&[Some(2), Some(2)], 4);
    assert_eq!(end(0), None, "the new leader has not answered");
    answer(5);
    assert_eq!(end(0), Some(50));
    board.set_topics(vec![], 6, &BTreeMap::new());
    assert_eq!((end(0), end(1)), (Some(50), Some(50)), "a list without the topic does not change leaders");
}
