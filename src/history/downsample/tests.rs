use super::*;

#[test]
fn a_step_shows_its_last_sample() {
    let moments = [(1, 9_000), (2, 19_000), (3, 31_000), (4, 39_999), (5, 40_000)];
    assert_eq!(last_per_step(moments.into_iter(), 20_000), [2, 4, 5]);
}

#[test]
fn sums_omit_unknown_values_and_rates_omit_decreases() {
    let mut sums = SampleSums::new([(0, 0.0), (10_000, 10.0), (20_000, 10.0), (30_000, 10.0)].into_iter());
    let point = |committed_offset, log_end_offset, lag| Some(Point { committed_offset, log_end_offset, lag });
    let first = [point(10, Some(20), Some(10)), point(20, Some(40), Some(20)), point(5, Some(40), Some(35)), None];
    let second = [None, point(100, None, None), point(200, Some(300), Some(100)), None];
    let ages = [Some(2.5), Some(0.0), None];
    sums.add(|at| first[at].map(|point| (point, ages[at])));
    sums.add(|at| second[at].map(|point| (point, point.lag.and(ages[at]))));
    let samples = sums.finish();
    let committed: Vec<_> = samples.iter().map(|sample| sample.committed_offset).collect();
    assert_eq!(committed, [Some(10), Some(120), Some(205)]);
    assert_eq!(samples.iter().map(|sample| sample.lag).collect::<Vec<_>>(), [Some(10), Some(20), Some(135)]);
    let consumed: Vec<_> = samples.iter().map(|sample| sample.consume_rate).collect();
    assert_eq!(consumed, [None, Some(1.0), Some(10.0)]);
    let ages: Vec<_> = samples.iter().map(|sample| sample.max_lag_seconds).collect();
    assert_eq!(ages, [Some(2.5), Some(0.0), None]);
    let produced: Vec<_> = samples.iter().map(|sample| sample.produce_rate).collect();
    assert_eq!(produced, [None, Some(2.0), Some(0.0)]);
}
