//! A job: admitted work, its threads, and its cancel handle.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::{AbortHandle, block_in_place},
    time::timeout,
};
use tracing::{Instrument as _, Span};

use super::{
    CancelHandle, ClientOrigin, EndReason, Outbox, StallTimeout, WorkError, scheduler::JobState, threads::JobThreads,
};

/// A job keeps its slot for this time while it waits for its client to read.
const PAUSE_AFTER: Duration = Duration::from_millis(20);

/// An admitted job. It occupies its slot until the last clone is dropped, so every task that works for it holds a
/// clone.
#[derive(Clone, Debug)]
pub struct Job(pub(super) Arc<JobState>);

impl Job {
    /// Returns the client of the job.
    #[must_use]
    pub fn client(&self) -> ClientOrigin {
        self.0.client
    }

    /// Returns the cancel handle of the job.
    #[must_use]
    pub fn cancel(&self) -> &CancelHandle {
        &self.0.cancel
    }

    /// Starts a future on the job's threads.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<Task<T>, WorkError> {
        let threads = self.threads()?;
        let (sender, output) = oneshot::channel();
        let job = self.clone();
        let run = async move {
            let Ok(output) = job.cancel().run_until_ended(work).await else { return };
            // The slot is freed before the output is sent, so that the client's next request finds it free. A task that
            // still works for the job keeps it.
            if Arc::strong_count(&job.0) == 1 {
                job.0.scheduler.finish(&job.0);
            }
            let _ = sender.send(output);
        };
        // The task's log lines carry the span of the call.
        let task = threads.spawn(run.instrument(Span::current()));
        Ok(Task { output: Some(output), cancel: self.cancel().clone(), task: task.abort_handle() })
    }

    /// Runs blocking code on the job's threads. It must check the cancel handle every few thousand rows.
    ///
    /// # Errors
    /// The job was ended, or it panicked.
    pub async fn run<T: Send + 'static>(self, walk: impl FnOnce(&Self) -> T + Send + 'static) -> Result<T, WorkError> {
        let job = self.clone();
        let mut task = self.spawn(async move { walk(&job) })?;
        drop(self);
        task.output().await.unwrap_or(Err(WorkError::Ended(EndReason::Cancelled)))
    }

    /// Returns the job's threads, and starts them on the first call.
    fn threads(&self) -> Result<Handle, WorkError> {
        let handle = |threads: &Option<JobThreads>| threads.as_ref().and_then(JobThreads::handle).cloned();
        if let Some(threads) = handle(&self.0.threads.lock()) {
            return Ok(threads);
        }
        // The job's own lock is not held here, since the admission locks itself before a job.
        let new = self.0.scheduler.take_threads()?;
        let mut threads = self.0.threads.lock();
        threads.get_or_insert(new);
        handle(&threads).ok_or(WorkError::Ended(EndReason::Cancelled))
    }

    /// Sends an item to the client. The slot is given up while the client reads nothing, for at most the time of
    /// `stall_timeout`.
    ///
    /// # Errors
    /// The client disconnected or did not read in time, or the job was ended.
    pub async fn send<T>(
        &self,
        outbox: &Outbox<T>,
        item: T,
        bytes: usize,
        stall_timeout: StallTimeout,
    ) -> Result<(), EndReason> {
        let mut sending = pin!(outbox.send(item, bytes, Some(stall_timeout)));
        match timeout(PAUSE_AFTER, sending.as_mut()).await {
            Ok(sent) => sent,
            Err(_) => self.pause_while(sending).await?,
        }
    }

    /// Gives up the slot while a future waits for the client, and takes a slot again afterwards.
    ///
    /// # Errors
    /// The job was ended.
    pub async fn pause_while<F: Future>(&self, waits: F) -> Result<F::Output, EndReason> {
        self.0.scheduler.pause(&self.0)?;
        let output = self.cancel().run_until_ended(waits).await?;
        let resumed = self.cancel().run_until_ended(self.0.scheduler.resume(&self.0)).await?;
        // The sender is dropped only with the admission.
        resumed.map(|()| output).map_err(|_| EndReason::Cancelled)
    }

    /// Does the same as [`Job::send`] in blocking code on one of the job's threads.
    ///
    /// # Errors
    /// Those of [`Job::send`].
    pub fn send_blocking<T>(
        &self,
        outbox: &Outbox<T>,
        item: T,
        bytes: usize,
        stall_timeout: StallTimeout,
    ) -> Result<(), EndReason> {
        match outbox.try_send(item, bytes) {
            Ok(()) => Ok(()),
            Err(None) => Err(EndReason::Disconnected),
            Err(Some(item)) => {
                block_in_place(|| Handle::current().block_on(self.send(outbox, item, bytes, stall_timeout)))
            }
        }
    }
}

/// A future that runs on a job's threads. Dropping it cancels the job.
#[derive(Debug)]
pub struct Task<T> {
    /// The receiver of the output; `None` after the output was returned.
    output: Option<oneshot::Receiver<T>>,
    cancel: CancelHandle,
    task: AbortHandle,
}

impl<T> Task<T> {
    /// Returns the cancel handle of the job, which ends even a job that does not check it.
    #[must_use]
    pub fn cancel(&self) -> &CancelHandle {
        &self.cancel
    }

    /// Waits for the output, at most until the job must end. Returns `None` if the output was returned before.
    ///
    /// # Errors
    /// The job was ended, or it panicked.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn output(&mut self) -> Option<Result<T, WorkError>> {
        let output = self.cancel.run_until_ended(self.output.as_mut()?).await;
        self.output = None;
        let panicked = |_| self.cancel.reason().map_or(WorkError::Panicked, WorkError::Ended);
        Some(output.map_err(WorkError::Ended).and_then(|output| output.map_err(panicked)))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.cancel.end(EndReason::Disconnected);
        self.task.abort();
    }
}
