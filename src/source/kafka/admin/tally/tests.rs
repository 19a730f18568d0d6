use super::{super::super::now, *};

const EXPECTED: Duration = Duration::from_secs(60);

fn names(names: &[&str]) -> HashSet<Name> {
    names.iter().map(|name| Name::from(*name)).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_round_is_told_once_every_group_was_answered_with_its_time_and_the_longest_interval() {
    let start = now();
    let mut tally = Tally::new(start);
    let both = || names(&["a", "b"]);
    assert!(tally.finish(both, EXPECTED).is_none() && !tally.is_first_done(), "no listing yet");
    tally.listed(&both());
    tally.answered(&"a".into(), start);
    tally.pass(true, start + seconds(2));
    assert!(tally.finish(both, EXPECTED).is_none());
    tally.answered(&"b".into(), start + seconds(2));
    let first = tally.finish(both, EXPECTED).unwrap();
    assert_eq!((first.seconds, first.interval), (2.0, EXPECTED), "the first round has no measured interval");
    assert!(tally.is_first_done() && tally.finish(both, EXPECTED).is_none(), "returned once");
    // Idle time does not count; the interval is that of the group that waited longest.
    tally.pass(false, start + seconds(90));
    tally.pass(true, start + seconds(91));
    tally.answered(&"a".into(), start + seconds(91));
    tally.answered(&"b".into(), start + seconds(92));
    let second = tally.finish(both, EXPECTED).unwrap();
    assert_eq!((second.seconds, second.interval), (1.0, seconds(91)));
}

#[test]
fn a_group_that_is_gone_holds_no_round_up() {
    let mut tally = Tally::new(now());
    tally.listed(&names(&["a", "b"]));
    tally.answered(&"a".into(), now());
    tally.forget(&"b".into());
    assert!(tally.finish(|| names(&["a"]), EXPECTED).is_some());
}

#[test]
fn what_is_not_told_is_counted_until_it_is_told_again() {
    let mut tally = Tally::new(now());
    let group = || names(&["a"]);
    tally.listed(&group());
    let seen =
        ListingStats { forbidden: 3, malformed: 1, last_rejected: Some("a/t/0".to_owned()), ..ListingStats::default() };
    tally.reject(&"a".into(), &seen);
    assert!(tally.finish(group, EXPECTED).is_none(), "the first round is not complete");
    tally.answered(&"a".into(), now());
    let told = tally.finish(group, EXPECTED).unwrap();
    assert_eq!((told.forbidden, told.malformed, told.last_rejected.as_deref()), (3, 1, Some("a/t/0")));
    tally.reject(&"a".into(), &seen);
    assert!(tally.finish(group, EXPECTED).is_none(), "nothing changed");
    tally.refused(&"b".into(), 0);
    assert_eq!(tally.finish(group, EXPECTED).unwrap().forbidden, 4);
    tally.forget(&"b".into());
    tally.reject(&"a".into(), &ListingStats::default());
    let told = tally.finish(group, EXPECTED).unwrap();
    assert_eq!((told.forbidden, told.malformed, told.last_rejected), (0, 0, None));
}
