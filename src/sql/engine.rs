//! The one way of a statement: it is admitted, takes a cut, is planned, runs, and streams its answer. A bounded number run
//! at once, each within a deadline, a cap on memory and a cap on its answer, on threads of its own ([`crate::work`]).

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{execution::SendableRecordBatchStream, physical_plan::execute_stream};
use futures::StreamExt as _;
use tokio::sync::oneshot;

use super::{
    error::SqlError,
    limits::{Stop, memory::QueryPool},
    output, plan, scan,
    session::Sessions,
    tables::{self, TableDescription},
};
use crate::{
    config,
    store::Store,
    work::{Admission, Kind, Limits, Outbox, outbox},
};

mod answer;
mod work;

pub use answer::{Answer, Description, Statement, Stats};
use answer::{SharedStats, Size};
use work::Turn;

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
    #[expect(clippy::disallowed_methods, reason = "measures the run, part of no answer")]
    pub async fn run(&self, statement: Statement) -> Result<Answer, SqlError> {
        let started = Instant::now();
        let turn = self.admit(&statement).await?;
        let unread = &self.shared.store.work().unread.bytes;
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

    /// Plans a statement, within the same limits as [`Engine::run`], and does not run it.
    ///
    /// # Errors
    /// Why it cannot be run, as far as planning tells.
    pub async fn describe(&self, statement: Statement) -> Result<Description, SqlError> {
        let turn = self.admit(&statement).await?;
        let describe = |shared: Arc<Shared>, statement, turn| async move { shared.describe(statement, &turn) };
        let mut work = self.work(statement, turn, describe)?;
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
}

/// What is told of an answer before its first row.
struct Planned {
    schema: SchemaRef,
    stats: SharedStats,
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
        outbox: Outbox<RecordBatch>,
        turn: &Turn,
    ) -> Result<(), SqlError> {
        let max_rows = statement.max_rows;
        let started = self.start(statement, turn)?;
        let stats = Stats { rows: 0, elapsed: Duration::ZERO, truncated: false, snapshot: turn.cut.snapshot() };
        let stats = Arc::new(parking_lot::Mutex::new(stats));
        // The client may have gone, which ends the statement all the same.
        let _ = planned.send(Planned { schema: Arc::clone(&started.schema), stats: Arc::clone(&stats) });
        self.stream(started, max_rows, &stats, turn, &outbox).await?;
        outbox.complete();
        Ok(())
    }

    /// Plans the statement, and starts the plan. Not async: see [`plan`].
    fn start(&self, statement: Statement, turn: &Turn) -> Result<Started, SqlError> {
        let session = self.sessions.session(turn.reading());
        let logical = plan::logical(&session, &statement.sql, &self.settings)?;
        scan::check_loaded(&logical, &turn.cut)?;
        let (bound, schema) = plan::bind(&session, logical, statement.parameters)?;
        let physical = plan::physical(&session, &bound)?;
        let memory = QueryPool::new(&self.settings, Arc::clone(&self.memory), turn.stop.clone());
        let stream = execute_stream(physical, self.sessions.task(&session, Arc::new(memory)));
        let stream = stream.map_err(|error| SqlError::from_datafusion(&error))?;
        Ok(Started { stream, schema })
    }

    /// Plans the statement, and tells what its plan gives and needs.
    fn describe(&self, statement: Statement, turn: &Turn) -> Result<Description, SqlError> {
        let session = self.sessions.session(turn.reading());
        let logical = plan::logical(&session, &statement.sql, &self.settings)?;
        scan::check_loaded(&logical, &turn.cut)?;
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
        turn: &Turn,
        outbox: &Outbox<RecordBatch>,
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
            turn.send(outbox, batch, self.settings.stall_timeout).await?;
            if last {
                break;
            }
        }
        Ok(())
    }
}
