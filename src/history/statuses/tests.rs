use super::*;

#[test]
fn a_change_is_reported_once_and_retained_for_a_day() {
    let mut statuses = StatusTracker::default();
    let mut round = |status: Option<Status>, at| {
        statuses.begin_round(false);
        status.into_iter().for_each(|status| statuses.record(&"g".into(), status));
        statuses.finish_round(at)
    };
    assert_eq!(round(Some(Status::Ok), 0), None, "the first status is not a change");
    assert_eq!(round(Some(Status::Ok), 1), None);
    let changes = round(Some(Status::Stopped), 2).unwrap();
    let reported: Vec<_> = changes.iter().map(|change| (change.from, change.to, change.at)).collect();
    assert_eq!(reported, [(Status::Ok, Status::Stopped, 2)]);
    assert_eq!(round(Some(Status::Stopped), 3), None);
    assert_eq!(round(None, 4), None);
    assert_eq!(round(Some(Status::Ok), 5), None, "a group that disappeared and returned is a new group");
    assert!(round(Some(Status::Ok), RETAIN_FOR + 3).unwrap().is_empty());
}
