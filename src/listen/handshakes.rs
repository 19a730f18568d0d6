//! Places for TLS handshakes. One client takes at most half of them, so that others find one.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::work::Client;

pub(super) struct Handshakes {
    all: Arc<Semaphore>,
    half: usize,
    clients: Mutex<HashMap<Client, Arc<Semaphore>>>,
}

/// A place, which is given back when it is dropped.
pub(super) struct Place {
    _of_client: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Handshakes {
    pub(super) fn new(places: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(places)), half: (places / 2).max(1), clients: Mutex::default() }
    }

    /// Waits for a place; `None` never comes, since places are not closed.
    pub(super) async fn place(&self, client: Client) -> Option<Place> {
        let own = {
            let mut clients = self.clients.lock();
            // Those that nothing waits for or holds.
            if clients.len() > self.half {
                clients.retain(|_, places| Arc::strong_count(places) > 1);
            }
            Arc::clone(clients.entry(client).or_insert_with(|| Arc::new(Semaphore::new(self.half))))
        };
        // First the own half: what waits for it stands in nobody's way.
        let of_client = own.acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Place { _of_client: of_client, _of_all: of_all })
    }
}

#[cfg(test)]
mod tests;
