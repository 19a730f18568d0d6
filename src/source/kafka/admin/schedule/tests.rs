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
    moves: impl Fn(&str) -> bool,
) -> (BTreeMap<Name, u32>, Duration) {
    let (start, step) = (moment(), Duration::from_secs(1) / per_second);
    let (mut asked, mut last, mut longest) = (BTreeMap::new(), HashMap::new(), Duration::ZERO);
    let mut now = start;
    while now < start + time {
        if let Some(name) = schedule.next(now) {
            *asked.entry(Name::clone(&name)).or_default() += 1;
            let before = last.insert(Name::clone(&name), now).unwrap_or(start);
            longest = longest.max(now - before);
            schedule.answered(&name, moves(&name), now);
        }
        now += step;
    }
    (asked, longest)
}

#[test]
fn groups_that_move_are_asked_every_second_and_others_at_most_every_minute() {
    let mut schedule = Schedule::new(Duration::from_secs(60));
    schedule.set_groups(&names(20), moment());
    let (asked, longest) = run(&mut schedule, 50, Duration::from_secs(600), |name| name == "g1");
    assert!(asked["g1"] > 550, "{asked:?}");
    assert!((14..=18).contains(&asked["g2"]), "1 + 2 + 4 + … + 60 s: {asked:?}");
    assert!(longest <= Duration::from_secs(61), "{longest:?}");
}

#[test]
fn groups_that_move_do_not_keep_the_others_from_being_asked() {
    let mut schedule = Schedule::new(Duration::from_secs(60));
    schedule.set_groups(&names(200), moment());
    // More groups change than the rate limit permits to poll every second.
    let is_moving = |name: &str| name.trim_start_matches('g').parse::<u32>().unwrap() < 100;
    let (asked, longest) = run(&mut schedule, 10, Duration::from_secs(600), is_moving);
    assert_eq!(asked.len(), 200);
    assert!(asked["g1"] > 3 * asked["g150"], "{} {}", asked["g1"], asked["g150"]);
    assert!(longest < Duration::from_secs(100), "{longest:?}");
}

#[test]
fn a_group_that_a_reader_waits_for_goes_first_but_not_while_its_answer_is_under_way() {
    let now = moment();
    let mut schedule = Schedule::new(Duration::from_secs(60));
    schedule.set_groups(&names(100), now);
    assert!(schedule.hurry(&"g77".into()));
    assert!(!schedule.hurry(&"other".into()));
    assert_eq!(schedule.next(now).as_deref(), Some("g77"));
    // The response in flight may be older than this reader's request.
    schedule.hurry(&"g77".into());
    assert_ne!(schedule.next(now).as_deref(), Some("g77"));
    schedule.answered(&"g77".into(), false, now);
    assert_eq!(schedule.next(now).as_deref(), Some("g77"));
}

#[test]
fn groups_that_are_gone_are_told_and_never_asked_again() {
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
fn a_group_is_requested_ever_more_seldom_until_it_is_removed_and_immediately_for_a_reader() {
    let (mut at, name, millis) = (moment(), Name::from("g"), Duration::from_millis);
    let mut schedule = Schedule::between(millis(5), millis(250));
    schedule.add(&name, at);
    assert_eq!(schedule.next(at).as_ref(), Some(&name));
    assert!(schedule.hurry(&name) && schedule.next(at).is_none(), "a request is in flight");
    schedule.again(&name, true, at);
    assert_eq!(schedule.next(at).as_ref(), Some(&name), "a reader waits");
    for interval in [20, 40, 80, 160, 250, 250].map(millis) {
        schedule.again(&name, true, at);
        assert_eq!(schedule.next(at + interval - millis(1)), None);
        at += interval;
        assert_eq!(schedule.next(at).as_ref(), Some(&name));
    }
    schedule.again(&name, true, at);
    assert!(schedule.hurry(&name));
    schedule.remove(&name);
    assert_eq!(schedule.next(at + millis(250)), None);
}
