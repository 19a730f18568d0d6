//! Runs statements: on threads of its own, a bounded number at once, each within a deadline, a cap
//! on memory and a cap on its answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    common::{DataFusionError, ScalarValue},
    config::Dialect,
    execution::{SessionState, context::SQLOptions},
    logical_expr::LogicalPlan,
    physical_plan::execute_stream,
};
use futures::StreamExt as _;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::timeout_at,
};

use super::{
    check, error::SqlError, memory::QueryPool, output, session::session, stop::Stop, table::AnyTable, tables, views,
};
use crate::{
    config, freshness,
    store::{
        Store,
        cut::{Cut, Snapshot},
    },
};

mod describe;

pub use describe::Description;

/// Room for a planner's recursion over a long statement.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Batches made before the reader takes them.
const AHEAD: usize = 2;

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
    batches: mpsc::Receiver<Result<RecordBatch, SqlError>>,
    stats: Arc<parking_lot::Mutex<Stats>>,
    deadline: tokio::time::Instant,
    timeout: Duration,
    started: Instant,
    _task: AbortOnDrop,
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
        match timeout_at(self.deadline, self.batches.recv()).await {
            Ok(batch) => batch,
            // The task may be deep in a computation that does not look up.
            Err(_) => Some(Err(SqlError::Deadline(self.timeout))),
        }
    }

    /// How it went; complete after the last batch.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { elapsed: self.started.elapsed(), ..self.stats.lock().clone() }
    }
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>, Stop);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.1.set();
        self.0.abort();
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
    tables: Vec<Arc<dyn AnyTable>>,
    permits: Semaphore,
    waiting: Arc<AtomicUsize>,
    memory: Arc<AtomicUsize>,
}

impl Engine {
    /// An engine with threads of its own.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn new(store: Arc<Store>, settings: config::Sql) -> std::io::Result<Self> {
        let threads = match settings.threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            threads => threads,
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("sql")
            .thread_stack_size(STACK_BYTES)
            .enable_time()
            .build()?;
        let shared = Shared {
            store,
            permits: Semaphore::new(settings.concurrency.max(1)),
            settings,
            tables: tables::all(),
            waiting: Arc::default(),
            memory: Arc::default(),
        };
        Ok(Self { shared: Arc::new(shared), runtime: Some(runtime) })
    }

    /// Plans a statement and starts it.
    ///
    /// # Errors
    /// Why it cannot be run; what fails later comes with the batches.
    #[expect(clippy::disallowed_methods, reason = "measures and bounds the run, part of no answer")]
    pub async fn run(&self, statement: Statement) -> Result<Answer, SqlError> {
        let started = Instant::now();
        let own = self.shared.settings.timeout;
        let timeout = statement.timeout.map_or(own, |timeout| timeout.min(own));
        let deadline = tokio::time::Instant::from_std(started) + timeout;
        let (planned, plan) = oneshot::channel();
        let (sender, batches) = mpsc::channel(AHEAD);
        let shared = Arc::clone(&self.shared);
        let runtime = self.runtime.as_ref().ok_or(SqlError::ShuttingDown)?;
        // Here and not on the engine's threads, which may all be busy.
        check::tokens(&statement.sql, &shared.settings)?;
        let place = shared.place()?;
        let stop = Stop::new(deadline.into_std(), timeout);
        let stopped = stop.clone();
        let run = async move {
            let _place = place;
            let run = timeout_at(deadline, shared.answer(statement, timeout, planned, &sender, &stopped)).await;
            let result = run.unwrap_or(Err(SqlError::Deadline(timeout)));
            if let Err(error) = result {
                // The reader may have gone, which is what ends a statement early.
                let _ = sender.send(Err(error)).await;
            }
        };
        let task = AbortOnDrop(runtime.spawn(run), stop);
        let planned = match timeout_at(deadline, plan).await {
            Ok(Ok(planned)) => planned,
            Ok(Err(_)) => {
                // Planning failed: the error lies where batches would.
                let mut batches = batches;
                return match batches.recv().await {
                    Some(Err(error)) => Err(error),
                    _ => Err(SqlError::Internal("the statement ended without an answer".to_owned())),
                };
            }
            Err(_) => return Err(SqlError::Deadline(timeout)),
        };
        Ok(Answer { schema: planned.schema, batches, stats: planned.stats, deadline, timeout, started, _task: task })
    }

    /// The store that is read.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
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

struct Planned {
    schema: SchemaRef,
    stats: Arc<parking_lot::Mutex<Stats>>,
}

type Batches = mpsc::Sender<Result<RecordBatch, SqlError>>;

impl Shared {
    /// Waits for its turn, plans, and sends batches until the end or a limit.
    async fn answer(
        &self,
        statement: Statement,
        timeout: Duration,
        planned: oneshot::Sender<Planned>,
        batches: &Batches,
        stop: &Stop,
    ) -> Result<(), SqlError> {
        let _permit = self.permits.acquire().await.map_err(|_| SqlError::ShuttingDown)?;
        if statement.latest {
            // A little less than the statement may take, so that the reason is told.
            freshness::wait_for_all(&self.store, timeout - timeout / 20).await?;
        }
        let cut = Arc::new(self.store.cut("", statement.allow_partial)?);
        let stats = Stats { rows: 0, elapsed: Duration::ZERO, truncated: false, snapshot: cut.snapshot() };
        let stats = Arc::new(parking_lot::Mutex::new(stats));
        let pool = QueryPool::new(&self.settings, Arc::clone(&self.memory), stop.clone());
        let sort = |error: DataFusionError| SqlError::from_datafusion(&error);
        let state = session(&self.tables, &cut, &self.settings, Arc::new(pool), stop).map_err(sort)?;
        let plan = self.plan(&state, &statement, &cut).await?;
        let (plan, schema) = describe::bind(plan, statement.parameters)?;
        let plan = state.create_physical_plan(&plan).await.map_err(sort)?;
        let mut stream = execute_stream(plan, state.task_ctx()).map_err(sort)?;
        let answer = Planned { schema: Arc::clone(&schema), stats: Arc::clone(&stats) };
        if planned.send(answer).is_err() {
            return Ok(());
        }
        let mut limits = Limits { max_rows: statement.max_rows, settings: &self.settings, rows: 0, bytes: 0 };
        while let Some(batch) = stream.next().await {
            let batch = output::to_wire(&batch.map_err(sort)?, &schema).map_err(|error| sort(error.into()))?;
            let (batch, last) = limits.admit(batch)?;
            {
                let mut stats = stats.lock();
                stats.rows = limits.rows;
                stats.truncated = last;
            }
            if batches.send(Ok(batch)).await.is_err() || last {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A place among those that run or wait.
    fn place(&self) -> Result<Waiting, SqlError> {
        let waiting = Waiting::new(&self.waiting);
        let queue = self.settings.queue + self.settings.concurrency;
        if waiting.before >= queue {
            let what = format!("{queue} statements are running or waiting already");
            return Err(SqlError::Limit { what, setting: "sql.queue" });
        }
        Ok(waiting)
    }

    async fn plan(&self, state: &SessionState, statement: &Statement, cut: &Arc<Cut>) -> Result<LogicalPlan, SqlError> {
        let sort = |error: DataFusionError| SqlError::from_datafusion(&error);
        let parsed = state.sql_to_statement(&statement.sql, &Dialect::Generic).map_err(sort)?;
        check::parsed(&parsed, &self.settings)?;
        let names = state.resolve_table_references(&parsed).map_err(sort)?;
        let names = views::with_reads(&names);
        let is_data = |name: &str| self.tables.iter().any(|table| table.name() == name && !table.shows_unloaded());
        if let Some(unready) = cut.unready.clone()
            && names.iter().any(|name| is_data(name))
        {
            return Err(unready.into());
        }
        views::plan(state, &names).await.map_err(sort)?;
        let plan = state.statement_to_plan(parsed).await.map_err(sort)?;
        let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        options.verify_plan(&plan).map_err(sort)?;
        check::plan(&plan, &self.settings).map_err(sort)?;
        Ok(plan)
    }
}

/// Counts a statement as running or waiting while it lives.
struct Waiting {
    counter: Arc<AtomicUsize>,
    before: usize,
}

impl Waiting {
    fn new(counter: &Arc<AtomicUsize>) -> Self {
        Self { counter: Arc::clone(counter), before: counter.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::Relaxed);
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
