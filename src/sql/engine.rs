//! The engine: admits a statement, takes a cut, plans and runs the statement, and streams its answer.
//!
//! The number of running statements is limited. Each has a deadline, a memory limit, a limit on its answer, and its own
//! threads ([`crate::work`]).

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use arrow::datatypes::SchemaRef;
use datafusion::{common::ScalarValue, execution::SendableRecordBatchStream, physical_plan::execute_stream};
use futures::StreamExt as _;
use tokio::{runtime::Handle, sync::oneshot};
use tracing::{Instrument as _, Span};

use super::{
    catalog,
    error::SqlError,
    limits::{
        StatementContext,
        memory::{QueryPool, plan_cancellable},
    },
    output, plan,
    session::Sessions,
    tables::TableDescription,
};
use crate::{
    config, freshness,
    store::{
        Store,
        cut::{Cut, Snapshot},
        pins::Pin,
    },
    work::{Admission, CancelHandle, Inbox, Job, KindLimits, Outbox, StallTimeout, Task, WorkKind, outbox},
};

mod answer;

pub use answer::{Answer, Description, Stats};
use answer::{AnswerPart, StatementLog};

/// Maximum bytes of the name of a statement in logs and the status.
const NAME_BYTES: usize = 80;

/// A statement to run.
#[derive(Clone, Debug, Default)]
pub struct Statement {
    /// One read-only statement.
    pub sql: String,
    /// Values of the parameters `$1`, `$2`, …
    pub parameters: Vec<ScalarValue>,
    /// Maximum number of rows; if there are more, the answer is cut and marked as truncated.
    pub max_rows: Option<usize>,
    /// Whether to read clusters that are still loading.
    pub allow_partial: bool,
    /// Whether to wait until everything that Kafka acknowledged before the call is applied.
    pub latest: bool,
    /// The caller's timeout; the shorter of this one and the server's applies.
    pub timeout: Option<Duration>,
}

/// Runs statements over a store.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    admission: Admission,
}

/// The parts of an engine that running statements use.
#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    settings: config::Sql,
    sessions: Sessions,
    /// Bytes that all running statements have reserved.
    memory: Arc<AtomicUsize>,
}

/// A started statement: the columns of its answer, its snapshot, its batches, its task, and the threads that encode its
/// batches.
type StartedStatement = (SchemaRef, Snapshot, Inbox<AnswerPart>, Task<Result<(), SqlError>>, Handle);

impl Engine {
    /// Creates an engine, with an admission for its statements and for other work. The first engine of a store sets the
    /// limit on the bytes that readers retain.
    ///
    /// # Errors
    /// Threads cannot be started, or DataFusion rejects the tables.
    pub fn new(store: Arc<Store>, settings: config::Sql) -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let threads = if settings.threads == 0 { cores.min(settings.target_partitions) } else { settings.threads };
        let admission = Admission::new(store.clock.clone(), threads, store.work())?;
        admission.limit(WorkKind::Statement, KindLimits { running: settings.concurrency, waiting: settings.queue });
        store.pins().set_cap(settings.max_held_bytes);
        let sessions = Sessions::new(&settings).map_err(std::io::Error::other)?;
        let shared = Shared { store, sessions, settings, memory: Arc::default() };
        Ok(Self { shared: Arc::new(shared), admission })
    }

    /// Plans a statement and starts it.
    ///
    /// # Errors
    /// The statement was refused or cannot be planned. Later errors are returned with the batches.
    pub async fn run(&self, statement: Statement) -> Result<Answer, SqlError> {
        let mut log = StatementLog::new(&statement_name(&statement.sql));
        let span = log.span.clone();
        let started = self.start(statement).instrument(span).await;
        let (schema, snapshot, batches, task, threads) = started.map_err(|error| log.fail(error))?;
        Ok(Answer { schema, snapshot, truncated: false, batches, log, task, threads })
    }

    /// Admits and plans a statement, and starts it on the threads of its job.
    async fn start(&self, statement: Statement) -> Result<StartedStatement, SqlError> {
        let statement_context = self.admit(&statement).await?;
        let snapshot = statement_context.cut.snapshot();
        let unread = &self.shared.store.work().unread.bytes;
        let (outbox, batches) = outbox(self.shared.settings.max_unread_bytes, unread);
        let threads = self.admission.threads()?;
        let (planned, schema) = oneshot::channel();
        let (shared, job) = (Arc::clone(&self.shared), statement_context.job.clone());
        let mut task = spawn(job, async move { shared.answer(statement, &statement_context, planned, outbox).await })?;
        match task.cancel().run_until_ended(schema).await? {
            Ok(schema) => Ok((schema, snapshot, batches, task, threads)),
            // The statement failed before it was planned.
            Err(_) => Err(task_outcome(&mut task).await.and_then(Result::err).unwrap_or(SqlError::ShuttingDown)),
        }
    }

    /// Waits until the statement may run, and pins its cut.
    async fn admit(&self, statement: &Statement) -> Result<Arc<StatementContext>, SqlError> {
        let Shared { store, settings, .. } = &*self.shared;
        let timeout = statement.timeout.map_or(settings.timeout, |timeout| timeout.min(settings.timeout));
        let cancel = CancelHandle::within(timeout);
        if statement.latest {
            // The wait gets 95% of the timeout, so that it can report why the data is not fresh before the statement
            // times out.
            freshness::wait_for_all(store, timeout - timeout / 20).await?;
        }
        let job = self.admission.admit(WorkKind::Statement, statement_name(&statement.sql), &cancel).await?;
        // The cut is taken on this thread: job threads have a low priority and would keep the store's locks too long.
        let cut: Pin<Cut> = store.pin_cut("", statement.allow_partial, &cancel)?;
        let mut clusters = cut.own();
        if let (Some(only), None) = (clusters.next(), clusters.next()) {
            Span::current().record("cluster", &*only.cluster.name);
        }
        drop(clusters);
        Ok(Arc::new(StatementContext { cut: Arc::clone(cut.shared()), job }))
    }

    /// Plans a statement within the limits of [`Engine::run`] without running it.
    ///
    /// # Errors
    /// The statement was refused or cannot be planned.
    pub async fn describe(&self, statement: Statement) -> Result<Description, SqlError> {
        let statement_context = self.admit(&statement).await?;
        let (shared, job) = (Arc::clone(&self.shared), statement_context.job.clone());
        let mut task = spawn(job, async move {
            let session = shared.sessions.session(&statement_context);
            let logical = plan::logical_plan(&session, &statement.sql, &shared.settings)?;
            let parameters = plan::parameters(&logical)?;
            let (_, schema) = plan::bind(&session, logical, statement.parameters)?;
            Ok(Description { schema, parameters })
        })?;
        task_outcome(&mut task).await.unwrap_or(Err(SqlError::ShuttingDown))
    }

    /// Returns all tables and views by name, with their columns as an answer declares them.
    #[must_use]
    pub fn tables(&self) -> Vec<TableDescription> {
        let described = catalog::describe_all().into_iter();
        described.map(|table| TableDescription { schema: output::wire_schema(&table.schema), ..table }).collect()
    }

    /// Returns the admission for statements and for other work that reads many rows.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Returns the store that statements read.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }
}

/// The steps of an admitted statement.
impl Shared {
    /// Plans a statement and sends batches until the end or a limit. While the client does not read, other statements
    /// may run.
    async fn answer(
        &self,
        statement: Statement,
        statement_context: &Arc<StatementContext>,
        planned: oneshot::Sender<SchemaRef>,
        outbox: Outbox<AnswerPart>,
    ) -> Result<(), SqlError> {
        let max_rows = statement.max_rows;
        let (mut stream, schema) = self.start(statement, statement_context)?;
        tracing::debug!("statement planned");
        // If the client has disconnected, its cancel handle ends the statement.
        let _ = planned.send(Arc::clone(&schema));
        let stall_timeout = StallTimeout { after: self.settings.stall_timeout, setting: "sql.stall_timeout" };
        let (mut rows, mut bytes) = (0, 0);
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| SqlError::from_datafusion(&error))?;
            let mut batch = output::to_wire(&batch, &schema)?;
            let room = max_rows.map_or(usize::MAX, |max| max - rows);
            let is_cut = batch.num_rows() > room;
            if is_cut {
                batch = batch.slice(0, room);
            }
            let size = batch.get_array_memory_size();
            (rows, bytes) = (rows + batch.num_rows(), bytes + size);
            check_answer(rows, self.settings.max_rows, "rows", "sql.max_rows")?;
            check_answer(bytes, self.settings.max_bytes, "bytes", "sql.max_bytes")?;
            statement_context.job.send(&outbox, AnswerPart { batch, is_cut }, size, stall_timeout).await?;
            if is_cut {
                break;
            }
        }
        outbox.complete();
        Ok(())
    }

    /// Plans the statement and starts its plan. It is not async for the reason given in [`plan`].
    fn start(
        &self,
        statement: Statement,
        statement_context: &Arc<StatementContext>,
    ) -> Result<(SendableRecordBatchStream, SchemaRef), SqlError> {
        let session = self.sessions.session(statement_context);
        let logical = plan::logical_plan(&session, &statement.sql, &self.settings)?;
        let (bound, schema) = plan::bind(&session, logical, statement.parameters)?;
        let physical = plan::physical_plan(&session, &bound)?;
        let memory = QueryPool::new(&self.settings, Arc::clone(&self.memory), statement_context.job.cancel().clone());
        let stream = execute_stream(physical, self.sessions.task(&session, Arc::new(memory)));
        Ok((stream.map_err(|error| SqlError::from_datafusion(&error))?, schema))
    }
}

/// Returns the first bytes of a statement on one line, as its name in logs and the status.
fn statement_name(sql: &str) -> String {
    let mut name = String::with_capacity(NAME_BYTES);
    for sign in sql.split_whitespace().flat_map(|word| [word, " "]).flat_map(str::chars) {
        if name.len() >= NAME_BYTES {
            break;
        }
        name.push(sign);
    }
    name.trim_end().to_owned()
}

/// Starts planning or running a statement on the threads of its job. The job ends with its tasks, so no other part of
/// it may be kept.
fn spawn<T: Send + 'static>(
    job: Job,
    work: impl Future<Output = Result<T, SqlError>> + Send + 'static,
) -> Result<Task<Result<T, SqlError>>, SqlError> {
    Ok(job.spawn(plan_cancellable(job.cancel().clone(), work))?)
}

/// Returns the outcome of a statement's task; `None` if it was returned before.
///
/// # Cancel safety
/// Nothing is lost.
async fn task_outcome<T>(task: &mut Task<Result<T, SqlError>>) -> Option<Result<T, SqlError>> {
    Some(task.output().await?.unwrap_or_else(|refused| Err(refused.into())))
}

/// Fails if an answer has more than `max` of something.
fn check_answer(number: usize, max: usize, what: &str, setting: &'static str) -> Result<(), SqlError> {
    if number <= max {
        return Ok(());
    }
    Err(SqlError::Limit { what: format!("the answer has more than {max} {what}"), setting })
}

#[cfg(test)]
mod tests;
