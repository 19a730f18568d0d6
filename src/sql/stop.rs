//! Ends a statement that computes without reading.
//!
//! Operators give way when they read, and what gives way can be cancelled. A join may compute for
//! hours on two small inputs without reading either again. So joins give way for every batch they
//! make, and their conditions, which they may evaluate for ever without making one, look whether
//! anybody still waits.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Schema},
};
use datafusion::{
    common::{
        DataFusionError, Result,
        config::ConfigOptions,
        tree_node::{Transformed, TransformedResult as _, TreeNode as _},
    },
    logical_expr::ColumnarValue,
    physical_expr::PhysicalExpr,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan,
        coop::CooperativeExec,
        joins::{
            CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder, SortMergeJoinExec,
            utils::JoinFilter,
        },
    },
};

/// Set once nobody waits for the statement any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(DataFusionError::Execution("nobody waits for the statement any more".to_owned()));
        }
        Ok(())
    }
}

/// Puts the checks into a plan.
#[derive(Debug)]
pub(super) struct Stoppable(pub(super) Stop);

impl Stoppable {
    fn guard(&self, filter: &JoinFilter) -> JoinFilter {
        let condition = Checked { condition: Arc::clone(filter.expression()), stop: self.0.clone() };
        JoinFilter::new(Arc::new(condition), filter.column_indices().to_vec(), Arc::clone(filter.schema()))
    }

    fn join(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
        let guarded: Arc<dyn ExecutionPlan> = if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
            let filter = join.filter().map(|filter| self.guard(filter));
            Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(filter).build()?)
        } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            let filter = join.filter().map(|filter| self.guard(filter));
            join.builder().with_filter(filter).build_exec()?
        } else if plan.is::<CrossJoinExec>() || plan.is::<SortMergeJoinExec>() {
            plan
        } else {
            return Ok(Transformed::no(plan));
        };
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(guarded))))
    }
}

impl PhysicalOptimizerRule for Stoppable {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| self.join(plan)).data()
    }

    fn name(&self) -> &'static str {
        "stoppable"
    }

    fn schema_check(&self) -> bool {
        true
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
