//! Places for TLS handshakes. One client address takes at most half of them, so that others find one.

use std::{net::IpAddr, sync::Arc};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) struct Handshakes {
    all: Arc<Semaphore>,
    half: usize,
    addresses: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

/// A place, which is given back when it is dropped.
pub(super) struct Place {
    _of_address: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Handshakes {
    pub(super) fn new(places: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(places)), half: (places / 2).max(1), addresses: Mutex::default() }
    }

    /// Waits for a place; `None` never comes, since places are not closed.
    pub(super) async fn place(&self, address: IpAddr) -> Option<Place> {
        let own = {
            let mut addresses = self.addresses.lock();
            // Those that nothing waits for or holds.
            if addresses.len() > self.half {
                addresses.retain(|_, places| Arc::strong_count(places) > 1);
            }
            Arc::clone(addresses.entry(address).or_insert_with(|| Arc::new(Semaphore::new(self.half))))
        };
        // First the own half: what waits for it stands in nobody's way.
        let of_address = own.acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Place { _of_address: of_address, _of_all: of_all })
    }
}

#[cfg(test)]
mod tests;
