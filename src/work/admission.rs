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
    CancelHandle, ClientOrigin, EndReason, Job, KindLimits, Unread, WorkError, WorkKind, WorkStatus,
    scheduler::{Scheduler, Waiter},
};
use crate::clock::Clock;

/// Interval at which the watchdog checks running jobs.
const WATCHDOG_INTERVAL: Duration = Duration::from_millis(200);

/// Admits jobs. Clones share one admission.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Scheduler>);

/// The status of the admission, for readers that admit no work themselves.
#[derive(Debug, Default)]
pub struct StatusBoard {
    /// The admission, once there is one.
    admission: Mutex<Weak<Scheduler>>,
    /// Bytes of answers that clients have not read yet.
    pub unread: Arc<Unread>,
    /// Open watches.
    pub watches: AtomicUsize,
}

impl StatusBoard {
    /// Returns the status; the default before there is an admission.
    #[must_use]
    pub fn status(&self) -> WorkStatus {
        let scheduler = self.admission.lock().upgrade();
        scheduler.map(|scheduler| scheduler.status()).unwrap_or_default()
    }
}

impl Admission {
    /// Creates an admission that gives each job `threads` threads and publishes its status on `board`.
    ///
    /// # Errors
    /// The watchdog's thread cannot be started.
    pub fn new(clock: Clock, threads: usize, board: &StatusBoard) -> std::io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let scheduler = Arc::new(Scheduler::new(clock, threads, Some(wake)));
        let watched = Arc::downgrade(&scheduler);
        std::thread::Builder::new().name("work-watchdog".to_owned()).spawn(move || watch(&watched, &woken))?;
        *board.admission.lock() = Arc::downgrade(&scheduler);
        Ok(Self(scheduler))
    }

    /// Creates an admission without a watchdog: tests call [`Admission::run_watchdog`] instead.
    #[cfg(test)]
    pub(super) fn for_test(clock: Clock, board: &StatusBoard) -> Self {
        let scheduler = Arc::new(Scheduler::new(clock, 1, None));
        *board.admission.lock() = Arc::downgrade(&scheduler);
        Self(scheduler)
    }

    /// Does one round of the watchdog.
    #[cfg(test)]
    pub(super) fn run_watchdog(&self) {
        self.0.check_jobs();
    }

    /// Sets the limits of one kind of work.
    pub fn limit(&self, kind: WorkKind, limits: KindLimits) {
        self.0.limit(kind, limits);
    }

    /// Waits until the job may run, at most until `cancel` ends it. `what` names the job in logs and the status.
    ///
    /// # Errors
    /// The queue of the kind is full, too many jobs are abandoned, or the job was ended while it waited.
    ///
    /// # Cancel safety
    /// Leaves the queue.
    pub async fn admit(
        &self,
        kind: WorkKind,
        what: impl Into<String>,
        cancel: &CancelHandle,
    ) -> Result<Job, WorkError> {
        let (sender, admitted) = oneshot::channel();
        let client = ClientOrigin::current();
        self.0.enqueue(kind, Waiter { client, what: what.into(), cancel: cancel.clone(), admitted: sender });
        // The sender is dropped only with the admission.
        cancel.run_until_ended(admitted).await?.unwrap_or(Err(WorkError::Ended(EndReason::Cancelled))).map(Job)
    }

    /// Returns threads for short tasks on the results of jobs, such as encoding. Their priority is as low as that of
    /// jobs.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn threads(&self) -> Result<Handle, WorkError> {
        self.0.encoders()
    }
}

/// Runs the watchdog: checks the jobs at an interval while there are any, and ends with the admission.
fn watch(scheduler: &Weak<Scheduler>, woken: &Receiver<()>) {
    let mut has_work = true;
    loop {
        let timeout = if has_work { WATCHDOG_INTERVAL } else { Duration::from_secs(3600) };
        if woken.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        let Some(scheduler) = scheduler.upgrade() else { return };
        has_work = scheduler.check_jobs();
    }
}
