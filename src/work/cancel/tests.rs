use super::*;

#[tokio::test]
async fn the_first_reason_counts() {
    let cancel = Cancel::within(Duration::from_secs(3600));
    assert_eq!(cancel.check(), Ok(()));
    cancel.clone().end(Ended::Disconnected);
    cancel.end(Ended::Cancelled);
    assert_eq!((cancel.check(), cancel.ended().await), (Err(Ended::Disconnected), Ended::Disconnected));
}

#[tokio::test]
async fn without_a_reason_work_ends_at_its_deadline() {
    let cancel = Cancel::within(Duration::ZERO);
    cancel.end(Ended::Disconnected);
    assert_eq!(
        (cancel.check(), cancel.ended().await),
        (Err(Ended::Deadline(Duration::ZERO)), Ended::Deadline(Duration::ZERO))
    );
    assert_eq!(Cancel::within(Duration::MAX).check(), Ok(()));
}
