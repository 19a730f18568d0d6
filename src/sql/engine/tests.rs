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
    store::history_store::{HistorySamples, HistoryStore, HistoryStoreStatus, ReadError, SampleRequest},
    work::MAX_ABANDONED,
};

#[test]
fn a_statement_is_named_by_its_start_in_one_line() {
    assert_eq!(statement_name("SELECT  1\n FROM x"), "SELECT 1 FROM x");
    assert_eq!(statement_name(&"ä ".repeat(100)).len(), 80);
}

/// A history store that answers only when it is released, even if the statement was cancelled.
#[derive(Debug)]
struct Stuck {
    requests: Arc<AtomicUsize>,
    released: Mutex<mpsc::Receiver<()>>,
}

impl HistoryStore for Stuck {
    fn read(&self, _: SampleRequest) -> Result<Option<HistorySamples>, ReadError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let _ = self.released.lock().recv();
        Ok(None)
    }

    fn status(&self) -> HistoryStoreStatus {
        HistoryStoreStatus::default()
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
    let requests = Arc::<AtomicUsize>::default();
    let stuck = Stuck { requests: Arc::clone(&requests), released: Mutex::new(released) };
    lab.cluster().set_history_store(Box::new(stuck));
    let settings = config::Sql { concurrency: 1, queue: 8, ..tests::config().sql };
    let engine = Arc::new(Engine::new(Arc::clone(&lab.store), settings).unwrap());
    let (abandoned, awaited) = (|| lab.store.work().status().abandoned, || status::awaited(&lab.store, Duration::ZERO));
    for number in 1..=MAX_ABANDONED {
        let (engine_of_client, before) = (Arc::clone(&engine), requests.load(Ordering::Relaxed));
        let stuck = "SELECT count(lag), 'abc' FROM history";
        let client = tokio::spawn(async move { rows(&engine_of_client, stuck).await });
        while requests.load(Ordering::Relaxed) == before {
            tokio::task::yield_now().await;
        }
        // The client disconnects.
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
    let expected = "no new work is admitted: 4 cancelled jobs are still running: statement: SELECT";
    assert!(error.starts_with(expected), "{error}");
    assert!(awaited()[0].starts_with("cancelled work is still running; restart the server: statement: SELECT"));
    drop(release);
    until("the threads to come back", || abandoned().is_empty());
    assert!(rows(&engine, "SELECT 1").await.unwrap().contains("| 1 "), "statements run again");
    assert_eq!(awaited(), Vec::<String>::new());
}
