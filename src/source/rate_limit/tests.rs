use super::*;

#[test]
#[expect(clippy::disallowed_methods, reason = "a start time for the test")]
fn no_second_has_more_calls_than_allowed() {
    let start = Instant::now();
    let mut pace = RateLimit::new(50, start);
    let at = |millis: u64| start + Duration::from_millis(millis);
    // The pace is idle at first: unused calls are not saved up.
    let mut take = |millis: &u64| {
        let free = pace.allows(at(*millis));
        if free {
            pace.record(1, at(*millis));
        }
        free
    };
    let taken: Vec<u64> = (5_000..8_000).filter(|millis| take(millis)).collect();
    assert_eq!(taken.len(), 150);
    assert!(taken.iter().all(|from| taken.iter().filter(|at| (*from..from + 1000).contains(at)).count() <= 50));
}
