use super::*;

fn event(number: i64, previous: Option<i64>) -> CommitEvent {
    CommitEvent {
        group: "g".into(),
        topic: "t".into(),
        partition: 0,
        committed_offset: Some(number),
        previous_offset: previous,
        committed_at: number,
        revision: Revision(number),
        applied_at: number,
        sequence: number.unsigned_abs(),
    }
}

#[test]
fn commits_stay_for_a_minute_and_within_the_capacity() {
    let mut rings = CommitRings::new(10_000);
    (0..5000).for_each(|at| rings.push(event(at, None)));
    assert_eq!(rings.iter().count(), 5000, "younger than a minute");
    (5000..200_000).for_each(|at| rings.push(event(at, None)));
    let kept = rings.iter().count();
    assert!((9_000..=10_000 + BLOCK).contains(&kept), "{kept}");
    assert_eq!(rings.iter().last().unwrap().revision, Revision(199_999));
}

#[test]
fn a_rewind_outlives_the_minute_and_shows_once() {
    let mut rings = CommitRings::new(10_000);
    rings.push(event(0, Some(50)));
    assert_eq!(rings.iter().count(), 1);
    (1..20).for_each(|minute| (0..1024).for_each(|at| rings.push(event(minute * 60_000 + at, None))));
    assert_eq!(rings.iter().filter(|event| event.previous_offset.is_some()).count(), 1);
}
