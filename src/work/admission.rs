//! The admission of work, and the board that shows it.

use std::{
    sync::{
        Arc, Weak,
        atomic::AtomicUsize,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    Cancel, Client, Ended, Job, Kind, Limits, Refused, Status, Unread,
    turns::{Shared, Waiter},
};
use crate::clock::Clock;

/// How often work under way is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Admits work. Clones are the same admission.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Shared>);

/// Where the status of the work can be read by those that admit none.
#[derive(Debug, Default)]
pub struct Board {
    admission: Mutex<Weak<Shared>>,
    /// Answers that are ready and not read yet.
    pub unread: Arc<Unread>,
    /// Watches that are open.
    pub watches: AtomicUsize,
}

impl Board {
    /// The status; empty before there is an admission.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = self.admission.lock().upgrade();
        shared.map(|shared| shared.status()).unwrap_or_default()
    }
}

impl Admission {
    /// An admission that gives each piece of work so many threads, shown on a board.
    ///
    /// # Errors
    /// Its own thread cannot be started.
    pub fn new(clock: Clock, threads: usize, board: &Board) -> std::io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let shared = Arc::new(Shared::new(clock, threads, Some(wake)));
        let watched = Arc::downgrade(&shared);
        std::thread::Builder::new().name("work-watchdog".to_owned()).spawn(move || watch(&watched, &woken))?;
        *board.admission.lock() = Arc::downgrade(&shared);
        Ok(Self(shared))
    }

    #[cfg(test)]
    pub(super) fn for_test(clock: Clock, board: &Board) -> Self {
        let shared = Arc::new(Shared::new(clock, 1, None));
        *board.admission.lock() = Arc::downgrade(&shared);
        Self(shared)
    }

    #[cfg(test)]
    pub(super) fn look(&self) {
        self.0.look();
    }

    /// Sets how much work of a kind is admitted.
    pub fn limit(&self, kind: Kind, limits: Limits) {
        self.0.limit(kind, limits);
    }

    /// Waits for a turn of the current client, no longer than `cancel` allows. `what` names the work for operators.
    ///
    /// # Errors
    /// Too much work is there already, or it was ended first.
    ///
    /// # Cancel safety
    /// Gives up its place in the queue.
    pub async fn admit(&self, kind: Kind, what: impl Into<String>, cancel: &Cancel) -> Result<Job, Refused> {
        let (sender, turn) = oneshot::channel();
        let client = Client::current();
        self.0.enter(kind, Waiter { client, what: what.into(), cancel: cancel.clone(), turn: sender });
        // The sender goes only with the admission.
        cancel.in_time(turn).await?.unwrap_or(Err(Refused::Ended(Ended::Cancelled))).map(Job)
    }

    /// Threads for short pieces of work on what admitted work gave, which give way to others as well.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn threads(&self) -> Result<Handle, Refused> {
        self.0.writers()
    }
}

/// Looks at work under way while there is some.
fn watch(shared: &Weak<Shared>, woken: &Receiver<()>) {
    let mut has_work = true;
    loop {
        let timeout = if has_work { LOOK } else { Duration::from_secs(3600) };
        if woken.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        let Some(shared) = shared.upgrade() else { return };
        has_work = shared.look();
    }
}
