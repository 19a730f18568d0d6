//! Answers that their clients have not read yet.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Client;

/// Counts the bytes of answers that are not read yet, in all and by client.
#[derive(Debug, Default)]
pub struct Unread {
    /// Of all answers, those of statements, scrapes and watches included.
    pub bytes: Arc<AtomicUsize>,
    clients: Mutex<Vec<(Client, usize)>>,
    read: Notify,
}

/// Counts a whole answer until its last clone is dropped.
#[derive(Clone, Debug)]
pub struct UnreadAnswer(#[expect(dead_code, reason = "counts while it lives")] Arc<Counted>);

#[derive(Debug)]
struct Counted {
    unread: Arc<Unread>,
    client: Client,
    bytes: usize,
}

impl Unread {
    /// Counts an answer for a client.
    #[must_use]
    pub fn count(self: &Arc<Self>, client: Client, bytes: usize) -> UnreadAnswer {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut clients = self.clients.lock();
        match clients.iter_mut().find(|(other, _)| *other == client) {
            Some((_, counted)) => *counted += bytes,
            None => clients.push((client, bytes)),
        }
        UnreadAnswer(Arc::new(Counted { unread: Arc::clone(self), client, bytes }))
    }

    /// Bytes of whole answers that a client has not read.
    #[must_use]
    pub fn of(&self, client: Client) -> usize {
        self.clients.lock().iter().find(|(other, _)| *other == client).map_or(0, |(_, bytes)| *bytes)
    }

    /// Waits until they are fewer than `limit`.
    ///
    /// # Cancel safety
    /// Holds nothing.
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
        clients.iter_mut().filter(|(client, _)| *client == self.client).for_each(|(_, bytes)| *bytes -= self.bytes);
        clients.retain(|(_, bytes)| *bytes > 0);
        drop(clients);
        read.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
