use super::*;

#[test]
fn history_stays_in_order_when_the_clock_goes_back() {
    let mut samples = Samples::default();
    let times = [(0, 1_000_000), (100, 1_010_000), (200, 920_000), (300, 930_000), (400, 1_940_000)];
    times.iter().for_each(|(ticks, at)| samples.push(SampleTime { ticks: *ticks, at: *at }));
    let at: Vec<Millis> = samples.times().map(|(_, time)| time.at).collect();
    assert_eq!(at, [900_000, 910_000, 920_000, 930_000, 1_940_000]);
    // The clock is set right: samples with right dates keep them.
    samples.push(SampleTime { ticks: 500, at: 950_000 });
    let at: Vec<Millis> = samples.times().map(|(_, time)| time.at).collect();
    assert_eq!(at, [900_000, 910_000, 920_000, 930_000, 940_000, 950_000]);
}

#[test]
fn the_oldest_samples_are_dropped_first() {
    let mut samples = Samples::default();
    for ticks in 0..100 {
        samples.push(SampleTime { ticks, at: i64::from(ticks) });
    }
    samples.trim(20, usize::MAX);
    assert_eq!((samples.first(), samples.next(), samples.dropped), (21, 101, 0));
    samples.trim(20, 1000);
    assert!(samples.first() > 21 && samples.next() == 101 && samples.dropped > 0);
    samples.trim(20, 0);
    assert!(samples.is_empty());
    assert_eq!(samples.next(), 101, "numbers are not reused");
}
