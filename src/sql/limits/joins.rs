//! Ends a statement that computes without reading.
//!
//! Operators give way when they read, and what gives way can be cancelled. A join may compute for
//! hours on two small inputs without reading either again. So joins give way for every batch they
//! make, and their conditions, which they may evaluate for ever without making one, look whether
//! anybody still waits. What keeps rows without asking for memory is charged for them.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Schema},
};
use datafusion::{
    common::{
        Result, ScalarValue, Statistics,
        config::ConfigOptions,
        tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion},
    },
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::ColumnarValue,
    physical_expr::{
        PhysicalExpr,
        expressions::{InListExpr, Literal},
    },
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        coop::make_cooperative,
        execution_plan::replace_children_if_necessary,
        filter::FilterExec,
        joins::{
            CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder, PiecewiseMergeJoinExec,
            SortMergeJoinExec, utils::JoinFilter,
        },
        statistics::{StatisticsArgs, StatisticsContext},
        stream::RecordBatchStreamAdapter,
        union::UnionExec,
        unnest::UnnestExec,
    },
};
use futures::StreamExt as _;

use super::super::{error::SqlError, scan::LiveScanExec, table::BATCH_ROWS};
use super::{Reading, Stop, windows::Charge};
use crate::config;

/// Puts the checks into a plan, and refuses plans that cannot end in time.
#[derive(Debug)]
pub(crate) struct Stoppable {
    max_product: usize,
    max_literals: usize,
}

/// The same, at work on a plan of a statement.
struct Guarding<'a> {
    limits: &'a Stoppable,
    stop: Stop,
}

impl Stoppable {
    pub(crate) fn new(settings: &config::Sql) -> Self {
        // A literal is copied for each row of a batch.
        let max_literals = settings.memory_per_query / 4 / BATCH_ROWS;
        Self { max_product: settings.max_join_product, max_literals }
    }
}

impl Guarding<'_> {
    fn checked(&self, filter: &JoinFilter) -> JoinFilter {
        let condition = Checked { condition: Arc::clone(filter.expression()), stop: self.stop.clone() };
        JoinFilter::new(Arc::new(condition), filter.column_indices().to_vec(), Arc::clone(filter.schema()))
    }

    fn visit(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
        self.check_literals(plan.as_ref())?;
        let charge = Charge::of(plan.as_ref());
        let is_nested_loop = plan.is::<NestedLoopJoinExec>() || plan.is::<CrossJoinExec>();
        let guarded = is_nested_loop
            || plan.is::<HashJoinExec>()
            || plan.is::<SortMergeJoinExec>()
            || plan.is::<UnnestExec>()
            || plan.is::<PiecewiseMergeJoinExec>()
            || charge.is_some();
        if !guarded {
            return Ok(Transformed::no(plan));
        }
        if is_nested_loop {
            self.check_product(plan.as_ref())?;
        }
        let side = |side| charge.clone().map(|charge| (side, charge));
        let guard = |input, charge| -> Arc<dyn ExecutionPlan> { Arc::new(GuardExec { input, charge }) };
        let inputs = plan.children().into_iter().map(|input| guard(Arc::clone(input), side(Side::In))).collect();
        let plan = replace_children_if_necessary(plan, inputs)?;
        let plan: Arc<dyn ExecutionPlan> = if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
            let filter = join.filter().map(|filter| self.checked(filter));
            Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(filter).build()?)
        } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            let filter = join.filter().map(|filter| self.checked(filter));
            join.builder().with_filter(filter).build_exec()?
        } else {
            plan
        };
        Ok(Transformed::yes(guard(plan, side(Side::Out))))
    }

    /// Every pair of rows is looked at, in one go for each batch.
    fn check_product(&self, join: &dyn ExecutionPlan) -> Result<()> {
        let product = join.children().iter().map(|input| most_rows(input.as_ref())).fold(1, u128::saturating_mul);
        if product <= self.limits.max_product as u128 {
            return Ok(());
        }
        let what = format!("a join without an equality would compare {product} pairs of rows");
        Err(SqlError::Limit { what, setting: "sql.max_join_product" }.into_datafusion())
    }

    fn check_literals(&self, plan: &dyn ExecutionPlan) -> Result<()> {
        if plan.is::<FilterExec>() || plan.is::<LiveScanExec>() {
            return Ok(());
        }
        let mut bytes = 0_usize;
        plan.apply_expressions(&mut |expression| {
            expression.apply(|expression| {
                if expression.is::<InListExpr>() {
                    return Ok(TreeNodeRecursion::Jump);
                }
                if let Some(literal) = expression.downcast_ref::<Literal>() {
                    bytes = bytes.saturating_add(literal.value().size().saturating_sub(size_of::<ScalarValue>()) + 8);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        if bytes <= self.limits.max_literals {
            return Ok(());
        }
        let what = format!(
            "constants of {bytes} bytes would be copied for each row, {} are allowed",
            self.limits.max_literals
        );
        Err(SqlError::Limit { what, setting: "sql.memory_per_query" }.into_datafusion())
    }
}

/// Rows that a plan gives at most, where it can be told from those of the tables. Estimates of what a filter
/// leaves are not believed.
fn most_rows(plan: &dyn ExecutionPlan) -> u128 {
    let inputs: Vec<u128> = plan.children().into_iter().map(|input| most_rows(input.as_ref())).collect();
    let rows = if plan.is::<NestedLoopJoinExec>() || plan.is::<CrossJoinExec>() {
        inputs.into_iter().fold(1, u128::saturating_mul)
    } else if plan.is::<UnionExec>() {
        inputs.into_iter().fold(0, u128::saturating_add)
    } else if inputs.is_empty() {
        let statistics = StatisticsContext::new().compute(plan, &StatisticsArgs::new());
        let rows = statistics.ok().and_then(|statistics| statistics.num_rows.get_value().copied());
        rows.map_or(UNKNOWN_ROWS, |rows| rows as u128)
    } else {
        inputs.into_iter().max().unwrap_or(0)
    };
    plan.fetch().map_or(rows, |fetch| rows.min(fetch as u128))
}

/// Of tables that cannot tell, which are the small ones.
const UNKNOWN_ROWS: u128 = 10_000;

impl PhysicalOptimizerRule for Stoppable {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let guarding = Guarding { limits: self, stop: Stop::current()? };
        plan.transform_up(|plan| guarding.visit(plan)).data()
    }

    fn name(&self) -> &'static str {
        "stoppable"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Ends a stream once the statement is to stop, and gives way for every batch.
#[derive(Debug)]
struct GuardExec {
    input: Arc<dyn ExecutionPlan>,
    /// What the operator at that side of it keeps.
    charge: Option<(Side, Charge)>,
}

/// Of an operator.
#[derive(Clone, Copy, Debug)]
enum Side {
    /// Rows that go in are charged for.
    In,
    /// The charge stands until all rows have come out.
    Out,
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
        Ok(Arc::new(Self { input, charge: self.charge.clone() }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (reading, charge) = (Reading::of(&context)?, self.charge.clone());
        let batches = self.input.execute(partition, Arc::clone(&context))?;
        let batches = batches.map(move |batch| {
            let batch = reading.stop.check().and(batch)?;
            if let Some((Side::In, charge)) = &charge {
                charge.add(&batch, &context)?;
            }
            Ok(batch)
        });
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches))))
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let unknown = || Arc::new(Statistics::new_unknown(&self.schema()));
        Ok(inputs.first().map_or_else(unknown, Arc::clone))
    }
}

/// A condition that fails once the statement is to stop.
#[derive(Debug)]
struct Checked {
    condition: Arc<dyn PhysicalExpr>,
    stop: Stop,
}

impl PartialEq for Checked {
    fn eq(&self, other: &Self) -> bool {
        self.condition.eq(&other.condition)
    }
}

impl Eq for Checked {}

impl Hash for Checked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.condition.hash(state);
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)
    }
}

impl PhysicalExpr for Checked {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.condition.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.condition.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.stop.check()?;
        self.condition.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.condition]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let condition = children.pop().unwrap_or_else(|| Arc::clone(&self.condition));
        Ok(Arc::new(Self { condition, stop: self.stop.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt_sql(f)
    }
}
