//! The state of all jobs: which run, wait or are paused, and the threads of each.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU8, AtomicUsize, Ordering},
        mpsc::SyncSender,
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    CancelHandle, ClientOrigin, EndReason, KindLimits, MAX_ABANDONED, WorkError, WorkKind, WorkStatus,
    threads::JobThreads,
};
use crate::clock::{Clock, Ticks, ticks};

mod kind_queue;

use kind_queue::KindQueue;
pub(super) use kind_queue::Waiter;

/// Time after its cancellation in which a job must end before it is abandoned.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of idle thread sets that are kept for later jobs.
const MAX_IDLE_SETS: usize = 4;

/// The job occupies no slot any more.
pub(super) const DONE: u8 = 0;
/// The job occupies a slot.
pub(super) const RUNNING: u8 = 1;
/// The job gave up its slot while its client reads.
pub(super) const PAUSED: u8 = 2;

/// An admitted job.
#[derive(Debug)]
pub(super) struct JobState {
    pub(super) scheduler: Arc<Scheduler>,
    pub(super) kind: WorkKind,
    pub(super) client: ClientOrigin,
    /// The name of the job in logs and the status.
    pub(super) what: String,
    pub(super) cancel: CancelHandle,
    /// One of [`DONE`], [`RUNNING`] and [`PAUSED`]; changed only under the lock of the admission.
    pub(super) phase: AtomicU8,
    /// The job's threads; `None` before it starts a task, and after it was abandoned.
    pub(super) threads: Mutex<Option<JobThreads>>,
}

impl JobState {
    pub(super) fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    pub(super) fn set_phase(&self, phase: u8) -> u8 {
        self.phase.swap(phase, Ordering::Relaxed)
    }
}

impl Drop for JobState {
    fn drop(&mut self) {
        let (phase, threads) = (self.set_phase(DONE), self.threads.get_mut().take());
        self.scheduler.end(self.kind, self.client, phase, threads);
    }
}

/// The admission.
#[derive(Debug)]
pub(super) struct Scheduler {
    state: Mutex<SchedulerState>,
    clock: Clock,
    /// Number of threads of each job.
    threads_per_job: usize,
    /// Threads of all jobs, idle ones included.
    running_threads: Arc<AtomicUsize>,
    /// See [`Scheduler::encoders`].
    encoders: Mutex<Option<JobThreads>>,
    /// Wakes the watchdog; `None` in tests, which call [`Scheduler::check_jobs`] themselves.
    wake: Option<SyncSender<()>>,
}

#[derive(Debug)]
struct SchedulerState {
    queues: KindQueues,
    /// Threads of ended jobs, kept for later ones.
    idle: Vec<JobThreads>,
    /// All jobs, abandoned ones included.
    jobs: Vec<WatchedJob>,
    abandoned_total: u64,
}

/// The slots and queues of each kind, in the order of [`WorkKind::ALL`].
#[derive(Debug)]
struct KindQueues([KindQueue; WorkKind::ALL.len()]);

/// A job as the watchdog sees it.
#[derive(Debug)]
struct WatchedJob {
    job: Weak<JobState>,
    /// The first time the watchdog saw that the job must end.
    over_since: Option<Ticks>,
    /// The name of the job, if its threads were abandoned.
    abandoned: Option<String>,
}

impl KindQueues {
    fn of(&mut self, kind: WorkKind) -> &mut KindQueue {
        let [statements, pages, histories, scrapes] = &mut self.0;
        match kind {
            WorkKind::Statement => statements,
            WorkKind::Page => pages,
            WorkKind::History => histories,
            WorkKind::Scrape => scrapes,
        }
    }
}

impl SchedulerState {
    /// Returns the abandoned jobs that are still running, with the seconds since their cancellation.
    fn abandoned(&mut self, now: Ticks) -> Vec<String> {
        self.jobs.retain(|watched| watched.job.strong_count() > 0);
        let text = |of: &WatchedJob| {
            let seconds = now.saturating_sub(of.over_since.unwrap_or(now)) / 10;
            of.abandoned.as_ref().map(|what| format!("{what} (for {seconds} s)"))
        };
        self.jobs.iter().filter_map(text).collect()
    }
}

impl Scheduler {
    pub(super) fn new(clock: Clock, threads: usize, wake: Option<SyncSender<()>>) -> Self {
        let state = SchedulerState {
            queues: KindQueues(WorkKind::ALL.map(KindQueue::new)),
            idle: vec![],
            jobs: vec![],
            abandoned_total: 0,
        };
        let (running_threads, encoders) = Default::default();
        Self { state: Mutex::new(state), clock, threads_per_job: threads, running_threads, encoders, wake }
    }

    /// Changes the state, and then starts the jobs for which slots are free.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut SchedulerState) -> T) -> T {
        let mut to_drop = vec![];
        let mut state = self.state.lock();
        let changed = change(&mut state);
        let SchedulerState { queues, jobs, .. } = &mut *state;
        for queue in &mut queues.0 {
            while queue.start_next(self, jobs, &mut to_drop) {}
        }
        drop(state);
        // Jobs are dropped after the lock is released, since dropping a job takes the lock.
        drop(to_drop);
        changed
    }

    /// Queues a job, or refuses it.
    pub(super) fn enqueue(self: &Arc<Self>, kind: WorkKind, waiter: Waiter) {
        let now = self.clock.ticks();
        let refused = self.change(|state| {
            let abandoned = state.abandoned(now);
            let queue = state.queues.of(kind);
            // Scrapes are admitted, since they report the abandoned jobs.
            if abandoned.len() >= MAX_ABANDONED && kind != WorkKind::Scrape {
                queue.refused += 1;
                return Some((waiter, WorkError::Abandoned(abandoned)));
            }
            let limit = queue.size();
            queue.enqueue(waiter).map(|refused| (refused, WorkError::Full { kind, limit, setting: kind.setting() }))
        });
        if let Some((waiter, why)) = refused {
            let _ = waiter.admitted.send(Err(why));
        }
        // A full channel means that the watchdog is about to wake.
        let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
    }

    /// Returns idle threads, or starts new ones.
    pub(super) fn take_threads(&self) -> Result<JobThreads, WorkError> {
        let idle = self.state.lock().idle.pop();
        let threads = idle.map_or_else(|| JobThreads::new(self.threads_per_job, &self.running_threads), Ok);
        threads.map_err(|error| WorkError::Threads(Arc::new(error)))
    }

    /// Frees the slot and the threads of a job after its last clone was dropped.
    pub(super) fn end(self: &Arc<Self>, kind: WorkKind, client: ClientOrigin, phase: u8, threads: Option<JobThreads>) {
        if phase == DONE && threads.is_none() {
            return;
        }
        let mut threads = threads;
        self.change(|state| {
            state.queues.of(kind).free_slot(phase, client);
            if state.idle.len() < MAX_IDLE_SETS {
                state.idle.extend(threads.take());
            }
            state.jobs.retain(|watched| watched.job.strong_count() > 0);
        });
    }

    /// Frees a job's slot.
    pub(super) fn finish(self: &Arc<Self>, job: &JobState) {
        self.change(|state| state.queues.of(job.kind).free_slot(job.set_phase(DONE), job.client));
    }

    /// Gives up a job's slot while its client reads.
    pub(super) fn pause(self: &Arc<Self>, job: &JobState) -> Result<(), EndReason> {
        self.change(|state| {
            let queue = state.queues.of(job.kind);
            // Half of the limit for each client, so that a client that does not read cannot keep other clients' jobs
            // from pausing.
            let of_client = queue.paused.iter().filter(|client| **client == job.client).count();
            if queue.paused.len() >= queue.size() || of_client >= queue.size().div_ceil(2) {
                return Err(EndReason::Unread { paused: of_client, setting: job.kind.setting() });
            }
            if job.phase() == RUNNING {
                queue.free_slot(job.set_phase(PAUSED), job.client);
                queue.paused.push(job.client);
            }
            Ok(())
        })
    }

    /// Requests a slot for a paused job.
    pub(super) fn resume(self: &Arc<Self>, job: &Arc<JobState>) -> oneshot::Receiver<()> {
        let (sender, slot) = oneshot::channel();
        self.change(|state| state.queues.of(job.kind).resuming.push(job.client, (sender, Arc::downgrade(job))));
        slot
    }

    /// Abandons the jobs that did not end in time. Returns whether any other job is running or paused.
    pub(super) fn check_jobs(self: &Arc<Self>) -> bool {
        let now = self.clock.ticks();
        let (mut to_drop, mut unused) = (vec![], vec![]);
        let has_work = self.change(|state| {
            let SchedulerState { jobs, queues, abandoned_total, .. } = state;
            for watched in jobs.iter_mut().filter(|watched| watched.abandoned.is_none()) {
                let Some(job) = watched.job.upgrade() else { continue };
                let is_over = job.cancel.reason().is_some();
                let since = if is_over { *watched.over_since.get_or_insert(now) } else { now };
                if now.saturating_sub(since) >= ticks(END_TIMEOUT) {
                    queues.of(job.kind).free_slot(job.set_phase(DONE), job.client);
                    unused.extend(job.threads.lock().take());
                    let what = format!("{}: {}", job.kind, job.what);
                    tracing::warn!(what, "job did not end within 2 s of its cancellation; its threads are abandoned");
                    watched.abandoned = Some(what);
                    *abandoned_total += 1;
                }
                to_drop.push(job);
            }
            jobs.retain(|watched| watched.job.strong_count() > 0);
            jobs.iter().any(|watched| watched.abandoned.is_none())
        });
        unused.into_iter().for_each(JobThreads::abandon);
        drop(to_drop);
        has_work
    }

    /// Sets the limits of one kind of work.
    pub(super) fn limit(self: &Arc<Self>, kind: WorkKind, limits: KindLimits) {
        self.change(|state| state.queues.of(kind).limits = limits);
    }

    /// Returns the threads for short tasks that belong to no job.
    pub(super) fn encoders(&self) -> Result<Handle, WorkError> {
        let mut encoders = self.encoders.lock();
        if encoders.is_none() {
            *encoders = Some(self.take_threads()?);
        }
        encoders.as_ref().and_then(JobThreads::handle).cloned().ok_or(WorkError::Ended(EndReason::Cancelled))
    }

    pub(super) fn status(&self) -> WorkStatus {
        let mut state = self.state.lock();
        WorkStatus {
            threads: self.running_threads.load(Ordering::Relaxed),
            load: state.queues.0.iter().map(KindQueue::load).collect(),
            abandoned: state.abandoned(self.clock.ticks()),
            abandoned_total: state.abandoned_total,
        }
    }
}
