use super::*;
use crate::store::group::Commit;

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
    budget: Budget,
}

impl Look {
    fn new(left: usize) -> Self {
        Self { range: Range::new(10), names: NameInterner::default(), budget: Budget { left } }
    }

    fn read(&mut self, events: &[Event<'_>]) -> u64 {
        let keep = |event| {
            self.range.saw(event_offset(event), event_offset(event) * 10);
            self.range.keep(event, &self.names, &mut self.budget)
        };
        events.iter().map(keep).sum()
    }

    fn means(&self, answer: Option<(i64, i32, &str)>) -> Option<i64> {
        let answer = answer.map(|(offset, leader_epoch, metadata)| Committed {
            offset,
            leader_epoch,
            metadata: metadata.to_owned(),
        });
        self.range.matching("g", &("t".into(), 0), answer.as_ref()).map(|kept| kept.log_offset)
    }
}

fn event_offset(event: &Event<'_>) -> i64 {
    event.revision.0
}

#[test]
fn an_answer_means_the_newest_record_with_offset_metadata_and_epoch() {
    let mut look = Look::new(1 << 20);
    look.read(&[event(11, "g", Some(5), ""), event(12, "g", Some(7), "m"), event(14, "g", Some(5), "")]);
    assert_eq!(look.means(Some((5, 3, ""))), Some(14));
    assert_eq!(look.means(Some((7, 3, "m"))), Some(12));
    assert_eq!(look.means(Some((7, -1, "m"))), Some(12), "an old broker tells no epoch");
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
    let mut next = || {
        let (group, keys, stable) = look.range.next_due()?;
        look.range.asked(&group, &keys);
        assert!(stable);
        Some((group.to_string(), keys))
    };
    let keys = vec![("t".into(), 0)];
    assert_eq!(next(), Some(("g".to_owned(), keys.clone())));
    assert_eq!(next(), Some(("h".to_owned(), keys.clone())));
    assert_eq!(next(), None);
    look.read(&[event(14, "h", Some(6), "")]);
    assert_eq!(&*look.range.next_due().unwrap().0, "h");
    look.range.asked("h", &keys);
    look.range.again("h", &keys);
    assert_eq!(&*look.range.next_due().unwrap().0, "h", "the coordinator did not say");
    look.range.asked("h", &keys);
    look.range.set_unstable("h", &keys, true);
    assert_eq!(look.range.next_due(), Some(("h".into(), keys.clone(), false)), "a transaction is under way");
    look.range.asked("h", &keys);
    look.range.set_unstable("h", &keys, true);
    assert_eq!(look.range.next_due(), None, "no news");
}

#[test]
fn memory_is_bounded_and_what_is_left_out_is_counted() {
    let mut look = Look::new(16 << 10);
    let text = "m".repeat(1000);
    let groups: Vec<String> = (0..100).map(|number| format!("g{number}")).collect();
    let left_out: u64 = (11..).zip(&groups).map(|(at, group)| look.read(&[event(at, group, Some(1), &text)])).sum();
    assert!(left_out > 80 && look.range.overflowed);
    let mut look = Look::new(16 << 10);
    // A key alone never fills it: the newest records stay.
    (11..1000).for_each(|at| assert_eq!(look.read(&[event(at, "g", Some(at), "")]), 0));
    assert_eq!(look.means(Some((999, 3, ""))), Some(999));
    look.range.prune(2000, &mut look.budget);
    assert_eq!(look.budget.left, 16 << 10);
}

#[test]
fn what_the_reader_has_applied_is_forgotten_and_the_next_transaction_dates_from_its_record() {
    let mut look = Look::new(1 << 20);
    look.read(&[event(11, "g", Some(5), ""), event(12, "h", Some(5), ""), event(13, "g", Some(6), "")]);
    assert_eq!(look.range.first_at(), Some(110));
    look.range.prune(13, &mut look.budget);
    assert_eq!(look.range.first_at(), Some(130));
    assert!(!look.range.has("h", &("t".into(), 0)) && look.range.has("g", &("t".into(), 0)));
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
    // The reader replays what lay behind the transaction, record by record.
    let steps: usize = (10..=10 + RECORDS).map(|applied| look.range.prune(applied, &mut look.budget)).sum();
    assert_eq!(steps, groups.len());
    assert_eq!((look.budget.left, look.range.keys().count(), look.range.first_at()), (64 << 20, 0, None));
}
