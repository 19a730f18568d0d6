//! Turns of one kind of work.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    Cancel, Client, Kind, Limits, Refused,
    admission::{Shared, Watched},
    job::{Inner, Job, PAUSED, RUNNING},
    queue::Queue,
};

/// Work of one kind.
#[derive(Debug)]
pub(super) struct Lane {
    kind: Kind,
    pub(super) limits: Limits,
    running: usize,
    /// Clients of work that gave up its turn.
    pub(super) paused: Vec<Client>,
    waiting: Queue<Waiter>,
    /// Work that gave up its turn and wants it back.
    pub(super) resuming: Queue<(oneshot::Sender<()>, Weak<Inner>)>,
    /// The turn after this one goes to work that resumes, if there is some.
    resumes_next: bool,
    pub(super) refused: u64,
}

/// Work that waits for its first turn.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) client: Client,
    pub(super) what: String,
    pub(super) cancel: Cancel,
    pub(super) turn: oneshot::Sender<Result<Job, Refused>>,
}

/// How much work of a kind there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Its kind.
    pub kind: Kind,
    /// Pieces that run.
    pub running: usize,
    /// Pieces that wait for their turn.
    pub waiting: usize,
    /// Pieces that wait for their client to read.
    pub unread: usize,
    /// Pieces that were refused since the start.
    pub refused: u64,
}

impl Lane {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            limits: Limits { running: 4, waiting: 64 },
            running: 0,
            paused: vec![],
            waiting: Queue::default(),
            resuming: Queue::default(),
            resumes_next: true,
            refused: 0,
        }
    }

    /// Pieces that may run or wait.
    pub(super) fn size(&self) -> usize {
        self.limits.running.saturating_add(self.limits.waiting)
    }

    /// Takes the turn of a job that ends or pauses.
    pub(super) fn leave(&mut self, turn: u8, client: Client) {
        match turn {
            RUNNING => self.running = self.running.saturating_sub(1),
            PAUSED => {
                if let Some(at) = self.paused.iter().position(|paused| *paused == client) {
                    self.paused.swap_remove(at);
                }
            }
            _ => {}
        }
    }

    /// Queues a new piece of work; returns the one that was refused for want of room, which may be another.
    pub(super) fn enter(&mut self, waiter: Waiter) -> Option<Waiter> {
        let room = self.limits.waiting.saturating_add(self.limits.running.saturating_sub(self.running));
        if self.waiting.len() >= room {
            self.waiting.retain(|waiter| !waiter.turn.is_closed());
        }
        let mut refused = None;
        if self.waiting.len() >= room {
            self.refused += 1;
            // The client with the most requests makes room for one with fewer.
            refused = self.waiting.make_room(waiter.client);
            if refused.is_none() {
                return Some(waiter);
            }
        }
        self.waiting.push(waiter.client, waiter);
        refused
    }

    /// Gives one turn, if one is free and somebody waits. Jobs that are not needed any more go to `unneeded`.
    pub(super) fn give_turn(&mut self, shared: &Arc<Shared>, jobs: &mut Vec<Watched>, unneeded: &mut Vec<Job>) -> bool {
        if self.running >= self.limits.running {
            return false;
        }
        let resumes_first = self.resumes_next;
        self.resumes_next = !resumes_first;
        let resumed = if resumes_first || self.waiting.len() == 0 { self.resuming.pop() } else { None };
        if let Some((turn, job)) = resumed {
            if let Some(job) = job.upgrade().map(Job) {
                if !turn.is_closed() && job.0.turn() == PAUSED {
                    self.leave(job.0.set_turn(RUNNING), job.0.client);
                    self.running += 1;
                    let _ = turn.send(());
                }
                unneeded.push(job);
            }
            return true;
        }
        let Some(Waiter { client, what, cancel, turn }) = self.waiting.pop() else {
            return self.resuming.len() > 0;
        };
        if !turn.is_closed() {
            self.running += 1;
            let (kind, shared) = (self.kind, Arc::clone(shared));
            let job = Inner { shared, kind, client, what, cancel, turn: RUNNING.into(), place: Mutex::default() };
            let job = Job(Arc::new(job));
            jobs.push(Watched { job: Arc::downgrade(&job.0), over_since: None });
            unneeded.extend(turn.send(Ok(job)).err().and_then(Result::ok));
        }
        true
    }

    pub(super) fn load(&self) -> Load {
        Load {
            kind: self.kind,
            running: self.running,
            waiting: self.waiting.len() + self.resuming.len(),
            unread: self.paused.len(),
            refused: self.refused,
        }
    }
}
