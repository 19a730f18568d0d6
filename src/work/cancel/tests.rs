use super::*;

#[tokio::test]
async fn the_first_reason_counts() {
    let cancel = CancelHandle::within(Duration::from_secs(3600));
    assert_eq!(cancel.check(), Ok(()));
    cancel.clone().end(EndReason::Disconnected);
    cancel.end(EndReason::Cancelled);
    assert_eq!((cancel.check(), cancel.ended().await), (Err(EndReason::Disconnected), EndReason::Disconnected));
}

#[tokio::test]
async fn without_a_reason_work_ends_at_its_deadline() {
    let cancel = CancelHandle::within(Duration::ZERO);
    cancel.end(EndReason::Disconnected);
    assert_eq!(
        (cancel.check(), cancel.ended().await),
        (Err(EndReason::Deadline(Duration::ZERO)), EndReason::Deadline(Duration::ZERO))
    );
    assert_eq!(CancelHandle::within(Duration::MAX).check(), Ok(()));
}
