//! Supervises the tasks of the server by name.
//!
//! When a task of the server itself, or of the only cluster, ends unexpectedly, the process ends. A task of one cluster
//! among several (`east/listener`), or of a source in addition to a cluster's own (`east/redis`), is restarted after a
//! pause; until then its source is shown as failing. The tasks of a removed cluster or source end with it. Tasks that
//! block run on named operating system threads, because the threads of tokio's blocking pool are few and meant for
//! short work.

use std::{
    any::Any,
    collections::HashMap,
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::{
    sync::oneshot,
    task::{AbortHandle, Id, JoinSet},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    source::kafka::tasks::TaskError,
    store::{
        Store,
        source::{Fault, Source},
    },
};

/// Pause before the first restart. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Maximum pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Run time after which the pause of a task starts at [`FIRST_PAUSE`] again.
const STABLE_AFTER: Duration = Duration::from_secs(300);

/// The reason why a task ended unexpectedly.
#[derive(Debug, thiserror::Error)]
pub enum TaskFailure {
    /// The task returned.
    #[error("exited unexpectedly")]
    Exited,
    /// The task panicked, with this message.
    #[error("panicked: {0}")]
    Panicked(String),
    /// The thread of the task could not be started.
    #[error("cannot start its thread: {0}")]
    Thread(#[source] io::Error),
    /// A task inside a source ended.
    #[error("{}", .0.cause)]
    Source(#[from] TaskError),
    /// The task returned an error.
    #[error("failed: {0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl TaskFailure {
    /// Wraps the error that ended a task.
    pub(super) fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }

    /// Returns the name of the inner task, if the failure has one.
    pub(super) fn task(&self) -> Option<String> {
        match self {
            Self::Source(error) => Some(format!("{}/{}", error.cluster, error.task)),
            Self::Exited | Self::Panicked(_) | Self::Thread(_) | Self::Failed(_) => None,
        }
    }
}

/// A running task; resolves when the task ends.
pub(super) type Run = BoxFuture<'static, Result<(), TaskFailure>>;

/// Runs a blocking function on its own named thread.
pub(super) fn on_thread(name: &str, work: impl FnOnce() -> Result<(), TaskFailure> + Send + 'static) -> Run {
    let (sender, ended) = oneshot::channel();
    let run = move || {
        let result = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|panic| Err(TaskFailure::Panicked(panic_message(&*panic))));
        // The receiver is dropped when the process ends.
        let _ = sender.send(result);
    };
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    async move {
        started.map_err(TaskFailure::Thread)?;
        ended.await.unwrap_or(Err(TaskFailure::Exited))
    }
    .boxed()
}

/// Returns the message of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// A task that ended, and its result.
pub(super) struct EndedTask {
    pub(super) task: String,
    pub(super) result: Result<(), TaskFailure>,
    /// Whether the task was requested to end.
    is_requested: bool,
}

/// The source that a task belongs to.
#[derive(Clone)]
pub(super) struct TaskOwner {
    store: Arc<Store>,
    source: Arc<Source>,
    /// Whether it is its cluster's own source.
    is_own: bool,
    /// Ends the task, which is then not restarted.
    stop: CancellationToken,
}

impl TaskOwner {
    pub(super) fn new(store: &Arc<Store>, source: &Arc<Source>, is_own: bool, stop: &CancellationToken) -> Self {
        Self { store: Arc::clone(store), source: Arc::clone(source), is_own, stop: stop.clone() }
    }

    /// Returns whether the server is useless without this source.
    fn is_essential(&self) -> bool {
        self.is_own && self.store.clusters().len() <= 1
    }
}

/// All running tasks.
pub(super) struct Supervisor {
    running: JoinSet<EndedTask>,
    pending: HashMap<Id, (String, AbortHandle)>,
    clock: Clock,
}

impl Supervisor {
    /// Creates a supervisor without tasks.
    pub(super) fn new(clock: Clock) -> Self {
        Self { running: JoinSet::new(), pending: HashMap::new(), clock }
    }

    /// Starts a task of the server itself.
    pub(super) fn start(&mut self, task: &str, run: impl Future<Output = Result<(), TaskFailure>> + Send + 'static) {
        // Such a task ends only with the server, so its token is never cancelled.
        self.start_until(task, run, CancellationToken::new());
    }

    /// Starts a task that may end once `stop` is cancelled.
    fn start_until(
        &mut self,
        task: &str,
        run: impl Future<Output = Result<(), TaskFailure>> + Send + 'static,
        stop: CancellationToken,
    ) {
        let (name, task) = (task.to_owned(), task.to_owned());
        let handle = self.running.spawn(async move {
            let result = AssertUnwindSafe(run).catch_unwind().await;
            let result = result.unwrap_or_else(|panic| Err(TaskFailure::Panicked(panic_message(&*panic))));
            EndedTask { task: name, result, is_requested: stop.is_cancelled() }
        });
        self.pending.insert(handle.id(), (task, handle));
    }

    /// Starts a task of a source. Calls `start` again after each failure, unless the server is useless without the
    /// source.
    pub(super) fn start_restarting(
        &mut self,
        owner: &TaskOwner,
        task: &str,
        start: impl FnMut() -> Run + Send + 'static,
    ) {
        let name = format!("{}/{task}", owner.source.id.cluster);
        let run = keep_running(owner.clone(), self.clock.clone(), name.clone(), start);
        self.start_until(&name, run, owner.stop.clone());
    }

    /// Waits until `stop` is cancelled (returns `None`), or a task ends unexpectedly.
    ///
    /// # Cancel safety
    /// Safe: no ended task is lost.
    pub(super) async fn wait_for_end(&mut self, stop: &CancellationToken) -> Option<EndedTask> {
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => None,
                ended = self.next() => ended,
            };
            match ended {
                Some(EndedTask { is_requested: true, task, result }) => match result {
                    Ok(()) => tracing::debug!(task, "task stopped"),
                    Err(fault) => tracing::warn!(task, %fault, "task failed while stopping"),
                },
                // If both happen at the same moment, the stop is the reason.
                ended => return ended.filter(|_| !stop.is_cancelled()),
            }
        }
    }

    /// Waits for the next task that ends; `None` if no task is left.
    async fn next(&mut self) -> Option<EndedTask> {
        let (id, ended) = match self.running.join_next_with_id().await? {
            Ok((id, ended)) => (id, ended),
            // The task was aborted.
            Err(error) => (error.id(), EndedTask { task: String::new(), result: Ok(()), is_requested: true }),
        };
        self.pending.remove(&id);
        Some(ended)
    }

    /// Waits until the named tasks have ended (all tasks if no name is given) or the deadline has passed. The remaining
    /// ones are logged and aborted; a task that is a thread cannot be aborted and is only abandoned.
    pub(super) async fn drain(&mut self, names: &[&str], deadline: Instant) {
        let is_waited_for = |task: &str| names.is_empty() || names.contains(&task);
        let drained = timeout_at(deadline, async {
            while self.pending.values().any(|(task, _)| is_waited_for(task)) {
                match self.next().await {
                    Some(EndedTask { task, result: Err(fault), .. }) => {
                        tracing::warn!(task, %fault, "task failed while stopping");
                    }
                    Some(EndedTask { result: Ok(()), .. }) => {}
                    None => break,
                }
            }
        });
        if drained.await.is_ok() {
            return;
        }
        let (late, pending) = mem::take(&mut self.pending).into_iter().partition(|(_, (task, _))| is_waited_for(task));
        self.pending = pending;
        let late: HashMap<Id, (String, AbortHandle)> = late;
        let mut names: Vec<&str> = late.values().map(|(task, _)| task.as_str()).collect();
        names.sort_unstable();
        let tasks = names.join(", ");
        tracing::warn!(tasks, "tasks did not stop within the grace period (setting `server.shutdown_grace`)");
        late.values().for_each(|(_, handle)| handle.abort());
    }
}

/// Runs a task of a source and restarts it after failures, until it is stopped or the server is useless without it.
async fn keep_running(
    owner: TaskOwner,
    clock: Clock,
    task: String,
    mut start: impl FnMut() -> Run + Send + 'static,
) -> Result<(), TaskFailure> {
    let (source, stop) = (&owner.source, &owner.stop);
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        source.set_fault(Fault::Restart, None, &clock);
        let ended = AssertUnwindSafe(start()).catch_unwind().await;
        let fault = match ended.unwrap_or_else(|panic| Err(TaskFailure::Panicked(panic_message(&*panic)))) {
            result if stop.is_cancelled() || owner.is_essential() => return result,
            Ok(()) => TaskFailure::Exited,
            Err(fault) => fault,
        };
        if began.elapsed() >= STABLE_AFTER {
            pause = FIRST_PAUSE;
        }
        let task = fault.task().unwrap_or_else(|| task.clone());
        tracing::error!(task, %fault, pause_s = pause.as_secs(), "task ended unexpectedly; restarting after a pause");
        source.count_restart(&task);
        source.set_fault(Fault::Restart, Some(format!("{task}: {fault}")), &clock);
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            () = stop.cancelled() => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
