use futures::FutureExt as _;

use super::*;

#[test]
fn one_address_takes_half_of_the_places_and_no_more() {
    let handshakes = Handshakes::new(4);
    let [busy, other]: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
    let place = |address| handshakes.place(address).now_or_never().flatten();
    let mut taken: Vec<_> = (0..2).map(|_| place(busy).unwrap()).collect();
    assert!(place(busy).is_none());
    let others: Vec<_> = (0..2).map(|_| place(other).unwrap()).collect();
    taken.pop();
    assert!(place(busy).is_some());
    drop((taken, others));
    for last in 3..100 {
        place([10, 0, 0, last].into()).unwrap();
    }
    assert!(handshakes.addresses.lock().len() <= 4, "addresses that are gone are forgotten");
}
