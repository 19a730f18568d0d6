//! The open connections: which one makes room for a new one, and which exceed a limit.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::connection::{Connection, Phase};
use crate::{
    config::Limits,
    metrics::{Closed, Connections},
};

pub(super) struct Table {
    pub(super) limits: Limits,
    pub(super) counters: Arc<Connections>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    /// By age.
    all: BTreeMap<u64, Arc<Connection>>,
    /// Those that have sent nothing, by age.
    silent: BTreeMap<u64, IpAddr>,
    addresses: HashMap<IpAddr, usize>,
}

impl Table {
    pub(super) fn new(limits: Limits, counters: Arc<Connections>) -> Self {
        Self { limits, counters, open: Mutex::default() }
    }

    /// Takes a new connection in, or returns `None` where there is no room. `is_short`: it may only take the place of
    /// another.
    pub(super) fn admit(self: &Arc<Self>, peer: SocketAddr, is_short: bool, now: Instant) -> Option<Arc<Connection>> {
        let mut open = self.open.lock();
        let id = open.next;
        let connection = Arc::new(Connection::new(id, peer, Arc::clone(self), now));
        let address = connection.address;
        let of_address = open.addresses.get(&address).copied().unwrap_or(0);
        let is_full = is_short || open.all.len() >= self.limits.max_connections;
        let evicted = if of_address >= self.limits.max_connections_per_address {
            Some(open.evict(Some(address)))
        } else {
            is_full.then(|| open.evict(None))
        };
        let has_room = !matches!(evicted, Some(None));
        if has_room {
            open.next += 1;
            *open.addresses.entry(address).or_default() += 1;
            open.silent.insert(id, address);
            open.all.insert(id, Arc::clone(&connection));
        }
        self.counters.set_open(open.all.len());
        drop(open);
        if let Some(Some(evicted)) = evicted {
            evicted.close(Closed::MadeRoom);
        }
        if !has_room {
            self.counters.close(Closed::Refused);
        }
        has_room.then_some(connection)
    }

    /// Closes the oldest idle connection, and returns whether there is one.
    pub(super) fn make_room(&self) -> bool {
        let evicted = self.open.lock().evict(None);
        evicted.iter().for_each(|evicted| evicted.close(Closed::MadeRoom));
        evicted.is_some()
    }

    /// A connection has sent something.
    pub(super) fn heard(&self, id: u64) {
        self.open.lock().silent.remove(&id);
    }

    /// Forgets a connection that ended.
    pub(super) fn remove(&self, id: u64) {
        let mut open = self.open.lock();
        open.remove(id);
        self.counters.set_open(open.all.len());
    }

    /// Ends what exceeds a limit of time.
    pub(super) fn sweep(&self, now: Instant) {
        let all: Vec<_> = self.open.lock().all.values().map(Arc::clone).collect();
        all.iter().for_each(|connection| connection.enforce(&self.limits, now));
    }
}

impl Open {
    fn remove(&mut self, id: u64) -> Option<Arc<Connection>> {
        let connection = self.all.remove(&id)?;
        self.silent.remove(&id);
        if let Some(count) = self.addresses.get_mut(&connection.address) {
            *count -= 1;
            if *count == 0 {
                self.addresses.remove(&connection.address);
            }
        }
        Some(connection)
    }

    /// Takes out the connection that is the least loss, of one address or of any: the oldest that has sent nothing, else
    /// the one that has been without a whole request for the longest.
    fn evict(&mut self, of: Option<IpAddr>) -> Option<Arc<Connection>> {
        let silent = self.silent.iter().find(|(_, address)| of.is_none_or(|of| of == **address));
        let id = silent.map(|(id, _)| *id).or_else(|| {
            let candidates = self.all.values().filter(|one| of.is_none_or(|of| of == one.address));
            let waiting = candidates.filter_map(|one| {
                let (phase, since) = one.phase();
                (phase != Phase::Busy).then_some((since, one.id))
            });
            waiting.min().map(|(_, id)| id)
        });
        self.remove(id?)
    }
}
