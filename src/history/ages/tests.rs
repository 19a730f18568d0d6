//! Ages of what nobody has read, of samples in memory and in a store.

use super::{super::tests::*, *};
use crate::{
    history::joined::{Joined, Wanted},
    model::Millis,
    store::{
        ends::EndKind,
        older::{Archived, Older, OlderSamples, OlderStatus, Question},
    },
};

const START: Millis = 1_700_000_000_000;

/// Of the one key of one group, at all samples.
fn ages(lab: &Lab) -> Vec<Option<f64>> {
    let cut = lab.store.cut("", false).unwrap();
    let wanted = Wanted { ages: true, ..Wanted::all(0..=i64::MAX) };
    let mut joined = Joined::new(&cut.clusters[0], wanted, |_| true, |picks| picks);
    let picks = std::mem::take(&mut joined.picks);
    let (_, key) = joined.next_key(|_, _| true).unwrap();
    assert!(joined.next_key(|_, _| true).is_none());
    let mut ages = Ages::new(&key);
    picks.iter().map(|pick| ages.at(*pick, key.at(*pick).unwrap())).collect()
}

fn orders(end: i64) -> Lab {
    let lab = lab(usize::MAX);
    lab.topics(&[("orders", 1)]);
    lab.end("orders", 0, end);
    lab
}

#[test]
fn an_age_is_that_of_the_first_unread_record_by_the_ends_around_it() {
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
    // What was deleted is not waited for.
    lab.observe(EndKind::Start, "orders", 0, 25);
    lab.sample();
    assert_eq!(ages(&lab).last(), Some(&Some(45.0)));
}

#[test]
fn what_the_samples_begin_with_is_as_old_as_the_rate_says_and_nobody_knows_without_one() {
    let mut lab = orders(10);
    lab.commit("g", KEY, 4);
    lab.sample();
    lab.end("orders", 0, 20);
    lab.sample();
    lab.commit("g", KEY, 15);
    lab.sample();
    // Ten records in the two steps.
    assert_eq!(ages(&lab), [12.0, 22.0, 15.0].map(Some));

    let mut lab = orders(10);
    lab.commit("g", KEY, 4);
    lab.sample();
    lab.sample();
    assert_eq!(ages(&lab), [None, None]);
}

#[test]
fn a_log_that_begins_between_two_samples_has_ages() {
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
fn markers_before_the_end_have_no_age() {
    let mut lab = orders(100);
    lab.commit("g", KEY, 99);
    lab.sample();
    let slot = lab.cluster().ends.current().topic("orders").unwrap().partitions[0].slot;
    lab.cluster().ends.set_silent([(slot, (99, 100))].into());
    lab.sample();
    lab.sample();
    lab.end("orders", 0, 102);
    lab.sample();
    lab.commit("g", KEY, 101);
    lab.cluster().ends.set_silent([(slot, (101, 102))].into());
    lab.sample();
    assert_eq!(ages(&lab), [20.0, 0.0, 0.0, 50.0, 0.0].map(Some));
    // The same when the lines of the tail are gone, and the end has moved since the newest sample.
    (0..400).for_each(|_| lab.sample());
    lab.end("orders", 0, 102);
    lab.cluster().ends.sample(lab.clock.ticks());
    lab.sample();
    lab.end("orders", 0, 500);
    assert!(lab.cluster().samples.current().tails.is_empty());
    assert!(ages(&lab).iter().all(|age| *age == Some(0.0)));
}

/// A store of one key.
#[derive(Debug)]
struct Kept(Vec<(Millis, Option<Point>)>);

impl OlderSamples for Kept {
    fn ask(&self, question: Question) -> Option<Older> {
        let times = [-240, -180, -120, -60].map(|seconds| START + seconds * 1000);
        let rows = self.0.clone();
        let key = Archived { group: "g".into(), topic: "orders".into(), partition: 0, rows, stands_for: 3_600_000 };
        let times = times.into_iter().filter(|at| question.times.contains(at)).collect();
        Some(Older { times, keys: Box::new(std::iter::once(key)) })
    }

    fn status(&self) -> OlderStatus {
        OlderStatus::default()
    }
}

#[test]
fn samples_in_memory_are_told_by_memory_and_those_in_the_store_by_the_store() {
    let mut lab = orders(300);
    let point = |committed_offset, end| {
        Some(Point { committed_offset, log_end_offset: Some(end), lag: Some(end - committed_offset) })
    };
    // A row stands until the next: the end was 100 at -180 s, too.
    let rows = vec![(-240, point(100, 100)), (-120, point(100, 200)), (-60, point(197, 200))];
    lab.cluster().set_older(Box::new(Kept(rows.into_iter().map(|(at, point)| (START + at * 1000, point)).collect())));
    lab.commit("g", KEY, 150);
    lab.sample();
    lab.commit("g", KEY, 250);
    lab.end("orders", 0, 320);
    lab.sample();
    // The few before the last may be markers; in memory the end moves by 2 a second.
    assert_eq!(ages(&lab), [Some(0.0), Some(0.0), Some(60.0), None, Some(75.0), Some(35.0)]);
}
