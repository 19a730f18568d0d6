use super::*;

#[tokio::test]
async fn a_reader_gets_every_item_of_a_complete_answer() {
    let (outbox, inbox) = outbox(10, &Arc::default());
    outbox.send(1, 4, None).await.unwrap();
    outbox.send(2, 6, None).await.unwrap();
    assert_eq!(outbox.try_send(3, 1), Err(Some(3)), "the queue is full");
    let sending = tokio::spawn(async move {
        outbox.send(3, 100, None).await.unwrap();
        outbox.complete();
    });
    let mut read = vec![];
    while let Some(item) = inbox.next().await {
        read.push(item);
    }
    assert_eq!(read, [1, 2, 3], "an item larger than the queue is sent alone");
    sending.await.unwrap();
}

#[tokio::test]
async fn a_stalled_reader_gets_an_error_and_retains_nothing() {
    let (outbox, inbox) = outbox(1, &Arc::default());
    let item = Arc::new(());
    outbox.send(Some(Arc::clone(&item)), 1, None).await.unwrap();
    let stalled = outbox.send(None, 1, Some(StallTimeout { after: Duration::from_millis(1), setting: "x" })).await;
    assert_eq!(stalled, Err(EndReason::Stalled { after: Duration::from_millis(1), setting: "x" }));
    assert_eq!(Arc::strong_count(&item), 2);
    outbox.fail(None);
    assert_eq!(Arc::strong_count(&item), 1);
    assert_eq!((inbox.next().await, inbox.next().await), (Some(None), None));
}

#[tokio::test]
async fn an_incomplete_answer_is_discarded() {
    let all = Arc::default();
    let (outbox, inbox) = outbox(10, &all);
    outbox.send(1, 7, None).await.unwrap();
    assert_eq!(all.load(Ordering::Relaxed), 7);
    drop(outbox);
    assert_eq!((inbox.next().await, all.load(Ordering::Relaxed)), (None, 0));
}

#[tokio::test]
async fn the_writer_notices_that_the_reader_is_gone() {
    let (outbox, inbox) = outbox(1, &Arc::default());
    outbox.send(1, 1, None).await.unwrap();
    let sending = tokio::spawn(async move { (outbox.send(2, 1, None).await, outbox.closed().await) });
    tokio::task::yield_now().await;
    drop(inbox);
    assert_eq!(sending.await.unwrap(), (Err(EndReason::Disconnected), ()));
}
