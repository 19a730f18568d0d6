//! Tests of the handshake slots.

use futures::FutureExt as _;

use super::*;

#[test]
fn one_address_takes_half_of_the_places_and_no_more() {
    let handshakes = Handshakes::new(4);
    let at = |last: u8| ClientOrigin::of([10, 0, 0, last].into());
    let (busy, other) = (at(1), at(2));
    let acquire = |client| handshakes.acquire(client).now_or_never().flatten();
    let mut taken: Vec<_> = (0..2).map(|_| acquire(busy).unwrap()).collect();
    assert!(acquire(busy).is_none());
    let others: Vec<_> = (0..2).map(|_| acquire(other).unwrap()).collect();
    taken.pop();
    assert!(acquire(busy).is_some());
    drop((taken, others));
    for last in 3..100 {
        acquire(at(last)).unwrap();
    }
    assert!(handshakes.clients.lock().len() <= 4, "clients without slots are removed");
}
