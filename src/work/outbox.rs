//! What was made for a client and is not read yet: a bounded number of bytes.

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

use super::Ended;

/// The maker's end. Dropped before [`Outbox::complete`], it takes back what was not read, so that a client that does not
/// read holds nothing.
#[derive(Debug)]
pub struct Outbox<T>(Arc<Shared<T>>);

/// The reader's end.
#[derive(Debug)]
pub struct Inbox<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    /// Something was read, or the reader left.
    read: Notify,
    max_bytes: usize,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    /// There is nothing more to come, or nobody reads.
    closed: bool,
    reader: Option<Waker>,
    /// Bytes in all outboxes.
    all: Arc<AtomicUsize>,
}

/// How long a reader may read nothing.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The time.
    pub after: Duration,
    /// Key in the configuration.
    pub setting: &'static str,
}

/// A way for items of at most `max_bytes` together, or for one that is larger. They are also counted in `all`.
#[must_use]
pub fn outbox<T>(max_bytes: usize, all: &Arc<AtomicUsize>) -> (Outbox<T>, Inbox<T>) {
    let state = State { items: VecDeque::new(), bytes: 0, closed: false, reader: None, all: Arc::clone(all) };
    let shared = Arc::new(Shared { state: Mutex::new(state), read: Notify::new(), max_bytes });
    (Outbox(Arc::clone(&shared)), Inbox(shared))
}

impl<T> Outbox<T> {
    /// Hands over an item if there is room for it.
    ///
    /// # Errors
    /// The item; `None` when the reader left.
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

    /// Waits until there is room for an item; with patience, at most so long after the reader took the one before.
    ///
    /// # Errors
    /// The reader left, or read nothing for so long.
    pub async fn send(&self, item: T, bytes: usize, patience: Option<Patience>) -> Result<(), Ended> {
        let mut item = item;
        loop {
            // Before the look: what is read in between is noticed.
            let read = self.0.read.notified();
            item = match self.try_send(item, bytes) {
                Ok(()) => return Ok(()),
                Err(None) => return Err(Ended::Disconnected),
                Err(Some(item)) => item,
            };
            match patience {
                None => read.await,
                Some(Patience { after, setting }) => {
                    timeout(after, read).await.map_err(|_| Ended::Stalled { after, setting })?;
                }
            }
        }
    }

    /// Waits until there is room for something.
    ///
    /// # Errors
    /// The reader left.
    ///
    /// # Cancel safety
    /// Holds nothing.
    pub async fn room(&self) -> Result<(), Ended> {
        let has_room = |state: &State<T>| (state.bytes < self.0.max_bytes).then_some(Ok(()));
        self.until(|state| if state.closed { Some(Err(Ended::Disconnected)) } else { has_room(state) }).await
    }

    /// Waits until the reader leaves.
    ///
    /// # Cancel safety
    /// Holds nothing.
    pub async fn closed(&self) {
        self.until(|state| state.closed.then_some(())).await;
    }

    /// Waits for a state, which is looked at whenever something was read.
    async fn until<S>(&self, look: impl Fn(&State<T>) -> Option<S>) -> S {
        loop {
            let read = self.0.read.notified();
            let seen = look(&self.0.state.lock());
            match seen {
                Some(seen) => return seen,
                None => read.await,
            }
        }
    }

    /// Says that there is no more.
    pub fn complete(&self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        state.wake();
    }

    /// Takes back what was not read, and hands over a last item instead.
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
        // Not complete: what was not read goes.
        if !state.closed {
            state.clear();
            state.closed = true;
            state.wake();
        }
    }
}

impl<T> State<T> {
    fn clear(&mut self) {
        self.items.clear();
        self.all.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
    }
}

impl<T> Inbox<T> {
    /// The next item; `None` after the last, and after a failure.
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

    /// The next item; `None` after the last, and after a failure.
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
