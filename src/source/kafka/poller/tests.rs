use super::*;

#[test]
fn a_failed_request_is_retried_soon_and_less_often_while_it_fails() {
    let (start, mut retry) = (now(), EndsRetry::default());
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut repeated = vec![];
    for second in 0..200 {
        let is_due = retry.take(after(second));
        if is_due {
            repeated.push(second);
        }
        // The first request and each repetition fail.
        if second == 0 || is_due {
            retry.plan(after(second));
            retry.plan(after(second));
        }
    }
    assert_eq!(repeated, [1, 3, 7, 15, 31, 63, 123, 183]);
}

#[test]
fn a_failure_long_after_another_is_retried_soon() {
    let (start, mut retry) = (now(), EndsRetry::default());
    let after = |seconds| start + Duration::from_secs(seconds);
    retry.plan(after(0));
    assert!(!retry.take(after(0)));
    assert!(retry.take(after(1)));
    retry.plan(after(100));
    assert!(retry.take(after(101)));
    assert!(!retry.take(after(200)));
}
