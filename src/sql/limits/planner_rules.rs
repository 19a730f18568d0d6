//! DataFusion's planner rules, each of which checks first whether the statement must end.
//!
//! Planning never yields, so the statement could not be cancelled otherwise.

use std::sync::Arc;

use datafusion::{
    common::{Result, config::ConfigOptions, tree_node::Transformed},
    execution::SessionStateBuilder,
    logical_expr::LogicalPlan,
    optimizer::{
        Analyzer, AnalyzerRule, ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule,
        analyzer::function_rewrite::ApplyFunctionRewrites,
    },
    physical_optimizer::{PhysicalOptimizerRule, optimizer::PhysicalOptimizer},
    physical_plan::ExecutionPlan,
};

use super::{
    super::{arithmetic::CheckedArithmetic, checked_sums::CheckedSums},
    functions,
    memory::check_current,
};

type LogicalRule = dyn OptimizerRule + Send + Sync;
type AnalysisRule = dyn AnalyzerRule + Send + Sync;
type PhysicalRule = dyn PhysicalOptimizerRule + Send + Sync;

/// Adds DataFusion's rules, with the check. After the analyzer has determined the types, two more rules put checked
/// sums, checked arithmetic and functions with limits into the plan.
pub(crate) fn rules(builder: SessionStateBuilder, max_value_bytes: usize) -> SessionStateBuilder {
    let rewrites = ApplyFunctionRewrites::new(vec![
        Arc::new(CheckedArithmetic),
        Arc::new(functions::BoundingRule::new(max_value_bytes)),
    ]);
    let checked: [Arc<AnalysisRule>; 2] = [Arc::new(CheckedSums), Arc::new(rewrites)];
    let analysis = Analyzer::new().rules.into_iter().chain(checked);
    builder
        .with_analyzer_rules(analysis.map(|rule| Arc::new(CancellableRule(rule)) as _).collect())
        .with_optimizer_rules(
            Optimizer::new().rules.into_iter().map(|rule| Arc::new(CancellableRule(rule)) as _).collect(),
        )
        .with_physical_optimizer_rules(
            PhysicalOptimizer::new().rules.into_iter().map(|rule| Arc::new(CancellableRule(rule)) as _).collect(),
        )
}

/// A rule that fails once the statement must end.
#[derive(Debug)]
struct CancellableRule<R: ?Sized>(Arc<R>);

impl AnalyzerRule for CancellableRule<AnalysisRule> {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        check_current()?;
        self.0.analyze(plan, config)
    }

    fn name(&self) -> &str {
        self.0.name()
    }
}

impl OptimizerRule for CancellableRule<LogicalRule> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    /// Called for each step of the plan if the optimizer traverses it for the rule.
    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        check_current()?;
        self.0.rewrite(plan, config)
    }
}

impl PhysicalOptimizerRule for CancellableRule<PhysicalRule> {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        check_current()?;
        self.0.optimize(plan, config)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

#[cfg(test)]
mod tests;
