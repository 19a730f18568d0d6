//! Watch: current entries, then exactly the changes after them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use offsetd::rpc::proto::{GetOffsetRequest, OffsetChange, OffsetEntry, OffsetFilter, WatchRequest, WatchResponse};
use tonic::{Code, Status, Streaming};

use super::{assert_fails, exact, of_group, prefix, regex, shop};
use crate::mock::Commit;
use crate::support::{LIMIT, Lab, Setup, kafka, until};

/// Group, topic, partition.
type Key = (String, String, i32);

fn key(change: &OffsetChange) -> Key {
    let entry = change.new.as_ref().or(change.old.as_ref()).unwrap();
    (entry.group_id.clone(), entry.topic.clone(), entry.partition)
}

/// A watch, and the state that a client would build from it.
struct Watcher {
    stream: Streaming<WatchResponse>,
    state: BTreeMap<Key, OffsetEntry>,
    /// Epoch and sequence number of the last change, by shard.
    positions: HashMap<i32, (u64, u64)>,
    complete: bool,
    resyncs: u64,
    missed: u64,
}

impl Watcher {
    fn try_start(lab: &Lab, request: WatchRequest) -> Result<Self, Status> {
        let stream = lab.block_on(lab.client().watch(request))?.into_inner();
        let (state, positions) = (BTreeMap::new(), HashMap::new());
        Ok(Self { stream, state, positions, complete: false, resyncs: 0, missed: 0 })
    }

    fn start(lab: &Lab, request: WatchRequest) -> Self {
        Self::try_start(lab, request).unwrap()
    }

    /// Starts a watch of all offsets with their current entries.
    fn current(lab: &Lab) -> Self {
        Self::start(lab, WatchRequest { include_current: true, ..WatchRequest::default() })
    }

    /// Applies the next message to the state, and checks all guarantees.
    fn next(&mut self, lab: &Lab) -> WatchResponse {
        let message = lab.block_on(async { tokio::time::timeout(LIMIT, self.stream.message()).await });
        let message = message.expect("a message within the limit").unwrap().expect("the watch is still open");
        if let Some(resync) = &message.resync {
            let position = resync.position.as_ref().unwrap();
            if let (Some(missed), Some(last)) = (resync.missed, self.positions.get(&position.log_partition)) {
                assert_eq!(position.sequence, last.1 + missed, "the number of missed changes is exact");
            }
            self.resyncs += 1;
            self.missed += resync.missed.unwrap_or(0);
            if resync.full {
                self.state.retain(|_, entry| entry.log_partition != Some(position.log_partition));
            }
            self.positions.insert(position.log_partition, (position.epoch, position.sequence));
        }
        message.changes.iter().for_each(|change| self.apply(change));
        self.complete |= message.current_complete;
        message
    }

    fn apply(&mut self, change: &OffsetChange) {
        let at = change.position.as_ref().unwrap();
        let last = self.positions.insert(at.log_partition, (at.epoch, at.sequence));
        if change.current {
            assert!(change.old.is_none() && change.new.is_some());
        } else if let Some((epoch, sequence)) = last {
            assert_eq!((at.epoch, at.sequence), (epoch, sequence + 1), "no change is missing or repeated");
            let old = self.state.get(&key(change)).map(|entry| (entry.committed_offset, entry.log_offset));
            let told = change.old.as_ref().map(|entry| (entry.committed_offset, entry.log_offset));
            assert_eq!(told, old, "the old entry is the one that was sent before");
        }
        match &change.new {
            Some(entry) => {
                assert_eq!((entry.lag, entry.log_end_offset), (None, None));
                self.state.insert(key(change), entry.clone());
            }
            None => drop(self.state.remove(&key(change))),
        }
    }

    fn next_until(&mut self, lab: &Lab, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.next(lab);
        }
    }

    fn offset(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        self.state.get(&(group.to_owned(), topic.to_owned(), partition)).map(|entry| entry.committed_offset)
    }
}

/// Returns the result of GetOffset, in the form of a watcher's state.
fn current_state(lab: &Lab) -> BTreeMap<Key, (i64, Option<i64>)> {
    let request = GetOffsetRequest { page_size: 10_000, freshness: 2, ..GetOffsetRequest::default() };
    let answer = lab.block_on(lab.client().get_offset(request)).unwrap().into_inner();
    assert_eq!(answer.next_page_token, "");
    let entries = answer.entries.into_iter();
    entries.map(|of| ((of.group_id, of.topic, of.partition), (of.committed_offset, of.log_offset))).collect()
}

fn watched_state(watcher: &Watcher) -> BTreeMap<Key, (i64, Option<i64>)> {
    watcher.state.iter().map(|(key, of)| (key.clone(), (of.committed_offset, of.log_offset))).collect()
}

#[test]
fn current_entries_come_first_and_say_when_they_are_complete() {
    let lab = shop();
    let mut watcher = Watcher::current(&lab);
    watcher.next_until(&lab, |watcher| watcher.complete);
    assert_eq!(watched_state(&watcher), current_state(&lab));
    let entry = &watcher.state[&("billing".to_owned(), "orders".to_owned(), 0)];
    assert_eq!((entry.committed_offset, entry.leader_epoch, &*entry.source), (90, Some(3), "kafka"));
}

#[test]
fn after_the_current_entries_come_exactly_the_changes_while_commits_go_on() {
    let lab = Lab::new(3);
    let write = |offset: i64| {
        for group in 0..6 {
            (0..10).for_each(|partition| lab.commit(&format!("g{group}"), "t", partition, offset));
        }
        lab.commit(&format!("once{offset}"), "t", 0, offset);
        if offset > 2 {
            lab.writer.delete_offset(&format!("once{}", offset - 2), "t", 0).unwrap();
        }
        if offset % 4 == 0 {
            lab.writer.flush().unwrap();
        }
    };
    (1..5).for_each(write);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (5..60).for_each(write);
            (0..6).for_each(|group| lab.commit(&format!("g{group}"), "end", 0, 1));
        });
        let mut watcher = Watcher::current(&lab);
        let ended = |watcher: &Watcher| (0..6).all(|group| watcher.offset(&format!("g{group}"), "end", 0).is_some());
        watcher.next_until(&lab, |watcher| ended(watcher) && watcher.offset("once57", "t", 0).is_none());
        watcher.next_until(&lab, |watcher| watcher.offset("once59", "t", 0).is_some());
        assert_eq!(watched_state(&watcher), current_state(&lab));
    });
}

#[test]
fn without_current_entries_only_changes_come() {
    let lab = shop();
    let mut watcher = Watcher::start(&lab, WatchRequest::default());
    // The watch is registered before its response headers are sent.
    lab.commit("billing", "orders", 0, 91);
    let message = watcher.next(&lab);
    assert_eq!((message.changes.len(), message.current_complete), (1, false));
    let change = &message.changes[0];
    assert!(!change.current);
    assert_eq!(change.old.as_ref().unwrap().committed_offset, 90);
    assert_eq!(change.new.as_ref().unwrap().committed_offset, 91);
    let position = change.position.as_ref().unwrap();
    assert_eq!((&*position.cluster, &*position.source), ("default", "kafka"));
    assert_eq!(position.log_partition, lab.writer.log_partition("billing").unwrap());
}

#[test]
fn a_new_key_has_no_old_entry_and_a_deleted_one_no_new() {
    let lab = shop();
    let mut watcher = Watcher::current(&lab);
    watcher.next_until(&lab, |watcher| watcher.complete);
    lab.writer
        .commit(&Commit { metadata: "m", version: 3, ..Commit::new("new", "orders", 1, 7, lab.clock.now()) })
        .unwrap();
    let message = watcher.next(&lab);
    assert_eq!(message.changes[0].old, None);
    assert_eq!(message.changes[0].new.as_ref().unwrap().metadata, "m");
    lab.writer.delete_offset("new", "orders", 1).unwrap();
    let message = watcher.next(&lab);
    assert_eq!(message.changes[0].new, None);
    let old = message.changes[0].old.as_ref().unwrap();
    assert_eq!((old.committed_offset, &*old.metadata), (7, "m"));
    // Deleting a missing offset changes nothing.
    lab.writer.delete_offset("new", "orders", 1).unwrap();
    lab.commit("new", "orders", 1, 8);
    assert_eq!(watcher.next(&lab).changes[0].new.as_ref().unwrap().committed_offset, 8);
}

#[test]
fn a_filter_leaves_the_rest_out() {
    let lab = shop();
    let filter = OffsetFilter { topic: regex("^orders$"), partitions: vec![0], ..of_group("billing").unwrap() };
    let mut watcher =
        Watcher::start(&lab, WatchRequest { filter: Some(filter), include_current: true, ..Default::default() });
    watcher.next_until(&lab, |watcher| watcher.complete);
    assert_eq!(watcher.state.len(), 1);
    let position = watcher.positions.clone();
    for (group, topic, partition) in [("billing", "orders", 1), ("billing", "payments", 0), ("audit", "orders", 0)] {
        lab.commit(group, topic, partition, 99);
    }
    lab.commit("billing", "orders", 0, 100);
    // The gap in its sequence numbers shows how many changes of the shard were filtered out.
    let change = lab.block_on(watcher.stream.message()).unwrap().unwrap().changes.remove(0);
    assert_eq!(key(&change), ("billing".to_owned(), "orders".to_owned(), 0));
    let at = change.position.unwrap();
    let before = position[&at.log_partition];
    let left_out = if lab.writer.log_partition("audit").unwrap() == at.log_partition { 3 } else { 2 };
    assert_eq!((at.epoch, at.sequence), (before.0, before.1 + left_out + 1));
}

#[test]
fn what_a_watch_cannot_do_is_invalid() {
    let lab = shop();
    let with = |filter| WatchRequest { filter: Some(filter), ..WatchRequest::default() };
    let watch = |filter| lab.block_on(lab.client().watch(with(filter)));
    let lag = OffsetFilter { with_lag_only: true, ..OffsetFilter::default() };
    assert_fails(watch(lag), Code::InvalidArgument, &["with_lag_only"]);
    let bad = OffsetFilter { group_id: regex("["), ..OffsetFilter::default() };
    assert_fails(watch(bad), Code::InvalidArgument, &["filter.group_id.regex"]);
    let elsewhere = OffsetFilter { cluster: exact("x"), ..OffsetFilter::default() };
    assert_fails(watch(elsewhere), Code::NotFound, &["\"x\""]);
}

#[test]
fn watches_are_limited_and_one_that_ends_makes_room() {
    let lab = Setup::default().with("SERVER_MAX_WATCHES", "2").ready(&kafka(1));
    let watchers = [Watcher::current(&lab), Watcher::current(&lab)];
    let third = lab.block_on(lab.client().watch(WatchRequest::default()));
    assert_fails(third, Code::ResourceExhausted, &["2 watches", "server.max_watches"]);
    drop(watchers);
    until("room for a watch", || Watcher::try_start(&lab, WatchRequest::default()).is_ok());
}

#[test]
fn what_a_slow_reader_misses_is_counted_and_made_up_for() {
    let lab = Setup::default().with("SERVER_WATCH_QUEUE", "16").ready(&kafka(1));
    // The mock keeps 5 MiB of a partition.
    let metadata = "x".repeat(200);
    let commit = |partition: i32, offset: i64| {
        let commit = Commit::new("g", "t", partition, offset, lab.clock.now());
        lab.writer.commit(&Commit { metadata: &metadata, ..commit }).unwrap();
    };
    commit(0, 1);
    commit(49, 1);
    lab.settle();
    let mut watcher = Watcher::current(&lab);
    watcher.next_until(&lab, |watcher| watcher.complete);
    // The watch is not read, and neither the queue nor the flow-control windows can hold this many changes.
    for offset in 2..200 {
        (0..40).for_each(|partition| commit(partition, offset));
    }
    commit(0, 200);
    lab.settle();
    watcher.next_until(&lab, |watcher| watcher.offset("g", "t", 0) == Some(200));
    assert!(watcher.resyncs > 0 && watcher.missed > 0, "{} resyncs, {} missed", watcher.resyncs, watcher.missed);
    assert_eq!(watched_state(&watcher), current_state(&lab));
    // The watch continues with the next changes.
    commit(49, 2);
    watcher.next_until(&lab, |watcher| watcher.offset("g", "t", 49) == Some(2));
}

#[test]
fn deletions_that_were_missed_are_made_up_for_with_all_entries() {
    let lab = Setup::default().with("SERVER_WATCH_QUEUE", "16").ready(&kafka(1));
    (0..50).for_each(|partition| lab.commit("g", "t", partition, 1));
    lab.settle();
    let mut watcher = Watcher::current(&lab);
    watcher.next_until(&lab, |watcher| watcher.complete);
    // The mock keeps 5 MiB of a partition.
    let metadata = "x".repeat(200);
    for offset in 2..300 {
        for partition in 0..40 {
            let commit = Commit::new("g", "t", partition, offset, lab.clock.now());
            lab.writer.commit(&Commit { metadata: &metadata, ..commit }).unwrap();
        }
        if offset == 200 {
            (40..50).for_each(|partition| lab.writer.delete_offset("g", "t", partition).unwrap());
        }
    }
    lab.commit("g", "t", 0, 300);
    lab.settle();
    watcher.next_until(&lab, |watcher| watcher.offset("g", "t", 0) == Some(300));
    assert!(watcher.resyncs > 0);
    assert_eq!(watched_state(&watcher), current_state(&lab));
}

#[test]
fn nothing_is_missed_in_silence_when_changes_come_faster_than_they_are_sent() {
    let lab = Setup::default().with("SERVER_WATCH_QUEUE", "16").ready(&kafka(1));
    lab.commit("g", "t", 0, 1);
    lab.settle();
    let mut watcher = Watcher::current(&lab);
    watcher.next_until(&lab, |watcher| watcher.complete);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for offset in 2..200 {
                (0..100).for_each(|partition| lab.commit("g", "t", partition, offset));
                if offset % 10 == 0 {
                    lab.writer.flush().unwrap();
                }
            }
            lab.commit("g", "end", 0, 1);
            lab.writer.flush().unwrap();
        });
        // Reads as fast as possible: every sequence number is received or counted as missed.
        watcher.next_until(&lab, |watcher| watcher.offset("g", "end", 0).is_some());
        assert_eq!(watched_state(&watcher), current_state(&lab));
    });
}

#[test]
fn a_log_partition_that_comes_later_is_watched_too() {
    let kafka = crate::mock::MockKafka::start(1).unwrap();
    let lab = Setup::default().ready(&kafka);
    let mut watcher = Watcher::start(
        &lab,
        WatchRequest {
            filter: Some(OffsetFilter { group_id: prefix("g"), ..Default::default() }),
            ..Default::default()
        },
    );
    kafka.create_offsets_topic(2).unwrap();
    lab.commit("g", "t", 0, 5);
    lab.commit("h", "t", 0, 6);
    lab.writer.flush().unwrap();
    watcher.next_until(&lab, |watcher| watcher.offset("g", "t", 0) == Some(5));
    lab.commit("g", "t", 0, 7);
    watcher.next_until(&lab, |watcher| watcher.offset("g", "t", 0) == Some(7));
    assert_eq!(watcher.state.len(), 1);
}

#[test]
fn a_watch_of_nothing_new_stays_silent() {
    let lab = shop();
    let mut watcher = Watcher::current(&lab);
    watcher.next_until(&lab, |watcher| watcher.complete);
    // Log ends move and members change, but no offset is committed.
    lab.writer.produce("orders", 0, 5).unwrap();
    lab.writer.write_group(&crate::support::stable_group("billing", 9, &[]), 3).unwrap();
    lab.wait_entry(("billing", "orders", 0), |entry| entry.lag == Some(15) && entry.owner.is_none());
    let silent =
        lab.block_on(async { tokio::time::timeout(Duration::from_millis(300), watcher.stream.message()).await });
    assert!(silent.is_err(), "{silent:?}");
}
