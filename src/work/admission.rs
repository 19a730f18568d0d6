//! Admission of jobs, and the board on which their status is read.

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

/// Interval at which the watchdog checks running jobs.
const LOOK: Duration = Duration::from_millis(200);

/// Admits jobs. Clones share one admission.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Shared>);

/// The status of the admission, for readers that admit no work themselves.
#[derive(Debug, Default)]
pub struct Board {
    /// The admission, once there is one.
    admission: Mutex<Weak<Shared>>,
    /// Bytes of answers that clients have not read yet.
    pub unread: Arc<Unread>,
    /// Open watches.
    pub watches: AtomicUsize,
}

impl Board {
    /// Returns the status; the default before there is an admission.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = self.admission.lock().upgrade();
        shared.map(|shared| shared.status()).unwrap_or_default()
    }
}

impl Admission {
    /// Creates an admission that gives each job `threads` threads and publishes its status on `board`.
    ///
    /// # Errors
    /// The watchdog's thread cannot be started.
    pub fn new(clock: Clock, threads: usize, board: &Board) -> std::io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let shared = Arc::new(Shared::new(clock, threads, Some(wake)));
        let watched = Arc::downgrade(&shared);
        std::thread::Builder::new().name("work-watchdog".to_owned()).spawn(move || watch(&watched, &woken))?;
        *board.admission.lock() = Arc::downgrade(&shared);
        Ok(Self(shared))
    }

    /// Creates an admission without a watchdog: tests call [`Admission::look`] instead.
    #[cfg(test)]
    pub(super) fn for_test(clock: Clock, board: &Board) -> Self {
        let shared = Arc::new(Shared::new(clock, 1, None));
        *board.admission.lock() = Arc::downgrade(&shared);
        Self(shared)
    }

    /// Does one round of the watchdog.
    #[cfg(test)]
    pub(super) fn look(&self) {
        self.0.look();
    }

    /// Sets the limits of one kind of work.
    pub fn limit(&self, kind: Kind, limits: Limits) {
        self.0.limit(kind, limits);
    }

    /// Waits until the job may run, at most until `cancel` ends it. `what` names the job in logs and the status.
    ///
    /// # Errors
    /// The queue of the kind is full, too many jobs are abandoned, or the job was ended while it waited.
    ///
    /// # Cancel safety
    /// Leaves the queue.
    pub async fn admit(&self, kind: Kind, what: impl Into<String>, cancel: &Cancel) -> Result<Job, Refused> {
        let (sender, turn) = oneshot::channel();
        let client = Client::current();
        self.0.enter(kind, Waiter { client, what: what.into(), cancel: cancel.clone(), turn: sender });
        // The sender is dropped only with the admission.
        cancel.in_time(turn).await?.unwrap_or(Err(Refused::Ended(Ended::Cancelled))).map(Job)
    }

    /// Returns threads for short tasks on the results of jobs, such as encoding. Their priority is as low as that of
    /// jobs.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn threads(&self) -> Result<Handle, Refused> {
        self.0.writers()
    }
}

/// Runs the watchdog: checks the jobs at an interval while there are any, and ends with the admission.
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
