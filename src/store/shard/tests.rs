use super::*;
use itertools::Itertools as _;

use crate::{
    model::{Name, SourceId, SourceKind, java_hash},
    store::group::{CHUNK_ROWS, Commit, Row},
};

fn shard() -> Shard {
    let source = SourceId { cluster: "c".into(), name: "own".into() };
    let key = ShardKey { source, kind: SourceKind::Log, number: 0 };
    let limits = Limits { commits_kept: 1000, watch_queue: 16 };
    Shard::new(key, ShardContext::default(), Arc::default(), Clock::manual(1_000), limits)
}

fn commit(revision: i64, group: &str, partition: i32, offset: i64) -> Event<'_> {
    let commit = Commit {
        committed_offset: offset,
        committed_at: revision,
        leader_epoch: -1,
        metadata: "",
        expires_at: None,
        topic_id: None,
        first_seen_at: None,
    };
    Event {
        revision: Revision(revision),
        at: revision,
        group,
        kind: EventKind::Commit { topic: "t", partition, commit },
    }
}

fn delete(revision: i64, group: &str, partition: i32) -> Event<'_> {
    Event { revision: Revision(revision), at: revision, group, kind: EventKind::Delete { topic: "t", partition } }
}

fn offset(shard: &Shard, group: &str, partition: i32) -> Option<i64> {
    Some(shard.get(group, "t", partition)?.entry?.row.committed_offset)
}

#[test]
fn the_last_record_wins_even_if_its_offset_is_lower() {
    let shard = shard();
    shard.apply(&[commit(0, "g", 0, 50), commit(1, "g", 0, 7)], Revision(0));
    assert_eq!(offset(&shard, "g", 0), Some(7));
}

#[test]
fn a_record_below_an_applied_revision_never_moves_a_key_back() {
    for live_from in [0, i64::MAX] {
        let shard = shard();
        let all = [commit(0, "g", 0, 1), commit(1, "h", 0, 1), commit(2, "g", 0, 2), delete(3, "h", 0)];
        let news = [commit(4, "g", 0, 4), commit(5, "h", 0, 5)];
        shard.apply(&all, Revision(live_from));
        let shown = |shard: &Shard| (offset(shard, "g", 0), offset(shard, "h", 0), shard.pin().sequence);
        let before = shown(&shard);
        assert_eq!((before.0, before.1), (Some(2), None));
        // A second reader delivers the same records, all together and one by one.
        shard.apply(&all, Revision(live_from));
        all.iter().for_each(|event| shard.apply(std::slice::from_ref(event), Revision(live_from)));
        assert_eq!(shown(&shard), before);
        // The second reader gets ahead of the first; a batch in the wrong order does not move a key back either.
        shard.apply(&[&all[2..], &news].concat(), Revision(live_from));
        let after = shown(&shard);
        assert_eq!((after.0, after.1), (Some(4), Some(5)));
        shard.apply(&[&news[..], &all].concat(), Revision(live_from));
        assert_eq!(shown(&shard), after);
        shard.apply(&[commit(9, "g", 0, 9), commit(8, "g", 0, 8), commit(7, "h", 0, 7)], Revision(live_from));
        assert_eq!((offset(&shard, "g", 0), offset(&shard, "h", 0)), (Some(9), Some(5)));
    }
}

#[test]
fn a_tombstone_removes_one_offset_and_the_last_one_the_group() {
    let shard = shard();
    shard.apply(&[commit(0, "g", 0, 1), commit(1, "g", 1, 1), delete(2, "g", 0)], Revision(0));
    assert_eq!((offset(&shard, "g", 0), offset(&shard, "g", 1)), (None, Some(1)));
    shard.apply(&[delete(3, "g", 1), delete(4, "never", 0)], Revision(0));
    assert_eq!(shard.len(), (0, 0));
    assert!(shard.pin().groups.is_empty());
}

#[test]
fn a_pin_sorts_nothing_under_the_lock_and_its_readers_share_the_order() {
    let shard = shard();
    shard.apply(&[commit(0, "b", 0, 1), commit(1, "a", 0, 1)], Revision(0));
    let ids = |view: &ShardView| view.groups.iter().map(|group| group.id.to_string()).collect::<Vec<_>>();
    let before = shard.pin();
    assert!(!before.groups.is_sorted());
    assert_eq!(ids(&before), ["a", "b"]);
    // Later pins share the order until a group is added or removed.
    shard.apply(&[commit(2, "b", 1, 1)], Revision(0));
    assert!(shard.pin().groups.is_sorted());
    shard.apply(&[commit(3, "c", 0, 1), delete(4, "a", 0)], Revision(0));
    let after = shard.pin();
    assert!(!after.groups.is_sorted());
    assert_eq!(
        (ids(&after), ids(&before)),
        (vec!["b".to_owned(), "c".to_owned()], vec!["a".to_owned(), "b".to_owned()])
    );
}

#[test]
fn a_membership_tombstone_leaves_the_offsets() {
    let shard = shard();
    let members = |revision, members| Event {
        revision: Revision(revision),
        at: 0,
        group: "g",
        kind: EventKind::Classic(members),
    };
    let value = crate::decode::schema::GroupMetadataValue::default();
    let membership =
        Arc::new(crate::store::membership::classic::membership(&value, Revision(1), &|text: &str| text.into()));
    shard.apply(&[commit(0, "g", 0, 1), members(1, Some(membership))], Revision(0));
    assert!(shard.group("g").unwrap().membership().is_some());
    shard.apply(&[members(2, None)], Revision(0));
    assert_eq!(offset(&shard, "g", 0), Some(1));
    assert!(shard.group("g").unwrap().membership().is_none());
}

#[test]
fn views_stay_sorted_while_groups_are_added_and_removed() {
    let shard = shard();
    let ids: Vec<String> = (0..500).map(|number| format!("g{number}")).collect();
    for (at, id) in (0..).zip(&ids) {
        shard.apply(&[commit(at, id, 0, at)], Revision(0));
    }
    for (at, id) in (1000..).zip(ids.iter().step_by(3)) {
        shard.apply(&[delete(at, id, 0)], Revision(0));
    }
    let view = shard.pin();
    assert!(view.groups.iter().is_sorted_by(|left, right| left.id < right.id));
    assert_eq!(view.groups.offsets(), view.groups.iter().map(|group| group.len()).sum::<usize>());
    assert_eq!(view.groups.len(), 500 - 167);
    for (number, id) in (0..).zip(&ids) {
        assert_eq!(offset(&shard, id, 0), (number % 3 != 0).then_some(number), "{id}");
        assert_eq!(view.groups.get(id).is_some(), number % 3 != 0);
    }
}

#[test]
fn misplaced_groups_are_computed_once_per_number_of_shards() {
    let shard = shard();
    let is_home = |of: i32| move |hash: i32| hash.rem_euclid(of) == 0;
    let home = |id: &str, of| is_home(of)(java_hash(id));
    let ids: Vec<String> = (0..100).map(|number| format!("group-{number}")).collect();
    let here: Vec<&str> = ids.iter().map(String::as_str).filter(|id| home(id, 2)).collect();
    for (offset, id) in (0..).zip(&here) {
        shard.apply(&[commit(offset, id, 0, 1)], Revision(0));
    }
    assert!(shard.pin().groups.misplaced(2, is_home(2)).is_empty());
    let moved: Vec<&str> = here.iter().copied().filter(|id| !home(id, 3)).collect();
    let mut misplaced: Vec<Name> = shard.pin().groups.misplaced(3, is_home(3)).to_vec();
    misplaced.sort();
    assert!(!moved.is_empty() && moved.len() < here.len());
    assert!(misplaced.iter().map(|id| &**id).eq(moved.iter().copied().sorted()), "{misplaced:?}");
    // The second number of shards is cached, too, and other pins share it.
    let view = shard.pin();
    shard.apply(&[commit(99, here[0], 0, 1)], Revision(0));
    assert!(Arc::ptr_eq(&view.groups.misplaced(3, is_home(3)), &shard.pin().groups.misplaced(3, is_home(3))));
}

#[test]
fn replayed_commits_are_not_reported() {
    let shard = shard();
    shard.apply(&[commit(0, "g", 0, 9), commit(1, "g", 0, 5), commit(2, "g", 0, 6)], Revision(2));
    let events: Vec<_> = shard.pin().commits.iter().map(|event| event.revision.0).collect();
    assert_eq!(events, [2]);
    assert_eq!(shard.group("g").unwrap().live_commits, 1);
}

fn offset_of(side: Option<&StoredCommit>) -> Option<i64> {
    side.map(|stored| stored.row.committed_offset)
}

#[test]
fn a_subscriber_gets_exactly_the_changes_after_its_view() {
    let shard = shard();
    shard.apply(&[commit(0, "g", 0, 1)], Revision(0));
    let (view, mut changes) = shard.subscribe();
    shard.apply(&[commit(1, "g", 0, 2), delete(2, "g", 0)], Revision(0));
    assert_eq!((view.sequence, view.last.0), (1, 0));
    let first = changes.try_recv().unwrap();
    assert_eq!((first.sequence, offset_of(first.old.as_ref()), offset_of(first.new.as_ref())), (2, Some(1), Some(2)));
    let second = changes.try_recv().unwrap();
    assert_eq!((second.sequence, offset_of(second.new.as_ref())), (3, None));
    assert!(changes.try_recv().is_err());
}

#[test]
fn applied_moves_only_forward() {
    let shard = shard();
    shard.set_applied(Revision(10));
    shard.set_applied(Revision(5));
    assert_eq!(shard.applied(), Revision(10));
}

fn logged(shard: &Shard, group: &str) -> Option<(i64, i64)> {
    let row = shard.get(group, "t", 0)?.entry?.row;
    Some((row.revision.0, row.committed_offset))
}

#[test]
fn a_provisional_value_does_not_jump_back_when_the_reader_reaches_it() {
    let shard = shard();
    shard.apply(&[commit(0, "g", 0, 1)], Revision(0));
    shard.set_applied(Revision(1));
    let (_, mut changes) = shard.subscribe();
    assert!(shard.show_early(&commit(5, "g", 0, 9)));
    assert!(!shard.show_early(&commit(5, "g", 0, 9)), "already shown");
    assert_eq!(logged(&shard, "g"), Some((5, 9)));
    // The reader applies the records before it, the record itself, and the next one.
    shard.apply(&[commit(3, "g", 0, 4), commit(4, "other", 0, 2)], Revision(0));
    shard.set_applied(Revision(5));
    assert_eq!(logged(&shard, "g"), Some((5, 9)));
    shard.apply(&[commit(5, "g", 0, 9), commit(6, "g", 0, 7)], Revision(0));
    shard.set_applied(Revision(7));
    let seen: Vec<_> = std::iter::from_fn(|| changes.try_recv().ok()).map(|of| (of.revision.0, of.sequence)).collect();
    assert_eq!(seen, [(5, 2), (4, 3), (6, 4)], "every change is sent once");
    assert_eq!(logged(&shard, "g"), Some((6, 7)));
}

#[test]
fn an_aborted_record_restores_the_value_of_the_log() {
    let shard = shard();
    shard.apply(&[commit(0, "g", 0, 1), commit(1, "untouched", 0, 1)], Revision(0));
    shard.set_applied(Revision(2));
    // The commit of an aborted transaction was taken for the plain commit before it.
    shard.show_early(&commit(8, "g", 0, 5));
    shard.show_early(&commit(9, "untouched", 0, 1));
    shard.show_early(&commit(10, "never", 0, 3));
    shard.apply(&[commit(4, "g", 0, 5), commit(6, "g", 0, 7)], Revision(0));
    shard.set_applied(Revision(7));
    assert_eq!(logged(&shard, "g"), Some((8, 5)), "the reader has not passed it yet");
    shard.set_applied(Revision(11));
    assert_eq!(logged(&shard, "g"), Some((6, 7)));
    assert_eq!(logged(&shard, "untouched"), Some((1, 1)));
    assert!(shard.get("never", "t", 0).is_none());
}

#[test]
fn a_provisional_deletion_is_not_undone_by_older_commits() {
    let shard = shard();
    shard.apply(&[commit(0, "g", 0, 1)], Revision(0));
    shard.set_applied(Revision(1));
    shard.show_early(&delete(6, "g", 0));
    shard.apply(&[commit(4, "g", 0, 5)], Revision(0));
    assert_eq!(shard.len(), (0, 0));
    shard.apply(&[delete(6, "g", 0), commit(7, "g", 0, 8)], Revision(0));
    shard.set_applied(Revision(8));
    assert_eq!(logged(&shard, "g"), Some((7, 8)));
}

#[test]
fn a_later_answer_replaces_the_provisional_value() {
    let shard = shard();
    shard.apply(&[commit(0, "g", 0, 1)], Revision(0));
    shard.set_applied(Revision(1));
    shard.show_early(&commit(9, "g", 0, 5));
    assert!(shard.show_early(&commit(6, "g", 0, 7)), "the earlier answer was of a pending commit");
    assert_eq!(logged(&shard, "g"), Some((6, 7)));
    shard.apply(&[commit(4, "g", 0, 5), commit(6, "g", 0, 7)], Revision(0));
    shard.set_applied(Revision(20));
    assert_eq!(logged(&shard, "g"), Some((6, 7)));
}

#[test]
fn a_record_that_the_reader_has_passed_is_not_shown_early() {
    let shard = shard();
    shard.apply(&[commit(0, "g", 0, 1), commit(5, "g", 0, 2)], Revision(0));
    assert!(!shard.show_early(&commit(4, "g", 0, 9)));
    shard.set_applied(Revision(9));
    assert!(!shard.show_early(&commit(8, "g", 0, 9)));
    assert_eq!(logged(&shard, "g"), Some((5, 2)));
}

#[test]
fn members_are_stale_until_the_reader_has_passed_their_records() {
    let shard = shard();
    shard.apply(&[commit(0, "g", 0, 1)], Revision(0));
    shard.set_applied(Revision(1));
    shard.mark_members_stale("g", Revision(4), 70);
    shard.mark_members_stale("g", Revision(6), 90);
    let since = || shard.group("g").unwrap().members_stale_since();
    assert_eq!(since(), Some(70));
    shard.set_applied(Revision(6));
    assert_eq!(since(), Some(70));
    shard.set_applied(Revision(7));
    assert_eq!(since(), None);
}

#[test]
fn a_change_out_of_the_order_of_the_log_needs_a_full_resync() {
    let shard = shard();
    shard.apply(&[commit(0, "g", 0, 1), commit(1, "h", 0, 1)], Revision(0));
    assert_eq!(shard.pin().last_full, 0);
    shard.show_early(&commit(9, "g", 0, 2));
    assert_eq!(shard.pin().last_full, 0, "still in order");
    shard.apply(&[commit(4, "h", 0, 2)], Revision(0));
    let view = shard.pin();
    assert_eq!((view.last_full, view.sequence), (4, 4));
}

#[test]
fn retained_bytes_are_counted_until_the_pin_is_dropped() {
    let shard = shard();
    let all: Vec<_> = (0..3000).map(|partition| commit(partition.into(), "g", partition, 1)).collect();
    shard.apply(&all, Revision(0));
    let pins = Arc::clone(&shard.context.pins);
    let (first, second) = (shard.pin(), shard.pin());
    assert_eq!(pins.bytes(), 0, "the shard shares them");
    shard.apply(&[commit(3001, "g", 5, 2), commit(3002, "g", 6, 2)], Revision(0));
    let chunk = CHUNK_ROWS * size_of::<Row>();
    let one = pins.bytes();
    assert!((chunk..chunk + 1024).contains(&one), "one chunk and the group's list of chunks: {one}");
    let third = shard.pin();
    shard.apply(&[commit(3003, "g", 7, 3)], Revision(0));
    assert!((one + chunk..2 * (chunk + 1024)).contains(&pins.bytes()));
    drop(first);
    drop(third);
    assert_eq!(pins.bytes(), one, "the second view still pins it");
    drop(second);
    assert_eq!(pins.bytes(), 0);
}

#[test]
fn a_dropped_shard_is_retained_by_its_readers_alone() {
    let shard = shard();
    shard.apply(&[commit(0, "g", 0, 1), commit(1, "h", 0, 1)], Revision(0));
    let (view, pins) = (shard.pin(), Arc::clone(&shard.context.pins));
    shard.apply(&[delete(2, "h", 0)], Revision(0));
    let deleted = pins.bytes();
    assert!(deleted > 0);
    drop(shard);
    assert!(pins.bytes() > deleted);
    drop(view);
    assert_eq!(pins.bytes(), 0);
}

#[test]
fn a_view_is_shared_until_the_next_write() {
    let shard = shard();
    shard.apply(&[commit(0, "g", 0, 1)], Revision(0));
    let first = shard.pin();
    assert!(Arc::ptr_eq(&first, &shard.pin()));
    // A subscription counts as a write.
    let second = shard.subscribe().0;
    assert!(Arc::ptr_eq(&second, &shard.pin()));
    shard.apply(&[commit(1, "g", 0, 2)], Revision(0));
    assert!(!Arc::ptr_eq(&second, &shard.pin()));
    assert_eq!((second.sequence, shard.pin().sequence), (1, 2));
}

#[test]
fn an_unpinned_view_causes_no_copies() {
    let shard = shard();
    shard.apply(&[commit(0, "g", 0, 1)], Revision(0));
    let group = |shard: &Shard| Arc::as_ptr(&shard.group("g").unwrap());
    let before = group(&shard);
    drop(shard.pin());
    shard.apply(&[commit(1, "g", 0, 2)], Revision(0));
    assert_eq!((group(&shard), shard.context.pins.bytes()), (before, 0));
    drop(shard.pin());
    let pins = Arc::clone(&shard.context.pins);
    drop(shard);
    assert_eq!(pins.bytes(), 0);
}
