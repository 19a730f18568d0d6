//! Work that waits for its turn: in the order of arrival for each client, and client after client.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv6Addr},
};

use crate::call;

/// The origin of a request. Requests of one address share their turns; of an IPv6 address, those of its /64 network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client(Option<IpAddr>);

impl Client {
    /// The client at an address.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        Self(Some(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        }))
    }

    /// The client of the current call; one client for all work outside of calls.
    #[must_use]
    pub fn current() -> Self {
        call::current_peer().map(|peer| Self::at(peer.ip())).unwrap_or_default()
    }
}

/// A queue that serves its clients in turn.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// The client whose turn is next comes first. None is empty.
    clients: VecDeque<(Client, VecDeque<T>)>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { clients: VecDeque::new() }
    }
}

impl<T> Queue<T> {
    pub(super) fn len(&self) -> usize {
        self.clients.iter().map(|(_, waiting)| waiting.len()).sum()
    }

    pub(super) fn push(&mut self, client: Client, waiter: T) {
        match self.clients.iter_mut().find(|(other, _)| *other == client) {
            Some((_, waiting)) => waiting.push_back(waiter),
            None => self.clients.push_back((client, VecDeque::from([waiter]))),
        }
    }

    /// Takes the next waiter; its client goes to the end.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (client, mut waiting) = self.clients.pop_front()?;
        let next = waiting.pop_front();
        if !waiting.is_empty() {
            self.clients.push_back((client, waiting));
        }
        next
    }

    /// Removes waiters that no longer wait.
    pub(super) fn retain(&mut self, waits: impl Fn(&T) -> bool) {
        self.clients.iter_mut().for_each(|(_, waiting)| waiting.retain(&waits));
        self.clients.retain(|(_, waiting)| !waiting.is_empty());
    }

    /// Removes the last waiter of the client with the most, if it has at least two more than `client`.
    pub(super) fn make_room(&mut self, client: Client) -> Option<T> {
        let own = self.clients.iter().find(|(other, _)| *other == client).map_or(0, |(_, waiting)| waiting.len());
        let (_, most) = self.clients.iter_mut().max_by_key(|(_, waiting)| waiting.len())?;
        if most.len() >= own + 2 { most.pop_back() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> Client {
        Client::at([10, 0, 0, number].into())
    }

    #[test]
    fn clients_take_turns_however_much_one_asks_for() {
        let mut queue = Queue::default();
        (0..600).for_each(|number| queue.push(client(1), (1, number)));
        (0..2).for_each(|number| queue.push(client(2), (2, number)));
        let served: Vec<_> = std::iter::from_fn(|| queue.pop()).take(7).collect();
        assert_eq!(served, [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (1, 3), (1, 4)]);
        assert_eq!(queue.len(), 595);
    }

    #[test]
    fn the_client_with_the_most_makes_room_for_others() {
        let mut queue = Queue::default();
        (0..3).for_each(|number| queue.push(client(1), (1, number)));
        assert_eq!(queue.make_room(client(1)), None, "not for itself");
        assert_eq!(queue.make_room(client(2)), Some((1, 2)));
        queue.push(client(2), (2, 0));
        assert_eq!(queue.make_room(client(2)), None, "it has its share");
        queue.retain(|(client, _)| *client == 2);
        assert_eq!((queue.len(), queue.pop(), queue.pop()), (1, Some((2, 0)), None));
    }

    #[test]
    fn a_client_is_an_address_or_a_network() {
        assert_eq!(Client::current(), Client::default());
        let call = call::Call::new("10.0.0.3:1".parse().unwrap(), "Test");
        assert_eq!(call.run(Client::current), client(3));
        let at = |address: &str| Client::at(address.parse().unwrap());
        assert_eq!(at("::ffff:10.0.0.3"), client(3));
        assert_eq!(at("2001:db8::1"), at("2001:db8::2"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
    }
}
