//! The engine: admits a statement, takes a cut, plans and runs the statement, and streams its answer.
//!
//! The number of running statements is limited. Each has a deadline, a memory limit, a limit on its answer, and its own
//! threads ([`crate::work`]).

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{common::ScalarValue, execution::SendableRecordBatchStream, physical_plan::execute_stream};
use futures::StreamExt as _;
use tokio::{runtime::Handle, sync::oneshot};
use tracing::{Instrument as _, Span};

use super::{
    catalog,
    error::SqlError,
    limits::{StatementContext, account::plan_cancellable, memory::QueryPool},
    output, plan,
    session::Sessions,
    tables::TableDescription,
};
use crate::{
    config, freshness,
    store::{Store, cut::Cut, pins::Pin},
    work::{Admission, CancelHandle, Inbox, KindLimits, Outbox, StallTimeout, Task, WorkKind, outbox},
};

mod answer;

pub use answer::{Answer, Description, Stats};
use answer::{AnswerSize, SharedStats, StatementLog};

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

    /// Returns the admission for statements and for other work that reads many rows.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Plans a statement and starts it.
    ///
    /// # Errors
    /// The statement was refused or cannot be planned. Later errors are returned with the batches.
    pub async fn run(&self, statement: Statement) -> Result<Answer, SqlError> {
        let mut log = StatementLog::new(&statement_name(&statement.sql));
        let span = log.span.clone();
        let started = self.start(statement).instrument(span).await;
        let (PlannedAnswer { schema, stats }, batches, task, threads) = started.map_err(|error| log.fail(error))?;
        Ok(Answer { schema, batches, stats, log, task, threads })
    }

    /// Admits and plans a statement, and starts it on the threads of its job.
    async fn start(&self, statement: Statement) -> Result<StartedStatement, SqlError> {
        let statement_context = self.admit(&statement).await?;
        let unread = &self.shared.store.work().unread.bytes;
        let (outbox, batches) = outbox(self.shared.settings.max_unread_bytes, unread);
        let threads = self.admission.threads()?;
        let (planned, plan) = oneshot::channel();
        let answer = |shared: Arc<Shared>, statement_context| async move {
            shared.answer(statement, &statement_context, planned, outbox).await
        };
        let mut task = self.spawn(statement_context, answer)?;
        match task.cancel().run_until_ended(plan).await? {
            Ok(planned) => Ok((planned, batches, task, threads)),
            // The statement failed before it was planned.
            Err(_) => Err(task_outcome(&mut task).await.and_then(Result::err).unwrap_or(SqlError::ShuttingDown)),
        }
    }

    /// Plans a statement within the limits of [`Engine::run`] without running it.
    ///
    /// # Errors
    /// The statement was refused or cannot be planned.
    pub async fn describe(&self, statement: Statement) -> Result<Description, SqlError> {
        let statement_context = self.admit(&statement).await?;
        let describe =
            |shared: Arc<Shared>, statement_context| async move { shared.describe(statement, &statement_context) };
        task_outcome(&mut self.spawn(statement_context, describe)?).await.unwrap_or(Err(SqlError::ShuttingDown))
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

    /// Starts planning or running a statement on the threads of its job.
    fn spawn<T, F>(
        &self,
        statement_context: Arc<StatementContext>,
        work: impl FnOnce(Arc<Shared>, Arc<StatementContext>) -> F,
    ) -> Result<Task<Result<T, SqlError>>, SqlError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, SqlError>> + Send + 'static,
    {
        let job = statement_context.job.clone();
        let work = plan_cancellable(job.cancel().clone(), work(Arc::clone(&self.shared), statement_context));
        Ok(job.spawn(work)?)
    }

    /// Returns all tables and views by name, with their columns as an answer declares them.
    #[must_use]
    pub fn tables(&self) -> Vec<TableDescription> {
        let described = catalog::describe_all().into_iter();
        described.map(|table| TableDescription { schema: output::wire_schema(&table.schema), ..table }).collect()
    }

    /// Returns the store that statements read.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
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

/// Returns the outcome of a statement's task; `None` if it was returned before.
///
/// # Cancel safety
/// Nothing is lost.
async fn task_outcome<T>(task: &mut Task<Result<T, SqlError>>) -> Option<Result<T, SqlError>> {
    Some(task.output().await?.unwrap_or_else(|refused| Err(refused.into())))
}

/// The part of an answer that is known before its first row.
struct PlannedAnswer {
    schema: SchemaRef,
    stats: SharedStats,
}

/// A started statement: its plan, its batches, its task, and the threads that encode its batches.
type StartedStatement = (PlannedAnswer, Inbox<RecordBatch>, Task<Result<(), SqlError>>, Handle);

/// The steps of an admitted statement.
impl Shared {
    /// Plans a statement and sends batches until the end or a limit. While the client does not read, other statements
    /// may run.
    async fn answer(
        &self,
        statement: Statement,
        statement_context: &Arc<StatementContext>,
        planned: oneshot::Sender<PlannedAnswer>,
        outbox: Outbox<RecordBatch>,
    ) -> Result<(), SqlError> {
        let max_rows = statement.max_rows;
        let (mut stream, schema) = self.start(statement, statement_context)?;
        tracing::debug!("statement planned");
        let stats =
            Stats { rows: 0, elapsed: Duration::ZERO, truncated: false, snapshot: statement_context.cut.snapshot() };
        let stats = Arc::new(parking_lot::Mutex::new(stats));
        // If the client has disconnected, its cancel handle ends the statement.
        let _ = planned.send(PlannedAnswer { schema: Arc::clone(&schema), stats: Arc::clone(&stats) });
        let stall_timeout = StallTimeout { after: self.settings.stall_timeout, setting: "sql.stall_timeout" };
        let mut size = AnswerSize::new(max_rows, &self.settings);
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| SqlError::from_datafusion(&error))?;
            let (batch, last) = size.add(output::to_wire(&batch, &schema)?)?;
            {
                let mut stats = stats.lock();
                (stats.rows, stats.truncated) = (size.rows, last);
            }
            let bytes = batch.get_array_memory_size();
            statement_context.job.send(&outbox, batch, bytes, stall_timeout).await?;
            if last {
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
        let stream = stream.map_err(|error| SqlError::from_datafusion(&error))?;
        Ok((stream, schema))
    }

    /// Plans the statement, and returns its columns and parameters.
    fn describe(
        &self,
        statement: Statement,
        statement_context: &Arc<StatementContext>,
    ) -> Result<Description, SqlError> {
        let session = self.sessions.session(statement_context);
        let logical = plan::logical_plan(&session, &statement.sql, &self.settings)?;
        let parameters = plan::parameters(&logical)?;
        let (_, schema) = plan::bind(&session, logical, statement.parameters)?;
        Ok(Description { schema, parameters })
    }
}

#[cfg(test)]
mod tests;
