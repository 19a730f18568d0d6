use super::*;
use crate::store::pins::make_mut;
use std::{collections::BTreeMap, ops::ControlFlow};

/// A time of reading that is later than every commit time in these tests.
fn seen(revision: i64) -> CommitOrigin {
    CommitOrigin { revision: Revision(revision), applied: 0, at: Millis::MAX }
}

fn commit(offset: i64) -> Commit<'static> {
    Commit {
        committed_offset: offset,
        committed_at: offset,
        leader_epoch: -1,
        metadata: "",
        expires_at: None,
        topic_id: None,
        first_seen_at: None,
    }
}

/// A group with its writer's index.
struct Owned {
    view: Arc<GroupView>,
    index: RowIndex,
}

impl Owned {
    fn new() -> Self {
        Self { view: Arc::new(GroupView::new("g".into())), index: RowIndex::default() }
    }

    fn group<'a>(&'a mut self, context: &'a ShardContext) -> Group<'a> {
        Group { view: make_mut(&mut self.view, &context.pins), index: &mut self.index, context }
    }
}

fn contents(view: &GroupView) -> BTreeMap<(String, i32), i64> {
    view.entries().map(|entry| ((entry.topic.to_string(), entry.row.partition), entry.row.committed_offset)).collect()
}

#[test]
fn a_row_takes_44_bytes() {
    assert_eq!(size_of::<Row>(), 44);
}

#[test]
fn a_pinned_view_does_not_move() {
    let (mut group, context) = (Owned::new(), ShardContext::default());
    for partition in 0..3000 {
        group.group(&context).commit(("t", partition), &commit(1), seen(0), |name| name.into());
    }
    let pinned = Arc::clone(&group.view);
    group.group(&context).commit(("t", 5), &commit(2), seen(1), |name| name.into());
    group.group(&context).remove("t", 6);
    assert_eq!((contents(&pinned)[&("t".into(), 5)], pinned.len()), (1, 3000));
    assert_eq!((contents(&group.view)[&("t".into(), 5)], group.view.len()), (2, 2999));
    // Only the changed chunks were copied.
    assert!(Arc::ptr_eq(&pinned.chunks[1], &group.view.chunks[1]));
}

#[test]
fn commits_and_removals_in_any_order_match_a_map() {
    let (mut group, context) = (Owned::new(), ShardContext::default());
    let mut expected = BTreeMap::new();
    let mut state = 42_u64;
    for step in 0..50_000_i64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (topic, partition) = (format!("t{}", (state >> 33) % 40), i32::try_from((state >> 40) % 60).unwrap());
        if (state >> 60) < 7 {
            let removed = group.group(&context).remove(&topic, partition).map(|row| row.committed_offset);
            assert_eq!(removed, expected.remove(&(topic, partition)));
        } else {
            let metadata = if step % 3 == 0 { "m" } else { "" };
            let (_, before) = group.group(&context).commit(
                (&topic, partition),
                &Commit { metadata, first_seen_at: (step % 5 == 0).then_some(step), ..commit(step) },
                seen(step),
                |name| name.into(),
            );
            let group = group.group(&context);
            let found = group.get(&topic, partition).unwrap();
            assert_eq!(found.extras.is_some(), step % 3 == 0);
            assert_eq!(found.first_seen_at, (step > 0 && step % 5 == 0).then_some(step));
            assert_eq!(before.map(|row| row.committed_offset), expected.insert((topic, partition), step));
        }
    }
    assert_eq!(contents(&group.view), expected);
    for entry in group.view.entries() {
        let step = entry.row.committed_offset;
        assert_eq!(entry.first_seen_at, (step > 0 && step % 5 == 0).then_some(step), "moved rows keep it");
        assert_eq!(entry.extras.is_some(), step % 3 == 0);
    }
    let counts: u32 = group.view.topic_counts().map(|(_, rows)| rows).sum();
    assert_eq!(counts as usize, expected.len());
}

#[test]
fn the_usual_interval_converges_to_that_of_the_commits() {
    let (mut group, context) = (Owned::new(), ShardContext::default());
    for hour in 0..10 {
        group.group(&context).commit(("t", 0), &commit(hour * 3_600_000), seen(hour), |name| name.into());
    }
    let interval = group.group(&context).get("t", 0).unwrap().row.interval_ms;
    assert!((3_590_000..=3_600_000).contains(&interval), "{interval}");
}

#[test]
fn rows_are_found_in_small_and_large_groups() {
    let (mut group, context) = (Owned::new(), ShardContext::default());
    for count in 0..200 {
        let topic = format!("t{}", count % 20);
        group.group(&context).commit((&topic, count), &commit(i64::from(count)), seen(0), |name| name.into());
        for each in [0, count / 2, count] {
            let found =
                group.group(&context).get(&format!("t{}", each % 20), each).map(|entry| entry.row.committed_offset);
            assert_eq!(found, Some(i64::from(each)), "of {count}");
        }
        assert!(group.group(&context).get("t0", count + 1).is_none());
    }
    for count in 0..200 {
        assert!(group.group(&context).remove(&format!("t{}", count % 20), count).is_some());
        assert_eq!(group.view.len(), 199 - usize::try_from(count).unwrap());
    }
    assert!(group.view.is_gone());
}

#[test]
fn parts_of_a_large_group_contain_each_offset_once() {
    let (mut group, context) = (Owned::new(), ShardContext::default());
    let rows = 3 * CHUNK_ROWS + 17;
    for partition in 0..i32::try_from(rows).unwrap() {
        group.group(&context).commit(("t", partition), &commit(1), seen(0), |name| name.into());
    }
    let view = &group.view;
    for part in [1, 100, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 2 * CHUNK_ROWS, rows, usize::MAX] {
        let mut seen = vec![];
        for from in (0..rows).step_by(part) {
            let positions = from..from.saturating_add(part);
            let all = view.each_entry(positions.clone(), |position, entry| {
                assert!(positions.contains(&position));
                seen.push((position, entry.row.partition));
                ControlFlow::<()>::Continue(())
            });
            assert!(all.is_continue());
        }
        let expected: Vec<(usize, i32)> = (0..rows).zip(0..).collect();
        assert_eq!(seen, expected, "in parts of {part}");
    }
}
