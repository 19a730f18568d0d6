use std::collections::BTreeMap;

use super::{super::super::now as moment, *};

fn names(count: usize) -> HashSet<Name> {
    (0..count).map(|number| Name::from(format!("g{number}"))).collect()
}

/// Polls at the given rate for some time. Returns the number of polls of each group, and the longest time between two
/// polls of one group.
fn run(
    schedule: &mut Schedule,
    per_second: u32,
    time: Duration,
    changes: impl Fn(&str) -> bool,
) -> (BTreeMap<Name, u32>, Duration) {
    let (start, step) = (moment(), Duration::from_secs(1) / per_second);
    let (mut polls, mut last, mut longest) = (BTreeMap::new(), HashMap::new(), Duration::ZERO);
    let mut now = start;
    while now < start + time {
        if let Some(name) = schedule.next(now) {
            *polls.entry(Name::clone(&name)).or_default() += 1;
            let before = last.insert(Name::clone(&name), now).unwrap_or(start);
            longest = longest.max(now - before);
            schedule.answered(&name, changes(&name), now);
        }
        now += step;
    }
    (polls, longest)
}

#[test]
fn changing_groups_are_polled_every_second_and_others_at_least_every_minute() {
    let mut schedule = Schedule::new(Duration::from_secs(60));
    schedule.set_groups(&names(20), moment());
    let (polls, longest) = run(&mut schedule, 50, Duration::from_secs(600), |name| name == "g1");
    assert!(polls["g1"] > 550, "{polls:?}");
    assert!((14..=18).contains(&polls["g2"]), "1 + 2 + 4 + … + 60 s: {polls:?}");
    assert!(longest <= Duration::from_secs(61), "{longest:?}");
}

#[test]
fn changing_groups_do_not_starve_the_others() {
    let mut schedule = Schedule::new(Duration::from_secs(60));
    schedule.set_groups(&names(200), moment());
    // More groups change than the rate limit permits to poll every second.
    let is_changing = |name: &str| name.trim_start_matches('g').parse::<u32>().unwrap() < 100;
    let (polls, longest) = run(&mut schedule, 10, Duration::from_secs(600), is_changing);
    assert_eq!(polls.len(), 200);
    assert!(polls["g1"] > 3 * polls["g150"], "{} {}", polls["g1"], polls["g150"]);
    assert!(longest < Duration::from_secs(100), "{longest:?}");
}

#[test]
fn a_group_that_a_reader_waits_for_is_polled_first_unless_a_request_is_in_flight() {
    let now = moment();
    let mut schedule = Schedule::new(Duration::from_secs(60));
    schedule.set_groups(&names(100), now);
    assert!(schedule.prioritize(&"g77".into()));
    assert!(!schedule.prioritize(&"other".into()));
    assert_eq!(schedule.next(now).as_deref(), Some("g77"));
    // The response in flight may be older than this reader's request.
    schedule.prioritize(&"g77".into());
    assert_ne!(schedule.next(now).as_deref(), Some("g77"));
    schedule.answered(&"g77".into(), false, now);
    assert_eq!(schedule.next(now).as_deref(), Some("g77"));
}

#[test]
fn removed_groups_are_returned_and_never_polled_again() {
    let now = moment();
    let mut schedule = Schedule::new(Duration::from_secs(60));
    schedule.set_groups(&names(3), now);
    let under_way = schedule.next(now).unwrap();
    let mut gone = schedule.set_groups(&names(1), now);
    gone.sort();
    assert_eq!(gone, ["g1".into(), "g2".into()] as [Name; 2]);
    schedule.answered(&under_way, true, now);
    let later = now + Duration::from_secs(1000);
    let left: Vec<Name> = std::iter::from_fn(|| schedule.next(later)).collect();
    assert!(left.iter().all(|name| &**name == "g0"), "{left:?}");
}

#[test]
fn the_interval_of_a_group_doubles_and_a_reader_makes_it_due_now() {
    let (mut at, name, millis) = (moment(), Name::from("g"), Duration::from_millis);
    let mut schedule = Schedule::between(millis(5), millis(250));
    schedule.add(&name, at);
    assert_eq!(schedule.next(at).as_ref(), Some(&name));
    assert!(schedule.prioritize(&name) && schedule.next(at).is_none(), "a request is in flight");
    schedule.reschedule(&name, true, at);
    assert_eq!(schedule.next(at).as_ref(), Some(&name), "a reader waits");
    for interval in [20, 40, 80, 160, 250, 250].map(millis) {
        schedule.reschedule(&name, true, at);
        assert_eq!(schedule.next(at + interval - millis(1)), None);
        at += interval;
        assert_eq!(schedule.next(at).as_ref(), Some(&name));
    }
    schedule.reschedule(&name, true, at);
    assert!(schedule.prioritize(&name));
    schedule.remove(&name);
    assert_eq!(schedule.next(at + millis(250)), None);
}
