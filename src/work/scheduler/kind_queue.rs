//! The slots and the queue of one kind of work.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    super::{CancelHandle, ClientOrigin, KindLimits, KindLoad, WorkError, WorkKind, fair_queue::FairQueue},
    JobState, PAUSED, RUNNING, Scheduler, WatchedJob,
};

/// The slots and the queue of one kind of work.
#[derive(Debug)]
pub(super) struct KindQueue {
    kind: WorkKind,
    pub(super) limits: KindLimits,
    running: usize,
    /// Clients of the paused jobs.
    pub(super) paused: Vec<ClientOrigin>,
    /// Jobs that wait for their first slot.
    waiting: FairQueue<Waiter>,
    /// Paused jobs that wait for a slot.
    pub(super) resuming: FairQueue<(oneshot::Sender<()>, Weak<JobState>)>,
    /// Whether the next free slot goes to a paused job, if one waits.
    resumes_next: bool,
    pub(super) refused: u64,
}

/// A job that waits for its first slot.
#[derive(Debug)]
pub(in crate::work) struct Waiter {
    pub(in crate::work) client: ClientOrigin,
    pub(in crate::work) what: String,
    pub(in crate::work) cancel: CancelHandle,
    pub(in crate::work) admitted: oneshot::Sender<Result<Arc<JobState>, WorkError>>,
}

impl KindQueue {
    pub(super) fn new(kind: WorkKind) -> Self {
        Self {
            kind,
            limits: KindLimits { running: 4, waiting: 64 },
            running: 0,
            paused: vec![],
            waiting: FairQueue::default(),
            resuming: FairQueue::default(),
            resumes_next: true,
            refused: 0,
        }
    }

    /// Returns the maximum number of jobs that may run or wait.
    pub(super) fn size(&self) -> usize {
        self.limits.running.saturating_add(self.limits.waiting)
    }

    /// Frees the slot of a job that ends or pauses.
    pub(super) fn free_slot(&mut self, phase: u8, client: ClientOrigin) {
        match phase {
            RUNNING => self.running = self.running.saturating_sub(1),
            PAUSED => {
                if let Some(at) = self.paused.iter().position(|paused| *paused == client) {
                    self.paused.swap_remove(at);
                }
            }
            _ => {}
        }
    }

    /// Queues a new job. Returns the job refused because the queue is full: the new one, or one of a client with more
    /// jobs.
    pub(super) fn enqueue(&mut self, waiter: Waiter) -> Option<Waiter> {
        let room = self.limits.waiting.saturating_add(self.limits.running.saturating_sub(self.running));
        if self.waiting.len() >= room {
            self.waiting.retain(|waiter| !waiter.admitted.is_closed());
        }
        let mut refused = None;
        if self.waiting.len() >= room {
            self.refused += 1;
            // The client with the most waiting jobs makes room for a client with fewer.
            refused = self.waiting.make_room(waiter.client);
            if refused.is_none() {
                return Some(waiter);
            }
        }
        self.waiting.push(waiter.client, waiter);
        refused
    }

    /// Fills one slot, if one is free and a job waits. Jobs that must be dropped after the lock is released go to
    /// `to_drop`.
    pub(super) fn start_next(
        &mut self,
        scheduler: &Arc<Scheduler>,
        jobs: &mut Vec<WatchedJob>,
        to_drop: &mut Vec<Arc<JobState>>,
    ) -> bool {
        if self.running >= self.limits.running {
            return false;
        }
        let resumes_first = self.resumes_next;
        self.resumes_next = !resumes_first;
        let resumed = if resumes_first || self.waiting.len() == 0 { self.resuming.pop() } else { None };
        if let Some((admitted, job)) = resumed {
            if let Some(job) = job.upgrade() {
                if !admitted.is_closed() && job.phase() == PAUSED {
                    self.free_slot(job.set_phase(RUNNING), job.client);
                    self.running += 1;
                    let _ = admitted.send(());
                }
                to_drop.push(job);
            }
            return true;
        }
        let Some(Waiter { client, what, cancel, admitted }) = self.waiting.pop() else {
            return self.resuming.len() > 0;
        };
        if !admitted.is_closed() {
            self.running += 1;
            let (kind, scheduler) = (self.kind, Arc::clone(scheduler));
            let (phase, threads) = (RUNNING.into(), Mutex::default());
            let job = Arc::new(JobState { scheduler, kind, client, what, cancel, phase, threads });
            jobs.push(WatchedJob { job: Arc::downgrade(&job), over_since: None, abandoned: None });
            to_drop.extend(admitted.send(Ok(job)).err().and_then(Result::ok));
        }
        true
    }

    pub(super) fn load(&self) -> KindLoad {
        KindLoad {
            kind: self.kind,
            running: self.running,
            waiting: self.waiting.len() + self.resuming.len(),
            unread: self.paused.len(),
            refused: self.refused,
        }
    }
}
