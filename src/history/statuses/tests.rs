use super::*;

#[test]
fn a_change_is_told_once_and_for_a_day() {
    let mut statuses = Statuses::default();
    let mut look = |status: Option<Status>, at| {
        statuses.begin(false);
        status.into_iter().for_each(|status| statuses.note(&"g".into(), status));
        statuses.finish(at)
    };
    assert_eq!(look(Some(Status::Ok), 0), None, "the first status is not a change");
    assert_eq!(look(Some(Status::Ok), 1), None);
    let changes = look(Some(Status::Stopped), 2).unwrap();
    let told: Vec<_> = changes.iter().map(|change| (change.from, change.to, change.at)).collect();
    assert_eq!(told, [(Status::Ok, Status::Stopped, 2)]);
    assert_eq!(look(Some(Status::Stopped), 3), None);
    assert_eq!(look(None, 4), None);
    assert_eq!(look(Some(Status::Ok), 5), None, "a group that disappeared and returned is a new group");
    assert!(look(Some(Status::Ok), KEEP + 3).unwrap().is_empty());
}
