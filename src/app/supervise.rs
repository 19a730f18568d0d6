//! The parts of the server, by name.
//!
//! A part of the server itself, or of the only cluster, must not end: with it ends the process. A part of one cluster
//! among several, as `east/listener`, or of a source beside a cluster's own, as `east/redis`, is started again after a
//! pause, and the source is shown failing meanwhile. Parts of a cluster or source that is removed end with it. Parts
//! that block run on named threads of the operating system; those of tokio's blocking pool are few, and for short work.

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
    source::kafka::parts::PartError,
    store::{
        Store,
        source::{Fault, Source},
    },
};

/// The pause before the first restart; each further one takes twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A part that ran for so long starts with the first pause again.
const STEADY: Duration = Duration::from_secs(300);

/// Why a part ended that should not.
#[derive(Debug, thiserror::Error)]
pub enum PartFailure {
    /// It returned.
    #[error("exited unexpectedly")]
    Exited,
    /// It panicked.
    #[error("panicked: {0}")]
    Panicked(String),
    /// Its thread could not be started.
    #[error("cannot start its thread: {0}")]
    Thread(#[source] io::Error),
    /// A part of a source ended.
    #[error("{}", .0.cause)]
    Source(#[from] PartError),
    /// It failed.
    #[error("failed: {0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl PartFailure {
    /// An error that ended a part.
    pub(super) fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }

    /// The name of the part inside, where it has one.
    pub(super) fn part(&self) -> Option<String> {
        match self {
            Self::Source(error) => Some(format!("{}/{}", error.cluster, error.part)),
            Self::Exited | Self::Panicked(_) | Self::Thread(_) | Self::Failed(_) => None,
        }
    }
}

/// A part that runs, until it ends.
pub(super) type Run = BoxFuture<'static, Result<(), PartFailure>>;

/// Runs something on a thread of its own.
pub(super) fn on_thread(name: &str, work: impl FnOnce() -> Result<(), PartFailure> + Send + 'static) -> Run {
    let (sender, ended) = oneshot::channel();
    let run = move || {
        let result =
            catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(PartFailure::Panicked(said(&*panic))));
        // At the end of the process nothing waits any more.
        let _ = sender.send(result);
    };
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    async move {
        started.map_err(PartFailure::Thread)?;
        ended.await.unwrap_or(Err(PartFailure::Exited))
    }
    .boxed()
}

/// The message of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// A part of the server that ended, and how.
pub(super) struct Ended {
    pub(super) part: String,
    pub(super) result: Result<(), PartFailure>,
    /// It was told to.
    is_told: bool,
}

/// The source that a part belongs to.
#[derive(Clone)]
pub(super) struct Owner {
    store: Arc<Store>,
    source: Arc<Source>,
    /// It is the own source of its cluster.
    is_own: bool,
    /// Ends the part, which is not started again after it.
    stop: CancellationToken,
}

impl Owner {
    pub(super) fn new(store: &Arc<Store>, source: &Arc<Source>, is_own: bool, stop: &CancellationToken) -> Self {
        Self { store: Arc::clone(store), source: Arc::clone(source), is_own, stop: stop.clone() }
    }

    /// Whether the server has nothing to do without it.
    fn is_essential(&self) -> bool {
        self.is_own && self.store.clusters().len() <= 1
    }
}

/// All parts.
pub(super) struct Supervisor {
    running: JoinSet<Ended>,
    pending: HashMap<Id, (String, AbortHandle)>,
    clock: Clock,
}

impl Supervisor {
    /// No parts yet.
    pub(super) fn new(clock: Clock) -> Self {
        Self { running: JoinSet::new(), pending: HashMap::new(), clock }
    }

    /// Starts a part of the server itself.
    pub(super) fn start(&mut self, part: &str, run: impl Future<Output = Result<(), PartFailure>> + Send + 'static) {
        // Nothing tells it to end but the end of the server.
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

    /// Starts a part of a source. `start` is called again after each failure, unless the server has nothing to do
    /// without the part.
    pub(super) fn start_of(&mut self, owner: &Owner, part: &str, start: impl FnMut() -> Run + Send + 'static) {
        let name = format!("{}/{part}", owner.source.id.cluster);
        let run = keep_running(owner.clone(), self.clock.clone(), name.clone(), start);
        self.start_until(&name, run, owner.stop.clone());
    }

    /// Waits until a stop is asked for (`None`), or a part ends that was not told to.
    ///
    /// # Cancel safety
    /// Loses nothing.
    pub(super) async fn until(&mut self, stop: &CancellationToken) -> Option<Ended> {
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => None,
                ended = self.next() => ended,
            };
            match ended {
                Some(Ended { is_told: true, part, result }) => match result {
                    Ok(()) => tracing::debug!(part, "ended"),
                    Err(fault) => tracing::warn!(part, %fault, "ended badly"),
                },
                // A stop that comes at the same moment is the reason.
                ended => return ended.filter(|_| !stop.is_cancelled()),
            }
        }
    }

    /// The next part that ends; `None` when there is none left.
    async fn next(&mut self) -> Option<Ended> {
        let (id, ended) = match self.running.join_next_with_id().await? {
            Ok((id, ended)) => (id, ended),
            // Aborted.
            Err(error) => (error.id(), Ended { part: String::new(), result: Ok(()), is_told: true }),
        };
        self.pending.remove(&id);
        Some(ended)
    }

    /// Waits until the named parts have ended (none named: all), but no longer than the deadline. Then those that have
    /// not are named in the log and ended, if they are no threads.
    pub(super) async fn drain(&mut self, names: &[&str], deadline: Instant) {
        let is_waited_for = |part: &str| names.is_empty() || names.contains(&part);
        let drained = timeout_at(deadline, async {
            while self.pending.values().any(|(part, _)| is_waited_for(part)) {
                match self.next().await {
                    Some(Ended { part, result: Err(fault), .. }) => tracing::warn!(part, %fault, "ended badly"),
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
        tracing::warn!(parts, "did not end within the grace period (setting `server.shutdown_grace`)");
        late.values().for_each(|(_, task)| task.abort());
    }
}

/// Runs a part of a source until it is stopped, or fails and the server has nothing to do without it.
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
        tracing::error!(part, %fault, pause_s = pause.as_secs(), "a part ended; starting it again after a pause");
        source.note_restart(&part);
        source.set_fault(Fault::Restart, Some(format!("{part}: {fault}")), &clock);
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            () = stop.cancelled() => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
