//! Counts of the bytes that clients have not read yet.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::ClientOrigin;

/// Bytes of unread answers: their total, and by client.
#[derive(Debug, Default)]
pub struct Unread {
    /// Total of all answers, including those of statements, scrapes and watches.
    pub bytes: Arc<AtomicUsize>,
    /// Bytes of whole answers by client; clients without unread bytes are absent.
    clients: Mutex<HashMap<ClientOrigin, usize>>,
    /// Notified when an answer was read or dropped.
    read: Notify,
}

/// Counts one whole answer as unread until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct UnreadAnswer(#[expect(dead_code, reason = "counts while it lives")] Arc<CountedAnswer>);

#[derive(Debug)]
struct CountedAnswer {
    unread: Arc<Unread>,
    client: ClientOrigin,
    bytes: usize,
}

impl Unread {
    /// Counts an answer of `bytes` bytes for a client until the returned value is dropped.
    #[must_use]
    pub fn count(self: &Arc<Self>, client: ClientOrigin, bytes: usize) -> UnreadAnswer {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        *self.clients.lock().entry(client).or_default() += bytes;
        UnreadAnswer(Arc::new(CountedAnswer { unread: Arc::clone(self), client, bytes }))
    }

    /// Returns the bytes of whole answers that a client has not read.
    #[must_use]
    pub fn bytes_of(&self, client: ClientOrigin) -> usize {
        self.clients.lock().get(&client).copied().unwrap_or(0)
    }

    /// Waits until the client has fewer than `limit` unread bytes.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn wait_for_room(&self, client: ClientOrigin, limit: usize) {
        loop {
            let read = self.read.notified();
            if self.bytes_of(client) < limit {
                return;
            }
            read.await;
        }
    }
}

impl Drop for CountedAnswer {
    fn drop(&mut self) {
        let Unread { bytes, clients, read } = &*self.unread;
        bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        let mut clients = clients.lock();
        if let Some(unread) = clients.get_mut(&self.client) {
            *unread -= self.bytes;
        }
        clients.retain(|_, unread| *unread > 0);
        drop(clients);
        read.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
