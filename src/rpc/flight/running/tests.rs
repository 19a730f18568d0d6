use super::*;

#[test]
fn an_execution_can_be_cancelled_while_it_runs() {
    let running = Running::default();
    assert!(!running.cancel(7));
    let (first, second) = (running.start(7), running.start(7));
    drop(first);
    assert!(!running.cancel(8) && !second.token.is_cancelled());
    assert!(running.cancel(7) && second.token.is_cancelled());
    drop(second);
    assert!(!running.cancel(7) && running.0.lock().is_empty());
}
