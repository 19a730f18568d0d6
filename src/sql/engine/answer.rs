//! Statements, and their answers under way.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use tokio::runtime::Handle;
use tracing::{Instrument as _, Span};

use super::{SqlError, outcome};
use crate::{
    call, config,
    store::cut::Snapshot,
    work::{Inbox, Task},
};

/// Rows of a batch that are written sooner than they are handed to another thread.
const FEW_ROWS: usize = 64;

/// What a statement gives and needs.
#[derive(Clone, Debug)]
pub struct Description {
    /// Columns of the answer, exactly as [`super::Engine::run`] declares them for the same parameters.
    pub schema: SchemaRef,
    /// `$1`, `$2`, … with the types that the statement asks for; text where it takes any.
    pub parameters: SchemaRef,
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

/// Counts that the statement and its answer share.
pub(super) type SharedStats = Arc<parking_lot::Mutex<Stats>>;

/// An answer under way. Dropping it cancels the statement.
#[derive(Debug)]
pub struct Answer {
    /// Columns of the batches: plain Utf8 for text, nanoseconds for times.
    pub schema: SchemaRef,
    pub(super) batches: Inbox<RecordBatch>,
    pub(super) stats: SharedStats,
    pub(super) ending: Ending,
    pub(super) task: Task<Result<(), SqlError>>,
    pub(super) threads: Handle,
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
        match self.task.cancel().in_time(self.batches.next()).await {
            Ok(Some(batch)) => {
                call::note_rows(batch.num_rows());
                self.ending.rows += batch.num_rows();
                Some(Ok(batch))
            }
            // All that there is was taken; or it was dropped, since the statement failed.
            Ok(None) => {
                self.ending.outcome.get_or_insert_with(|| "ok".to_owned());
                outcome(&mut self.task).await?.err().map(|error| Err(self.ending.fail(error)))
            }
            Err(ended) => Some(Err(self.ending.fail(ended.into()))),
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
        let writing = async move { write(batch.as_ref()) };
        let written = self.threads.spawn(writing.instrument(self.ending.span.clone())).await;
        written.map_err(|error| match error.is_panic() {
            true => SqlError::Internal("writing a batch panicked".to_owned()),
            false => SqlError::ShuttingDown,
        })
    }

    /// How it went; complete after the last batch.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { elapsed: self.ending.started.elapsed(), ..self.stats.lock().clone() }
    }
}

/// Tells the log how a statement went, once it is dropped.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) span: Span,
    started: Instant,
    rows: usize,
    /// `None` if the client leaves before the end.
    outcome: Option<String>,
}

impl Ending {
    #[expect(clippy::disallowed_methods, reason = "measures the run, part of no answer")]
    pub(super) fn new(name: &str) -> Self {
        Self { span: call::statement_span(name), started: Instant::now(), rows: 0, outcome: None }
    }

    /// Notes why it failed.
    pub(super) fn fail(&mut self, error: SqlError) -> SqlError {
        self.outcome = Some(error.to_string());
        error
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let outcome = self.outcome.as_deref().unwrap_or("cancelled");
        call::end_statement(&self.span, self.rows, self.started.elapsed(), &outcome);
    }
}

/// The size of an answer so far, and its limits.
pub(super) struct Size<'a> {
    max_rows: Option<usize>,
    settings: &'a config::Sql,
    pub(super) rows: usize,
    bytes: usize,
}

impl<'a> Size<'a> {
    pub(super) fn new(max_rows: Option<usize>, settings: &'a config::Sql) -> Self {
        Self { max_rows, settings, rows: 0, bytes: 0 }
    }

    /// The part of a batch that fits the caller's limit, and whether that cut it.
    pub(super) fn admit(&mut self, batch: RecordBatch) -> Result<(RecordBatch, bool), SqlError> {
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
