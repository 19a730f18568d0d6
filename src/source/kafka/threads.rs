//! Named threads of a source. Each runs a loop for as long as the cluster is read.

use std::{any::Any, io, thread};

use tokio_util::sync::CancellationToken;

use crate::source::kafka::ask::AskError;

/// Why a part of a source ended.
#[derive(Debug, thiserror::Error)]
pub enum PartFault {
    /// A client cannot be made.
    #[error(transparent)]
    Client(#[from] AskError),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
    /// A bug.
    #[error("panicked: {0}")]
    Panicked(String),
    /// It returned though nothing told it to.
    #[error("exited unexpectedly")]
    Exited,
}

/// A thread of a source.
pub(super) type Thread = thread::JoinHandle<Result<(), PartFault>>;

/// Starts a loop on a thread of its own. When the loop ends, also by a panic, `stop` is cancelled, so that the other parts
/// end, too.
pub(super) fn spawn(
    name: String,
    stop: &CancellationToken,
    run: impl FnOnce(&CancellationToken) -> Result<(), PartFault> + Send + 'static,
) -> Result<Thread, PartFault> {
    let stop = stop.clone();
    let run = move || {
        let _end = stop.clone().drop_guard();
        run(&stop)
    };
    Ok(thread::Builder::new().name(name).spawn(run)?)
}

/// Waits until a thread has ended.
pub(super) fn join(thread: Thread) -> Result<(), PartFault> {
    let text = |panic: Box<dyn Any + Send>| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map_or_else(|_| "no message".to_owned(), |text| (*text).to_owned()),
    };
    thread.join().unwrap_or_else(|panic| Err(PartFault::Panicked(text(panic))))
}
