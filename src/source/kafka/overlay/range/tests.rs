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
            },
        },
    };
    Event { revision: Revision(log_offset), at: log_offset * 10, group, kind }
}

struct Look {
    range: Range,
    names: NameInterner,
    room: usize,
    groups: Schedule,
}

impl Look {
    fn new(left: usize) -> Self {
        Self {
            range: Range::new(10, 0, now()),
            names: NameInterner::default(),
            room: left,
            groups: Schedule::between(Duration::ZERO, Duration::ZERO),
        }
    }

    fn read(&mut self, events: &[Event<'_>]) -> u64 {
        let keep = |event| self.range.keep(event, &self.names, &mut self.room);
        events.iter().map(keep).sum()
    }

    fn means(&self, answer: Option<(i64, i32, &str)>) -> Option<i64> {
        let answer = answer.map(|(offset, leader_epoch, metadata)| Committed {
            offset,
            leader_epoch,
            metadata: metadata.to_owned(),
        });
        self.range.matching(&key("g"), answer.as_ref()).map(|kept| kept.log_offset)
    }
}

fn key(group: &str) -> Key {
    (group.into(), "t".into(), 0)
}

#[test]
fn an_answer_means_the_newest_record_with_offset_metadata_and_epoch() {
    let mut look = Look::new(1 << 20);
    look.read(&[event(11, "g", Some(5), ""), event(12, "g", Some(7), "m"), event(14, "g", Some(5), "")]);
    assert_eq!(look.means(Some((5, 3, ""))), Some(14));
    assert_eq!(look.means(Some((7, 3, "m"))), Some(12));
    assert_eq!(look.means(Some((7, -1, "m"))), Some(12), "a broker before 2.1 returns no epoch");
    assert_eq!(look.means(Some((7, 3, ""))), None);
    assert_eq!(look.means(Some((7, 4, "m"))), None);
    assert_eq!(look.means(None), None, "no tombstone was read");
    look.read(&[event(15, "g", None, "")]);
    assert_eq!(look.means(None), Some(15));
}

#[test]
fn a_group_is_asked_about_once_for_each_new_record() {
    let mut look = Look::new(1 << 20);
    look.read(&[event(11, "g", Some(5), ""), event(12, "h", Some(5), ""), event(13, "g", Some(6), "")]);
    let ask = |look: &mut Look, group: &str| {
        let ask = look.range.ask(3, &group.into())?;
        assert!(ask.stable && ask.log_partition == 3 && &*ask.group == group, "{ask:?}");
        assert_eq!((&ask.keys, &ask.fresh), (&[key(group)].into(), &[key(group)].into()));
        Some(ask)
    };
    assert!(ask(&mut look, "g").is_some() && ask(&mut look, "h").is_some());
    assert!(ask(&mut look, "g").is_none() && ask(&mut look, "h").is_none());
    look.read(&[event(14, "h", Some(6), "")]);
    let failed = ask(&mut look, "h").unwrap();
    look.range.failed(failed);
    assert!(ask(&mut look, "h").is_some(), "a failed request is repeated");
}

/// Adds a reader that waits for responses to requests from number 5 on.
fn wait(look: &mut Look, scope: Scope) -> oneshot::Receiver<Reached> {
    let (done, told) = oneshot::channel();
    let wanted = LatestRequest { scope, shard: 3, target: Revision(20), done };
    look.range.admit(wanted, (5, Revision(10)), &mut look.groups, now());
    told
}

#[test]
fn readers_wait_until_each_of_their_keys_is_told_after_they_asked() {
    let mut look = Look::new(1 << 20);
    look.read(&[event(11, "g", Some(5), ""), event(12, "h", Some(5), "")]);
    let of = |group: &str| Scope::Key(group.into(), "t".into(), 0);
    assert!(wait(&mut look, of("i")).try_recv().is_ok(), "there is no record of this key");
    let (mut one, mut all) = (wait(&mut look, of("g")), wait(&mut look, Scope::All));
    let due = |look: &mut Look| look.groups.next(now()).map(|group| group.to_string());
    assert_eq!((due(&mut look).as_deref(), due(&mut look).as_deref(), due(&mut look)), (Some("g"), Some("h"), None));
    let first = look.range.ask(3, &"g".into()).unwrap();
    assert!(first.keys == [key("g")].into() && first.fresh == first.keys);
    let again = look.range.ask(3, &"g".into()).unwrap();
    assert!(again.keys == first.keys && again.fresh.is_empty(), "requested only for readers");
    let tell = |look: &mut Look, number, group| look.range.waiters.resolve(number, &[key(group)], &Ok(Revision(10)));
    tell(&mut look, 4, "g");
    assert!(one.try_recv().is_err(), "a request sent before the reader came does not count");
    tell(&mut look, 5, "g");
    assert!(one.try_recv().is_ok() && all.try_recv().is_err());
    assert!(look.range.waited_for(&"g".into()).is_empty() && look.range.ask(3, &"g".into()).is_none());
    tell(&mut look, 6, "h");
    assert_eq!(all.try_recv().unwrap(), Ok(Revision(10)));
}

#[test]
fn a_reader_of_everything_is_told_where_records_were_left_out_and_one_of_a_key_waits() {
    let mut look = Look::new(0);
    assert_eq!(look.read(&[event(11, "g", Some(5), "")]), 1);
    assert!(wait(&mut look, Scope::All).try_recv().unwrap().is_err());
    let mut one = wait(&mut look, Scope::Key("g".into(), "t".into(), 0));
    assert!(one.try_recv().is_err() && look.range.ask(3, &"g".into()).is_some());
}

#[test]
fn memory_is_bounded_and_what_is_left_out_is_counted() {
    let mut look = Look::new(16 << 10);
    let text = "m".repeat(1000);
    let groups: Vec<String> = (0..100).map(|number| format!("g{number}")).collect();
    let left_out: u64 = (11..).zip(&groups).map(|(at, group)| look.read(&[event(at, group, Some(1), &text)])).sum();
    assert!(left_out > 80 && look.range.overflowed);
    let mut look = Look::new(16 << 10);
    // One key never fills the memory, since only its newest records are kept.
    (11..1000).for_each(|at| assert_eq!(look.read(&[event(at, "g", Some(at), "")]), 0));
    assert_eq!(look.means(Some((999, 3, ""))), Some(999));
    look.range.prune(2000, &mut look.room);
    assert_eq!(look.room, 16 << 10);
}

#[test]
fn what_the_reader_has_applied_is_forgotten_and_the_next_transaction_dates_from_its_record() {
    let mut look = Look::new(1 << 20);
    look.read(&[event(11, "g", Some(5), ""), event(12, "h", Some(5), ""), event(13, "g", Some(6), "")]);
    assert_eq!(look.range.first_at(), Some(110));
    look.range.prune(13, &mut look.room);
    assert_eq!(look.range.first_at(), Some(130));
    assert_eq!(look.range.kept.keys().collect::<Vec<_>>(), [&key("g")]);
    assert_eq!(look.means(Some((5, 3, ""))), None);
}

#[test]
fn forgetting_takes_a_step_for_each_record_however_often_the_reader_moves() {
    const RECORDS: i64 = 5_000;
    let mut look = Look::new(64 << 20);
    let groups: Vec<String> = (0..RECORDS).map(|number| format!("g{number}")).collect();
    for (at, group) in (10..).zip(&groups) {
        look.read(&[event(at, group, Some(1), "")]);
    }
    // The poll thread replays the records behind the transaction one by one.
    let steps: usize = (10..=10 + RECORDS).map(|applied| look.range.prune(applied, &mut look.room)).sum();
    assert_eq!(steps, groups.len());
    assert_eq!((look.room, look.range.kept.len(), look.range.first_at()), (64 << 20, 0, None));
}
