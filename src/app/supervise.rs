//! Supervises the parts of the server by name.
//!
//! When a part of the server itself, or of the only cluster, ends unexpectedly, the process ends. A part of one cluster
//! among several (`east/listener`), or of a source in addition to a cluster's own (`east/redis`), is restarted after a
//! pause; until then its source is shown as failing. The parts of a removed cluster or source end with it. Parts that
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
/// Run time after which the pause of a part starts at [`FIRST_PAUSE`] again.
const STEADY: Duration = Duration::from_secs(300);

/// The reason why a part ended unexpectedly.
#[derive(Debug, thiserror::Error)]
pub enum PartFailure {
    /// The part returned.
    #[error("exited unexpectedly")]
    Exited,
    /// The part panicked, with this message.
    #[error("panicked: {0}")]
    Panicked(String),
    /// The thread of the part could not be started.
    #[error("cannot start its thread: {0}")]
    Thread(#[source] io::Error),
    /// A part inside a source ended.
    #[error("{}", .0.cause)]
    Source(#[from] TaskError),
    /// The part returned an error.
    #[error("failed: {0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl PartFailure {
    /// Wraps the error that ended a part.
    pub(super) fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }

    /// Returns the name of the inner part, if the failure has one.
    pub(super) fn part(&self) -> Option<String> {
        match self {
            Self::Source(error) => Some(format!("{}/{}", error.cluster, error.task)),
            Self::Exited | Self::Panicked(_) | Self::Thread(_) | Self::Failed(_) => None,
        }
    }
}

/// A running part; resolves when the part ends.
pub(super) type Run = BoxFuture<'static, Result<(), PartFailure>>;

/// Runs a blocking function on its own named thread.
pub(super) fn on_thread(name: &str, work: impl FnOnce() -> Result<(), PartFailure> + Send + 'static) -> Run {
    let (sender, ended) = oneshot::channel();
    let run = move || {
        let result =
            catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(PartFailure::Panicked(said(&*panic))));
        // The receiver is dropped when the process ends.
        let _ = sender.send(result);
    };
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    async move {
        started.map_err(PartFailure::Thread)?;
        ended.await.unwrap_or(Err(PartFailure::Exited))
    }
    .boxed()
}

/// Returns the message of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// A part that ended, and its result.
pub(super) struct Ended {
    pub(super) part: String,
    pub(super) result: Result<(), PartFailure>,
    /// Whether the part was requested to end.
    is_told: bool,
}

/// The source that a part belongs to.
#[derive(Clone)]
pub(super) struct Owner {
    store: Arc<Store>,
    source: Arc<Source>,
    /// Whether it is its cluster's own source.
    is_own: bool,
    /// Ends the part, which is then not restarted.
    stop: CancellationToken,
}

impl Owner {
    pub(super) fn new(store: &Arc<Store>, source: &Arc<Source>, is_own: bool, stop: &CancellationToken) -> Self {
        Self { store: Arc::clone(store), source: Arc::clone(source), is_own, stop: stop.clone() }
    }

    /// Returns whether the server is useless without this source.
    fn is_essential(&self) -> bool {
        self.is_own && self.store.clusters().len() <= 1
    }
}

/// All running parts.
pub(super) struct Supervisor {
    running: JoinSet<Ended>,
    pending: HashMap<Id, (String, AbortHandle)>,
    clock: Clock,
}

impl Supervisor {
    /// Creates a supervisor without parts.
    pub(super) fn new(clock: Clock) -> Self {
        Self { running: JoinSet::new(), pending: HashMap::new(), clock }
    }

    /// Starts a part of the server itself.
    pub(super) fn start(&mut self, part: &str, run: impl Future<Output = Result<(), PartFailure>> + Send + 'static) {
        // Such a part ends only with the server, so its token is never cancelled.
        self.start_until(part, run, CancellationToken::new());
    }

    /// Starts a part that may end once `stop` is cancelled.
    fn start_until(
        &mut self,
        part: &str,
        run: impl Future<Output = Result<(), PartFailure>> + Send + 'static,
        stop: CancellationToken,
    ) {
        let (name, part) = (part.to_owned(), part.to_owned());
        let task = self.running.spawn(async move {
            let result = AssertUnwindSafe(run).catch_unwind().await;
            let result = result.unwrap_or_else(|panic| Err(PartFailure::Panicked(said(&*panic))));
            Ended { part: name, result, is_told: stop.is_cancelled() }
        });
        self.pending.insert(task.id(), (part, task));
    }

    /// Starts a part of a source. Calls `start` again after each failure, unless the server is useless without the
    /// source.
    pub(super) fn start_of(&mut self, owner: &Owner, part: &str, start: impl FnMut() -> Run + Send + 'static) {
        let name = format!("{}/{part}", owner.source.id.cluster);
        let run = keep_running(owner.clone(), self.clock.clone(), name.clone(), start);
        self.start_until(&name, run, owner.stop.clone());
    }

    /// Waits until `stop` is cancelled (returns `None`), or a part ends unexpectedly.
    ///
    /// # Cancel safety
    /// Safe: no ended part is lost.
    pub(super) async fn until(&mut self, stop: &CancellationToken) -> Option<Ended> {
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => None,
                ended = self.next() => ended,
            };
            match ended {
                Some(Ended { is_told: true, part, result }) => match result {
                    Ok(()) => tracing::debug!(part, "part stopped"),
                    Err(fault) => tracing::warn!(part, %fault, "part failed while stopping"),
                },
                // If both happen at the same moment, the stop is the reason.
                ended => return ended.filter(|_| !stop.is_cancelled()),
            }
        }
    }

    /// Waits for the next part that ends; `None` if no part is left.
    async fn next(&mut self) -> Option<Ended> {
        let (id, ended) = match self.running.join_next_with_id().await? {
            Ok((id, ended)) => (id, ended),
            // The task was aborted.
            Err(error) => (error.id(), Ended { part: String::new(), result: Ok(()), is_told: true }),
        };
        self.pending.remove(&id);
        Some(ended)
    }

    /// Waits until the named parts have ended (all parts if no name is given) or the deadline has passed. The remaining
    /// ones are logged and aborted; a part that is a thread cannot be aborted and is only abandoned.
    pub(super) async fn drain(&mut self, names: &[&str], deadline: Instant) {
        let is_waited_for = |part: &str| names.is_empty() || names.contains(&part);
        let drained = timeout_at(deadline, async {
            while self.pending.values().any(|(part, _)| is_waited_for(part)) {
                match self.next().await {
                    Some(Ended { part, result: Err(fault), .. }) => {
                        tracing::warn!(part, %fault, "part failed while stopping");
                    }
                    Some(Ended { result: Ok(()), .. }) => {}
                    None => break,
                }
            }
        });
        if drained.await.is_ok() {
            return;
        }
        let (late, pending) = mem::take(&mut self.pending).into_iter().partition(|(_, (part, _))| is_waited_for(part));
        self.pending = pending;
        let late: HashMap<Id, (String, AbortHandle)> = late;
        let mut names: Vec<&str> = late.values().map(|(part, _)| part.as_str()).collect();
        names.sort_unstable();
        let parts = names.join(", ");
        tracing::warn!(parts, "parts did not stop within the grace period (setting `server.shutdown_grace`)");
        late.values().for_each(|(_, task)| task.abort());
    }
}

/// Runs a part of a source and restarts it after failures, until it is stopped or the server is useless without it.
async fn keep_running(
    owner: Owner,
    clock: Clock,
    part: String,
    mut start: impl FnMut() -> Run + Send + 'static,
) -> Result<(), PartFailure> {
    let (source, stop) = (&owner.source, &owner.stop);
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        source.set_fault(Fault::Restart, None, &clock);
        let ended = AssertUnwindSafe(start()).catch_unwind().await;
        let fault = match ended.unwrap_or_else(|panic| Err(PartFailure::Panicked(said(&*panic)))) {
            result if stop.is_cancelled() || owner.is_essential() => return result,
            Ok(()) => PartFailure::Exited,
            Err(fault) => fault,
        };
        if began.elapsed() >= STEADY {
            pause = FIRST_PAUSE;
        }
        let part = fault.part().unwrap_or_else(|| part.clone());
        tracing::error!(part, %fault, pause_s = pause.as_secs(), "part ended unexpectedly; restarting after a pause");
        source.count_restart(&part);
        source.set_fault(Fault::Restart, Some(format!("{part}: {fault}")), &clock);
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            () = stop.cancelled() => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
