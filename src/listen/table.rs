//! The table of open connections: chooses which one makes room for a new one, and closes those that exceed a limit.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::connection::{Connection, Phase, SilentConnections};
use crate::{
    config::Limits,
    metrics::{CloseReason, Connections},
    work::ClientOrigin,
};

pub(super) struct ConnectionTable {
    pub(super) limits: Limits,
    pub(super) counters: Arc<Connections>,
    silent: Arc<SilentConnections>,
    open: Mutex<OpenConnections>,
}

#[derive(Default)]
struct OpenConnections {
    next: u64,
    /// All connections, by age.
    all: BTreeMap<u64, Arc<Connection>>,
    clients: HashMap<ClientOrigin, usize>,
}

impl ConnectionTable {
    pub(super) fn new(limits: Limits, counters: Arc<Connections>) -> Self {
        Self { limits, counters, silent: Arc::default(), open: Mutex::default() }
    }

    /// Adds a new connection, or returns `None` if there is no room. If `has_few_descriptors`, the connection must replace
    /// another one.
    pub(super) fn admit(&self, peer: SocketAddr, has_few_descriptors: bool, now: Instant) -> Option<Arc<Connection>> {
        let mut open = self.open.lock();
        let id = open.next;
        let client = ClientOrigin::of(peer.ip());
        let of_client = open.clients.get(&client).copied().unwrap_or(0);
        let is_full = has_few_descriptors || open.all.len() >= self.limits.max_connections;
        let evicted = if of_client >= self.limits.max_connections_per_address {
            Some(self.evict(&mut open, Some(client), None))
        } else {
            is_full.then(|| self.evict(&mut open, None, None))
        };
        let has_room = !matches!(evicted, Some(None));
        let connection = has_room.then(|| {
            open.next += 1;
            *open.clients.entry(client).or_default() += 1;
            let (shared, max_resets) = ((&self.counters, &self.silent), self.limits.http2_max_resets);
            let connection = Arc::new(Connection::new(id, peer, shared, max_resets, now));
            open.all.insert(id, Arc::clone(&connection));
            connection
        });
        self.counters.set_open(open.all.len());
        drop(open);
        if let Some(Some(evicted)) = evicted {
            evicted.close(CloseReason::MadeRoom);
        }
        if !has_room {
            self.counters.close(CloseReason::Refused);
        }
        connection
    }

    /// Closes the oldest idle connection, and returns whether there was one.
    ///
    /// The newest connection is exempt, because it has not been read yet: if all others have sent a byte, it would be
    /// closed first.
    pub(super) fn make_room(&self) -> bool {
        let mut open = self.open.lock();
        let newest = open.all.last_key_value().map(|(id, _)| *id);
        let evicted = self.evict(&mut open, None, newest);
        drop(open);
        evicted.iter().for_each(|evicted| evicted.close(CloseReason::MadeRoom));
        evicted.is_some()
    }

    /// Removes a connection that has ended.
    pub(super) fn remove(&self, id: u64) {
        let mut open = self.open.lock();
        self.remove_entry(&mut open, id);
        self.counters.set_open(open.all.len());
    }

    /// Closes connections, and ends responses, that exceed a time limit.
    pub(super) fn sweep(&self, now: Instant) {
        let all: Vec<_> = self.open.lock().all.values().map(Arc::clone).collect();
        all.iter().for_each(|connection| connection.enforce(&self.limits, now));
    }

    fn remove_entry(&self, open: &mut OpenConnections, id: u64) -> Option<Arc<Connection>> {
        self.silent.lock().remove(&id);
        let connection = open.all.remove(&id)?;
        if let Some(count) = open.clients.get_mut(&connection.client) {
            *count -= 1;
            if *count == 0 {
                open.clients.remove(&connection.client);
            }
        }
        Some(connection)
    }

    /// Removes the least valuable connection, of one client or of any: the oldest one that has sent nothing, except
    /// `new`; otherwise the one that has waited longest for a complete request.
    fn evict(&self, open: &mut OpenConnections, of: Option<ClientOrigin>, new: Option<u64>) -> Option<Arc<Connection>> {
        let is_one = |client: &ClientOrigin| of.is_none_or(|of| of == *client);
        let silent = self.silent.lock().iter().find(|(_, client)| is_one(client)).map(|(id, _)| *id);
        let silent = silent.filter(|id| Some(*id) != new);
        let id = silent.or_else(|| {
            let candidates = open.all.values().filter(|one| is_one(&one.client));
            let waiting = candidates.filter_map(|one| {
                let (phase, since) = one.phase();
                (phase != Phase::Busy).then_some((since, one.id))
            });
            waiting.min().map(|(_, id)| id)
        });
        self.remove_entry(open, id?)
    }
}
