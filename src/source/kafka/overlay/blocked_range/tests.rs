use std::time::Duration;

use tokio::sync::oneshot;

use super::*;
use crate::{
    source::kafka::{now, requests::Reached},
    store::group::Commit,
};

fn event<'a>(log_offset: i64, group: &'a str, offset: Option<i64>, metadata: &'a str) -> Event<'a> {
    let kind = match offset {
        None => EventKind::Delete { topic: "t", partition: 0 },
        Some(committed_offset) => EventKind::Commit {
            topic: "t",
            partition: 0,
            commit: Commit {
                committed_offset,
                committed_at: log_offset * 10,
                leader_epoch: 3,
                metadata,
                expires_at: None,
                topic_id: None,
                first_seen_at: None,
            },
        },
    };
    Event { revision: Revision(log_offset), at: log_offset * 10, group, kind }
}

struct Fixture {
    range: BlockedRange,
    names: NameInterner,
    free_bytes: usize,
    groups: Schedule,
}

impl Fixture {
    fn new(left: usize) -> Self {
        Self {
            range: BlockedRange::new(10, 0, now()),
            names: NameInterner::default(),
            free_bytes: left,
            groups: Schedule::between(Duration::ZERO, Duration::ZERO),
        }
    }

    fn read(&mut self, events: &[Event<'_>]) -> u64 {
        let add = |event| self.range.add(event, &self.names, &mut self.free_bytes);
        events.iter().map(add).sum()
    }

    fn matching_offset(&self, answer: Option<(i64, i32, &str)>) -> Option<i64> {
        let answer = answer.map(|(offset, leader_epoch, metadata)| Committed {
            offset,
            leader_epoch,
            metadata: metadata.to_owned(),
        });
        self.range.matching(&key("g"), answer.as_ref()).map(|record| record.log_offset)
    }
}

fn key(group: &str) -> Key {
    (group.into(), "t".into(), 0)
}

#[test]
fn a_response_matches_the_newest_record_with_the_same_offset_metadata_and_epoch() {
    let mut fixture = Fixture::new(1 << 20);
    fixture.read(&[event(11, "g", Some(5), ""), event(12, "g", Some(7), "m"), event(14, "g", Some(5), "")]);
    assert_eq!(fixture.matching_offset(Some((5, 3, ""))), Some(14));
    assert_eq!(fixture.matching_offset(Some((7, 3, "m"))), Some(12));
    assert_eq!(fixture.matching_offset(Some((7, -1, "m"))), Some(12), "a broker before 2.1 returns no epoch");
    assert_eq!(fixture.matching_offset(Some((7, 3, ""))), None);
    assert_eq!(fixture.matching_offset(Some((7, 4, "m"))), None);
    assert_eq!(fixture.matching_offset(None), None, "no tombstone was read");
    fixture.read(&[event(15, "g", None, "")]);
    assert_eq!(fixture.matching_offset(None), Some(15));
}

#[test]
fn a_group_is_requested_once_after_new_records() {
    let mut fixture = Fixture::new(1 << 20);
    fixture.read(&[event(11, "g", Some(5), ""), event(12, "h", Some(5), ""), event(13, "g", Some(6), "")]);
    let next_request = |fixture: &mut Fixture, group: &str| {
        let request = fixture.range.next_request(3, &group.into())?;
        assert!(request.require_stable && request.log_partition == 3 && &*request.group == group, "{request:?}");
        assert_eq!((&request.keys, &request.new_keys), (&[key(group)].into(), &[key(group)].into()));
        Some(request)
    };
    assert!(next_request(&mut fixture, "g").is_some() && next_request(&mut fixture, "h").is_some());
    assert!(next_request(&mut fixture, "g").is_none() && next_request(&mut fixture, "h").is_none());
    fixture.read(&[event(14, "h", Some(6), "")]);
    let failed = next_request(&mut fixture, "h").unwrap();
    fixture.range.requeue(failed);
    assert!(next_request(&mut fixture, "h").is_some(), "a failed request is repeated");
}

/// Adds a reader that waits for responses to requests from number 5 on.
fn wait(fixture: &mut Fixture, scope: Scope) -> oneshot::Receiver<Reached> {
    let (reply, receiver) = oneshot::channel();
    let request = LatestRequest { scope, shard: 3, target: Revision(20), reply };
    fixture.range.admit(request, (5, Revision(10)), &mut fixture.groups, now());
    receiver
}

#[test]
fn readers_wait_for_a_later_response_about_each_of_their_keys() {
    let mut fixture = Fixture::new(1 << 20);
    fixture.read(&[event(11, "g", Some(5), ""), event(12, "h", Some(5), "")]);
    let of = |group: &str| Scope::Key(group.into(), "t".into(), 0);
    assert!(wait(&mut fixture, of("i")).try_recv().is_ok(), "there is no record of this key");
    let (mut one, mut all) = (wait(&mut fixture, of("g")), wait(&mut fixture, Scope::All));
    let due = |fixture: &mut Fixture| fixture.groups.next(now()).map(|group| group.to_string());
    assert_eq!(
        (due(&mut fixture).as_deref(), due(&mut fixture).as_deref(), due(&mut fixture)),
        (Some("g"), Some("h"), None)
    );
    let first = fixture.range.next_request(3, &"g".into()).unwrap();
    assert!(first.keys == [key("g")].into() && first.new_keys == first.keys);
    let again = fixture.range.next_request(3, &"g".into()).unwrap();
    assert!(again.keys == first.keys && again.new_keys.is_empty(), "requested only for readers");
    let resolve =
        |fixture: &mut Fixture, number, group| fixture.range.waiters.resolve(number, &[key(group)], &Ok(Revision(10)));
    resolve(&mut fixture, 4, "g");
    assert!(one.try_recv().is_err(), "a request sent before the reader came does not count");
    resolve(&mut fixture, 5, "g");
    assert!(one.try_recv().is_ok() && all.try_recv().is_err());
    assert!(fixture.range.awaited_keys(&"g".into()).is_empty() && fixture.range.next_request(3, &"g".into()).is_none());
    resolve(&mut fixture, 6, "h");
    assert_eq!(all.try_recv().unwrap(), Ok(Revision(10)));
}

#[test]
fn after_dropped_records_requests_for_all_groups_fail_and_requests_for_a_key_wait() {
    let mut fixture = Fixture::new(0);
    assert_eq!(fixture.read(&[event(11, "g", Some(5), "")]), 1);
    assert!(wait(&mut fixture, Scope::All).try_recv().unwrap().is_err());
    let mut one = wait(&mut fixture, Scope::Key("g".into(), "t".into(), 0));
    assert!(one.try_recv().is_err() && fixture.range.next_request(3, &"g".into()).is_some());
}

#[test]
fn memory_is_bounded_and_dropped_records_are_counted() {
    let mut fixture = Fixture::new(16 << 10);
    let text = "m".repeat(1000);
    let groups: Vec<String> = (0..100).map(|number| format!("g{number}")).collect();
    let left_out: u64 = (11..).zip(&groups).map(|(at, group)| fixture.read(&[event(at, group, Some(1), &text)])).sum();
    assert!(left_out > 80 && fixture.range.overflowed);
    let mut fixture = Fixture::new(16 << 10);
    // One key never fills the memory, since only its newest records are kept.
    (11..1000).for_each(|at| assert_eq!(fixture.read(&[event(at, "g", Some(at), "")]), 0));
    assert_eq!(fixture.matching_offset(Some((999, 3, ""))), Some(999));
    fixture.range.prune(2000, &mut fixture.free_bytes);
    assert_eq!(fixture.free_bytes, 16 << 10);
}

#[test]
fn applied_records_are_removed_and_the_first_remaining_record_gives_the_start_time() {
    let mut fixture = Fixture::new(1 << 20);
    fixture.read(&[event(11, "g", Some(5), ""), event(12, "h", Some(5), ""), event(13, "g", Some(6), "")]);
    assert_eq!(fixture.range.first_record_at(), Some(110));
    fixture.range.prune(13, &mut fixture.free_bytes);
    assert_eq!(fixture.range.first_record_at(), Some(130));
    assert_eq!(fixture.range.records.keys().collect::<Vec<_>>(), [&key("g")]);
    assert_eq!(fixture.matching_offset(Some((5, 3, ""))), None);
}

#[test]
fn pruning_takes_one_step_per_record() {
    const RECORDS: i64 = 5_000;
    let mut fixture = Fixture::new(64 << 20);
    let groups: Vec<String> = (0..RECORDS).map(|number| format!("g{number}")).collect();
    for (at, group) in (10..).zip(&groups) {
        fixture.read(&[event(at, group, Some(1), "")]);
    }
    // The poll thread replays the records behind the transaction one by one.
    let steps: usize = (10..=10 + RECORDS).map(|applied| fixture.range.prune(applied, &mut fixture.free_bytes)).sum();
    assert_eq!(steps, groups.len());
    assert_eq!((fixture.free_bytes, fixture.range.records.len(), fixture.range.first_record_at()), (64 << 20, 0, None));
}
