//! Turns and threads for work.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    Cancel, Client, Ended, Kind, Limits, Refused, Unread,
    job::{DONE, Inner, Job, PAUSED, RUNNING},
    lane::{Lane, Load, Waiter},
    place::Place,
};
use crate::clock::{Clock, Ticks, ticks};

/// Pieces of work that may keep their threads although they were ended; with so many, nothing new is admitted.
pub const MOST_ABANDONED: usize = 4;
/// How long work may take to end.
const TIME_TO_END: Duration = Duration::from_secs(2);
/// How often work under way is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Threads that wait for work, in sets.
const IDLE: usize = 4;

/// Admits work. Clones are the same admission.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    clock: Clock,
    /// Threads of a piece of work.
    threads: usize,
    running_threads: Arc<AtomicUsize>,
    /// See [`Admission::threads`].
    writers: Mutex<Option<Place>>,
    /// Wakes the watchdog. `None` in tests, which look themselves.
    wake: Option<SyncSender<()>>,
}

#[derive(Debug)]
struct State {
    lanes: Lanes,
    idle: Vec<Place>,
    jobs: Vec<Watched>,
    abandoned: Vec<Abandoned>,
    abandoned_total: u64,
}

#[derive(Debug)]
struct Lanes {
    statements: Lane,
    pages: Lane,
    histories: Lane,
    scrapes: Lane,
}

/// Work under way.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) job: Weak<Inner>,
    /// When it was first seen to be over.
    pub(super) over_since: Option<Ticks>,
}

#[derive(Debug)]
struct Abandoned {
    job: Weak<Inner>,
    what: String,
    since: Ticks,
}

/// How the server's own work does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Threads that run work or wait for some.
    pub threads: usize,
    /// By kind.
    pub load: Vec<Load>,
    /// What does not end, each with the time since it should have.
    pub abandoned: Vec<String>,
    /// How much did not end in time since the start.
    pub abandoned_total: u64,
}

impl Status {
    /// Whether nothing new is admitted.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.abandoned.len() >= MOST_ABANDONED
    }
}

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
        self.0.change(|state| state.lanes.of(kind).limits = limits);
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
        tokio::select! {
            biased;
            // The sender goes only with the admission.
            turn = turn => turn.unwrap_or(Err(Refused::Ended(Ended::Cancelled))),
            ended = cancel.ended() => Err(ended.into()),
        }
    }

    /// Threads for short pieces of work on what admitted work gave, which give way to others as well.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn threads(&self) -> Result<Handle, Refused> {
        let mut writers = self.0.writers.lock();
        if writers.is_none() {
            *writers = Some(self.0.place()?);
        }
        writers.as_ref().and_then(Place::handle).cloned().ok_or(Refused::Ended(Ended::Cancelled))
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

impl Lanes {
    fn of(&mut self, kind: Kind) -> &mut Lane {
        match kind {
            Kind::Statement => &mut self.statements,
            Kind::Page => &mut self.pages,
            Kind::History => &mut self.histories,
            Kind::Scrape => &mut self.scrapes,
        }
    }
}

impl State {
    /// Those that still do not end.
    fn abandoned(&mut self, now: Ticks) -> Vec<String> {
        self.abandoned.retain(|abandoned| abandoned.job.strong_count() > 0);
        let text = |of: &Abandoned| format!("{} (for {} s)", of.what, now.saturating_sub(of.since) / 10);
        self.abandoned.iter().map(text).collect()
    }
}

impl Shared {
    fn new(clock: Clock, threads: usize, wake: Option<SyncSender<()>>) -> Self {
        let [statements, pages, histories, scrapes] = Kind::ALL.map(Lane::new);
        let lanes = Lanes { statements, pages, histories, scrapes };
        let state = State { lanes, idle: vec![], jobs: vec![], abandoned: vec![], abandoned_total: 0 };
        let (running_threads, writers) = Default::default();
        Self { state: Mutex::new(state), clock, threads, running_threads, writers, wake }
    }

    /// Changes the state, and lets work run that has its turn then.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let mut unneeded = vec![];
        let mut state = self.state.lock();
        let changed = change(&mut state);
        let State { lanes, jobs, .. } = &mut *state;
        for kind in Kind::ALL {
            while lanes.of(kind).give_turn(self, jobs, &mut unneeded) {}
        }
        drop(state);
        // Dropped last, since a job that ends takes the lock.
        drop(unneeded);
        changed
    }

    fn enter(self: &Arc<Self>, kind: Kind, waiter: Waiter) {
        let now = self.clock.ticks();
        let refused = self.change(|state| {
            let abandoned = state.abandoned(now);
            let lane = state.lanes.of(kind);
            // Scrapes tell operators about it.
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
        // Full: the watchdog wakes anyway.
        let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
    }

    /// Takes idle threads, or starts some.
    pub(super) fn place(&self) -> Result<Place, Refused> {
        let idle = self.state.lock().idle.pop();
        let place = idle.map_or_else(|| Place::new(self.threads, &self.running_threads), Ok);
        place.map_err(|error| Refused::Threads(Arc::new(error)))
    }

    /// A job has ended, and so has all that worked for it.
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

    /// Gives up a job's turn for good.
    pub(super) fn done(self: &Arc<Self>, job: &Inner) {
        self.change(|state| state.lanes.of(job.kind).leave(job.set_turn(DONE), job.client));
    }

    /// Gives up a job's turn while its client reads.
    pub(super) fn pause(self: &Arc<Self>, job: &Inner) -> Result<(), Ended> {
        self.change(|state| {
            let lane = state.lanes.of(job.kind);
            // Half for each client: the answers that one does not read keep no other from giving up its turn.
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

    /// Asks for the turn that a job gave up.
    pub(super) fn resume(self: &Arc<Self>, job: &Arc<Inner>) -> oneshot::Receiver<()> {
        let (sender, turn) = oneshot::channel();
        self.change(|state| state.lanes.of(job.kind).resuming.push(job.client, (sender, Arc::downgrade(job))));
        turn
    }

    /// Abandons work that should have ended. Returns whether there is work under way.
    fn look(self: &Arc<Self>) -> bool {
        let now = self.clock.ticks();
        let (mut unneeded, mut places) = (vec![], vec![]);
        let has_work = self.change(|state| {
            let State { jobs, lanes, abandoned, abandoned_total, .. } = state;
            jobs.retain_mut(|watched| {
                let Some(job) = watched.job.upgrade() else { return false };
                let is_over = job.cancel.reason().is_some();
                let since = if is_over { *watched.over_since.get_or_insert(now) } else { now };
                let is_abandoned = now.saturating_sub(since) >= ticks(TIME_TO_END);
                if is_abandoned {
                    lanes.of(job.kind).leave(job.set_turn(DONE), job.client);
                    places.extend(job.place.lock().take());
                    let what = format!("{}: {}", job.kind, job.what);
                    tracing::warn!(what, "work did not end within 2 s of its cancellation; its threads are abandoned");
                    abandoned.push(Abandoned { job: Weak::clone(&watched.job), what, since });
                    *abandoned_total += 1;
                }
                unneeded.push(job);
                !is_abandoned
            });
            !jobs.is_empty()
        });
        places.into_iter().for_each(Place::abandon);
        drop(unneeded);
        has_work
    }

    fn status(&self) -> Status {
        let mut state = self.state.lock();
        Status {
            threads: self.running_threads.load(Ordering::Relaxed),
            load: Kind::ALL.into_iter().map(|kind| state.lanes.of(kind).load()).collect(),
            abandoned: state.abandoned(self.clock.ticks()),
            abandoned_total: state.abandoned_total,
        }
    }
}
