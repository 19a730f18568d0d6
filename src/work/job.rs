//! A piece of work that has its turn.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::{AbortHandle, block_in_place},
    time::timeout,
};
use tracing::{Instrument as _, Span};

use super::{Cancel, Client, Ended, Outbox, Patience, Refused, place::Place, turns::Inner};

/// A client that reads this soon is waited for without giving up the turn.
const SOON: Duration = Duration::from_millis(20);

/// A piece of work that was admitted. It counts until its last clone is dropped; whatever works for it holds one.
#[derive(Clone, Debug)]
pub struct Job(pub(super) Arc<Inner>);

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
            let Ok(output) = job.cancel().in_time(work).await else { return };
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
        task.output().await.unwrap_or(Err(Refused::Ended(Ended::Cancelled)))
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

    /// Hands an item to the client. The turn is given up while the client reads nothing, as long as it may.
    ///
    /// # Errors
    /// The client left or did not read in time, or the work was ended.
    pub async fn send<T>(&self, outbox: &Outbox<T>, item: T, bytes: usize, patience: Patience) -> Result<(), Ended> {
        let mut sending = pin!(outbox.send(item, bytes, Some(patience)));
        match timeout(SOON, sending.as_mut()).await {
            Ok(sent) => sent,
            Err(_) => self.aside(sending).await?,
        }
    }

    /// Gives up the turn while something waits for the client.
    ///
    /// # Errors
    /// The work was ended.
    pub async fn aside<F: Future>(&self, waits: F) -> Result<F::Output, Ended> {
        self.0.shared.pause(&self.0)?;
        let output = self.cancel().in_time(waits).await?;
        let turn = self.cancel().in_time(self.0.shared.resume(&self.0)).await?;
        // The sender goes only with the admission.
        turn.map(|()| output).map_err(|_| Ended::Cancelled)
    }

    /// The same for a walk, on one of the job's threads.
    ///
    /// # Errors
    /// As [`Job::send`].
    pub fn send_blocking<T>(&self, outbox: &Outbox<T>, item: T, bytes: usize, patience: Patience) -> Result<(), Ended> {
        match outbox.try_send(item, bytes) {
            Ok(()) => Ok(()),
            Err(None) => Err(Ended::Disconnected),
            Err(Some(item)) => block_in_place(|| Handle::current().block_on(self.send(outbox, item, bytes, patience))),
        }
    }
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
    /// What ends the job, which may be deep in a computation that does not look at it.
    #[must_use]
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Waits for its output, no longer than the job may take; `None` when that was told before.
    ///
    /// # Errors
    /// It was ended, or panicked.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn output(&mut self) -> Option<Result<T, Refused>> {
        let output = self.cancel.in_time(self.output.as_mut()?).await;
        self.output = None;
        let panicked = |_| self.cancel.reason().map_or(Refused::Panicked, Refused::Ended);
        Some(output.map_err(Refused::Ended).and_then(|output| output.map_err(panicked)))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.cancel.end(Ended::Disconnected);
        self.task.abort();
    }
}
