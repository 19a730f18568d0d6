//! Requests of readers for the latest offsets: the queue to the thread that sends requests to coordinators, and the
//! readers that wait for responses.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
};

use parking_lot::RwLock;
use tokio::sync::oneshot;

use crate::{
    model::Revision,
    store::{
        counter::Counter,
        latest::{Scope, SourceError},
    },
};

/// Capacity of the queue, and maximum number of readers that the thread has taken from it and that still wait.
pub(super) const CAPACITY: usize = 1024;

/// The revision up to which a shard must be applied, or the reason why it is unknown.
pub(super) type Reached = Result<Revision, SourceError>;

/// The request of a reader for the latest offsets.
#[derive(Debug)]
pub(super) struct LatestRequest {
    /// The committed offsets that the reader needs.
    pub(super) scope: Scope,
    /// Number of the shard.
    pub(super) shard: i32,
    /// Revision below which all records must be visible.
    pub(super) target: Revision,
    /// Receives the result.
    pub(super) reply: oneshot::Sender<Reached>,
}

/// The queue from readers to the thread that sends requests to coordinators. It outlives the thread, which may restart.
#[derive(Debug, Default)]
pub(super) struct LatestRequests {
    /// The sending end for the current thread, or `None` before the first thread.
    sender: RwLock<Option<SyncSender<LatestRequest>>>,
    /// Counts requests to coordinators.
    pub(super) calls: Arc<Counter>,
}

/// The receiving end of the queue.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) requests: Receiver<LatestRequest>,
    /// Counts requests to coordinators.
    pub(super) calls: Arc<Counter>,
}

impl LatestRequests {
    /// Returns a new receiving end for all later requests.
    pub(super) fn open(&self) -> Inbox {
        let (sender, requests) = sync_channel(CAPACITY);
        *self.sender.write() = Some(sender);
        Inbox { requests, calls: Arc::clone(&self.calls) }
    }

    /// Returns a receiving end without requests, for a thread that loads data which readers do not see yet.
    pub(super) fn closed(&self) -> Inbox {
        Inbox { requests: sync_channel(1).1, calls: Arc::clone(&self.calls) }
    }

    /// Enqueues a request. If its sender is dropped, there will be no response.
    ///
    /// # Errors
    /// The queue is full, or no thread takes requests.
    pub(super) fn send(
        &self,
        (shard, target): (i32, Revision),
        scope: &Scope,
    ) -> Result<oneshot::Receiver<Reached>, SourceError> {
        let sender = self.sender.read().clone();
        let gone = || SourceError::Unreachable { reason: "the cluster is not connected yet".to_owned() };
        let (reply, receiver) = oneshot::channel();
        let request = LatestRequest { scope: scope.clone(), shard, target, reply };
        sender.ok_or_else(gone)?.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => SourceError::Busy {
                reason: format!("{CAPACITY} requests for the latest offsets are waiting; try again later"),
            },
            TrySendError::Disconnected(_) => gone(),
        })?;
        Ok(receiver)
    }
}

/// Readers that wait for responses about keys `K`.
#[derive(Debug, Default)]
pub(super) struct Waiters<K>(Vec<Waiting<K>>);

#[derive(Debug)]
struct Waiting<K> {
    /// Keys without a response.
    missing: BTreeSet<K>,
    /// Lowest number of a request that counts. Coordinators may have handled earlier requests before the reader came.
    from: usize,
    reply: oneshot::Sender<Reached>,
}

impl<K: Ord> Waiters<K> {
    /// Adds a reader that waits for responses to requests from number `from` on. Without keys, it gets `now`.
    pub(super) fn add(&mut self, missing: BTreeSet<K>, from: usize, reply: oneshot::Sender<Reached>, now: Revision) {
        if missing.is_empty() {
            // Fails only if the reader has stopped waiting.
            let _ = reply.send(Ok(now));
        } else {
            self.0.push(Waiting { missing, from, reply });
        }
    }

    /// Handles the result of request `number` about `keys`. Sends a success to readers that wait for no other key, and
    /// an error to all readers that wait for one of the keys.
    pub(super) fn resolve(&mut self, number: usize, keys: &[K], result: &Reached) {
        let is_resolved = |waiting: &mut Waiting<K>| {
            let is_new = waiting.from <= number;
            let found = keys.iter().filter(|key| is_new && waiting.missing.remove(*key)).count();
            waiting.missing.is_empty() || (found > 0 && result.is_err())
        };
        for waiting in self.0.extract_if(.., is_resolved) {
            // Fails only if the reader has stopped waiting.
            let _ = waiting.reply.send(result.clone());
        }
    }

    /// Removes readers that have stopped waiting.
    pub(super) fn remove_closed(&mut self) {
        self.0.retain(|waiting| !waiting.reply.is_closed());
    }

    /// Returns the keys that each reader still waits for.
    pub(super) fn missing(&self) -> impl Iterator<Item = &BTreeSet<K>> {
        self.0.iter().map(|waiting| &waiting.missing)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests;
