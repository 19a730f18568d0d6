//! Whether the threads that run SQL still answer.
//!
//! A thread answers when it takes a step: it begins or resumes a statement, a statement that computes looks whether it is
//! to end, or the thread has nothing to do. A thread that does none of it for [`SILENT_AFTER`] is blocked, or computes
//! without a look at anything, and what waits for it may wait for ever. A thread with long statements is busy, not silent.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use crate::clock::{Clock, Ticks, ticks};

/// How long a thread may take no step.
pub const SILENT_AFTER: Duration = Duration::from_secs(10);

thread_local! {
    /// Of a thread that runs SQL.
    static OWN: RefCell<Option<Arc<Thread>>> = const { RefCell::new(None) };
}

/// The threads that run SQL.
#[derive(Debug, Default)]
pub struct Threads(Mutex<Vec<Arc<Thread>>>);

#[derive(Debug)]
struct Thread {
    clock: Clock,
    idle: AtomicBool,
    last_step: AtomicU32,
}

impl Thread {
    fn step(&self) {
        self.last_step.store(self.clock.ticks(), Ordering::Relaxed);
    }

    fn is_silent(&self, now: Ticks) -> bool {
        let since = now.saturating_sub(self.last_step.load(Ordering::Relaxed));
        !self.idle.load(Ordering::Relaxed) && since > ticks(SILENT_AFTER)
    }
}

/// How many threads there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answering {
    /// Threads that run SQL.
    pub threads: usize,
    /// Of these, those that have not answered for [`SILENT_AFTER`].
    pub silent: usize,
}

impl Answering {
    /// There are threads, and none answers.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.threads > 0 && self.silent >= self.threads
    }
}

impl Threads {
    /// Counts the current thread as one that runs SQL, until [`Threads::leave`].
    pub fn join(&self, clock: Clock) {
        let thread = Arc::new(Thread { last_step: clock.ticks().into(), clock, idle: false.into() });
        OWN.with_borrow_mut(|own| *own = Some(Arc::clone(&thread)));
        self.0.lock().push(thread);
    }

    /// The current thread ends.
    pub fn leave(&self) {
        if let Some(own) = OWN.with_borrow_mut(Option::take) {
            self.0.lock().retain(|thread| !Arc::ptr_eq(thread, &own));
        }
    }

    /// How many threads there are now.
    #[must_use]
    pub fn answering(&self, now: Ticks) -> Answering {
        let threads = self.0.lock();
        let silent = threads.iter().filter(|thread| thread.is_silent(now)).count();
        Answering { threads: threads.len(), silent }
    }
}

/// The current thread takes a step, if it runs SQL.
pub fn step() {
    OWN.with_borrow(|own| own.iter().for_each(|own| own.step()));
}

/// The current thread has nothing to do.
pub fn pause() {
    OWN.with_borrow(|own| own.iter().for_each(|own| own.idle.store(true, Ordering::Relaxed)));
}

/// The current thread has something to do again.
pub fn resume() {
    step();
    OWN.with_borrow(|own| own.iter().for_each(|own| own.idle.store(false, Ordering::Relaxed)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_silent_that_takes_no_step_and_one_that_is_idle_or_busy_is_not() {
        let (threads, clock) = (Threads::default(), Clock::manual(0));
        let answering = || threads.answering(clock.ticks());
        let (limit, longer) = (i64::try_from(SILENT_AFTER.as_millis()).unwrap(), 100);
        assert!(!answering().is_none(), "without threads none is missed");
        threads.join(clock.clone());
        clock.advance(limit);
        assert_eq!(answering(), Answering { threads: 1, silent: 0 });
        clock.advance(longer);
        assert_eq!(answering(), Answering { threads: 1, silent: 1 });
        assert!(answering().is_none());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                step();
                threads.join(clock.clone());
                assert_eq!(answering(), Answering { threads: 2, silent: 1 });
                assert!(!answering().is_none(), "one of them answers");
                threads.leave();
            });
        });
        step();
        assert_eq!(answering().silent, 0, "busy");
        pause();
        clock.advance(100 * limit);
        assert_eq!(answering().silent, 0, "idle");
        resume();
        assert_eq!(answering().silent, 0);
        clock.advance(limit + longer);
        assert_eq!(answering().silent, 1);
        threads.leave();
        assert_eq!(answering(), Answering::default());
    }
}
