//! The status of groups, from the sampler to the facts.

use super::*;
use crate::{
    history::tests::{KEY, Lab, lab},
    model::{Name, Uuid},
    store::ends::IdsSeen,
};

/// Number of polls that fill the window of a status, and a little more.
const WINDOW: usize = 11;

impl Lab {
    /// Polls the log end of the key and takes a sample.
    fn poll(&mut self, end: i64) {
        self.clock.advance(10_000);
        self.end(KEY.0, 0, end);
        self.cluster().ends.sample(self.clock.ticks());
        self.sampler.sample();
    }

    fn status(&self, group: &str) -> Status {
        let cut = self.store.cut("", false).unwrap();
        group_fact(&cut, cut.sources[0].group(group).unwrap()).status
    }

    /// Returns the status changes that the sampler recorded.
    fn changes(&self) -> Vec<(Status, Status)> {
        self.cluster().own.samples.current().changes.iter().map(|change| (change.from, change.to)).collect()
    }
}

#[test]
fn a_consumer_that_had_no_lag_within_the_window_is_not_stopped() {
    for live in [true, false] {
        let mut lab = lab(usize::MAX);
        lab.topics(&[("orders", 1)]);
        lab.end("orders", 0, 10);
        // The group usually commits each second.
        lab.apply("g", KEY, Some(9), live);
        lab.clock.advance(1000);
        lab.apply("g", KEY, Some(10), live);
        (0..3 * WINDOW).for_each(|_| lab.poll(10));
        // A new record arrives, which the group has not read.
        lab.poll(11);
        assert_eq!((lab.status("g"), lab.changes()), (Status::Ok, vec![]), "live: {live}");
        (0..WINDOW - 3).for_each(|_| lab.poll(11));
        assert_eq!(lab.status("g"), Status::Ok, "live: {live}");
        (0..3).for_each(|_| lab.poll(11));
        assert_eq!((lab.status("g"), lab.changes()), (Status::Stopped, vec![(Status::Ok, Status::Stopped)]));
    }
}

#[test]
fn a_consumer_before_a_trailing_marker_has_no_unread_records() {
    let mut lab = lab(usize::MAX);
    lab.topics(&[("orders", 1)]);
    lab.end("orders", 0, 10);
    lab.commit("g", KEY, 8);
    lab.clock.advance(1000);
    lab.commit("g", KEY, 9);
    let slot = lab.cluster().ends.current().topic("orders").unwrap().partitions[0].slot;
    lab.cluster().ends.set_trailing([(slot, (9, 10))].into());
    (0..3 * WINDOW).for_each(|_| lab.poll(10));
    lab.poll(11);
    assert_eq!((lab.status("g"), lab.changes()), (Status::Ok, vec![]));
    (0..WINDOW).for_each(|_| lab.poll(11));
    assert_eq!(lab.status("g"), Status::Stopped);
}

#[test]
fn an_unknown_lag_is_not_a_sample_without_lag() {
    let mut lab = lab(usize::MAX);
    // The topic is not listed yet.
    lab.commit("g", KEY, 8);
    lab.clock.advance(1000);
    lab.commit("g", KEY, 9);
    (0..3 * WINDOW).for_each(|_| lab.sample());
    lab.topics(&[("orders", 1)]);
    lab.poll(20);
    assert_eq!(lab.status("g"), Status::Stopped);
}

#[test]
fn a_partition_of_an_active_group_that_is_not_read_stays_stopped() {
    let mut lab = lab(usize::MAX);
    lab.topics(&[("orders", 2)]);
    lab.end("orders", 1, 100);
    lab.apply("g", KEY, Some(9), false);
    lab.clock.advance(7_200_000);
    lab.poll(20);
    assert_eq!(lab.status("g"), Status::Stopped);
    // The first commit since the load is to another partition.
    lab.commit("g", ("orders", 1), 100);
    lab.poll(20);
    assert_eq!((lab.status("g"), lab.changes()), (Status::Stopped, vec![]));
}

#[test]
fn samples_of_an_earlier_topic_do_not_affect_the_current_one() {
    // The log is replaced either by a new topic id or by an end that goes back.
    for by_id in [true, false] {
        let mut lab = lab(usize::MAX);
        let set_id = |lab: &Lab, id: u8| {
            let ids = [(Name::from("orders"), Uuid([id; 16]))].into_iter().collect();
            lab.cluster().ends.set_ids(&ids, &IdsSeen::default(), lab.clock.ticks());
        };
        lab.topics(&[("orders", 1)]);
        set_id(&lab, 1);
        for round in 1..30 {
            lab.commit("g", KEY, round * 1000);
            lab.poll(round * 1000 + 500);
        }
        if by_id {
            set_id(&lab, 2);
        }
        lab.apply("g", KEY, None, true);
        for round in 1..4 {
            lab.commit("g", KEY, round * 30);
            lab.poll(round * 330);
        }
        let cut = lab.store.cut("", false).unwrap();
        let fact = &sorted_facts(&cut, cut.sources[0].group("g").unwrap())[0];
        let seconds = fact.lag_seconds().unwrap();
        assert!(seconds <= 30.0, "{seconds}");
        let (produced, consumed) = (fact.produce_rate().unwrap(), fact.consume_rate().unwrap());
        assert!((produced - 33.0).abs() < 0.1 && (consumed - 3.0).abs() < 0.1, "{produced} {consumed}");
        assert_eq!(fact.status(), Status::Ok, "the committed offset did not go back");
    }
}

#[test]
fn a_dead_group_is_stopped_and_inactive_even_with_commit_times_in_the_future() {
    let day = 86_400_000;
    for ahead in [day, 365_000 * day, i64::MAX / 2] {
        for live in [true, false] {
            let mut lab = lab(usize::MAX);
            lab.topics(&[("orders", 1)]);
            let start = lab.clock.now();
            for (offset, at) in [(5, start - 1000), (6, start), (7, start.saturating_add(ahead)), (8, start + 1)] {
                lab.apply_at("g", KEY, Some(offset), at, live);
            }
            lab.apply_at("g", KEY, Some(9), start.saturating_add(ahead), live);
            lab.poll(100);
            assert_eq!(lab.status("g"), Status::Ok);
            (0..2 * WINDOW).for_each(|_| lab.poll(100));
            assert_eq!(lab.status("g"), Status::Stopped, "{ahead} ms ahead, live: {live}");
            let cut = lab.store.cut("", false).unwrap();
            let fact = group_fact(&cut, cut.sources[0].group("g").unwrap());
            assert!(!fact.active, "{ahead} ms ahead, live: {live}");
            assert_eq!(fact.last_committed_at.is_some(), ahead == day);
        }
    }
}
