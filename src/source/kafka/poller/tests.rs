use super::*;

#[test]
fn a_failed_question_is_repeated_soon_and_less_often_while_it_goes_on_to_fail() {
    let (start, mut again) = (now(), Again::default());
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut repeated = vec![];
    for second in 0..200 {
        let is_due = again.take(after(second));
        if is_due {
            repeated.push(second);
        }
        // The first request and each repetition fail.
        if second == 0 || is_due {
            again.plan(after(second));
            again.plan(after(second));
        }
    }
    assert_eq!(repeated, [1, 3, 7, 15, 31, 63, 123, 183]);
}

#[test]
fn a_failure_long_after_another_is_repeated_soon() {
    let (start, mut again) = (now(), Again::default());
    let after = |seconds| start + Duration::from_secs(seconds);
    again.plan(after(0));
    assert!(!again.take(after(0)));
    assert!(again.take(after(1)));
    again.plan(after(100));
    assert!(again.take(after(101)));
    assert!(!again.take(after(200)));
}
