use super::*;

fn shown(counts: StatusCounts) -> Vec<(String, i64)> {
    counts.into_proto().into_iter().map(|of| (of.status, of.groups)).collect()
}

#[test]
fn a_group_that_changed_since_it_was_counted_is_counted_once() {
    let mut counts = StatusCounts::default();
    [Status::Ok, Status::Stopped, Status::Ok].into_iter().for_each(|status| counts.add(status));
    let before = counts.clone();
    counts.correct(Status::Ok, Status::Ok);
    assert_eq!(counts, before);
    counts.correct(Status::Stopped, Status::Lagging);
    assert_eq!(shown(counts), [("lagging".to_owned(), 1), ("ok".to_owned(), 2)]);
}
