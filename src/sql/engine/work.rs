//! A statement as a piece of admitted work ([`crate::work`]).

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::{
    super::limits::{Reading, statement as check},
    Engine, Shared, SqlError, Statement, Stop,
};
use crate::{
    freshness,
    store::{cut::Cut, held::Pin},
    work::{Cancel, Ended, Job, Kind, Outbox, Refused, SendError, Task, Unsent},
};

/// Bytes of a statement that name it for operators.
const NAME_BYTES: usize = 80;

/// A statement that has its turn and its cut.
pub(super) struct Turn {
    pub(super) stop: Stop,
    pub(super) job: Job,
    pub(super) cut: Arc<Cut>,
}

impl Engine {
    /// Checks a statement, waits for its turn, and pins its cut.
    pub(super) async fn admit(&self, statement: &Statement) -> Result<Turn, SqlError> {
        let Shared { store, settings, .. } = &*self.shared;
        let timeout = statement.timeout.map_or(settings.timeout, |timeout| timeout.min(settings.timeout));
        let cancel = Cancel::within(timeout);
        check::tokens(&statement.sql, settings)?;
        if statement.latest {
            // A little less than the statement may take, so that the reason is told.
            freshness::wait_for_all(store, timeout - timeout / 20).await?;
        }
        let job = self.admission.admit(Kind::Statement, name(&statement.sql), &cancel).await?;
        // Here, since the threads that run statements give way to others, which must not wait for their locks.
        let cut: Pin<Cut> = store.pin_cut("", statement.allow_partial, &cancel)?;
        Ok(Turn { stop: Stop::new(cancel), job, cut: Arc::clone(cut.shared()) })
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
        let (stop, job) = (turn.stop.clone(), turn.job.clone());
        let task = job.spawn(stop.clone().scope(work(Arc::clone(&self.shared), statement, turn)))?;
        Ok(Work { task: Some(task), stop })
    }
}

/// The start of a statement, in one line.
fn name(sql: &str) -> String {
    let name: String = sql.split_whitespace().flat_map(|word| [word, " "]).flat_map(str::chars).collect();
    let end = name.char_indices().map(|(at, _)| at).find(|at| *at >= NAME_BYTES);
    name.get(..end.unwrap_or(name.len())).unwrap_or_default().trim_end().to_owned()
}

/// Work under way. Dropping it cancels it.
#[derive(Debug)]
pub(super) struct Work<T> {
    /// `None` once its outcome was told.
    task: Option<Task<Result<T, SqlError>>>,
    stop: Stop,
}

impl<T> Work<T> {
    /// Waits for something that the work does, no longer than it may take.
    ///
    /// # Cancel safety
    /// That of the future.
    pub(super) async fn in_time<F: Future>(&self, future: F) -> Result<F::Output, SqlError> {
        tokio::select! {
            biased;
            output = future => Ok(output),
            // It may be deep in a computation that does not look at its handle.
            reason = self.stop.ended() => Err(reason),
        }
    }

    /// How it ended; `None` when that was told before.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn outcome(&mut self) -> Option<Result<T, SqlError>> {
        let outcome = self.task.as_mut()?.output().await;
        let outcome = outcome.unwrap_or_else(|refused| Err(self.stop.reason().unwrap_or_else(|| refused.into())));
        // Cancels the work, which is over.
        self.task = None;
        Some(outcome)
    }
}

impl Turn {
    /// What sessions and plans carry. While a part of a plan has it, the statement counts as running.
    pub(super) fn reading(&self) -> Reading {
        Reading { cut: Arc::clone(&self.cut), stop: self.stop.clone(), _job: Some(self.job.clone()) }
    }

    /// Hands a batch to the client, which others do not wait for.
    pub(super) async fn send(
        &self,
        outbox: &Outbox<RecordBatch>,
        batch: RecordBatch,
        patience: std::time::Duration,
    ) -> Result<(), SqlError> {
        let bytes = batch.get_array_memory_size();
        self.job.send(outbox, batch, bytes, patience).await.map_err(|error| match error {
            SendError::Unsent(Unsent::Stalled(after)) => SqlError::Stalled(after),
            SendError::Unsent(Unsent::Disconnected) => Refused::Ended(Ended::Disconnected).into(),
            SendError::Ended(ended) => self.stop.reason().unwrap_or_else(|| Refused::Ended(ended).into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
        time::{Duration, Instant},
    };

    use parking_lot::Mutex;

    use super::*;
    use crate::{
        config,
        history::tests::{self, lab},
        status,
        store::older::{Older, OlderSamples, OlderStatus, Question, ReadError},
        work::MOST_ABANDONED,
    };

    #[test]
    fn a_statement_is_named_by_its_start_in_one_line() {
        assert_eq!(name("SELECT  1\n FROM x"), "SELECT 1 FROM x");
        assert_eq!(name(&"ä ".repeat(100)).len(), 80);
    }

    /// A store of samples that answers once it is released, although the statement that asked was cancelled.
    #[derive(Debug)]
    struct Stuck {
        asked: Arc<AtomicUsize>,
        released: Mutex<mpsc::Receiver<()>>,
    }

    impl OlderSamples for Stuck {
        fn ask(&self, _: Question) -> Result<Option<Older>, ReadError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let _ = self.released.lock().recv();
            Ok(None)
        }

        fn status(&self) -> OlderStatus {
            OlderStatus::default()
        }
    }

    fn until(what: &str, holds: impl Fn() -> bool) {
        #[expect(clippy::disallowed_methods, reason = "bounds a wait")]
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed().as_secs() < 60, "waited for {what}");
            std::thread::yield_now();
        }
    }

    async fn rows(engine: &Engine, sql: &str) -> Result<String, SqlError> {
        let statement = Statement { sql: sql.to_owned(), ..Statement::default() };
        let mut answer = engine.run(statement).await?;
        let mut batches = vec![];
        while let Some(batch) = answer.next().await {
            batches.push(batch?);
        }
        Ok(arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string())
    }

    #[tokio::test]
    async fn statements_that_cannot_be_ended_are_abandoned_and_named_and_others_run() {
        let lab = lab(usize::MAX);
        let (release, released) = mpsc::channel();
        let asked = Arc::<AtomicUsize>::default();
        let stuck = Stuck { asked: Arc::clone(&asked), released: Mutex::new(released) };
        lab.cluster().set_older(Box::new(stuck));
        let settings = config::Sql { concurrency: 1, queue: 8, ..tests::config().sql };
        let engine = Arc::new(Engine::new(Arc::clone(&lab.store), settings).unwrap());
        let (abandoned, awaited) =
            (|| lab.store.work().status().abandoned, || status::awaited(&lab.store, Duration::ZERO));
        for number in 1..=MOST_ABANDONED {
            let (engine_of_client, before) = (Arc::clone(&engine), asked.load(Ordering::Relaxed));
            let stuck = "SELECT count(lag), 'abc' FROM history";
            let client = tokio::spawn(async move { rows(&engine_of_client, stuck).await });
            while asked.load(Ordering::Relaxed) == before {
                tokio::task::yield_now().await;
            }
            // The client leaves.
            client.abort();
            assert!(client.await.unwrap_err().is_cancelled());
            assert_eq!(awaited(), Vec::<String>::new());
            until("its threads to be abandoned", || {
                lab.clock.advance(500);
                abandoned().len() == number
            });
            if number == 1 {
                let shown = rows(&engine, "SELECT silent_sql_threads, abandoned_work FROM server").await.unwrap();
                assert!(shown.contains("statement: SELECT count(lag), 'abc' FROM history (for "), "{shown}");
            }
        }
        let error = rows(&engine, "SELECT 1").await.unwrap_err().to_string();
        assert!(error.starts_with("no threads are left for new work: 4 do not end: statement: SELECT"), "{error}");
        assert!(awaited()[0].starts_with("work that does not end; restart the server: statement: SELECT"));
        drop(release);
        until("the threads to come back", || abandoned().is_empty());
        assert!(rows(&engine, "SELECT 1").await.unwrap().contains("| 1 "), "it runs again");
        assert_eq!(awaited(), Vec::<String>::new());
    }
}
