use std::sync::Arc;

use super::*;
use crate::{
    model::{Revision, SourceId, SourceKind, Uuid},
    store::{
        ends::{IdsSeen, LogEndsBoard, OffsetAnswer, OffsetSpec, TopicMetadata},
        group::Extras,
    },
};

fn shard() -> ShardKey {
    let source = SourceId { cluster: "c".into(), name: "kafka".into() };
    ShardKey { source, kind: SourceKind::Log, number: 0 }
}

/// Returns the log ends of a partition that grows by 10 per second up to `end`, sampled each second until `now`.
fn growing(now: Ticks, end: i64) -> Arc<LogEnds> {
    let board = board();
    for at in (0..=now).step_by(10) {
        observe(&board, end - i64::from(now - at), at);
        board.sample(at);
    }
    board.current()
}

fn board() -> LogEndsBoard {
    let board = LogEndsBoard::default();
    board.set_topics(
        vec![TopicMetadata { name: "t".into(), leaders: vec![Some(1)] }],
        0,
        &std::collections::BTreeMap::new(),
    );
    board
}

fn observe(board: &LogEndsBoard, end: i64, at: Ticks) {
    let slot = board.current().topic("t").unwrap().partitions[0].slot;
    board.observe(OffsetSpec::High, &[OffsetAnswer { slot, result: Ok((end, 3)) }], at, 0);
}

fn commit(offset: i64) -> Row {
    Row {
        topic: 0,
        partition: 0,
        committed_offset: offset,
        committed_at: START,
        revision: Revision(0),
        leader_epoch: -1,
        interval_ms: 0,
        applied: 0,
    }
}

fn lag_of(row: &Row, ends: &LogEnds, now: Ticks) -> Lag {
    lag(row, None, &shard(), ends.topic("t").map(|topic| &**topic), ends, now)
}

#[test]
fn lag_is_the_end_less_the_committed_offset() {
    let ends = growing(100, 500);
    assert_eq!(lag_of(&commit(450), &ends, 100).lag, Ok(50));
    assert_eq!(lag_of(&commit(500), &ends, 100).seconds(&ends, 100), Some(0.0));
}

#[test]
fn an_end_older_than_the_commit_means_no_lag() {
    let ends = growing(100, 500);
    let row = Row { applied: 100, ..commit(505) };
    assert_eq!(lag_of(&row, &ends, 105).lag, Ok(0));
}

#[test]
fn a_commit_beyond_an_end_observed_after_it_is_ahead_of_the_log() {
    let ends = growing(100, 500);
    let row = Row { applied: 50, ..commit(505) };
    assert_eq!(lag_of(&row, &ends, 100).lag, Err(LagUnknown::AheadOfLog));
}

#[test]
fn lag_counts_from_the_log_start_and_data_loss_is_shown() {
    let board = board();
    observe(&board, 500, 10);
    let slot = board.current().topic("t").unwrap().partitions[0].slot;
    board.observe(OffsetSpec::Start, &[OffsetAnswer { slot, result: Ok((200, -1)) }], 10, 0);
    let found = lag_of(&commit(100), &board.current(), 10);
    assert_eq!((found.lag, found.data_lost), (Ok(300), true));
    let context = StatusContext { ends: &board.current(), window: 100, now: 10, now_at: 0, load_began: 0 };
    assert_eq!(status(&commit(100), &found, None, context), Status::DataLost);
}

#[test]
fn a_commit_of_another_topic_id_or_a_later_epoch_is_of_a_recreated_topic() {
    let board = board();
    board.set_ids(&[("t".into(), Uuid([1; 16]))].into(), &IdsSeen::default(), 0);
    observe(&board, 500, 10);
    let ends = board.current();
    let topic = ends.topic("t").map(|topic| &**topic);
    let with = |id| Extras { topic_id: Some(Uuid([id; 16])), ..Extras::default() };
    assert_eq!(lag(&commit(1), Some(&with(2)), &shard(), topic, &ends, 10).lag, Err(LagUnknown::TopicRecreated));
    assert_eq!(lag(&commit(1), Some(&with(1)), &shard(), topic, &ends, 10).lag, Ok(499));
    assert_eq!(lag_of(&Row { leader_epoch: 4, ..commit(1) }, &ends, 10).lag, Err(LagUnknown::TopicRecreated));
    assert_eq!(lag_of(&Row { leader_epoch: 3, ..commit(1) }, &ends, 10).lag, Ok(499));
}

#[test]
fn commits_applied_before_the_id_changed_are_of_the_earlier_topic() {
    let board = board();
    board.set_ids(&[("t".into(), Uuid([1; 16]))].into(), &IdsSeen::default(), 0);
    let before = IdsSeen { asked: Some(0), applied: [(shard(), Revision(50))].into() };
    board.set_ids(&[("t".into(), Uuid([2; 16]))].into(), &before, 5);
    observe(&board, 500, 10);
    let ends = board.current();
    assert_eq!(lag_of(&Row { revision: Revision(49), ..commit(1) }, &ends, 10).lag, Err(LagUnknown::TopicRecreated));
    assert_eq!(lag_of(&Row { revision: Revision(50), ..commit(1) }, &ends, 10).lag, Ok(499));
}

#[test]
fn an_unknown_end_gives_an_unknown_lag_and_never_zero() {
    let ends = board().current();
    assert_eq!(lag_of(&commit(1), &ends, 10).lag, Err(LagUnknown::EndUnknown));
    assert_eq!(lag(&commit(1), None, &shard(), None, &ends, 10).lag, Err(LagUnknown::EndUnknown));
    let board = board();
    observe(&board, 500, 10);
    let slot = board.current().topic("t").unwrap().partitions[0].slot;
    let fail = |error, at| board.observe(OffsetSpec::High, &[OffsetAnswer { slot, result: Err(error) }], at, 0);
    fail(EndError::Other(-1), 20);
    assert_eq!(lag_of(&commit(1), &board.current(), 20).lag, Ok(499), "one failure does not make the end unknown");
    assert_eq!(lag_of(&commit(1), &board.current(), 200).lag, Err(LagUnknown::EndUnknown));
    fail(EndError::NotAuthorized, 20);
    assert_eq!(lag_of(&commit(1), &board.current(), 20).lag, Err(LagUnknown::NotAuthorized));
}

#[test]
fn the_lag_on_a_deleted_topic_has_the_reason_topic_deleted() {
    let board = board();
    for at in [0, 100, 200, 300] {
        board.set_topics(vec![], at, &std::collections::BTreeMap::new());
    }
    assert_eq!(lag_of(&commit(1), &board.current(), 300).lag, Err(LagUnknown::TopicDeleted));
}

#[test]
fn seconds_are_interpolated_between_samples() {
    // At 10 records per second, 50 records take 5 s.
    let ends = growing(600, 1000);
    let seconds = lag_of(&commit(950), &ends, 600).seconds(&ends, 600).unwrap();
    assert!((seconds - 5.0).abs() < 0.2, "{seconds}");
}

#[test]
fn a_sample_has_the_time_of_its_request() {
    let board = board();
    for at in (0..=600).step_by(10) {
        observe(&board, i64::from(at), at);
        // The sample is taken when the next request is sent.
        board.sample(at + 10);
    }
    let ends = board.current();
    for (committed, expected) in [(599, 0.1), (595, 0.5), (555, 4.5), (105, 49.5)] {
        let seconds = lag_of(&commit(committed), &ends, 600).seconds(&ends, 600).unwrap();
        assert!((seconds - expected).abs() < 0.01, "{committed}: {seconds}");
    }
}

#[test]
fn a_late_response_does_not_distort_the_time_lag() {
    let board = LogEndsBoard::default();
    let listed = vec![TopicMetadata { name: "t".into(), leaders: vec![Some(1), Some(2)] }];
    board.set_topics(listed, 0, &std::collections::BTreeMap::new());
    let slots: Vec<u32> = board.current().topic("t").unwrap().partitions.iter().map(|of| of.slot).collect();
    let answer = |slot: u32, at: Ticks| {
        board.observe(OffsetSpec::High, &[OffsetAnswer { slot, result: Ok((i64::from(at), 0)) }], at, 0);
    };
    // The second leader does not answer for a while, but its log grows.
    for at in (0..=600).step_by(10) {
        answer(slots[0], at);
        if !(100..500).contains(&at) {
            answer(slots[1], at);
        }
        board.sample(at + 10);
    }
    let ends = board.current();
    let seconds = lag_of(&Row { partition: 1, ..commit(300) }, &ends, 600).seconds(&ends, 600).unwrap();
    assert!((seconds - 30.0).abs() < 2.0, "{seconds}");
}

#[test]
fn seconds_beyond_the_samples_are_extrapolated_and_at_least_their_span() {
    // Samples reach 10 s back, to offset 900; another 400 records take 40 s.
    let ends = growing(100, 1000);
    let seconds = lag_of(&commit(500), &ends, 100).seconds(&ends, 100).unwrap();
    assert!((seconds - 50.0).abs() < 1.0, "{seconds}");
}

#[test]
fn seconds_are_unknown_where_nothing_was_produced() {
    let board = board();
    for at in (0..100).step_by(10) {
        observe(&board, 100, at);
        board.sample(at);
    }
    assert_eq!(lag_of(&commit(90), &board.current(), 100).seconds(&board.current(), 100), None);
}

const WINDOW: Ticks = 100;
/// Commit time, where it matters.
const START: i64 = 1_700_000_000_000;

/// Returns the status after samples of (committed offset, lag), one per second, each with a commit.
fn status_after(samples: &[(i64, i64)]) -> Status {
    let mut window: Option<KeyWindow> = None;
    let mut row = commit(0);
    let topic: crate::model::Name = "t".into();
    let mut last = 0;
    for (now, (offset, records)) in (0..).step_by(10).zip(samples) {
        let committed_at = START + i64::from(now) * 100;
        row = Row { committed_offset: *offset, committed_at, applied: now, interval_ms: 1000, ..row };
        let entry =
            crate::store::group::Entry { topic: &topic, topic_index: 0, row: &row, extras: None, first_seen_at: None };
        window = Some(match window {
            None => KeyWindow::first(&entry, 0, Some(*records), now),
            Some(window) => window.next(&entry, Some(*records), now),
        });
        last = now;
    }
    let records = samples.last().unwrap().1;
    let lag = Lag {
        log_start: None,
        log_end: None,
        lag: Ok(records),
        data_lost: false,
        only_markers: false,
        log_since: 0,
        next: None,
    };
    let ends = LogEnds::default();
    let context =
        StatusContext { ends: &ends, window: WINDOW, now: last, now_at: START + i64::from(last) * 100, load_began: 0 };
    status(&row, &lag, window.as_ref(), context)
}

#[test]
fn a_lag_that_only_grows_while_commits_advance_is_lagging() {
    assert_eq!(status_after(&(0..30).map(|at| (at, 10 + at)).collect::<Vec<_>>()), Status::Lagging);
}

#[test]
fn a_steady_lag_is_ok() {
    assert_eq!(status_after(&(0..30).map(|at| (at, 3)).collect::<Vec<_>>()), Status::Ok);
}

#[test]
fn a_sample_without_lag_clears_it() {
    let mut samples: Vec<_> = (0..30).map(|at| (at, 10 + at)).collect();
    samples[25].1 = 0;
    assert_eq!(status_after(&samples), Status::Ok);
}

#[test]
fn commits_that_do_not_advance_are_stalled() {
    assert_eq!(status_after(&(0..30).map(|at| (7, 10 + at)).collect::<Vec<_>>()), Status::Stalled);
}

#[test]
fn a_committed_offset_that_goes_back_is_a_rewind() {
    let samples: Vec<_> = (0..30).map(|at| if at < 27 { (100 + at, 10) } else { (at, 120) }).collect();
    assert_eq!(status_after(&samples), Status::Rewind);
}

#[test]
fn no_commit_for_longer_than_usual_is_stopped() {
    let behind = Lag {
        log_start: None,
        log_end: None,
        lag: Ok(5),
        data_lost: false,
        only_markers: false,
        log_since: 0,
        next: None,
    };
    let ends = LogEnds::default();
    let at = |after: i64| StatusContext { ends: &ends, window: WINDOW, now: 0, now_at: START + after, load_began: 0 };
    let often = Row { interval_ms: 1000, ..commit(0) };
    assert_eq!(status(&often, &behind, None, at(9_000)), Status::Ok);
    assert_eq!(status(&often, &behind, None, at(11_000)), Status::Stopped);
    let hourly = Row { interval_ms: 3_600_000, ..commit(0) };
    assert_eq!(status(&hourly, &behind, None, at(3_700_000)), Status::Ok, "not much longer than usual");
    assert_eq!(status(&hourly, &behind, None, at(6_000_000)), Status::Stopped);
    let none = Lag { lag: Ok(0), ..behind };
    assert_eq!(status(&often, &none, None, at(11_000)), Status::Ok, "nothing to read");
}

#[test]
fn a_trailing_marker_is_lag_but_no_time_lag() {
    let board = board();
    for at in [0, 10, 20] {
        observe(&board, 500, at);
        board.sample(at);
    }
    let slot = board.current().topic("t").unwrap().partitions[0].slot;
    board.set_trailing([(slot, (498, 500))].into());
    let lag = lag_of(&commit(499), &board.current(), 1000);
    assert_eq!((lag.lag, lag.seconds(&board.current(), 1000), lag.only_markers), (Ok(1), Some(0.0), true));
    let ends = board.current();
    let context = StatusContext { ends: &ends, window: 100, now: 1000, now_at: START + 10_000_000, load_began: 0 };
    assert_eq!(status(&commit(499), &lag, None, context), Status::Ok, "however old the commit is");
    // An unread record precedes the marker.
    let lag = lag_of(&commit(497), &board.current(), 1000);
    assert_eq!((lag.lag, lag.only_markers), (Ok(3), false));
    // A marker before the previous log end does not count for this one.
    observe(&board, 501, 30);
    assert!(!lag_of(&commit(499), &board.current(), 1000).only_markers);
}

#[test]
fn the_age_of_a_commit_is_at_least_the_time_since_it_was_seen() {
    let now_at = 1_700_000_000_000;
    let day = 86_400_000;
    let quiet_of =
        |committed_at, applied| ms_since_commit(&Row { committed_at, applied, ..commit(1) }, 50, 1050, now_at);
    assert_eq!(quiet_of(now_at - 7000, 1000), 7000, "the commit time is earlier than the time at which it was seen");
    for ahead in [now_at - 4999, now_at, now_at + day, now_at + 365_000 * day, i64::MAX] {
        assert_eq!(quiet_of(ahead, 1000), 5000, "{ahead}");
    }
    for unknown in [0, -1, i64::MIN] {
        assert_eq!(quiet_of(unknown, 1000), 5000, "{unknown}");
    }
    assert_eq!(quiet_of(now_at + day, 0), 100_000, "replayed: committed before the load began");
}

/// Returns a board with an empty topic list at `absent_at`, and with a topic from 100 on that gets a log end each ten
/// seconds.
fn burst(absent_at: Option<Ticks>, ends: &[i64]) -> Arc<LogEnds> {
    let board = LogEndsBoard::default();
    if let Some(at) = absent_at {
        board.set_topics(vec![], at, &std::collections::BTreeMap::new());
    }
    let listed = vec![TopicMetadata { name: "t".into(), leaders: vec![Some(1)] }];
    board.set_topics(listed, 100, &std::collections::BTreeMap::new());
    for (at, end) in (100..).step_by(100).zip(ends) {
        observe(&board, *end, at);
        board.sample(at);
    }
    board.current()
}

#[test]
fn seconds_are_at_most_the_known_age_of_the_log() {
    // 100,000 records arrive in one second, and one record a minute later. Its rate would give months.
    let ends = [100_000; 6].into_iter().chain([100_001; 5]).collect::<Vec<_>>();
    for (ends, committed) in [(&*ends, 100), (&*ends, 99_000), (&ends[..6], 100)] {
        let now = 100 + 100 * u32::try_from(ends.len()).unwrap();
        let age = f64::from(now - 20) / 10.0;
        let known = burst(Some(20), ends);
        let seconds = lag_of(&commit(committed), &known, now).seconds(&known, now).unwrap();
        assert!(seconds <= age && seconds >= f64::from(now - 100) / 10.0, "{seconds} of {age}");
        let unknown = burst(None, ends);
        assert_eq!(lag_of(&commit(committed), &unknown, now).seconds(&unknown, now), None, "{committed}");
    }
    // Within the age, a steady rate is the better estimate.
    let steady: Vec<i64> = (1..10).map(|round| round * 100).collect();
    let known = burst(Some(20), &steady);
    let seconds = lag_of(&commit(50), &known, 900).seconds(&known, 900).unwrap();
    assert!((seconds - 85.0).abs() < 0.1, "{seconds}");
}

#[test]
fn seconds_are_extrapolated_no_further_than_the_samples_can_tell() {
    // The samples span 10 s and 100 records.
    let ends = growing(100, 10_000);
    let seconds = |committed| lag_of(&commit(committed), &ends, 100).seconds(&ends, 100);
    assert!(seconds(9000).is_some_and(|seconds| (seconds - 100.0).abs() < 1.0));
    assert_eq!(seconds(8000), None);
}

#[test]
fn without_a_leader_the_end_is_unknown_even_after_a_recent_answer() {
    let board = board();
    observe(&board, 500, 10);
    let row = commit(460);
    assert_eq!(lag_of(&row, &board.current(), 10).lag, Ok(40));
    let leaderless = TopicMetadata { name: "t".into(), leaders: vec![None] };
    board.set_topics(vec![leaderless], 10, &std::collections::BTreeMap::new());
    let found = lag_of(&row, &board.current(), 10);
    assert_eq!((found.lag, found.log_end), (Err(LagUnknown::EndUnknown), None));
    let context = StatusContext { ends: &board.current(), window: 100, now: 10, now_at: 0, load_began: 0 };
    assert_eq!(status(&row, &found, None, context), Status::Unknown);
}
