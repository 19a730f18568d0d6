use super::*;

#[tokio::test]
async fn the_id_of_a_call_is_visible_only_inside_it() {
    let call = |method| Call::new("127.0.0.1:1".parse().unwrap(), method);
    let (one, other) = (call("GET /one"), call("GET /other"));
    assert_ne!(one.id(), other.id());
    let nested = async {
        tokio::task::yield_now().await;
        record_rows(2);
        current_id()
    };
    assert_eq!(one.scope(nested).await, one.id());
    assert_eq!(other.run(current_id), other.id());
    assert_eq!((one.rows.load(Ordering::Relaxed), other.rows.load(Ordering::Relaxed)), (2, 0));
    assert_ne!(current_id(), current_id());
}
