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
pub(super) const ROOM: usize = 1024;

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
    pub(super) done: oneshot::Sender<Reached>,
}

/// The queue from readers to the thread that sends requests to coordinators. It outlives the thread, which may restart.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// The sending end for the current thread, or `None` before the first thread.
    asker: RwLock<Option<SyncSender<LatestRequest>>>,
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

impl Requests {
    /// Returns a new receiving end for all later requests.
    pub(super) fn open(&self) -> Inbox {
        let (sender, requests) = sync_channel(ROOM);
        *self.asker.write() = Some(sender);
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
        let asker = self.asker.read().clone();
        let gone = || SourceError::Unreachable { reason: "the cluster is not connected yet".to_owned() };
        let (done, told) = oneshot::channel();
        let wanted = LatestRequest { scope: scope.clone(), shard, target, done };
        asker.ok_or_else(gone)?.try_send(wanted).map_err(|error| match error {
            TrySendError::Full(_) => SourceError::Busy {
                reason: format!("{ROOM} requests for the latest offsets are waiting; try again later"),
            },
            TrySendError::Disconnected(_) => gone(),
        })?;
        Ok(told)
    }
}

/// Readers that wait for responses about keys `K`.
#[derive(Debug, Default)]
pub(super) struct Waiters<K>(Vec<Waiting<K>>);

#[derive(Debug)]
struct Waiting<K> {
    /// Keys without a response.
    left: BTreeSet<K>,
    /// Lowest number of a request that counts. Coordinators may have handled earlier requests before the reader came.
    from: usize,
    done: oneshot::Sender<Reached>,
}

impl<K: Ord> Waiters<K> {
    /// Adds a reader that waits for responses to requests from number `from` on. Without keys, it gets `now`.
    pub(super) fn add(&mut self, left: BTreeSet<K>, from: usize, done: oneshot::Sender<Reached>, now: Revision) {
        if left.is_empty() {
            // Fails only if the reader has stopped waiting.
            let _ = done.send(Ok(now));
        } else {
            self.0.push(Waiting { left, from, done });
        }
    }

    /// Handles the result of request `number` about `keys`. Sends a success to readers that wait for no other key, and
    /// an error to all readers that wait for one of the keys.
    pub(super) fn resolve(&mut self, number: usize, keys: &[K], answer: &Reached) {
        let is_told = |waiting: &mut Waiting<K>| {
            let is_new = waiting.from <= number;
            let found = keys.iter().filter(|key| is_new && waiting.left.remove(*key)).count();
            waiting.left.is_empty() || (found > 0 && answer.is_err())
        };
        for waiting in self.0.extract_if(.., is_told) {
            // Fails only if the reader has stopped waiting.
            let _ = waiting.done.send(answer.clone());
        }
    }

    /// Removes readers that have stopped waiting.
    pub(super) fn forget_gone(&mut self) {
        self.0.retain(|waiting| !waiting.done.is_closed());
    }

    /// Returns the keys that each reader still waits for.
    pub(super) fn left(&self) -> impl Iterator<Item = &BTreeSet<K>> {
        self.0.iter().map(|waiting| &waiting.left)
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
