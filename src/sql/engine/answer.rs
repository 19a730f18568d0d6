//! The answer of a running statement: its batches, its statistics and its log line.

use std::time::{Duration, Instant};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use tokio::runtime::Handle;
use tracing::{Instrument as _, Span};

use super::{SqlError, task_outcome};
use crate::{
    call,
    store::cut::Snapshot,
    work::{Inbox, Task},
};

/// Maximum rows of a batch that is encoded on the calling thread; moving it to another thread would take longer.
const FEW_ROWS: usize = 64;

/// The columns and parameters of a statement.
#[derive(Clone, Debug)]
pub struct Description {
    /// Columns of the answer, exactly as [`super::Engine::run`] declares them for the same parameters.
    pub schema: SchemaRef,
    /// The parameters `$1`, `$2`, … with the types that the statement requires; text where it accepts any type.
    pub parameters: SchemaRef,
}

/// Statistics of an answer.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Rows returned.
    pub rows: usize,
    /// Time from the call to the last row.
    pub elapsed: Duration,
    /// Whether `max_rows` cut the answer.
    pub truncated: bool,
    /// The snapshot that was read.
    pub snapshot: Snapshot,
}

/// A part of an answer.
#[derive(Debug)]
pub(super) struct AnswerPart {
    pub(super) batch: RecordBatch,
    /// Whether `max_rows` cut the answer after this part.
    pub(super) is_cut: bool,
}

/// The answer of a running statement. Dropping it cancels the statement.
#[derive(Debug)]
pub struct Answer {
    /// Columns of the batches: text as plain Utf8, times as nanoseconds.
    pub schema: SchemaRef,
    pub(super) snapshot: Snapshot,
    pub(super) truncated: bool,
    pub(super) batches: Inbox<AnswerPart>,
    pub(super) log: StatementLog,
    pub(super) task: Task<Result<(), SqlError>>,
    pub(super) threads: Handle,
}

impl Answer {
    /// Returns the next batch, or `None` at the end.
    ///
    /// # Errors
    /// The reason why the statement failed while it ran.
    ///
    /// # Cancel safety
    /// No batch is lost.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, SqlError>> {
        match self.task.cancel().run_until_ended(self.batches.next()).await {
            Ok(Some(AnswerPart { batch, is_cut })) => {
                call::record_rows(batch.num_rows());
                self.log.rows += batch.num_rows();
                self.truncated = is_cut;
                Some(Ok(batch))
            }
            // All batches were read, or they were discarded because the statement failed.
            Ok(None) => {
                self.log.outcome.get_or_insert_with(|| "ok".to_owned());
                task_outcome(&mut self.task).await?.err().map(|error| Err(self.log.fail(error)))
            }
            Err(ended) => Some(Err(self.log.fail(ended.into()))),
        }
    }

    /// Encodes a batch, or the text after the last batch, with `write`. Batches of many rows are encoded on the
    /// engine's threads, since that takes long enough to delay other requests.
    ///
    /// # Errors
    /// The server is shutting down, or `write` panicked.
    pub async fn write<T: Send + 'static>(
        &self,
        batch: Option<RecordBatch>,
        write: impl FnOnce(Option<&RecordBatch>) -> T + Send + 'static,
    ) -> Result<T, SqlError> {
        if batch.as_ref().is_none_or(|batch| batch.num_rows() <= FEW_ROWS) {
            return Ok(write(batch.as_ref()));
        }
        let writing = async move { write(batch.as_ref()) };
        let written = self.threads.spawn(writing.instrument(self.log.span.clone())).await;
        written.map_err(|error| match error.is_panic() {
            true => SqlError::Internal("writing a batch panicked".to_owned()),
            false => SqlError::ShuttingDown,
        })
    }

    /// Returns the statistics, which are complete after the last batch.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            rows: self.log.rows,
            elapsed: self.log.started.elapsed(),
            truncated: self.truncated,
            snapshot: self.snapshot.clone(),
        }
    }
}

/// Logs the end of a statement when it is dropped.
#[derive(Debug)]
pub(super) struct StatementLog {
    pub(super) span: Span,
    started: Instant,
    rows: usize,
    /// The outcome; `None` if the client disconnected before the end.
    outcome: Option<String>,
}

impl StatementLog {
    #[expect(clippy::disallowed_methods, reason = "measures the run time; not part of an answer")]
    pub(super) fn new(name: &str) -> Self {
        Self { span: call::statement_span(name), started: Instant::now(), rows: 0, outcome: None }
    }

    /// Records the error as the outcome, and returns it.
    pub(super) fn fail(&mut self, error: SqlError) -> SqlError {
        self.outcome = Some(error.to_string());
        error
    }
}

impl Drop for StatementLog {
    fn drop(&mut self) {
        let outcome = self.outcome.as_deref().unwrap_or("cancelled");
        call::end_statement(&self.span, self.rows, self.started.elapsed(), &outcome);
    }
}
