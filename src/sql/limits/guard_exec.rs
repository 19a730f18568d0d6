//! A plan node around an operator's inputs and output. It reserves memory for what the operator keeps, ends the stream
//! once the statement must end, and yields for every batch, since a join may compute for hours without reading.

use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    task::{Context, Poll, ready},
};

use arrow::array::RecordBatch;
use datafusion::{
    common::{Result, Statistics, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext, memory_pool::MemoryReservation},
    physical_expr::PhysicalExpr,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, coop::make_cooperative,
        statistics::StatisticsArgs, stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt as _, stream::poll_fn};

use super::{
    super::table::OPERATOR_ROWS,
    memory::{OperatorAccount, reservation},
    operator_memory::{MemoryUse, OperatorMemory, slice_bytes},
    statement_context::{StatementContext, check},
};
use crate::work::CancelHandle;

/// Maximum bytes of a batch sent to a client; a single row may be larger.
const SENT_BYTES: usize = 4 * 1024 * 1024;

/// The position of a guard.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GuardPosition {
    /// At one input of an operator.
    Input(usize),
    /// At the output of an operator.
    Output,
    /// At the end of the plan.
    End,
}

/// A guard of an operator.
#[derive(Debug)]
pub(crate) struct GuardExec {
    input: Arc<dyn ExecutionPlan>,
    position: GuardPosition,
    memory: Arc<OperatorMemory>,
}

impl GuardExec {
    /// Puts a guard around a plan.
    pub(crate) fn around(
        input: Arc<dyn ExecutionPlan>,
        position: GuardPosition,
        memory: &Arc<OperatorMemory>,
    ) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { input, position, memory: Arc::clone(memory) })
    }
}

impl DisplayAs for GuardExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuardExec")
    }
}

impl ExecutionPlan for GuardExec {
    fn name(&self) -> &'static str {
        "GuardExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.pop().unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Self::around(input, self.position, &self.memory))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let guarded = GuardedStream {
            cancel: StatementContext::of(&context)?.job.cancel().clone(),
            account: OperatorAccount::new(&context)?,
            pending: reservation(&context),
            last_bytes: 0,
            context: Arc::clone(&context),
            position: self.position,
            memory: Arc::clone(&self.memory),
            remaining: VecDeque::new(),
        };
        let mut batches = self.input.execute(partition, context)?;
        let mut guarded = Some(guarded);
        let batches = poll_fn(move |task| {
            let next = guarded.as_mut().map_or(Poll::Ready(None), |guarded| guarded.poll(&mut batches, task));
            if matches!(next, Poll::Ready(None | Some(Err(_)))) {
                // Dropping it releases its reservations.
                let ended = guarded.take();
                ended
                    .filter(|ended| matches!(ended.position, GuardPosition::Output))
                    .inspect(|ended| ended.memory.finish());
            }
            next
        });
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches))))
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let unknown = || Arc::new(Statistics::new_unknown(&self.schema()));
        Ok(inputs.first().map_or_else(unknown, Arc::clone))
    }
}

/// A stream with its guard.
struct GuardedStream {
    cancel: CancelHandle,
    /// The account of the operator; used at its output.
    account: Arc<OperatorAccount>,
    /// Memory of batches that wait for their reader.
    pending: MemoryReservation,
    /// Bytes of the batch before.
    last_bytes: usize,
    context: Arc<TaskContext>,
    position: GuardPosition,
    memory: Arc<OperatorMemory>,
    /// Remaining parts of a batch.
    remaining: VecDeque<RecordBatch>,
}

impl GuardedStream {
    /// Polls the next batch.
    fn poll(
        &mut self,
        batches: &mut SendableRecordBatchStream,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<RecordBatch>>> {
        if let Some(part) = self.remaining.pop_front() {
            return Poll::Ready(Some(check(&self.cancel).map(|()| part)));
        }
        let next = match self.position {
            GuardPosition::Input(_) => {
                // An operator that polls for more rows no longer uses the previous ones.
                let operator = OperatorAccount::current();
                if let Some(operator) = &operator {
                    operator.release_all();
                }
                let next = ready!(OperatorAccount::run_with(None, || batches.poll_next_unpin(task)));
                next.map(|batch| batch.and_then(|batch| self.reserve_input(batch, operator.as_deref())))
            }
            GuardPosition::Output | GuardPosition::End => {
                self.account.release_all();
                let account = Some(Arc::clone(&self.account));
                let next = ready!(OperatorAccount::run_with(account, || batches.poll_next_unpin(task)));
                next.map(|batch| batch.and_then(|batch| self.reserve_output(batch)))
            }
        };
        Poll::Ready(next.map(|batch| check(&self.cancel).and(batch)))
    }

    /// Reserves memory for a batch that enters the operator.
    fn reserve_input(&mut self, batch: RecordBatch, operator: Option<&OperatorAccount>) -> Result<RecordBatch> {
        let GuardPosition::Input(input) = self.position else { return Ok(batch) };
        self.memory.reserve_for(input, &batch, &self.context)?;
        if let Some(operator) = operator {
            operator.reserve(batch.num_rows().saturating_mul(self.memory.constants))?;
        }
        if matches!(self.memory.kind, MemoryUse::Waiting) {
            // One batch is in a channel, and the one before is being read.
            let bytes = slice_bytes(&batch)?;
            self.pending.try_resize(bytes.saturating_add(self.last_bytes))?;
            self.last_bytes = bytes;
        }
        Ok(if matches!(self.memory.kind, MemoryUse::Copies) { self.split(batch, OPERATOR_ROWS) } else { batch })
    }

    /// Reserves memory for a batch that leaves the operator.
    fn reserve_output(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        if matches!(self.position, GuardPosition::End) {
            let bytes = slice_bytes(&batch)?;
            self.pending.try_resize(bytes)?;
            let rows = batch.num_rows().saturating_mul(SENT_BYTES) / bytes.max(1);
            return Ok(self.split(batch, rows.max(1)));
        }
        if matches!(self.memory.kind, MemoryUse::Slices) {
            self.pending.try_resize(batch.get_array_memory_size())?;
        }
        Ok(batch)
    }

    /// Returns the first rows of a batch; the remaining parts follow.
    fn split(&mut self, batch: RecordBatch, rows: usize) -> RecordBatch {
        let starts = (rows..batch.num_rows()).step_by(rows);
        self.remaining.extend(starts.map(|start| batch.slice(start, rows.min(batch.num_rows() - start))));
        batch.slice(0, rows.min(batch.num_rows()))
    }
}
