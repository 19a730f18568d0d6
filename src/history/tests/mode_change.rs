//! Tests of a change of a source's read mode, which replaces all its offsets at once.

use super::*;
use crate::store::source::Kind;

#[test]
fn samples_continue_after_a_change_of_mode_and_no_commits_are_reported() {
    let mut lab = lab(usize::MAX);
    lab.topics(&[("orders", 2)]);
    for partition in 0..2 {
        lab.end("orders", partition, 10);
    }
    lab.commit("g", KEY, 4);
    lab.commit("stays", KEY, 10);
    // These keys have no lines, because they did not move.
    for (group, key) in [("h", KEY), ("h", ("orders", 1)), ("gone", KEY), ("g", ("orders", 1))] {
        lab.apply(group, key, Some(7), false);
    }
    lab.sample();
    lab.commit("stays", KEY, 9);
    lab.sample();

    let cluster = lab.cluster();
    let writer = SourceWriter::own(&lab.store, &cluster);
    let aside = writer.aside(Kind::Table, cluster.own.latest());
    let shard = aside.new_shard(0);
    aside.publish(&shard);
    aside.source().set_health(|health| (health.ready, health.shards) = (true, Some(1)));
    (lab.shard, lab.next) = (shard, 0);
    // In a different order, so that the rows have different positions.
    for (group, key, offset) in
        [("new", KEY, 2), ("stays", KEY, 9), ("h", ("orders", 1), 8), ("g", ("orders", 1), 7), ("g", KEY, 6)]
    {
        lab.apply(group, key, Some(offset), false);
    }
    let shown = |lab: &Lab| pin(&lab.cluster(), &lab.cluster().own).groups().count();
    assert_eq!(shown(&lab), 4, "the new offsets stay hidden until all are loaded");
    writer.adopt(&aside, "the log may not be read".to_owned());
    assert_eq!(cluster.health().mode_reason.as_deref(), Some("the log may not be read"));
    lab.sample();
    assert_eq!(shown(&lab), 4);

    assert_eq!(lab.committed("g", KEY), [Some(4), Some(4), Some(6)]);
    assert_eq!(lab.committed("g", ("orders", 1)), [Some(7), Some(7), Some(7)]);
    assert_eq!(lab.committed("stays", KEY), [Some(10), Some(9), Some(9)]);
    assert_eq!(lab.committed("h", KEY), [Some(7), Some(7), None], "the offset was deleted");
    assert_eq!(lab.committed("h", ("orders", 1)), [Some(7), Some(7), Some(8)]);
    assert_eq!(lab.committed("gone", KEY), [Some(7), Some(7), None]);
    assert_eq!(lab.committed("new", KEY), [None, None, Some(2)]);
    let cut = pin(&cluster, &cluster.own);
    assert!(
        cut.shards.iter().all(|shard| shard.commits.iter().next().is_none()),
        "no commits or deletions are reported"
    );
    assert!(cut.samples.changes.is_empty(), "the replacement reports no status change");
    lab.commit("g", KEY, 8);
    lab.sample();
    assert_eq!(lab.committed("g", KEY), [Some(4), Some(4), Some(6), Some(8)]);
}
