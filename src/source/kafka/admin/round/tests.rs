use super::{super::super::now, *};

const EXPECTED: Duration = Duration::from_secs(60);

fn names(names: &[&str]) -> HashSet<Name> {
    names.iter().map(|name| Name::from(*name)).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_round_ends_after_a_response_for_each_group_with_its_duration_and_longest_interval() {
    let start = now();
    let mut round = RoundProgress::new(start);
    let both = || names(&["a", "b"]);
    assert!(round.finish(both, EXPECTED).is_none() && !round.is_first_done(), "no listing yet");
    round.record_listing(&both());
    round.record_response(&"a".into(), start);
    round.advance(true, start + seconds(2));
    assert!(round.finish(both, EXPECTED).is_none());
    round.record_response(&"b".into(), start + seconds(2));
    let first = round.finish(both, EXPECTED).unwrap();
    assert_eq!((first.seconds, first.interval), (2.0, EXPECTED), "the first round has no measured interval");
    assert!(round.is_first_done() && round.finish(both, EXPECTED).is_none(), "returned once");
    // Idle time does not count; the interval is that of the group that waited longest.
    round.advance(false, start + seconds(90));
    round.advance(true, start + seconds(91));
    round.record_response(&"a".into(), start + seconds(91));
    round.record_response(&"b".into(), start + seconds(92));
    let second = round.finish(both, EXPECTED).unwrap();
    assert_eq!((second.seconds, second.interval), (1.0, seconds(91)));
}

#[test]
fn a_removed_group_does_not_delay_the_round() {
    let mut round = RoundProgress::new(now());
    round.record_listing(&names(&["a", "b"]));
    round.record_response(&"a".into(), now());
    round.remove(&"b".into());
    assert!(round.finish(|| names(&["a"]), EXPECTED).is_some());
}

#[test]
fn rejected_offsets_are_counted_until_they_are_returned_again() {
    let mut round = RoundProgress::new(now());
    let group = || names(&["a"]);
    round.record_listing(&group());
    let stats =
        ListingStats { forbidden: 3, malformed: 1, last_rejected: Some("a/t/0".to_owned()), ..ListingStats::default() };
    round.record_rejected(&"a".into(), &stats);
    assert!(round.finish(group, EXPECTED).is_none(), "the first round is not complete");
    round.record_response(&"a".into(), now());
    let outcome = round.finish(group, EXPECTED).unwrap();
    assert_eq!((outcome.forbidden, outcome.malformed, outcome.last_rejected.as_deref()), (3, 1, Some("a/t/0")));
    round.record_rejected(&"a".into(), &stats);
    assert!(round.finish(group, EXPECTED).is_none(), "nothing changed");
    round.record_refusal(&"b".into(), 0);
    assert_eq!(round.finish(group, EXPECTED).unwrap().forbidden, 4);
    round.remove(&"b".into());
    round.record_rejected(&"a".into(), &ListingStats::default());
    let outcome = round.finish(group, EXPECTED).unwrap();
    assert_eq!((outcome.forbidden, outcome.malformed, outcome.last_rejected), (0, 0, None));
}
