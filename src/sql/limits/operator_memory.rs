//! The memory that each kind of operator keeps and DataFusion does not reserve.

use std::sync::Arc;

use arrow::array::{Array as _, RecordBatch};
use datafusion::{
    common::{Result, tree_node::TreeNode as _, tree_node::TreeNodeRecursion},
    execution::{TaskContext, memory_pool::MemoryReservation},
    physical_expr::{PhysicalExpr, scalar_subquery::ScalarSubqueryExpr, window::StandardWindowExpr},
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties as _,
        aggregates::AggregateExec,
        coalesce_partitions::CoalescePartitionsExec,
        filter::FilterExec,
        joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PiecewiseMergeJoinExec, SortMergeJoinExec},
        repartition::RepartitionExec,
        scalar_subquery::ScalarSubqueryExec,
        sorts::sort_preserving_merge::SortPreservingMergeExec,
        unnest::UnnestExec,
        windows::{BoundedWindowAggExec, WindowAggExec, WindowUDFExpr},
    },
};
use parking_lot::Mutex;

use super::{
    super::{
        error::SqlError,
        table::{BATCH_ROWS, OPERATOR_ROWS},
    },
    memory::reservation,
    width,
};

/// The memory that a kind of operator keeps.
#[derive(Debug)]
pub(crate) enum MemoryUse {
    /// Batches in which all rows may be copies of the widest input rows.
    Copies,
    /// Rows of several batches for each output, until they fill one.
    Collected,
    /// Batches that wait for their reader.
    Waiting,
    /// All input rows `times` times, and one value of each function for each row.
    WholeInput { times: usize, values: Vec<Vec<Arc<dyn PhysicalExpr>>> },
    /// A copy of the other columns for each item of the lists in these columns.
    Unnested(Vec<usize>),
    /// The values of subqueries (all inputs except the first), copied for each row of a batch by this number of
    /// expressions.
    Subqueries(usize),
    /// All groups in one batch, which is returned in slices.
    Slices,
    /// One batch.
    Batch,
}

impl MemoryUse {
    /// Returns the memory that an operator keeps.
    pub(crate) fn of(plan: &dyn ExecutionPlan) -> Self {
        if is_join(plan) {
            return Self::Copies;
        }
        if plan.is::<RepartitionExec>() || plan.is::<FilterExec>() {
            return Self::Collected;
        }
        if plan.is::<CoalescePartitionsExec>() || plan.is::<SortPreservingMergeExec>() {
            return Self::Waiting;
        }
        if plan.is::<AggregateExec>() {
            return Self::Slices;
        }
        if let Some(unnest) = plan.downcast_ref::<UnnestExec>() {
            return Self::Unnested(
                unnest.list_column_indices().iter().map(|list| list.index_in_input_schema).collect(),
            );
        }
        if plan.is::<ScalarSubqueryExec>() {
            return Self::Subqueries(uses(plan));
        }
        let windows = match (plan.downcast_ref::<WindowAggExec>(), plan.downcast_ref::<BoundedWindowAggExec>()) {
            // `WindowAggExec` concatenates its whole input at the end. `BoundedWindowAggExec` keeps the rows that its
            // frames reach, which may be all.
            (Some(window), _) => Some((2, window.window_expr())),
            (_, Some(window)) => Some((1, window.window_expr())),
            (None, None) => None,
        };
        windows.map_or(Self::Batch, |(times, windows)| {
            let values = windows.iter().map(|window| {
                let standard = window.as_any().downcast_ref::<StandardWindowExpr>();
                let function = standard
                    .and_then(|standard| standard.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>());
                // The arguments include the default of lead and lag, which is not one of the window's expressions.
                function.map_or_else(|| window.expressions(), |function| function.args().to_vec())
            });
            Self::WholeInput { times, values: values.collect() }
        })
    }
}

/// Returns whether an operator joins the rows of two inputs.
pub(crate) fn is_join(plan: &dyn ExecutionPlan) -> bool {
    plan.is::<NestedLoopJoinExec>()
        || plan.is::<CrossJoinExec>()
        || plan.is::<HashJoinExec>()
        || plan.is::<SortMergeJoinExec>()
        || plan.is::<PiecewiseMergeJoinExec>()
}

/// Returns how often the expressions of a plan refer to the value of a subquery.
fn uses(plan: &dyn ExecutionPlan) -> usize {
    let mut found = 0;
    let _ = plan.apply_expressions(&mut |expression| {
        expression.apply(|expression| {
            found += usize::from(expression.is::<ScalarSubqueryExpr>());
            Ok(TreeNodeRecursion::Continue)
        })
    });
    plan.children().into_iter().fold(found, |found, input| found + uses(input.as_ref()))
}

/// The memory of one operator, over all its partitions.
#[derive(Debug)]
pub(crate) struct OperatorMemory {
    name: String,
    pub(crate) kind: MemoryUse,
    partitions: usize,
    /// Bytes of constants that are copied for each row.
    pub(crate) constants: usize,
    state: Mutex<OperatorState>,
}

/// The input of an operator so far, and its memory.
#[derive(Debug, Default)]
struct OperatorState {
    /// Rows of all inputs.
    rows: usize,
    /// Bytes of all inputs.
    bytes: usize,
    /// The widest row of each input, or the widest value of each function.
    widest: Vec<usize>,
    /// Partitions that have ended.
    finished: usize,
    /// The reserved bytes; `None` before the first batch.
    reservation: Option<MemoryReservation>,
}

impl OperatorState {
    /// Records a width. Returns whether it is larger than all before.
    fn record_width(&mut self, at: usize, width: usize) -> bool {
        if self.widest.len() <= at {
            self.widest.resize(at + 1, 0);
        }
        let widest = self.widest.get_mut(at).filter(|widest| **widest < width);
        widest.map(|widest| *widest = width).is_some()
    }

    /// Returns the sum of the widest rows or values.
    fn width(&self) -> usize {
        self.widest.iter().fold(0, |sum, width| sum.saturating_add(*width))
    }
}

impl OperatorMemory {
    pub(crate) fn new(plan: &dyn ExecutionPlan, constants: usize) -> Self {
        let partitions = plan.output_partitioning().partition_count();
        Self { name: plan.name().to_owned(), kind: MemoryUse::of(plan), partitions, constants, state: Mutex::default() }
    }

    /// Releases the reserved bytes once all partitions have ended.
    pub(crate) fn finish(&self) {
        let mut state = self.state.lock();
        state.finished += 1;
        if state.finished == self.partitions {
            state.reservation = None;
        }
    }

    /// Reserves the memory that the operator may keep after it received a batch of an input.
    pub(crate) fn reserve_for(&self, input: usize, batch: &RecordBatch, context: &TaskContext) -> Result<()> {
        let mut state = self.state.lock();
        let bytes = match &self.kind {
            MemoryUse::Copies => {
                if !state.record_width(input, width::widest(batch.columns())) {
                    return Ok(());
                }
                // The rows of one batch, and those of the next one while it is built.
                state.width().saturating_mul(2 * OPERATOR_ROWS * self.partitions)
            }
            MemoryUse::Collected => {
                let batch_bytes = slice_bytes(batch)?;
                state.bytes = state.bytes.saturating_add(batch_bytes);
                state.record_width(input, width::widest(batch.columns()));
                // Rows that do not fill a batch yet, and the batches that the input filled.
                let most = state.width().saturating_mul(OPERATOR_ROWS).saturating_add(batch_bytes);
                state.bytes.min(most.saturating_mul(self.partitions))
            }
            MemoryUse::Subqueries(uses) => {
                if input == 0 || !state.record_width(input, width::widest(batch.columns())) {
                    return Ok(());
                }
                // The value itself, and a copy in each expression that refers to it.
                state.width().saturating_mul(1 + uses * BATCH_ROWS * self.partitions)
            }
            MemoryUse::WholeInput { times, values } => {
                state.rows += batch.num_rows();
                state.bytes = state.bytes.saturating_add(slice_bytes(batch)?.saturating_mul(*times));
                for (at, function) in values.iter().enumerate() {
                    state.record_width(at, widest_of(function, batch)?);
                }
                state.bytes.saturating_add(state.rows.saturating_mul(state.width()))
            }
            MemoryUse::Unnested(columns) => unnested_bytes(columns, batch).saturating_mul(self.partitions),
            MemoryUse::Waiting | MemoryUse::Slices | MemoryUse::Batch => return Ok(()),
        };
        let width = state.width();
        let reserved = state.reservation.get_or_insert_with(|| reservation(context)).try_resize(bytes);
        reserved.map_err(|error| match SqlError::from_datafusion(&error) {
            SqlError::Limit { setting, .. } if width > 0 => {
                let what = format!("{}: copies of {width} bytes for each row need too much memory", self.name);
                SqlError::Limit { what, setting }.into_datafusion()
            }
            other => other.into_datafusion(),
        })
    }
}

/// Returns the bytes of the widest value of a function's arguments.
fn widest_of(function: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<usize> {
    let mut widest = 16;
    for value in function {
        if width::varies(&value.data_type(batch.schema_ref())?) {
            let value = value.evaluate(batch)?.to_array(1)?;
            widest = widest.max(width::greatest(&width::bytes(value.as_ref())));
        }
    }
    Ok(widest)
}

/// Returns the bytes of a batch that shares its buffers with other batches.
pub(crate) fn slice_bytes(batch: &RecordBatch) -> Result<usize> {
    let bytes = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size());
    Ok(bytes.sum::<Result<usize, _>>()?)
}

/// Returns the maximum bytes of a batch after the lists of some columns are unnested.
fn unnested_bytes(lists: &[usize], batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter().enumerate();
    let (lists, others): (Vec<_>, Vec<_>) = columns.partition(|(at, _)| lists.contains(at));
    let items = lists.iter().map(|(_, list)| width::greatest(&width::leaves(list.as_ref())));
    let bytes: usize = lists.iter().map(|(_, list)| list.get_array_memory_size()).sum();
    let rows = items.max().unwrap_or(0).max(OPERATOR_ROWS.min(batch.num_rows()));
    width::widest(others.into_iter().map(|(_, column)| column)).saturating_mul(rows).saturating_add(bytes)
}
