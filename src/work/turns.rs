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

use super::{Cancel, Client, Ended, Kind, Limits, Load, MOST_ABANDONED, Refused, Status, place::Place, queue::Queue};
use crate::clock::{Clock, Ticks, ticks};

/// Time after its cancellation in which a job must end before it is abandoned.
const TIME_TO_END: Duration = Duration::from_secs(2);
/// Maximum number of idle thread sets that are kept for later jobs.
const IDLE: usize = 4;

/// The job occupies no slot any more.
pub(super) const DONE: u8 = 0;
/// The job occupies a slot.
pub(super) const RUNNING: u8 = 1;
/// The job gave up its slot while its client reads.
pub(super) const PAUSED: u8 = 2;

/// An admitted job.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    pub(super) kind: Kind,
    pub(super) client: Client,
    /// The name of the job in logs and the status.
    pub(super) what: String,
    pub(super) cancel: Cancel,
    /// One of [`DONE`], [`RUNNING`] and [`PAUSED`]; changed only under the lock of the admission.
    pub(super) turn: AtomicU8,
    /// The job's threads; `None` before it starts a task, and after it was abandoned.
    pub(super) place: Mutex<Option<Place>>,
}

impl Inner {
    pub(super) fn turn(&self) -> u8 {
        self.turn.load(Ordering::Relaxed)
    }

    pub(super) fn set_turn(&self, turn: u8) -> u8 {
        self.turn.swap(turn, Ordering::Relaxed)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let (turn, place) = (self.set_turn(DONE), self.place.get_mut().take());
        self.shared.end(self.kind, self.client, turn, place);
    }
}

/// The admission.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    clock: Clock,
    /// Number of threads of each job.
    threads: usize,
    /// Threads of all jobs, idle ones included.
    running_threads: Arc<AtomicUsize>,
    /// See [`Shared::writers`].
    writers: Mutex<Option<Place>>,
    /// Wakes the watchdog; `None` in tests, which call [`Shared::look`] themselves.
    wake: Option<SyncSender<()>>,
}

#[derive(Debug)]
struct State {
    lanes: Lanes,
    /// Threads of ended jobs, kept for later ones.
    idle: Vec<Place>,
    /// All jobs, abandoned ones included.
    jobs: Vec<Watched>,
    abandoned_total: u64,
}

/// The slots and queues of each kind, in the order of [`Kind::ALL`].
#[derive(Debug)]
struct Lanes([Lane; Kind::ALL.len()]);

/// A job as the watchdog sees it.
#[derive(Debug)]
struct Watched {
    job: Weak<Inner>,
    /// The first time the watchdog saw that the job must end.
    over_since: Option<Ticks>,
    /// The name of the job, if its threads were abandoned.
    abandoned: Option<String>,
}

impl Lanes {
    fn of(&mut self, kind: Kind) -> &mut Lane {
        let [statements, pages, histories, scrapes] = &mut self.0;
        match kind {
            Kind::Statement => statements,
            Kind::Page => pages,
            Kind::History => histories,
            Kind::Scrape => scrapes,
        }
    }
}

impl State {
    /// Returns the abandoned jobs that are still running, with the seconds since their cancellation.
    fn abandoned(&mut self, now: Ticks) -> Vec<String> {
        self.jobs.retain(|watched| watched.job.strong_count() > 0);
        let text = |of: &Watched| {
            let seconds = now.saturating_sub(of.over_since.unwrap_or(now)) / 10;
            of.abandoned.as_ref().map(|what| format!("{what} (for {seconds} s)"))
        };
        self.jobs.iter().filter_map(text).collect()
    }
}

impl Shared {
    pub(super) fn new(clock: Clock, threads: usize, wake: Option<SyncSender<()>>) -> Self {
        let state = State { lanes: Lanes(Kind::ALL.map(Lane::new)), idle: vec![], jobs: vec![], abandoned_total: 0 };
        let (running_threads, writers) = Default::default();
        Self { state: Mutex::new(state), clock, threads, running_threads, writers, wake }
    }

    /// Changes the state, and then starts the jobs for which slots are free.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let mut unneeded = vec![];
        let mut state = self.state.lock();
        let changed = change(&mut state);
        let State { lanes, jobs, .. } = &mut *state;
        for lane in &mut lanes.0 {
            while lane.give_turn(self, jobs, &mut unneeded) {}
        }
        drop(state);
        // Jobs are dropped after the lock is released, since dropping a job takes the lock.
        drop(unneeded);
        changed
    }

    /// Queues a job, or refuses it.
    pub(super) fn enter(self: &Arc<Self>, kind: Kind, waiter: Waiter) {
        let now = self.clock.ticks();
        let refused = self.change(|state| {
            let abandoned = state.abandoned(now);
            let lane = state.lanes.of(kind);
            // Scrapes are admitted, since they report the abandoned jobs.
            if abandoned.len() >= MOST_ABANDONED && kind != Kind::Scrape {
                lane.refused += 1;
                return Some((waiter, Refused::Abandoned(abandoned)));
            }
            let limit = lane.size();
            lane.enter(waiter).map(|refused| (refused, Refused::Full { kind, limit, setting: kind.setting() }))
        });
        if let Some((waiter, why)) = refused {
            let _ = waiter.turn.send(Err(why));
        }
        // A full channel means that the watchdog is about to wake.
        let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
    }

    /// Returns idle threads, or starts new ones.
    pub(super) fn place(&self) -> Result<Place, Refused> {
        let idle = self.state.lock().idle.pop();
        let place = idle.map_or_else(|| Place::new(self.threads, &self.running_threads), Ok);
        place.map_err(|error| Refused::Threads(Arc::new(error)))
    }

    /// Frees the slot and the threads of a job after its last clone was dropped.
    pub(super) fn end(self: &Arc<Self>, kind: Kind, client: Client, turn: u8, place: Option<Place>) {
        if turn == DONE && place.is_none() {
            return;
        }
        let mut place = place;
        self.change(|state| {
            state.lanes.of(kind).leave(turn, client);
            if state.idle.len() < IDLE {
                state.idle.extend(place.take());
            }
            state.jobs.retain(|watched| watched.job.strong_count() > 0);
        });
    }

    /// Frees a job's slot.
    pub(super) fn done(self: &Arc<Self>, job: &Inner) {
        self.change(|state| state.lanes.of(job.kind).leave(job.set_turn(DONE), job.client));
    }

    /// Gives up a job's slot while its client reads.
    pub(super) fn pause(self: &Arc<Self>, job: &Inner) -> Result<(), Ended> {
        self.change(|state| {
            let lane = state.lanes.of(job.kind);
            // Half of the limit for each client, so that a client that does not read cannot keep other clients' jobs
            // from pausing.
            let of_client = lane.paused.iter().filter(|client| **client == job.client).count();
            if lane.paused.len() >= lane.size() || of_client >= lane.size().div_ceil(2) {
                return Err(Ended::Unread { paused: of_client, setting: job.kind.setting() });
            }
            if job.turn() == RUNNING {
                lane.leave(job.set_turn(PAUSED), job.client);
                lane.paused.push(job.client);
            }
            Ok(())
        })
    }

    /// Requests a slot for a paused job.
    pub(super) fn resume(self: &Arc<Self>, job: &Arc<Inner>) -> oneshot::Receiver<()> {
        let (sender, turn) = oneshot::channel();
        self.change(|state| state.lanes.of(job.kind).resuming.push(job.client, (sender, Arc::downgrade(job))));
        turn
    }

    /// Abandons the jobs that did not end in time. Returns whether any other job is running or paused.
    pub(super) fn look(self: &Arc<Self>) -> bool {
        let now = self.clock.ticks();
        let (mut unneeded, mut places) = (vec![], vec![]);
        let has_work = self.change(|state| {
            let State { jobs, lanes, abandoned_total, .. } = state;
            for watched in jobs.iter_mut().filter(|watched| watched.abandoned.is_none()) {
                let Some(job) = watched.job.upgrade() else { continue };
                let is_over = job.cancel.reason().is_some();
                let since = if is_over { *watched.over_since.get_or_insert(now) } else { now };
                if now.saturating_sub(since) >= ticks(TIME_TO_END) {
                    lanes.of(job.kind).leave(job.set_turn(DONE), job.client);
                    places.extend(job.place.lock().take());
                    let what = format!("{}: {}", job.kind, job.what);
                    tracing::warn!(what, "job did not end within 2 s of its cancellation; its threads are abandoned");
                    watched.abandoned = Some(what);
                    *abandoned_total += 1;
                }
                unneeded.push(job);
            }
            jobs.retain(|watched| watched.job.strong_count() > 0);
            jobs.iter().any(|watched| watched.abandoned.is_none())
        });
        places.into_iter().for_each(Place::abandon);
        drop(unneeded);
        has_work
    }

    /// Sets the limits of one kind of work.
    pub(super) fn limit(self: &Arc<Self>, kind: Kind, limits: Limits) {
        self.change(|state| state.lanes.of(kind).limits = limits);
    }

    /// Returns the threads for short tasks that belong to no job.
    pub(super) fn writers(&self) -> Result<Handle, Refused> {
        let mut writers = self.writers.lock();
        if writers.is_none() {
            *writers = Some(self.place()?);
        }
        writers.as_ref().and_then(Place::handle).cloned().ok_or(Refused::Ended(Ended::Cancelled))
    }

    pub(super) fn status(&self) -> Status {
        let mut state = self.state.lock();
        Status {
            threads: self.running_threads.load(Ordering::Relaxed),
            load: state.lanes.0.iter().map(Lane::load).collect(),
            abandoned: state.abandoned(self.clock.ticks()),
            abandoned_total: state.abandoned_total,
        }
    }
}
/// The slots and the queue of one kind of work.
#[derive(Debug)]
struct Lane {
    kind: Kind,
    limits: Limits,
    running: usize,
    /// Clients of the paused jobs.
    paused: Vec<Client>,
    /// Jobs that wait for their first slot.
    waiting: Queue<Waiter>,
    /// Paused jobs that wait for a slot.
    resuming: Queue<(oneshot::Sender<()>, Weak<Inner>)>,
    /// Whether the next free slot goes to a paused job, if one waits.
    resumes_next: bool,
    refused: u64,
}

/// A job that waits for its first slot.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) client: Client,
    pub(super) what: String,
    pub(super) cancel: Cancel,
    pub(super) turn: oneshot::Sender<Result<Arc<Inner>, Refused>>,
}

impl Lane {
    fn new(kind: Kind) -> Self {
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

    /// Returns the maximum number of jobs that may run or wait.
    fn size(&self) -> usize {
        self.limits.running.saturating_add(self.limits.waiting)
    }

    /// Frees the slot of a job that ends or pauses.
    fn leave(&mut self, turn: u8, client: Client) {
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

    /// Queues a new job. Returns the job refused because the queue is full: the new one, or one of a client with more
    /// jobs.
    fn enter(&mut self, waiter: Waiter) -> Option<Waiter> {
        let room = self.limits.waiting.saturating_add(self.limits.running.saturating_sub(self.running));
        if self.waiting.len() >= room {
            self.waiting.retain(|waiter| !waiter.turn.is_closed());
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
    /// `unneeded`.
    fn give_turn(&mut self, shared: &Arc<Shared>, jobs: &mut Vec<Watched>, unneeded: &mut Vec<Arc<Inner>>) -> bool {
        if self.running >= self.limits.running {
            return false;
        }
        let resumes_first = self.resumes_next;
        self.resumes_next = !resumes_first;
        let resumed = if resumes_first || self.waiting.len() == 0 { self.resuming.pop() } else { None };
        if let Some((turn, job)) = resumed {
            if let Some(job) = job.upgrade() {
                if !turn.is_closed() && job.turn() == PAUSED {
                    self.leave(job.set_turn(RUNNING), job.client);
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
            let (running, place) = (RUNNING.into(), Mutex::default());
            let job = Arc::new(Inner { shared, kind, client, what, cancel, turn: running, place });
            jobs.push(Watched { job: Arc::downgrade(&job), over_since: None, abandoned: None });
            unneeded.extend(turn.send(Ok(job)).err().and_then(Result::ok));
        }
        true
    }

    fn load(&self) -> Load {
        Load {
            kind: self.kind,
            running: self.running,
            waiting: self.waiting.len() + self.resuming.len(),
            unread: self.paused.len(),
            refused: self.refused,
        }
    }
}
