//! Tests of the ages of unread records, from samples in memory and in a store, and of the bounds of a read.

use super::{super::tests::*, *};
use crate::store::{
    ends::OffsetSpec,
    history_store::{FixedBudget, HistoryStore, HistoryStoreStatus},
};

const START: Millis = 1_700_000_000_000;

/// Returns the ages of the only key at all samples.
fn ages(lab: &Lab) -> Vec<Option<f64>> {
    let cut = lab.store.cut("", false).unwrap();
    let wanted = SampleQuery { ages: true, ..SampleQuery::all(0..=i64::MAX) };
    let mut joined = JoinedReader::new(&cut.sources[0], wanted, |_| true, |sample_refs| sample_refs).unwrap();
    let sample_refs = std::mem::take(&mut joined.sample_refs);
    let (_, key) = joined.next_key(|_, _| true).unwrap().unwrap();
    assert!(joined.next_key(|_, _| true).unwrap().is_none());
    let mut ages = Ages::default();
    sample_refs.iter().map(|sample_ref| ages.at(&key, *sample_ref, key.at(*sample_ref).unwrap())).collect()
}

fn orders(end: i64) -> Lab {
    let lab = lab(usize::MAX);
    lab.topics(&[("orders", 1)]);
    lab.end("orders", 0, end);
    lab
}

#[test]
fn an_age_is_interpolated_between_log_ends() {
    let mut lab = orders(10);
    lab.commit("g", KEY, 10);
    lab.sample();
    for end in [20, 30] {
        lab.end("orders", 0, end);
        lab.sample();
    }
    lab.commit("g", KEY, 15);
    lab.sample();
    lab.commit("g", KEY, 30);
    lab.sample();
    lab.commit("g", KEY, 12);
    lab.sample();
    assert_eq!(ages(&lab), [0.0, 10.0, 20.0, 25.0, 0.0, 48.0].map(Some));
    // Records before the log start do not count.
    lab.observe(OffsetSpec::Start, "orders", 0, 25);
    lab.sample();
    assert_eq!(ages(&lab).last(), Some(&Some(45.0)));
}

#[test]
fn ages_before_the_first_sample_are_extrapolated_or_unknown() {
    let mut lab = orders(10);
    lab.commit("g", KEY, 4);
    lab.sample();
    lab.end("orders", 0, 20);
    lab.sample();
    lab.commit("g", KEY, 15);
    lab.sample();
    // The log end moved by ten records in two samples.
    assert_eq!(ages(&lab), [12.0, 22.0, 15.0].map(Some));

    let mut lab = orders(10);
    lab.commit("g", KEY, 4);
    lab.sample();
    lab.sample();
    assert_eq!(ages(&lab), [None, None]);
}

#[test]
fn a_log_created_between_two_samples_has_ages() {
    let mut lab = orders(0);
    lab.commit("g", ("orders", 1), 4);
    lab.sample();
    lab.topics(&[("orders", 2)]);
    lab.end("orders", 1, 20);
    lab.sample();
    lab.sample();
    assert_eq!(ages(&lab), [None, Some(0.0), Some(10.0)]);
}

#[test]
fn trailing_markers_have_no_age() {
    let mut lab = orders(100);
    lab.commit("g", KEY, 99);
    lab.sample();
    let slot = lab.cluster().ends.current().topic("orders").unwrap().partitions[0].slot;
    lab.cluster().ends.set_trailing([(slot, (99, 100))].into());
    lab.sample();
    lab.sample();
    lab.end("orders", 0, 102);
    lab.sample();
    lab.commit("g", KEY, 101);
    lab.cluster().ends.set_trailing([(slot, (101, 102))].into());
    lab.sample();
    assert_eq!(ages(&lab), [20.0, 0.0, 0.0, 50.0, 0.0].map(Some));
    // The ages stay the same after the lines of the trailing markers were dropped and the end has moved since the
    // newest sample.
    (0..400).for_each(|_| lab.sample());
    lab.end("orders", 0, 102);
    lab.cluster().ends.sample(lab.clock.ticks());
    lab.sample();
    lab.end("orders", 0, 500);
    assert!(lab.cluster().own.samples.current().trailing.is_empty());
    assert!(ages(&lab).iter().all(|age| *age == Some(0.0)));
}

/// A history store with one key: the times of its samples, and its rows.
#[derive(Debug)]
struct FixedStore(Vec<Millis>, Vec<(Millis, Option<Point>)>);

impl HistoryStore for FixedStore {
    fn read(&self, request: SampleRequest) -> Result<Option<HistorySamples>, ReadError> {
        let (times, rows, reserved) = (self.0.iter().copied(), self.1.clone(), Reserved::default());
        let (group, topic) = ("g".into(), "orders".into());
        let key = ArchivedKey { group, topic, partition: 0, rows, valid_for: 3_600_000, reserved };
        let times = times.filter(|at| request.times.contains(at)).collect();
        Ok(Some(HistorySamples { times, keys: Box::new(std::iter::once(Ok(key))) }))
    }

    fn status(&self) -> HistoryStoreStatus {
        HistoryStoreStatus::default()
    }
}

#[test]
fn ages_use_either_memory_or_the_store() {
    let mut lab = orders(300);
    let point = |committed_offset, end| {
        Some(Point { committed_offset, log_end_offset: Some(end), lag: Some(end - committed_offset) })
    };
    // A row holds until the next row, so the log end was also 100 at -180 s.
    let rows = vec![(-240, point(100, 100)), (-120, point(100, 200)), (-60, point(197, 200))];
    let times = [-240, -180, -120, -60].map(|seconds| START + seconds * 1000).into();
    let rows = rows.into_iter().map(|(at, point)| (START + at * 1000, point)).collect();
    lab.cluster().set_history_store(Box::new(FixedStore(times, rows)));
    lab.commit("g", KEY, 150);
    lab.sample();
    lab.commit("g", KEY, 250);
    lab.end("orders", 0, 320);
    lab.sample();
    // The last three records before the end may be markers. In memory, the end moves by 2 records per second.
    assert_eq!(ages(&lab), [Some(0.0), Some(0.0), Some(60.0), None, Some(75.0), Some(35.0)]);
}

/// Returns the ages at samples before which the wall clock is set ahead by these steps.
fn ages_over_steps(steps: &[Millis]) -> Vec<Option<f64>> {
    let mut lab = orders(10);
    lab.commit("g", KEY, 10);
    lab.sample();
    lab.end("orders", 0, 20);
    lab.sample();
    for step in steps {
        lab.clock.set_wall_ahead(*step);
        lab.sample();
    }
    ages(&lab)
}

#[test]
fn ages_do_not_depend_on_the_wall_clock() {
    let (hour, year) = (3_600_000, 365 * 86_400_000);
    let right = [0.0, 10.0, 20.0, 30.0].map(Some);
    assert_eq!(ages_over_steps(&[0, 0]), right);
    for step in [hour, -2 * hour, 10 * year, 400 * year] {
        assert_eq!(ages_over_steps(&[step, step]), right, "{step}");
        assert_eq!(ages_over_steps(&[step, 0]), right, "{step} and back");
    }
    // The step also has no effect on ages before the first sample: ten records were produced in the first ten seconds.
    for step in [0, hour, -2 * hour, 10 * year] {
        let mut lab = orders(10);
        lab.commit("g", KEY, 4);
        lab.sample();
        lab.clock.set_wall_ahead(step);
        lab.end("orders", 0, 20);
        lab.sample();
        assert_eq!(ages(&lab), [6.0, 16.0].map(Some), "{step}");
    }
}

#[test]
fn ages_across_a_clock_step_in_the_store_are_unknown() {
    let minute = 60_000;
    let point = |end| Some(Point { committed_offset: 100, log_end_offset: Some(end), lag: Some(end - 100) });
    // Samples are given as time (minutes) and log end.
    let ages_of = |samples: &[(Millis, i64)]| {
        let mut rows: Vec<_> = samples.iter().map(|(at, end)| (START + at * minute, point(*end))).collect();
        rows.sort_by_key(|(at, _)| *at);
        let mut lab = orders(300);
        lab.commit("g", ("orders", 0), 300);
        lab.cluster().set_history_store(Box::new(FixedStore(rows.iter().map(|(at, _)| *at).collect(), rows)));
        lab.sample();
        let ages = ages(&lab);
        ages[..samples.len()].to_vec()
    };
    let steady = [(-9, 100), (-8, 200), (-7, 300), (-6, 400), (-5, 500)];
    assert_eq!(ages_of(&steady), [0.0, 60.0, 120.0, 180.0, 240.0].map(Some));
    // After three samples the clock is set an hour ahead. Unknown is better than an age that is an hour too long.
    let ahead = [(-69, 100), (-68, 200), (-67, 300), (-6, 400), (-5, 500)];
    assert_eq!(ages_of(&ahead), [Some(0.0), Some(60.0), Some(120.0), None, None]);
    // Offsets that were passed after the step have an age.
    let after = [(-69, 10), (-68, 20), (-67, 30), (-6, 100), (-5, 200), (-4, 300)];
    let ages_after = ages_of(&after);
    assert_eq!(ages_after[3..], [0.0, 60.0, 120.0].map(Some));
    // The clock is set back by two and a half minutes, so that samples from before and after the step interleave.
    let back = ages_of(
        &[(-9, 100), (-8, 200), (-7, 300), (-6, 400)]
            .into_iter()
            .chain([(-8, 500), (-7, 600)].map(|(at, end)| (at, end)))
            .collect::<Vec<_>>(),
    );
    assert!(back.iter().flatten().all(|age| (0.0..=180.0).contains(age)), "{back:?}");
}

#[test]
fn a_read_exceeds_its_budget_or_releases_all_of_it() {
    let mut lab = orders(10);
    for round in 0..50 {
        (0..100).for_each(|partition| lab.commit("g", ("orders", partition), round * 1000 + i64::from(partition)));
        lab.sample();
    }
    let cut = lab.store.cut("", false).unwrap();
    let read = |bytes: usize| -> Result<usize, ReadError> {
        let budget = Arc::new(FixedBudget::new(bytes));
        let bounds = Bounds { budget: Some(Arc::<FixedBudget>::clone(&budget) as _), ..Bounds::default() };
        let wanted = SampleQuery { ages: true, bounds, ..SampleQuery::all(0..=i64::MAX) };
        let mut joined = JoinedReader::new(&cut.sources[0], wanted, |_| true, |sample_refs| sample_refs)?;
        let mut keys = vec![];
        while let Some(key) = joined.next_key(|_, _| true)? {
            keys.push(key);
        }
        assert!(budget.used() > keys.len() * 50 * size_of::<(SampleNumber, i64)>(), "{}", budget.used());
        let count = keys.len();
        drop((keys, joined));
        assert_eq!(budget.used(), 0);
        Ok(count)
    };
    assert_eq!(read(1 << 20), Ok(100));
    for bytes in [0, 1000, 50_000] {
        assert_eq!(read(bytes), Err(ReadError::OverBudget), "{bytes}");
    }
}
