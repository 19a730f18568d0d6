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
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    error::SqlError,
    limits::Stop,
    output,
    session::Sessions,
};
use crate::{
    config,
    store::{Store, cut::Snapshot},
    work::{Admission, Kind, Limits as Turns, Outbox, outbox},
};

mod describe;
mod logical;
mod work;

pub use describe::Description;
use work::{Batches, Turn, Work};

/// Rows of a batch that are written sooner than they are handed to another thread.
const FEW_ROWS: usize = 64;

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
    batches: Batches,
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
    admission: Admission,
}

#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    settings: config::Sql,
    sessions: Sessions,
    memory: Arc<AtomicUsize>,
}

impl Engine {
    /// An engine, with an admission for its statements and for other work. The first one of a store bounds what its
    /// readers retain.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn new(store: Arc<Store>, settings: config::Sql) -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let threads = if settings.threads == 0 { cores.min(settings.target_partitions) } else { settings.threads };
        let admission = Admission::new(store.clock.clone(), threads, store.work())?;
        admission.limit(Kind::Statement, Turns { running: settings.concurrency, waiting: settings.queue });
        store.held().set_cap(settings.max_held_bytes);
        let sessions = Sessions::new(&settings).map_err(std::io::Error::other)?;
        let shared = Shared { store, sessions, settings, memory: Arc::default() };
        Ok(Self { shared: Arc::new(shared), admission })
    }

    /// Admits statements, and other work that walks many rows.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Plans a statement and starts it.
    ///
    /// # Errors
    /// Why it cannot be run; what fails later comes with the batches.
    #[expect(clippy::disallowed_methods, reason = "measures the run, part of no answer")]
    pub async fn run(&self, statement: Statement) -> Result<Answer, SqlError> {
        let started = Instant::now();
        let turn = self.admit(&statement).await?;
        let unread = &self.shared.store.work().unread_bytes;
        let (outbox, batches) = outbox(self.shared.settings.max_unread_bytes, unread);
        let threads = self.admission.threads()?;
        let (planned, plan) = oneshot::channel();
        let mut work = self.work(statement, turn, |shared, statement, turn| async move {
            shared.answer(statement, planned, outbox, &turn).await
        })?;
        match work.in_time(plan).await? {
            Ok(Planned { schema, stats }) => Ok(Answer { schema, batches, stats, started, work, threads }),
            // It failed before there was a plan.
            Err(_) => Err(work.outcome().await.and_then(Result::err).unwrap_or(SqlError::ShuttingDown)),
        }
    }

    /// The store that is read.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
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

fn sort(error: DataFusionError) -> SqlError {
    SqlError::from_datafusion(&error)
}

impl Shared {
    /// Gives the answer of a statement.
    async fn answer(
        &self,
        statement: Statement,
        planned: oneshot::Sender<Planned>,
        outbox: Outbox<RecordBatch>,
        turn: &Turn,
    ) -> Result<(), SqlError> {
        let max_rows = statement.max_rows;
        let Plan { physical, schema, task } = self.plan_to_run(statement, turn)?;
        let stream = execute_stream(physical, task).map_err(sort)?;
        let stats = Stats { rows: 0, elapsed: Duration::ZERO, truncated: false, snapshot: turn.cut.snapshot() };
        let stats = Arc::new(parking_lot::Mutex::new(stats));
        // The client may have gone, which ends the statement all the same.
        let _ = planned.send(Planned { schema: Arc::clone(&schema), stats: Arc::clone(&stats) });
        self.give(Given { stream, schema, max_rows, stats }, turn, &outbox).await
    }

    /// Sends batches until the end or a limit.
    async fn give(&self, given: Given, turn: &Turn, outbox: &Outbox<RecordBatch>) -> Result<(), SqlError> {
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
            turn.send(outbox, batch, self.settings.stall_timeout).await?;
            if last {
                break;
            }
        }
        outbox.complete();
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
