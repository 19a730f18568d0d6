//! A piece of work that has its turn.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::{AbortHandle, block_in_place},
    time::timeout,
};
use tracing::{Instrument as _, Span};

use super::{Cancel, Client, Ended, Kind, Outbox, Refused, Unsent, admission::Shared, place::Place};

/// A client that reads this soon is waited for without giving up the turn.
const SOON: Duration = Duration::from_millis(20);

/// Has no turn any more.
pub(super) const DONE: u8 = 0;
/// Counts as running.
pub(super) const RUNNING: u8 = 1;
/// Gave up its turn while its client reads.
pub(super) const PAUSED: u8 = 2;

/// A piece of work that was admitted. It counts until its last clone is dropped; whatever works for it holds one.
#[derive(Clone, Debug)]
pub struct Job(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    pub(super) kind: Kind,
    pub(super) client: Client,
    /// Names it for operators.
    pub(super) what: String,
    pub(super) cancel: Cancel,
    /// [`DONE`], [`RUNNING`] or [`PAUSED`]; changed under the lock of the admission.
    pub(super) turn: AtomicU8,
    pub(super) place: Mutex<Option<Place>>,
}

impl Inner {
    pub(super) fn turn(&self) -> u8 {
        self.turn.load(Ordering::Relaxed)
    }

    pub(super) fn set_turn(&self, turn: u8) -> u8 {
        self.turn.swap(turn, Ordering::Relaxed)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let (turn, place) = (self.set_turn(DONE), self.place.get_mut().take());
        self.shared.end(self.kind, self.client, turn, place);
    }
}

impl Job {
    /// Whom it works for.
    #[must_use]
    pub fn client(&self) -> Client {
        self.0.client
    }

    /// What ends it.
    #[must_use]
    pub fn cancel(&self) -> &Cancel {
        &self.0.cancel
    }

    /// Starts a future on the job's threads.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<Task<T>, Refused> {
        let threads = self.threads()?;
        let (sender, output) = oneshot::channel();
        let job = self.clone();
        let run = async move {
            let output = tokio::select! {
                output = work => output,
                _ = job.cancel().ended() => return,
            };
            // Before its end is told, so that the client finds the turn free; unless something still works for it.
            if Arc::strong_count(&job.0) == 1 {
                job.0.shared.done(&job.0);
            }
            let _ = sender.send(output);
        };
        // Its log lines name the call that it works for.
        let task = threads.spawn(run.instrument(Span::current()));
        Ok(Task { output: Some(output), cancel: self.cancel().clone(), task: task.abort_handle() })
    }

    /// Runs a walk on the job's threads. It must look at the handle now and then.
    ///
    /// # Errors
    /// It was ended, or panicked.
    pub async fn run<T: Send + 'static>(self, walk: impl FnOnce(&Self) -> T + Send + 'static) -> Result<T, Refused> {
        let job = self.clone();
        let mut task = self.spawn(async move { walk(&job) })?;
        drop(self);
        task.output().await
    }

    fn threads(&self) -> Result<Handle, Refused> {
        let handle = |place: &Option<Place>| place.as_ref().and_then(Place::handle).cloned();
        if let Some(threads) = handle(&self.0.place.lock()) {
            return Ok(threads);
        }
        // Not while the place is locked: the admission locks itself first.
        let new = self.0.shared.place()?;
        let mut place = self.0.place.lock();
        place.get_or_insert(new);
        handle(&place).ok_or(Refused::Ended(Ended::Cancelled))
    }

    /// Hands an item to the client. The turn is given up while the client reads nothing, at most `patience`.
    ///
    /// # Errors
    /// The client left or read nothing for so long, or the work was ended.
    pub async fn send<T>(
        &self,
        outbox: &Outbox<T>,
        item: T,
        bytes: usize,
        patience: Duration,
    ) -> Result<(), SendError> {
        let mut sending = pin!(outbox.send(item, bytes, patience));
        if let Ok(sent) = timeout(SOON, sending.as_mut()).await {
            return Ok(sent?);
        }
        Ok(self.aside(sending).await??)
    }

    /// Gives up the turn while something waits for the client.
    ///
    /// # Errors
    /// The work was ended.
    pub async fn aside<F: Future>(&self, waits: F) -> Result<F::Output, Ended> {
        self.0.shared.pause(&self.0)?;
        let output = tokio::select! {
            output = waits => output,
            ended = self.cancel().ended() => return Err(ended),
        };
        let turn = self.0.shared.resume(&self.0);
        tokio::select! {
            // The sender goes only with the admission.
            turn = turn => turn.map(|()| output).map_err(|_| Ended::Cancelled),
            ended = self.cancel().ended() => Err(ended),
        }
    }

    /// The same for a walk, on one of the job's threads.
    ///
    /// # Errors
    /// As [`Job::send`].
    pub fn send_blocking<T>(
        &self,
        outbox: &Outbox<T>,
        item: T,
        bytes: usize,
        patience: Duration,
    ) -> Result<(), SendError> {
        match outbox.try_send(item, bytes) {
            Ok(()) => Ok(()),
            Err(None) => Err(Unsent::Disconnected.into()),
            Err(Some(item)) => block_in_place(|| Handle::current().block_on(self.send(outbox, item, bytes, patience))),
        }
    }
}

/// Why an item did not reach the client.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// The client did not read it.
    #[error(transparent)]
    Unsent(#[from] Unsent),
    /// The work was ended.
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// A future that runs on a job's threads. Dropping it cancels the job.
#[derive(Debug)]
pub struct Task<T> {
    /// `None` once it was told.
    output: Option<oneshot::Receiver<T>>,
    cancel: Cancel,
    task: AbortHandle,
}

impl<T> Task<T> {
    /// Waits for its output, no longer than the job may take.
    ///
    /// # Errors
    /// It was ended, or panicked.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn output(&mut self) -> Result<T, Refused> {
        let Some(receiver) = &mut self.output else { return Err(Refused::Ended(Ended::Cancelled)) };
        let output = tokio::select! {
            biased;
            output = receiver => output.map_err(|_| self.cancel.reason().map_or(Refused::Panicked, Refused::Ended)),
            ended = self.cancel.ended() => Err(Refused::Ended(ended)),
        };
        self.output = None;
        output
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.cancel.end(Ended::Disconnected);
        self.task.abort();
    }
}
