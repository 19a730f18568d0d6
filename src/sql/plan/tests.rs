use tokio::sync::Mutex;

use super::*;

#[tokio::test]
async fn a_future_that_is_polled_once_never_parks_the_thread() {
    let free = Mutex::new(0);
    // Many times tokio's budget of 128 operations.
    let counted = poll_once(async {
        for _ in 0..1000 {
            *free.lock().await += 1;
        }
        *free.lock().await
    });
    assert_eq!(counted.unwrap(), 1000);
    assert_eq!(poll_once(async { futures::future::join_all((0..100).map(async |n| n)).await.len() }).unwrap(), 100);
    let (_held, taken) = tokio::sync::oneshot::channel::<()>();
    assert!(matches!(poll_once(taken), Err(SqlError::Internal(_))), "the future is never woken");
}

#[test]
fn a_value_takes_another_type_only_if_it_loses_nothing() {
    let int = |value| ScalarValue::Int64(Some(value));
    assert_eq!(convert_lossless(int(7), &DataType::Int32), ScalarValue::Int32(Some(7)));
    assert_eq!(convert_lossless(int(1 << 40), &DataType::Int32), int(1 << 40));
    let half = ScalarValue::Float64(Some(1.5));
    assert_eq!(convert_lossless(half.clone(), &DataType::Int32), half);
    let word = ScalarValue::Utf8(Some("x".to_owned()));
    assert_eq!(convert_lossless(word.clone(), &DataType::Int32), word);
    assert_eq!(convert_lossless(ScalarValue::Null, &DataType::Int32), ScalarValue::Int32(None));
}
