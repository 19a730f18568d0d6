use super::*;

#[test]
fn a_later_end_below_the_target_means_truncation() {
    let progress = Progress::default();
    assert!(!progress.is_beyond(0, 9), "no target was captured");
    progress.set_load(0, 100, 5);
    assert!(progress.is_beyond(99, 6));
    assert!(!progress.is_beyond(100, 6));
    assert!(!progress.is_beyond(99, 5), "the end was requested no later than the target");
}
