//! The one way of a statement: it is admitted, takes a cut, is planned, runs, and streams its answer. A bounded number run
//! at once, each within a deadline, a cap on memory and a cap on its answer, on threads of the engine's own.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use arrow::datatypes::SchemaRef;
use datafusion::{execution::SendableRecordBatchStream, physical_plan::execute_stream};
use futures::StreamExt as _;
use thread_priority::ThreadPriority;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
};

use super::{
    error::SqlError,
    limits::{Reading, Stop, memory::QueryPool},
    output, plan, scan,
    session::Sessions,
    tables::{self, TableDescription},
};
use crate::{
    config, freshness,
    store::{Store, cut::Cut, threads},
};

mod answer;
mod feed;
mod pins;
mod work;

pub use answer::{Answer, Description, Statement, Stats};
use answer::{SharedStats, Size};
use feed::Feed;
use pins::Pins;
use work::Turn;

/// Room for a planner's recursion over a long statement.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Of 99: on Linux, a niceness of 5. Statements take every core that is idle, and a quarter of a busy one: point queries,
/// probes and readers of Kafka, who need it for microseconds, go first. With the same priority for all, these would wait
/// for statements; with fewer threads than cores, statements would wait for nobody.
const PRIORITY: u8 = 34;

/// Runs statements over a store.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    /// `None` only while dropping.
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    settings: config::Sql,
    sessions: Sessions,
    permits: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    memory: Arc<AtomicUsize>,
    pins: Arc<Pins>,
}

impl Engine {
    /// An engine with threads of its own. The first one of a store keeps what its readers hold within bounds.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn new(store: Arc<Store>, settings: config::Sql) -> std::io::Result<Self> {
        let runtime = threads(&store, &settings)?;
        let pins = Arc::<Pins>::default();
        let (oldest_first, max_held_bytes) = (Arc::clone(&pins), settings.max_held_bytes);
        store.held().cap(max_held_bytes, move || oldest_first.relieve(max_held_bytes));
        let shared = Shared {
            store,
            permits: Arc::new(Semaphore::new(settings.concurrency.max(1))),
            sessions: Sessions::new(&settings).map_err(std::io::Error::other)?,
            settings,
            waiting: Arc::default(),
            memory: Arc::default(),
            pins,
        };
        Ok(Self { shared: Arc::new(shared), runtime: Some(runtime) })
    }

    /// Plans a statement and starts it.
    ///
    /// # Errors
    /// Why it cannot be run; what fails later comes with the batches.
    #[expect(clippy::disallowed_methods, reason = "measures the run, part of no answer")]
    pub async fn run(&self, statement: Statement) -> Result<Answer, SqlError> {
        let started = Instant::now();
        let turn = self.admit(&statement)?;
        let (feed, batches) = feed::pair(self.shared.settings.stall_timeout);
        let threads = self.threads()?.clone();
        let (planned, plan) = oneshot::channel();
        let mut work = self.work(statement, turn, |shared, statement, turn| async move {
            shared.answer(statement, planned, feed, &turn).await
        })?;
        match work.in_time(plan).await? {
            Ok(Planned { schema, stats }) => Ok(Answer { schema, batches, stats, started, work, threads }),
            // It failed before there was a plan.
            Err(_) => Err(work.outcome().await.and_then(Result::err).unwrap_or(SqlError::ShuttingDown)),
        }
    }

    /// Plans a statement, within the same limits as [`Engine::run`], and does not run it.
    ///
    /// # Errors
    /// Why it cannot be run, as far as planning tells.
    pub async fn describe(&self, statement: Statement) -> Result<Description, SqlError> {
        let turn = self.admit(&statement)?;
        let mut work = self.work(statement, turn, |shared, statement, turn| async move {
            let cut = shared.cut(&statement, &turn).await?;
            shared.describe(statement, &cut.cut, &turn.stop)
        })?;
        work.outcome().await.unwrap_or(Err(SqlError::ShuttingDown))
    }

    /// All tables and views, by name, with their columns as a query gives them.
    #[must_use]
    pub fn tables(&self) -> Vec<TableDescription> {
        let described = tables::described().into_iter();
        described.map(|table| TableDescription { schema: output::wire_schema(&table.schema), ..table }).collect()
    }

    /// The store that is read.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    fn threads(&self) -> Result<&Handle, SqlError> {
        self.runtime.as_ref().map(Runtime::handle).ok_or(SqlError::ShuttingDown)
    }
}

/// What is told of an answer before its first row.
struct Planned {
    schema: SchemaRef,
    stats: SharedStats,
}

/// The cut that a statement reads, and its place among those that run.
struct Taken {
    cut: Arc<Cut>,
    _permit: OwnedSemaphorePermit,
}

/// Batches under way, with the schema that they are given in.
struct Started {
    stream: SendableRecordBatchStream,
    schema: SchemaRef,
}

/// The way of a statement that was admitted ([`Engine::admit`]).
impl Shared {
    async fn answer(
        &self,
        statement: Statement,
        planned: oneshot::Sender<Planned>,
        feed: Feed,
        turn: &Turn,
    ) -> Result<(), SqlError> {
        let taken = self.cut(&statement, turn).await?;
        let max_rows = statement.max_rows;
        let started = self.start(statement, &taken.cut, &turn.stop)?;
        let stats = Stats { rows: 0, elapsed: Duration::ZERO, truncated: false, snapshot: taken.cut.snapshot() };
        let stats = Arc::new(parking_lot::Mutex::new(stats));
        // The client may have gone, which ends the statement all the same.
        let _ = planned.send(Planned { schema: Arc::clone(&started.schema), stats: Arc::clone(&stats) });
        self.stream(started, max_rows, &stats, &feed).await?;
        feed.complete();
        Ok(())
    }

    /// Waits until the statement may run, and takes its cut.
    async fn cut(&self, statement: &Statement, turn: &Turn) -> Result<Taken, SqlError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| SqlError::ShuttingDown)?;
        if statement.latest {
            // A little less than the statement may take, so that the reason is told.
            let timeout = turn.stop.timeout();
            freshness::wait_for_all(&self.store, timeout - timeout / 20).await?;
        }
        // On a thread of the caller's: a holder of a shard's lock must not be the one to wait for a core.
        let (store, allow_partial) = (Arc::clone(&self.store), statement.allow_partial);
        let cut = turn.caller.spawn_blocking(move || store.cut("", allow_partial));
        let cut = Arc::new(cut.await.map_err(|_| SqlError::ShuttingDown)??);
        self.pins.add(&cut, &turn.stop);
        Ok(Taken { cut, _permit: permit })
    }

    /// Plans the statement, and starts the plan. Not async: see [`plan`].
    fn start(&self, statement: Statement, cut: &Arc<Cut>, stop: &Stop) -> Result<Started, SqlError> {
        let session = self.sessions.session(Reading { cut: Arc::clone(cut), stop: stop.clone() });
        let logical = plan::logical(&session, &statement.sql, &self.settings)?;
        scan::check_loaded(&logical, cut)?;
        let (bound, schema) = plan::bind(&session, logical, statement.parameters)?;
        let physical = plan::physical(&session, &bound)?;
        let memory = QueryPool::new(&self.settings, Arc::clone(&self.memory), stop.clone());
        let stream = execute_stream(physical, self.sessions.task(&session, Arc::new(memory)));
        let stream = stream.map_err(|error| SqlError::from_datafusion(&error))?;
        Ok(Started { stream, schema })
    }

    /// Plans the statement, and tells what its plan gives and needs.
    fn describe(&self, statement: Statement, cut: &Arc<Cut>, stop: &Stop) -> Result<Description, SqlError> {
        let session = self.sessions.session(Reading { cut: Arc::clone(cut), stop: stop.clone() });
        let logical = plan::logical(&session, &statement.sql, &self.settings)?;
        scan::check_loaded(&logical, cut)?;
        let parameters = plan::parameters(&logical)?;
        let (_, schema) = plan::bind(&session, logical, statement.parameters)?;
        Ok(Description { schema, parameters })
    }

    /// Sends batches until the end or a limit.
    async fn stream(
        &self,
        started: Started,
        max_rows: Option<usize>,
        stats: &SharedStats,
        feed: &Feed,
    ) -> Result<(), SqlError> {
        let Started { mut stream, schema } = started;
        let mut size = Size::new(max_rows, &self.settings);
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| SqlError::from_datafusion(&error))?;
            let (batch, last) = size.admit(output::to_wire(&batch, &schema)?)?;
            {
                let mut stats = stats.lock();
                stats.rows = size.rows;
                stats.truncated = last;
            }
            feed.send(batch).await?;
            if last {
                break;
            }
        }
        Ok(())
    }
}

/// Starts the threads that plan and run.
fn threads(store: &Store, settings: &config::Sql) -> std::io::Result<Runtime> {
    let threads = match settings.threads {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        threads => threads,
    };
    let (joined, left, clock) = (Arc::clone(store.sql_threads()), Arc::clone(store.sql_threads()), store.clock.clone());
    let start = move || {
        let priority = PRIORITY.try_into().map_or(ThreadPriority::Min, ThreadPriority::Crossplatform);
        if let Err(error) = priority.set_for_current() {
            tracing::debug!(?error, "SQL runs with the priority of everything else");
        }
        joined.join(clock.clone());
    };
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("sql")
        .thread_stack_size(STACK_BYTES)
        .on_thread_start(start)
        .on_thread_stop(move || left.leave())
        .on_thread_park(threads::pause)
        .on_thread_unpark(threads::resume)
        .enable_time()
        .build()
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Dropping a runtime waits, which async code must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
