//! A queue between the writer and the reader of an answer, bounded in bytes.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

use super::EndReason;

/// The writing end. Dropping it before [`Outbox::complete`] discards the unread items, so that a client that does not
/// read retains no memory.
#[derive(Debug)]
pub struct Outbox<T>(Arc<Shared<T>>);

/// The reading end.
#[derive(Debug)]
pub struct Inbox<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<OutboxState<T>>,
    /// Notified when an item was read or the reader was dropped.
    read: Notify,
    /// Maximum bytes of unread items; one item may be larger.
    max_bytes: usize,
}

#[derive(Debug)]
struct OutboxState<T> {
    /// Unread items, each with its bytes.
    items: VecDeque<(T, usize)>,
    /// Bytes of the unread items.
    bytes: usize,
    /// Whether the writer completed the answer or the reader was dropped.
    closed: bool,
    /// The task that waits for the next item.
    reader: Option<Waker>,
    /// Unread bytes of all outboxes.
    all: Arc<AtomicUsize>,
}

/// The time after which a client that reads nothing is disconnected.
#[derive(Clone, Copy, Debug)]
pub struct StallTimeout {
    /// The time without a read.
    pub after: Duration,
    /// The setting of the time.
    pub setting: &'static str,
}

/// Returns both ends of a queue for unread items of at most `max_bytes` bytes, or for one larger item. `all` counts
/// their bytes as well.
#[must_use]
pub fn outbox<T>(max_bytes: usize, all: &Arc<AtomicUsize>) -> (Outbox<T>, Inbox<T>) {
    let state = OutboxState { items: VecDeque::new(), bytes: 0, closed: false, reader: None, all: Arc::clone(all) };
    let shared = Arc::new(Shared { state: Mutex::new(state), read: Notify::new(), max_bytes });
    (Outbox(Arc::clone(&shared)), Inbox(shared))
}

impl<T> Outbox<T> {
    /// Queues an item if there is room for it.
    ///
    /// # Errors
    /// The item when there is no room; `None` when the reader was dropped.
    pub fn try_send(&self, item: T, bytes: usize) -> Result<(), Option<T>> {
        let mut state = self.0.state.lock();
        if state.closed {
            return Err(None);
        }
        if !state.items.is_empty() && state.bytes.saturating_add(bytes) > self.0.max_bytes {
            return Err(Some(item));
        }
        state.items.push_back((item, bytes));
        state.bytes = state.bytes.saturating_add(bytes);
        state.all.fetch_add(bytes, Ordering::Relaxed);
        state.wake();
        Ok(())
    }

    /// Queues an item as soon as there is room. `stall_timeout` limits the time between two reads of the reader.
    ///
    /// # Errors
    /// The reader was dropped, or read nothing for the time of `stall_timeout`.
    pub async fn send(&self, item: T, bytes: usize, stall_timeout: Option<StallTimeout>) -> Result<(), EndReason> {
        let mut item = item;
        loop {
            // Registered before the queue is checked, so that a read in between is not missed.
            let read = self.0.read.notified();
            item = match self.try_send(item, bytes) {
                Ok(()) => return Ok(()),
                Err(None) => return Err(EndReason::Disconnected),
                Err(Some(item)) => item,
            };
            match stall_timeout {
                None => read.await,
                Some(StallTimeout { after, setting }) => {
                    timeout(after, read).await.map_err(|_| EndReason::Stalled { after, setting })?;
                }
            }
        }
    }

    /// Waits until there is room for an item.
    ///
    /// # Errors
    /// The reader was dropped.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn wait_for_room(&self) -> Result<(), EndReason> {
        let has_room = |state: &OutboxState<T>| (state.bytes < self.0.max_bytes).then_some(Ok(()));
        self.wait_until(|state| if state.closed { Some(Err(EndReason::Disconnected)) } else { has_room(state) }).await
    }

    /// Waits until the answer is complete or the reader was dropped.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn closed(&self) {
        self.wait_until(|state| state.closed.then_some(())).await;
    }

    /// Waits until `check` returns a value; it is called again after every read.
    async fn wait_until<S>(&self, check: impl Fn(&OutboxState<T>) -> Option<S>) -> S {
        loop {
            let read = self.0.read.notified();
            let value = check(&self.0.state.lock());
            match value {
                Some(value) => return value,
                None => read.await,
            }
        }
    }

    /// Marks the answer as complete: no item follows.
    pub fn complete(&self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        state.wake();
    }

    /// Discards the unread items, and queues `last` as the last item.
    pub fn fail(&self, last: T) {
        let mut state = self.0.state.lock();
        state.clear();
        if !state.closed {
            state.items.push_back((last, 0));
        }
        state.closed = true;
        state.wake();
    }
}

impl<T> Drop for Outbox<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        // The answer is incomplete, so the unread items are discarded.
        if !state.closed {
            state.clear();
            state.closed = true;
            state.wake();
        }
    }
}

impl<T> OutboxState<T> {
    fn clear(&mut self) {
        self.items.clear();
        self.all.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
    }
}

impl<T> Inbox<T> {
    /// Polls the next item: `None` after the last one, and after a failure.
    pub fn poll_next(&self, context: &Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.state.lock();
        if let Some((item, bytes)) = state.items.pop_front() {
            state.bytes = state.bytes.saturating_sub(bytes);
            state.all.fetch_sub(bytes, Ordering::Relaxed);
            drop(state);
            self.0.read.notify_waiters();
            return Poll::Ready(Some(item));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// Waits for the next item: `None` after the last one, and after a failure.
    ///
    /// # Cancel safety
    /// No item is lost.
    pub async fn next(&self) -> Option<T> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.clear();
        state.closed = true;
        drop(state);
        self.0.read.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
