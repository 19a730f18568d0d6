//! Named threads of a source, each of which runs a loop until it is stopped.

use std::{any::Any, io, thread};

use tokio_util::sync::CancellationToken;

use crate::source::kafka::live_source::RequestError;

/// Why a task of a source ended.
#[derive(Debug, thiserror::Error)]
pub enum TaskFault {
    /// A client could not be created.
    #[error(transparent)]
    Client(#[from] RequestError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
    /// The task panicked, which is a bug.
    #[error("panicked: {0}")]
    Panicked(String),
    /// The task returned without being stopped.
    #[error("exited unexpectedly")]
    Exited,
}

/// The handle of a source's thread.
pub(super) type Thread = thread::JoinHandle<Result<(), TaskFault>>;

/// Starts a loop on its own thread. When the loop ends, even by a panic, `stop` is cancelled, so that the other tasks
/// end too.
pub(super) fn spawn(
    name: String,
    stop: &CancellationToken,
    run: impl FnOnce(&CancellationToken) -> Result<(), TaskFault> + Send + 'static,
) -> Result<Thread, TaskFault> {
    let stop = stop.clone();
    let run = move || {
        let _end = stop.clone().drop_guard();
        run(&stop)
    };
    Ok(thread::Builder::new().name(name).spawn(run)?)
}

/// Waits until a thread has ended, and returns its result.
pub(super) fn join(thread: Thread) -> Result<(), TaskFault> {
    let text = |panic: Box<dyn Any + Send>| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map_or_else(|_| "no message".to_owned(), |text| (*text).to_owned()),
    };
    thread.join().unwrap_or_else(|panic| Err(TaskFault::Panicked(text(panic))))
}
