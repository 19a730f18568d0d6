//! The optimizer rule that puts guards around operators if DataFusion does not reserve their memory, and rejects plans
//! that cannot end in time.

use std::sync::Arc;

use datafusion::{
    common::{
        Result, ScalarValue,
        config::ConfigOptions,
        tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion},
    },
    physical_expr::{
        ScalarFunctionExpr,
        expressions::{InListExpr, Literal},
    },
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan,
        execution_plan::replace_children_if_necessary,
        filter::FilterExec,
        joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder},
        statistics::{StatisticsArgs, StatisticsContext},
        union::UnionExec,
    },
};

use super::{
    super::{error::SqlError, table::BATCH_ROWS},
    functions,
    guard_exec::{GuardExec, GuardPosition},
    operator_memory::{MemoryUse, OperatorMemory},
};
use crate::config;

/// Bytes of constants for which an operator needs no guard.
const FREE_CONSTANT_BYTES: usize = 256;

/// The optimizer rule.
#[derive(Debug)]
pub(crate) struct GuardRule {
    max_product: usize,
    max_literals: usize,
}

impl GuardRule {
    pub(crate) fn new(settings: &config::Sql) -> Self {
        // A literal is copied for each row of a batch.
        let max_literals = settings.memory_per_query / 4 / BATCH_ROWS;
        Self { max_product: settings.max_join_product, max_literals }
    }

    /// Puts guards around an operator if it needs any.
    fn visit(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
        let constants = self.constants(plan.as_ref())?;
        let memory = OperatorMemory::new(plan.as_ref(), constants);
        if matches!(memory.kind, MemoryUse::Batch)
            && constants <= FREE_CONSTANT_BYTES
            && !calls_bounded_function(plan.as_ref())?
        {
            return Ok(Transformed::no(plan));
        }
        self.check_product(plan.as_ref())?;
        let memory = Arc::new(memory);
        let inputs = plan.children().into_iter().enumerate();
        let inputs =
            inputs.map(|(at, input)| GuardExec::around(Arc::clone(input), GuardPosition::Input(at), &memory)).collect();
        let plan = replace_children_if_necessary(plan, inputs)?;
        let plan: Arc<dyn ExecutionPlan> = if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
            let filter = join.filter().map(functions::cancellable_filter).transpose()?;
            Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(filter).build()?)
        } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            let filter = join.filter().map(functions::cancellable_filter).transpose()?;
            join.builder().with_filter(filter).build_exec()?
        } else {
            plan
        };
        Ok(Transformed::yes(GuardExec::around(plan, GuardPosition::Output, &memory)))
    }

    /// Rejects a join that compares too many pairs of rows, since it compares those of a batch without a check.
    fn check_product(&self, join: &dyn ExecutionPlan) -> Result<()> {
        if !is_nested_loop(join) {
            return Ok(());
        }
        let product = join.children().iter().map(|input| max_rows(input.as_ref())).fold(1, u128::saturating_mul);
        if product <= self.max_product as u128 {
            return Ok(());
        }
        let what = format!("a join without an equality would compare {product} pairs of rows");
        Err(SqlError::Limit { what, setting: "sql.max_join_product" }.into_datafusion())
    }

    /// Returns the bytes of constants that an operator copies for each row.
    fn constants(&self, plan: &dyn ExecutionPlan) -> Result<usize> {
        // A filter only compares with constants, and so does a scan.
        if plan.is::<FilterExec>() || plan.children().is_empty() {
            return Ok(0);
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
        if bytes <= self.max_literals {
            return Ok(bytes);
        }
        let what =
            format!("constants of {bytes} bytes would be copied for each row; {} are allowed", self.max_literals);
        Err(SqlError::Limit { what, setting: "sql.memory_per_query" }.into_datafusion())
    }
}

/// Returns whether an operator calls functions with limits.
fn calls_bounded_function(plan: &dyn ExecutionPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_expressions(&mut |expression| {
        expression.apply(|expression| {
            let call = expression.downcast_ref::<ScalarFunctionExpr>();
            found |= call.is_some_and(|call| functions::is_bounded(call.fun()));
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}

/// Returns whether a join compares all pairs of rows.
fn is_nested_loop(plan: &dyn ExecutionPlan) -> bool {
    plan.is::<NestedLoopJoinExec>() || plan.is::<CrossJoinExec>()
}

/// Returns the maximum rows of a plan, computed from the rows of its tables. Estimates of filters are ignored.
fn max_rows(plan: &dyn ExecutionPlan) -> u128 {
    let inputs: Vec<u128> = plan.children().into_iter().map(|input| max_rows(input.as_ref())).collect();
    let rows = if is_nested_loop(plan) {
        inputs.into_iter().fold(1, u128::saturating_mul)
    } else if plan.is::<UnionExec>() {
        inputs.into_iter().fold(0, u128::saturating_add)
    } else if inputs.is_empty() {
        let statistics = StatisticsContext::new().compute(plan, &StatisticsArgs::new());
        let rows = statistics.ok().and_then(|statistics| statistics.num_rows.get_value().copied());
        rows.map_or(ASSUMED_ROWS, |rows| rows as u128)
    } else {
        inputs.into_iter().max().unwrap_or(0)
    };
    plan.fetch().map_or(rows, |fetch| rows.min(fetch as u128))
}

/// Assumed rows of tables that do not count their rows; all of them are small.
const ASSUMED_ROWS: u128 = 10_000;

impl PhysicalOptimizerRule for GuardRule {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|plan| self.visit(plan)).data()?;
        let end = Arc::new(OperatorMemory::new(plan.as_ref(), 0));
        Ok(GuardExec::around(plan, GuardPosition::End, &end))
    }

    fn name(&self) -> &'static str {
        "guards"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
