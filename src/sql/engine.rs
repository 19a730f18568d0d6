//! Runs statements: a bounded number at once, each within a deadline, a cap on memory and a cap on its answer; on threads
//! of its own.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    common::{DataFusionError, ScalarValue},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{ExecutionPlan, execute_stream},
};
use futures::StreamExt as _;
use thread_priority::ThreadPriority;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
};

use super::{
    error::SqlError,
    limits::{self, Stop},
    output,
    session::Sessions,
};
use crate::{
    config, freshness,
    store::{
        Store,
        cut::{Cut, Snapshot},
        threads,
    },
};

mod describe;
mod feed;
mod logical;
mod pins;
mod work;

pub use describe::Description;
use feed::{Fed, Feed};
use pins::Pins;
use work::{Turn, Work};

/// Room for a planner's recursion over a long statement.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Rows of a batch that are written sooner than they are handed to another thread.
const FEW_ROWS: usize = 64;

/// Of 99: on Linux, a niceness of 5. Statements take every core that is idle, and a quarter of a busy one: point queries,
/// probes and readers of Kafka, who need it for microseconds, go first. With the same priority for all, these would wait
/// for statements; with fewer threads than cores, statements would wait for nobody.
const PRIORITY: u8 = 34;

/// A statement to run.
#[derive(Clone, Debug, Default)]
pub struct Statement {
    /// One read-only statement.
    pub sql: String,
    /// Values of `$1`, `$2`, …
    pub parameters: Vec<ScalarValue>,
    /// Stop after so many rows, and say so.
    pub max_rows: Option<usize>,
    /// Also read clusters that are still loading.
    pub allow_partial: bool,
    /// First wait until everything acknowledged before is applied.
    pub latest: bool,
    /// The caller's deadline; the server's own holds as well.
    pub timeout: Option<Duration>,
}

/// How an answer ended.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Rows given.
    pub rows: usize,
    /// From the call to the last row.
    pub elapsed: Duration,
    /// `max_rows` cut the answer.
    pub truncated: bool,
    /// What was read.
    pub snapshot: Snapshot,
}

/// An answer under way. Dropping it cancels the statement.
#[derive(Debug)]
pub struct Answer {
    /// Columns of the batches: plain Utf8 for text, nanoseconds for times.
    pub schema: SchemaRef,
    batches: Fed,
    stats: Arc<parking_lot::Mutex<Stats>>,
    started: Instant,
    work: Work<()>,
    threads: Handle,
}

impl Answer {
    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// Why the statement failed under way.
    ///
    /// # Cancel safety
    /// No batch is lost.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, SqlError>> {
        match self.work.in_time(self.batches.next()).await {
            Ok(Some(batch)) => Some(Ok(batch)),
            // All that there is was taken; or it was dropped, since the statement failed.
            Ok(None) => self.work.outcome().await?.err().map(Err),
            Err(late) => Some(Err(late)),
        }
    }

    /// Writes a batch, or what stands after the last, in some form: as a rule on the engine's threads, since text of
    /// thousands of rows takes long enough for others to notice.
    ///
    /// # Errors
    /// The server is shutting down.
    pub async fn write<T: Send + 'static>(
        &self,
        batch: Option<RecordBatch>,
        write: impl FnOnce(Option<&RecordBatch>) -> T + Send + 'static,
    ) -> Result<T, SqlError> {
        if batch.as_ref().is_none_or(|batch| batch.num_rows() <= FEW_ROWS) {
            return Ok(write(batch.as_ref()));
        }
        let written = self.threads.spawn(async move { write(batch.as_ref()) }).await;
        written.map_err(|error| match error.is_panic() {
            true => SqlError::Internal("writing a batch panicked".to_owned()),
            false => SqlError::ShuttingDown,
        })
    }

    /// How it went; complete after the last batch.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { elapsed: self.started.elapsed(), ..self.stats.lock().clone() }
    }
}

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
        let threads = match settings.threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            threads => threads,
        };
        let (all, clock) = (Arc::clone(store.sql_threads()), store.clock.clone());
        let stop = {
            let all = Arc::clone(&all);
            move || all.leave()
        };
        let start = move || {
            yield_to_others();
            all.join(clock.clone());
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("sql")
            .thread_stack_size(STACK_BYTES)
            .on_thread_start(start)
            .on_thread_stop(stop)
            .on_thread_park(threads::pause)
            .on_thread_unpark(threads::resume)
            .enable_time()
            .build()?;
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
        let turn = self.turn(&statement)?;
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

    fn threads(&self) -> Result<&Handle, SqlError> {
        self.runtime.as_ref().map(Runtime::handle).ok_or(SqlError::ShuttingDown)
    }

    /// The store that is read.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }
}

fn yield_to_others() {
    let priority = PRIORITY.try_into().map_or(ThreadPriority::Min, ThreadPriority::Crossplatform);
    if let Err(error) = priority.set_for_current() {
        tracing::debug!(?error, "SQL runs with the priority of everything else");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Dropping a runtime waits, which async code must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A plan to run.
struct Plan {
    physical: Arc<dyn ExecutionPlan>,
    /// Of the answer.
    schema: SchemaRef,
    task: Arc<TaskContext>,
}

/// What is told of an answer before its first row.
struct Planned {
    schema: SchemaRef,
    stats: Arc<parking_lot::Mutex<Stats>>,
}

/// An answer to give.
struct Given {
    stream: SendableRecordBatchStream,
    schema: SchemaRef,
    max_rows: Option<usize>,
    stats: Arc<parking_lot::Mutex<Stats>>,
}

/// A statement that has its turn and its cut.
struct Ready {
    cut: Arc<Cut>,
    _permit: OwnedSemaphorePermit,
}

fn sort(error: DataFusionError) -> SqlError {
    SqlError::from_datafusion(&error)
}

impl Shared {
    /// Waits for the statement's turn, and takes its cut.
    async fn ready(&self, statement: &Statement, turn: &Turn) -> Result<Ready, SqlError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| SqlError::ShuttingDown)?;
        if statement.latest {
            // A little less than the statement may take, so that the reason is told.
            let timeout = turn.stop.timeout();
            freshness::wait_for_all(&self.store, timeout - timeout / 20).await?;
        }
        let cut = self.cut(&turn.caller, statement.allow_partial).await?;
        let cut = Arc::new(cut);
        self.pins.add(&cut, &turn.stop);
        Ok(Ready { cut, _permit: permit })
    }

    /// Takes a cut on a thread of the caller's: whoever holds a shard's lock must not be the one to wait for a core.
    async fn cut(&self, caller: &Handle, allow_partial: bool) -> Result<Cut, SqlError> {
        let store = Arc::clone(&self.store);
        let cut = caller.spawn_blocking(move || store.cut("", allow_partial));
        Ok(cut.await.map_err(|_| SqlError::ShuttingDown)??)
    }

    /// Gives the answer of a statement.
    async fn answer(
        &self,
        statement: Statement,
        planned: oneshot::Sender<Planned>,
        feed: Feed,
        turn: &Turn,
    ) -> Result<(), SqlError> {
        let ready = self.ready(&statement, turn).await?;
        let max_rows = statement.max_rows;
        let Plan { physical, schema, task } = self.plan_to_run(statement, &ready.cut, &turn.stop)?;
        let stream = execute_stream(physical, task).map_err(sort)?;
        let stats = Stats { rows: 0, elapsed: Duration::ZERO, truncated: false, snapshot: ready.cut.snapshot() };
        let stats = Arc::new(parking_lot::Mutex::new(stats));
        // The client may have gone, which ends the statement all the same.
        let _ = planned.send(Planned { schema: Arc::clone(&schema), stats: Arc::clone(&stats) });
        self.give(Given { stream, schema, max_rows, stats }, feed).await
    }

    /// Sends batches until the end or a limit.
    async fn give(&self, given: Given, feed: Feed) -> Result<(), SqlError> {
        let Given { mut stream, schema, max_rows, stats } = given;
        let mut limits = Limits { max_rows, settings: &self.settings, rows: 0, bytes: 0 };
        while let Some(batch) = stream.next().await {
            let batch = output::to_wire(&batch.map_err(sort)?, &schema)?;
            let (batch, last) = limits.admit(batch)?;
            {
                let mut stats = stats.lock();
                stats.rows = limits.rows;
                stats.truncated = last;
            }
            feed.send(batch).await?;
            if last {
                break;
            }
        }
        feed.complete();
        Ok(())
    }
}

/// What an answer may still grow by.
struct Limits<'a> {
    max_rows: Option<usize>,
    settings: &'a config::Sql,
    rows: usize,
    bytes: usize,
}

impl Limits<'_> {
    /// The part of a batch that fits the caller's limit, and whether that cut it.
    fn admit(&mut self, batch: RecordBatch) -> Result<(RecordBatch, bool), SqlError> {
        let room = self.max_rows.map_or(usize::MAX, |max| max - self.rows);
        let cut = batch.num_rows() > room;
        let batch = if cut { batch.slice(0, room) } else { batch };
        self.rows += batch.num_rows();
        self.bytes += batch.get_array_memory_size();
        let limit = |what: String, setting| Err(SqlError::Limit { what, setting });
        if self.rows > self.settings.max_rows {
            return limit(format!("the answer has more than {} rows", self.settings.max_rows), "sql.max_rows");
        }
        if self.bytes > self.settings.max_bytes {
            return limit(format!("the answer has more than {} bytes", self.settings.max_bytes), "sql.max_bytes");
        }
        Ok((batch, cut))
    }
}
