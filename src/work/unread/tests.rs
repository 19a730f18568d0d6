use super::*;

#[tokio::test]
async fn a_client_waits_only_for_its_own_answers() {
    let unread = Arc::<Unread>::default();
    let client = |number: u8| ClientOrigin::of([10, 0, 0, number].into());
    let first = unread.count(client(1), 60);
    let second = unread.count(client(1), 60);
    unread.wait_for_room(client(2), 100).await;
    let waits = tokio::spawn({
        let unread = Arc::clone(&unread);
        async move { unread.wait_for_room(client(1), 100).await }
    });
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());
    drop(first);
    waits.await.unwrap();
    assert_eq!((unread.bytes_of(client(1)), unread.bytes.load(Ordering::Relaxed)), (60, 60));
    drop(second);
    assert_eq!((unread.bytes_of(client(1)), unread.bytes.load(Ordering::Relaxed)), (0, 0));
}
