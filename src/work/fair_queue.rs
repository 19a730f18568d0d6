//! The queue of waiting jobs: first come, first served for each client, and round robin over the clients.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv6Addr},
};

use crate::call;

/// The origin of a request, for fairness: an IPv4 address or a /64 network of IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientOrigin(Option<IpAddr>);

impl ClientOrigin {
    /// Returns the client with this address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(Some(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        }))
    }

    /// Returns the client of the current call. All work outside of calls belongs to one client, the default.
    #[must_use]
    pub fn current() -> Self {
        call::current_peer().map(|peer| Self::of(peer.ip())).unwrap_or_default()
    }
}

/// A queue that serves its clients round robin.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    /// The clients with their waiters; the client that is served next comes first, and none is without waiters.
    clients: VecDeque<(ClientOrigin, VecDeque<T>)>,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { clients: VecDeque::new() }
    }
}

impl<T> FairQueue<T> {
    /// Returns the number of waiters of all clients.
    pub(super) fn len(&self) -> usize {
        self.clients.iter().map(|(_, waiting)| waiting.len()).sum()
    }

    /// Adds a waiter at the end of its client's waiters.
    pub(super) fn push(&mut self, client: ClientOrigin, waiter: T) {
        match self.clients.iter_mut().find(|(other, _)| *other == client) {
            Some((_, waiting)) => waiting.push_back(waiter),
            None => self.clients.push_back((client, VecDeque::from([waiter]))),
        }
    }

    /// Removes the next waiter and moves its client to the end.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (client, mut waiting) = self.clients.pop_front()?;
        let next = waiting.pop_front();
        if !waiting.is_empty() {
            self.clients.push_back((client, waiting));
        }
        next
    }

    /// Removes the waiters for which `waits` is false.
    pub(super) fn retain(&mut self, waits: impl Fn(&T) -> bool) {
        self.clients.iter_mut().for_each(|(_, waiting)| waiting.retain(&waits));
        self.clients.retain(|(_, waiting)| !waiting.is_empty());
    }

    /// Removes the last waiter of the client with the most waiters, if that client has at least two more than `client`.
    pub(super) fn make_room(&mut self, client: ClientOrigin) -> Option<T> {
        let own = self.clients.iter().find(|(other, _)| *other == client).map_or(0, |(_, waiting)| waiting.len());
        let (_, most) = self.clients.iter_mut().max_by_key(|(_, waiting)| waiting.len())?;
        if most.len() >= own + 2 { most.pop_back() } else { None }
    }
}

#[cfg(test)]
mod tests;
