//! Slots for concurrent TLS handshakes. One client may use at most half of them, so that others find a free one.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::work::ClientOrigin;

pub(super) struct Handshakes {
    all: Arc<Semaphore>,
    half: usize,
    clients: Mutex<HashMap<ClientOrigin, Arc<Semaphore>>>,
}

/// A handshake slot, which is released when dropped.
pub(super) struct HandshakeSlot {
    _of_client: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Handshakes {
    pub(super) fn new(slots: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(slots)), half: (slots / 2).max(1), clients: Mutex::default() }
    }

    /// Waits for a slot. Never returns `None`, since the semaphores are never closed.
    pub(super) async fn acquire(&self, client: ClientOrigin) -> Option<HandshakeSlot> {
        let own = {
            let mut clients = self.clients.lock();
            // Removes clients that neither hold a slot nor wait for one.
            if clients.len() > self.half {
                clients.retain(|_, slots| Arc::strong_count(slots) > 1);
            }
            Arc::clone(clients.entry(client).or_insert_with(|| Arc::new(Semaphore::new(self.half))))
        };
        // The client's own limit comes first, so that a waiting client does not block a shared slot.
        let of_client = own.acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(HandshakeSlot { _of_client: of_client, _of_all: of_all })
    }
}

#[cfg(test)]
mod tests;
