//! Work for a statement on the engine's threads: with a place among those that run or wait, within its deadline, and
//! no longer than somebody waits for it.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::{runtime::Handle, sync::oneshot, task::JoinHandle, time::timeout_at};

use super::{super::limits::statement as check, Engine, Shared, SqlError, Statement, Stop};
use crate::store::threads;

/// Work under way. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Work<T> {
    /// `None` once it was told.
    outcome: Option<oneshot::Receiver<Result<T, SqlError>>>,
    deadline: tokio::time::Instant,
    stop: Stop,
    task: JoinHandle<()>,
}

impl<T> Drop for Work<T> {
    fn drop(&mut self) {
        self.stop.end(SqlError::Invalid("nobody waits for the statement any more".to_owned()));
        self.task.abort();
    }
}

impl<T> Work<T> {
    /// Waits for something that the work does, no longer than until its deadline.
    ///
    /// # Cancel safety
    /// That of the future.
    pub(super) async fn in_time<F: Future>(&self, future: F) -> Result<F::Output, SqlError> {
        // The task may be deep in a computation that does not look up.
        timeout_at(self.deadline, future).await.map_err(|_| SqlError::Deadline(self.stop.timeout()))
    }

    /// How it ended; `None` when that was told before.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn outcome(&mut self) -> Option<Result<T, SqlError>> {
        let ended = timeout_at(self.deadline, self.outcome.as_mut()?).await;
        self.outcome = None;
        Some(match ended {
            Ok(outcome) => outcome.unwrap_or(Err(SqlError::ShuttingDown)),
            Err(_) => Err(SqlError::Deadline(self.stop.timeout())),
        })
    }
}

/// What work for a statement goes by.
pub(super) struct Turn {
    pub(super) stop: Stop,
    /// Where the call came from.
    pub(super) caller: Handle,
    /// Given up with the work, before its end is told: who runs the statement next finds the place free.
    _place: Place,
}

impl Engine {
    /// Checks a statement, and takes its place among those that run or wait.
    #[expect(clippy::disallowed_methods, reason = "bounds the run, part of no answer")]
    pub(super) fn admit(&self, statement: &Statement) -> Result<Turn, SqlError> {
        let own = self.shared.settings.timeout;
        let timeout = statement.timeout.map_or(own, |timeout| timeout.min(own));
        let stop = Stop::new(Instant::now() + timeout, timeout);
        // Here and not on the engine's threads, which may all be busy.
        check::tokens(&statement.sql, &self.shared.settings)?;
        let place = self.shared.place()?;
        Ok(Turn { stop, caller: Handle::current(), _place: place })
    }

    /// Starts what there is to do for a statement.
    pub(super) fn work<T, F>(
        &self,
        statement: Statement,
        turn: Turn,
        work: impl FnOnce(Arc<Shared>, Statement, Turn) -> F,
    ) -> Result<Work<T>, SqlError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, SqlError>> + Send + 'static,
    {
        let (sender, outcome) = oneshot::channel();
        let (stop, stopped) = (turn.stop.clone(), turn.stop.clone());
        let work = stop.clone().scope(work(Arc::clone(&self.shared), statement, turn));
        let run = async move {
            let mut work = pin!(work);
            let stepwise = poll_fn(|context| {
                threads::step();
                work.as_mut().poll(context)
            });
            let outcome = tokio::select! {
                outcome = stepwise => outcome,
                reason = stopped.ended() => Err(reason),
            };
            // Nobody may wait any more.
            let _ = sender.send(outcome);
        };
        let task = self.threads()?.spawn(run);
        Ok(Work { outcome: Some(outcome), deadline: stop.deadline().into(), stop, task })
    }
}

impl Shared {
    /// A place among those that run or wait.
    fn place(&self) -> Result<Place, SqlError> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.waiting));
        let queue = self.settings.queue + self.settings.concurrency;
        if before >= queue {
            let what = format!("{queue} statements are running or waiting already");
            return Err(SqlError::Busy { what, setting: "sql.queue" });
        }
        Ok(place)
    }
}

/// Counts a statement as running or waiting while it lives.
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, mpsc};

    use super::{super::config, *};
    use crate::{
        history::tests::{self, lab},
        status,
        store::threads::{Answering, SILENT_AFTER},
    };

    fn until(what: &str, holds: impl Fn() -> bool) {
        #[expect(clippy::disallowed_methods, reason = "bounds a wait")]
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed().as_secs() < 60, "waited for {what}");
            std::thread::yield_now();
        }
    }

    /// Parks a thread of the engine until what is given is dropped.
    fn park(engine: &Engine) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel();
        let begun = Arc::new(Barrier::new(2));
        let parked = Arc::clone(&begun);
        engine.threads().unwrap().spawn(async move {
            parked.wait();
            let _ = released.recv();
        });
        begun.wait();
        release
    }

    #[tokio::test]
    async fn the_server_is_not_ready_while_no_sql_thread_answers_and_single_ones_are_counted() {
        let lab = lab(usize::MAX);
        let settings = config::Sql { threads: 2, ..tests::config().sql };
        let engine = Engine::new(Arc::clone(&lab.store), settings).unwrap();
        let answering = || lab.store.sql_answering();
        until("two threads", || answering().threads == 2);
        let awaited = || status::awaited(&lab.store, SILENT_AFTER);
        let longer = i64::try_from(SILENT_AFTER.as_millis()).unwrap() + 1000;
        lab.clock.advance(longer);
        assert_eq!((answering().silent, awaited()), (0, vec![]), "nothing to do");

        let first = park(&engine);
        lab.clock.advance(longer);
        assert_eq!((answering(), awaited()), (Answering { threads: 2, silent: 1 }, vec![]));
        let sql = "SELECT sql_threads, silent_sql_threads FROM server WHERE now() IS NOT NULL".to_owned();
        let mut answer = engine.run(Statement { sql, ..Statement::default() }).await.unwrap();
        let batch = answer.next().await.unwrap().unwrap();
        let shown = arrow::util::pretty::pretty_format_batches(&[batch]).unwrap().to_string();
        assert!(shown.contains("| 2           | 1                  |"), "{shown}");
        drop(answer);

        let second = park(&engine);
        lab.clock.advance(longer);
        assert!(answering().is_none());
        assert!(awaited().iter().any(|reason| reason.starts_with("SQL: no thread has answered for 10 s")));
        drop((first, second));
        until("the threads to answer again", || answering().silent == 0 && awaited().is_empty());
    }
}
