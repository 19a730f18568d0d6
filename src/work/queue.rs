//! Work that waits for its turn: in the order of arrival for each client, and client after client.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv6Addr},
};

use crate::call;

/// The origin of a request. Requests of one address share their turns; of an IPv6 address, those of its /64 network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
mod tests;
