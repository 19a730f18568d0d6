//! The one way of a statement: it is admitted, takes a cut, is planned, runs, and streams its answer. A bounded number run
//! at once, each within a deadline, a cap on memory and a cap on its answer, on threads of its own ([`crate::work`]).

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
    limits::{Reading, account::planning, memory::QueryPool},
    output, plan,
    session::Sessions,
    tables::TableDescription,
};
use crate::{
    config, freshness,
    store::{Store, cut::Cut, held::Pin},
    work::{Admission, Cancel, Inbox, Kind, Limits, Outbox, Patience, Task, outbox},
};

mod answer;

pub use answer::{Answer, Description, Stats};
use answer::{Ending, SharedStats, Size};

/// Bytes of a statement that name it for operators.
const NAME_BYTES: usize = 80;

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
        admission.limit(Kind::Statement, Limits { running: settings.concurrency, waiting: settings.queue });
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
    pub async fn run(&self, statement: Statement) -> Result<Answer, SqlError> {
        let mut ending = Ending::new(&name(&statement.sql));
        let span = ending.span.clone();
        let started = self.start(statement).instrument(span).await;
        let (Planned { schema, stats }, batches, task, threads) = started.map_err(|error| ending.fail(error))?;
        Ok(Answer { schema, batches, stats, ending, task, threads })
    }

    async fn start(&self, statement: Statement) -> Result<Started, SqlError> {
        let reading = self.admit(&statement).await?;
        let unread = &self.shared.store.work().unread.bytes;
        let (outbox, batches) = outbox(self.shared.settings.max_unread_bytes, unread);
        let threads = self.admission.threads()?;
        let (planned, plan) = oneshot::channel();
        let answer =
            |shared: Arc<Shared>, reading| async move { shared.answer(statement, &reading, planned, outbox).await };
        let mut task = self.spawn(reading, answer)?;
        match task.cancel().in_time(plan).await? {
            Ok(planned) => Ok((planned, batches, task, threads)),
            // It failed before there was a plan.
            Err(_) => Err(outcome(&mut task).await.and_then(Result::err).unwrap_or(SqlError::ShuttingDown)),
        }
    }

    /// Plans a statement, within the same limits as [`Engine::run`], and does not run it.
    ///
    /// # Errors
    /// Why it cannot be run, as far as planning tells.
    pub async fn describe(&self, statement: Statement) -> Result<Description, SqlError> {
        let reading = self.admit(&statement).await?;
        let describe = |shared: Arc<Shared>, reading| async move { shared.describe(statement, &reading) };
        outcome(&mut self.spawn(reading, describe)?).await.unwrap_or(Err(SqlError::ShuttingDown))
    }

    /// Waits for a statement's turn, and pins its cut.
    async fn admit(&self, statement: &Statement) -> Result<Arc<Reading>, SqlError> {
        let Shared { store, settings, .. } = &*self.shared;
        let timeout = statement.timeout.map_or(settings.timeout, |timeout| timeout.min(settings.timeout));
        let cancel = Cancel::within(timeout);
        if statement.latest {
            // A little less than the statement may take, so that the reason is told.
            freshness::wait_for_all(store, timeout - timeout / 20).await?;
        }
        let job = self.admission.admit(Kind::Statement, name(&statement.sql), &cancel).await?;
        // Here, since the threads that run statements give way to others, which must not wait for their locks.
        let cut: Pin<Cut> = store.pin_cut("", statement.allow_partial, &cancel)?;
        let mut clusters = cut.own();
        if let (Some(only), None) = (clusters.next(), clusters.next()) {
            Span::current().record("cluster", &*only.cluster.name);
        }
        drop(clusters);
        Ok(Arc::new(Reading { cut: Arc::clone(cut.shared()), job }))
    }

    /// Starts what there is to do for a statement.
    fn spawn<T, F>(
        &self,
        reading: Arc<Reading>,
        work: impl FnOnce(Arc<Shared>, Arc<Reading>) -> F,
    ) -> Result<Task<Result<T, SqlError>>, SqlError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, SqlError>> + Send + 'static,
    {
        let job = reading.job.clone();
        let work = planning(job.cancel().clone(), work(Arc::clone(&self.shared), reading));
        Ok(job.spawn(work)?)
    }

    /// All tables and views, by name, with their columns as a query gives them.
    #[must_use]
    pub fn tables(&self) -> Vec<TableDescription> {
        let described = catalog::described().into_iter();
        described.map(|table| TableDescription { schema: output::wire_schema(&table.schema), ..table }).collect()
    }

    /// The store that is read.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }
}

/// The start of a statement, in one line, which names it for operators.
fn name(sql: &str) -> String {
    let name: String = sql.split_whitespace().flat_map(|word| [word, " "]).flat_map(str::chars).collect();
    let end = name.char_indices().map(|(at, _)| at).find(|at| *at >= NAME_BYTES);
    name.get(..end.unwrap_or(name.len())).unwrap_or_default().trim_end().to_owned()
}

/// How the work for a statement ended; `None` when that was told before.
///
/// # Cancel safety
/// Nothing is lost.
async fn outcome<T>(task: &mut Task<Result<T, SqlError>>) -> Option<Result<T, SqlError>> {
    Some(task.output().await?.unwrap_or_else(|refused| Err(refused.into())))
}

/// What is told of an answer before its first row.
struct Planned {
    schema: SchemaRef,
    stats: SharedStats,
}

/// A statement under way, with the threads that write its batches.
type Started = (Planned, Inbox<RecordBatch>, Task<Result<(), SqlError>>, Handle);

/// The way of a statement that was admitted.
impl Shared {
    /// Plans a statement and sends batches until the end or a limit. While its client does not read, others have the turn.
    async fn answer(
        &self,
        statement: Statement,
        reading: &Arc<Reading>,
        planned: oneshot::Sender<Planned>,
        outbox: Outbox<RecordBatch>,
    ) -> Result<(), SqlError> {
        let max_rows = statement.max_rows;
        let (mut stream, schema) = self.start(statement, reading)?;
        tracing::debug!("statement planned");
        let stats = Stats { rows: 0, elapsed: Duration::ZERO, truncated: false, snapshot: reading.cut.snapshot() };
        let stats = Arc::new(parking_lot::Mutex::new(stats));
        // The client may have gone, which ends the statement all the same.
        let _ = planned.send(Planned { schema: Arc::clone(&schema), stats: Arc::clone(&stats) });
        let patience = Patience { after: self.settings.stall_timeout, setting: "sql.stall_timeout" };
        let mut size = Size::new(max_rows, &self.settings);
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| SqlError::from_datafusion(&error))?;
            let (batch, last) = size.admit(output::to_wire(&batch, &schema)?)?;
            {
                let mut stats = stats.lock();
                (stats.rows, stats.truncated) = (size.rows, last);
            }
            let bytes = batch.get_array_memory_size();
            reading.job.send(&outbox, batch, bytes, patience).await?;
            if last {
                break;
            }
        }
        outbox.complete();
        Ok(())
    }

    /// Plans the statement, and starts the plan. Not async: see [`plan`].
    fn start(
        &self,
        statement: Statement,
        reading: &Arc<Reading>,
    ) -> Result<(SendableRecordBatchStream, SchemaRef), SqlError> {
        let session = self.sessions.session(reading);
        let logical = plan::logical(&session, &statement.sql, &self.settings)?;
        let (bound, schema) = plan::bind(&session, logical, statement.parameters)?;
        let physical = plan::physical(&session, &bound)?;
        let memory = QueryPool::new(&self.settings, Arc::clone(&self.memory), reading.job.cancel().clone());
        let stream = execute_stream(physical, self.sessions.task(&session, Arc::new(memory)));
        let stream = stream.map_err(|error| SqlError::from_datafusion(&error))?;
        Ok((stream, schema))
    }

    /// Plans the statement, and tells what its plan gives and needs.
    fn describe(&self, statement: Statement, reading: &Arc<Reading>) -> Result<Description, SqlError> {
        let session = self.sessions.session(reading);
        let logical = plan::logical(&session, &statement.sql, &self.settings)?;
        let parameters = plan::parameters(&logical)?;
        let (_, schema) = plan::bind(&session, logical, statement.parameters)?;
        Ok(Description { schema, parameters })
    }
}

#[cfg(test)]
mod tests;
