use super::*;

fn client(number: u8) -> ClientOrigin {
    ClientOrigin::of([10, 0, 0, number].into())
}

#[test]
fn clients_are_served_round_robin() {
    let mut queue = FairQueue::default();
    (0..600).for_each(|number| queue.push(client(1), (1, number)));
    (0..2).for_each(|number| queue.push(client(2), (2, number)));
    let served: Vec<_> = std::iter::from_fn(|| queue.pop()).take(7).collect();
    assert_eq!(served, [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (1, 3), (1, 4)]);
    assert_eq!(queue.len(), 595);
}

#[test]
fn the_client_with_the_most_makes_room_for_others() {
    let mut queue = FairQueue::default();
    (0..3).for_each(|number| queue.push(client(1), (1, number)));
    assert_eq!(queue.make_room(client(1)), None, "a client does not displace its own requests");
    assert_eq!(queue.make_room(client(2)), Some((1, 2)));
    queue.push(client(2), (2, 0));
    assert_eq!(queue.make_room(client(2)), None, "the difference is less than two");
    queue.retain(|(client, _)| *client == 2);
    assert_eq!((queue.len(), queue.pop(), queue.pop()), (1, Some((2, 0)), None));
}

#[test]
fn a_client_is_an_address_or_a_network() {
    assert_eq!(ClientOrigin::current(), ClientOrigin::default());
    let call = call::Call::new("10.0.0.3:1".parse().unwrap(), "Test");
    assert_eq!(call.run(ClientOrigin::current), client(3));
    let at = |address: &str| ClientOrigin::of(address.parse().unwrap());
    assert_eq!(at("::ffff:10.0.0.3"), client(3));
    assert_eq!(at("2001:db8::1"), at("2001:db8::2"));
    assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
}
