//! Counts of the bytes that clients have not read yet.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Client;

/// Bytes of unread answers: their total, and by client.
#[derive(Debug, Default)]
pub struct Unread {
    /// Total of all answers, including those of statements, scrapes and watches.
    pub bytes: Arc<AtomicUsize>,
    /// Bytes of whole answers by client; clients without unread bytes are absent.
    clients: Mutex<HashMap<Client, usize>>,
    /// Notified when an answer was read or dropped.
    read: Notify,
}

/// Counts one whole answer as unread until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct UnreadAnswer(#[expect(dead_code, reason = "counts while it lives")] Arc<Counted>);

#[derive(Debug)]
struct Counted {
    unread: Arc<Unread>,
    client: Client,
    bytes: usize,
}

impl Unread {
    /// Counts an answer of `bytes` bytes for a client until the returned value is dropped.
    #[must_use]
    pub fn count(self: &Arc<Self>, client: Client, bytes: usize) -> UnreadAnswer {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        *self.clients.lock().entry(client).or_default() += bytes;
        UnreadAnswer(Arc::new(Counted { unread: Arc::clone(self), client, bytes }))
    }

    /// Returns the bytes of whole answers that a client has not read.
    #[must_use]
    pub fn of(&self, client: Client) -> usize {
        self.clients.lock().get(&client).copied().unwrap_or(0)
    }

    /// Waits until the client has fewer than `limit` unread bytes.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn room(&self, client: Client, limit: usize) {
        loop {
            let read = self.read.notified();
            if self.of(client) < limit {
                return;
            }
            read.await;
        }
    }
}

impl Drop for Counted {
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
