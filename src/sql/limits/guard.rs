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
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::PhysicalExpr,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, coop::make_cooperative,
        statistics::StatisticsArgs, stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt as _, stream::poll_fn};

use super::{
    account::Account,
    holding::{Holding, JOIN_ROWS, Kind, Waiting, slice_bytes},
    reading::{Reading, check},
    width,
};
use crate::work::Cancel;

/// Maximum bytes of a batch sent to a client; a single row may be larger.
const SENT_BYTES: usize = 4 * 1024 * 1024;

/// The position of a guard.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
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
    place: Place,
    holding: Arc<Holding>,
}

impl GuardExec {
    /// Puts a guard around a plan.
    pub(crate) fn around(
        input: Arc<dyn ExecutionPlan>,
        place: Place,
        holding: &Arc<Holding>,
    ) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { input, place, holding: Arc::clone(holding) })
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
        Ok(Self::around(input, self.place, &self.holding))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let guarded = Guarded {
            cancel: Reading::of(&context)?.job.cancel().clone(),
            account: Account::new(&context)?,
            waiting: Waiting::new(&self.holding, &context),
            context: self.context(&context),
            place: self.place,
            holding: Arc::clone(&self.holding),
            pieces: VecDeque::new(),
        };
        let mut batches = self.input.execute(partition, Arc::clone(&guarded.context))?;
        let mut guarded = Some(guarded);
        let batches = poll_fn(move |task| {
            let next = guarded.as_mut().map_or(Poll::Ready(None), |guarded| guarded.poll(&mut batches, task));
            if matches!(next, Poll::Ready(None | Some(Err(_)))) {
                // Dropping it releases its reservations.
                let ended = guarded.take();
                ended.filter(|ended| matches!(ended.place, Place::Output)).inspect(|ended| ended.holding.finish());
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

impl GuardExec {
    /// Returns the context of the operator: joins get a smaller batch size.
    fn context(&self, context: &Arc<TaskContext>) -> Arc<TaskContext> {
        let is_join = matches!(self.holding.kind, Kind::Copies | Kind::Lists(_));
        if !matches!(self.place, Place::Output) || !is_join || context.session_config().batch_size() <= JOIN_ROWS {
            return Arc::clone(context);
        }
        Arc::new(TaskContext::new(
            context.task_id(),
            context.session_id(),
            context.session_config().clone().with_batch_size(JOIN_ROWS),
            context.scalar_functions().clone(),
            context.higher_order_functions().clone(),
            context.aggregate_functions().clone(),
            context.window_functions().clone(),
            context.runtime_env(),
        ))
    }
}

/// A stream with its guard.
struct Guarded {
    cancel: Cancel,
    /// The account of the operator; used at its output.
    account: Arc<Account>,
    waiting: Waiting,
    context: Arc<TaskContext>,
    place: Place,
    holding: Arc<Holding>,
    /// Remaining parts of a batch.
    pieces: VecDeque<RecordBatch>,
}

impl Guarded {
    /// Polls the next batch.
    fn poll(
        &mut self,
        batches: &mut SendableRecordBatchStream,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<RecordBatch>>> {
        if let Some(piece) = self.pieces.pop_front() {
            return Poll::Ready(Some(check(&self.cancel).map(|()| piece)));
        }
        let next = match self.place {
            Place::Input(_) => {
                // An operator that polls for more rows no longer uses the previous ones.
                let operator = Account::current();
                if let Some(operator) = &operator {
                    operator.clear();
                }
                let next = ready!(Account::enter(None, || batches.poll_next_unpin(task)));
                next.map(|batch| batch.and_then(|batch| self.admit(batch, operator.as_deref())))
            }
            Place::Output | Place::End => {
                self.account.clear();
                let account = Some(Arc::clone(&self.account));
                let next = ready!(Account::enter(account, || batches.poll_next_unpin(task)));
                next.map(|batch| batch.and_then(|batch| self.give(batch)))
            }
        };
        Poll::Ready(next.map(|batch| check(&self.cancel).and(batch)))
    }

    /// Reserves memory for a batch that enters the operator.
    fn admit(&mut self, batch: RecordBatch, operator: Option<&Account>) -> Result<RecordBatch> {
        let Place::Input(input) = self.place else { return Ok(batch) };
        self.holding.admit(input, &batch, &self.context)?;
        if let Some(operator) = operator {
            operator.charge(batch.num_rows().saturating_mul(self.holding.constants))?;
        }
        match &self.holding.kind {
            Kind::Gathered => {
                let most = width::widest(batch.columns()).saturating_mul(super::super::table::BATCH_ROWS);
                operator.map_or(Ok(()), |operator| operator.gather(slice_bytes(&batch)?, most))?;
            }
            Kind::Waiting => self.waiting.hand_on(slice_bytes(&batch)?)?,
            Kind::Copies => return Ok(self.cut(batch, JOIN_ROWS)),
            Kind::Dealt | Kind::Everything { .. } | Kind::Lists(_) | Kind::Values(_) | Kind::Slices | Kind::Batch => {}
        }
        Ok(batch)
    }

    /// Reserves memory for a batch that leaves the operator.
    fn give(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        self.account.emitted();
        if matches!(self.place, Place::End) {
            let bytes = slice_bytes(&batch)?;
            self.waiting.hand_on(bytes)?;
            let rows = batch.num_rows().saturating_mul(SENT_BYTES) / bytes.max(1);
            return Ok(self.cut(batch, rows.max(1)));
        }
        if matches!(self.holding.kind, Kind::Slices) {
            self.waiting.hand_on(batch.get_array_memory_size())?;
        }
        Ok(batch)
    }

    /// Returns the first rows of a batch; the remaining parts follow.
    fn cut(&mut self, batch: RecordBatch, rows: usize) -> RecordBatch {
        let starts = (rows..batch.num_rows()).step_by(rows);
        self.pieces.extend(starts.map(|start| batch.slice(start, rows.min(batch.num_rows() - start))));
        batch.slice(0, rows.min(batch.num_rows()))
    }
}
