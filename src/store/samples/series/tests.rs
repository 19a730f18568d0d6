use proptest::prelude::*;

use super::*;

fn name() -> Name {
    "t".into()
}

/// Writes a sample with the values of partitions 0, 1, …; `None`: the key does not exist.
fn write(series: Series, index: SampleNumber, before: &[Option<i64>], now: &[Option<i64>]) -> Series {
    let mut writer = SeriesWriter::new(Some(&Arc::new(series.clone())), index, true);
    for (partition, value) in (0..).zip(now) {
        let known = before.get(usize::try_from(partition).unwrap()).copied().flatten();
        match value {
            Some(value) => writer.record((&name(), partition), *value, Some(known)),
            None => known.into_iter().for_each(|before| writer.record_gone((&name(), partition), before)),
        }
    }
    writer.finish().map_or(series, Arc::unwrap_or_clone)
}

fn values(series: &Series, partition: i32, indices: std::ops::Range<SampleNumber>) -> Vec<Option<i64>> {
    let of = series.read(indices.start, |line| line.partition == partition);
    assert!(!of.is_empty());
    indices.map(|index| of.iter().find_map(|track| track.at(index)).map(|(_, value)| value)).collect()
}

#[test]
fn a_key_that_does_not_change_has_no_line() {
    let mut series = Series::default();
    (1..100).for_each(|index| series = write(series.clone(), index, &[Some(5)], &[Some(5)]));
    assert!(series.is_empty());
    assert_eq!(series.bytes(), size_of::<Series>());
}

#[test]
fn a_key_that_was_deleted_and_created_again_has_two_lines() {
    let mut series = Series::default();
    let seen = [Some(1), Some(2), None, None, Some(9), Some(9)];
    for (index, pair) in (2..).zip(seen.windows(2)) {
        series = write(series, index, &pair[..1], &pair[1..]);
    }
    assert_eq!(values(&series, 0, 1..7), seen);
    assert_eq!(series.lines().len(), 2);
    assert!(series.trim(4), "the first line ended before sample 4");
    assert_eq!(values(&series, 0, 4..7), seen[3..]);
}

#[test]
fn a_new_log_is_another_line() {
    let series = write(Series::default(), 2, &[Some(10)], &[Some(20)]);
    let mut writer = SeriesWriter::new(Some(&Arc::new(series)), 3, true);
    writer.record_new_log((&name(), 0), 4, None);
    let series = Arc::unwrap_or_clone(writer.finish().unwrap());
    assert_eq!(values(&series, 0, 1..4), [Some(10), Some(20), Some(4)]);
    assert_eq!(series.read(1, |_| true).iter().map(|track| track.line.is_new_log).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn samples_before_the_floor_take_no_memory() {
    let mut series = Series::default();
    for index in 1..10_000_u32 {
        let value = |index: u32| Some(i64::from(index) * 100 + i64::from(index % 7));
        series = write(series, index, &[value(index - 1)], &[value(index)]);
        series.trim(index.saturating_sub(360));
    }
    // Two bytes per sample, one more run than is kept, and the line and run headers.
    assert!(series.bytes() < 2 * (360 + 64) + 1000, "{}", series.bytes());
    series.trim(20_000);
    assert!(series.is_empty());
    assert_eq!(series.bytes(), size_of::<Series>());
}

#[test]
fn topics_without_commits_are_dropped() {
    let mut series = Series::default();
    for index in 1..1000_u32 {
        let mut writer = SeriesWriter::new(Some(&Arc::new(series)), index, true);
        writer.record((&index.to_string().into(), 0), 1, Some(None));
        series = Arc::unwrap_or_clone(writer.finish().unwrap());
        series.trim(index.saturating_sub(5));
    }
    assert!(series.lines().len() < 30, "{}", series.lines().len());
    assert_eq!(&*series.lines().last().unwrap().topic, "999");
}

proptest! {
    #[test]
    fn every_value_is_read_back(samples in prop::collection::vec(prop::collection::vec(prop::option::of(0..30_i64), 4), 2..200)) {
        let mut series = Series::default();
        for (index, pair) in (2..).zip(samples.windows(2)) {
            series = write(series, index, &pair[0], &pair[1]);
        }
        let last = SampleNumber::try_from(samples.len()).unwrap();
        for partition in 0..4 {
            let at = usize::try_from(partition).unwrap();
            let expected: Vec<_> = samples.iter().map(|sample| sample[at]).collect();
            let is_plain = !series.lines().iter().any(|line| line.partition == partition);
            if is_plain {
                prop_assert!(expected.windows(2).all(|pair| pair[0] == pair[1]));
            } else {
                prop_assert_eq!(values(&series, partition, 1..last + 1), expected);
            }
        }
    }
}
