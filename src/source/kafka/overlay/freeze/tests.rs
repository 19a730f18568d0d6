use super::*;

#[test]
fn a_partition_is_frozen_after_two_responses_at_the_last_stable_offset() {
    let (mut freezes, start) = (Freezes::default(), Instant::now());
    let at = |millis: u64| start + Duration::from_millis(millis);
    assert!(!freezes.observe(3, 10, 15, at(0)) && !freezes.observe(3, 10, 15, at(240)));
    assert!(freezes.observe(3, 10, 15, at(250)));
    assert!(!freezes.observe(3, 10, 15, at(300)), "one request per interval");
    assert!(!freezes.observe_stable(3, 10, at(310)));
    assert!(freezes.observe(3, 10, 15, at(500)));
    assert!(!freezes.observe_stable(3, 10, at(510)), "too soon after the first");
    assert!(freezes.observe(3, 10, 15, at(760)));
    assert!(freezes.observe_stable(3, 10, at(770)) && freezes.is_frozen(3));
    assert!(!freezes.observe(3, 10, 15, at(5000)), "no request while frozen");
    assert!(!freezes.observe(3, 11, 15, at(5100)) && !freezes.is_frozen(3), "an applied offset ends the freeze");
}

#[test]
fn steady_transactions_cause_no_requests() {
    let (mut freezes, start) = (Freezes::default(), Instant::now());
    let requests = (0..1000).filter(|step| {
        let now = start + Duration::from_millis(50 * u64::try_from(*step).unwrap());
        // One offset is applied every 200 ms, and the high watermark is always higher.
        freezes.observe(0, step / 4, step / 4 + 5, now)
    });
    assert_eq!(requests.count(), 0);
}

#[test]
fn a_slow_poll_thread_is_not_frozen_and_causes_few_requests() {
    let (mut freezes, start) = (Freezes::default(), Instant::now());
    let mut requests = 0;
    for step in 0..1000 {
        let now = start + Duration::from_millis(50 * step);
        if freezes.observe(0, 10, 99, now) {
            requests += 1;
            assert!(!freezes.observe_stable(0, 99, now));
        }
    }
    assert!(requests <= 51, "{requests} requests in 50 s");
}
