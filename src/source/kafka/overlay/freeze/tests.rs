use super::*;

#[test]
fn a_partition_that_is_held_back_twice_is_frozen() {
    let (mut freezes, start) = (Freezes::default(), Instant::now());
    let at = |millis: u64| start + Duration::from_millis(millis);
    assert!(!freezes.look(3, 10, 15, at(0)) && !freezes.look(3, 10, 15, at(240)));
    assert!(freezes.look(3, 10, 15, at(250)));
    assert!(!freezes.look(3, 10, 15, at(300)), "one request per interval");
    assert!(!freezes.answer(3, 10, at(310)));
    assert!(freezes.look(3, 10, 15, at(500)));
    assert!(!freezes.answer(3, 10, at(510)), "too soon after the first");
    assert!(freezes.look(3, 10, 15, at(760)));
    assert!(freezes.answer(3, 10, at(770)) && freezes.is_frozen(3));
    assert!(!freezes.look(3, 10, 15, at(5000)), "no request while frozen");
    assert!(!freezes.look(3, 11, 15, at(5100)) && !freezes.is_frozen(3), "an applied offset ends the freeze");
}

#[test]
fn steady_transactions_cost_nothing() {
    let (mut freezes, start) = (Freezes::default(), Instant::now());
    let asked = (0..1000).filter(|step| {
        let now = start + Duration::from_millis(50 * u64::try_from(*step).unwrap());
        // One offset is applied every 200 ms, and the high watermark is always higher.
        freezes.look(0, step / 4, step / 4 + 5, now)
    });
    assert_eq!(asked.count(), 0);
}

#[test]
fn a_slow_reader_is_not_frozen_and_seldom_asked_for() {
    let (mut freezes, start) = (Freezes::default(), Instant::now());
    let mut asked = 0;
    for step in 0..1000 {
        let now = start + Duration::from_millis(50 * step);
        if freezes.look(0, 10, 99, now) {
            asked += 1;
            assert!(!freezes.answer(0, 99, now));
        }
    }
    assert!(asked <= 51, "{asked} requests in 50 s");
}
