//! Rules of the planner that look up: before each step, whether the statement is to end.
//!
//! Planning does not give way, so that nothing can take it from the thread that it runs on.

use std::{iter, sync::Arc};

use datafusion::{
    common::{Result, config::ConfigOptions, tree_node::Transformed},
    execution::SessionStateBuilder,
    logical_expr::LogicalPlan,
    optimizer::{
        Analyzer, AnalyzerRule, ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule,
        analyzer::function_rewrite::ApplyFunctionRewrites,
    },
    physical_optimizer::{
        PhysicalOptimizerRule,
        optimizer::{PhysicalOptimizer, PhysicalOptimizerContext},
    },
    physical_plan::ExecutionPlan,
};

use super::{super::arithmetic::CheckedArithmetic, Stop};

type Logical = dyn OptimizerRule + Send + Sync;
type Analyzing = dyn AnalyzerRule + Send + Sync;
type Physical = dyn PhysicalOptimizerRule + Send + Sync;

/// DataFusion's own rules, which end with the statement. After the analysis, which tells the types, the one that checks
/// arithmetic.
pub(crate) fn rules(builder: SessionStateBuilder) -> SessionStateBuilder {
    let checked: Arc<Analyzing> = Arc::new(ApplyFunctionRewrites::new(vec![Arc::new(CheckedArithmetic)]));
    let analysis = Analyzer::new().rules.into_iter().chain(iter::once(checked));
    builder
        .with_analyzer_rules(analysis.map(|rule| Arc::new(Watched(rule)) as _).collect())
        .with_optimizer_rules(Optimizer::new().rules.into_iter().map(|rule| Arc::new(Watched(rule)) as _).collect())
        .with_physical_optimizer_rules(
            PhysicalOptimizer::new().rules.into_iter().map(|rule| Arc::new(Watched(rule)) as _).collect(),
        )
}

/// A rule that is not begun once the statement is to end.
#[derive(Debug)]
struct Watched<R: ?Sized>(Arc<R>);

impl AnalyzerRule for Watched<Analyzing> {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        Stop::current()?.check()?;
        self.0.analyze(plan, config)
    }

    fn name(&self) -> &str {
        self.0.name()
    }
}

impl OptimizerRule for Watched<Logical> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    /// For each step of the plan, where the rule leaves it to the optimiser to go through them.
    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        Stop::current()?.check()?;
        self.0.rewrite(plan, config)
    }
}

impl PhysicalOptimizerRule for Watched<Physical> {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        Stop::current()?.check()?;
        self.0.optimize(plan, config)
    }

    fn optimize_with_context(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: &dyn PhysicalOptimizerContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Stop::current()?.check()?;
        self.0.optimize_with_context(plan, context)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use datafusion::{arrow::datatypes::Schema, common::config::ConfigOptions, physical_plan::empty::EmptyExec};

    use super::*;
    use crate::{sql::error::SqlError, work::Cancel};

    #[tokio::test]
    async fn no_rule_is_begun_once_the_statement_is_to_end() {
        let stop = Stop::new(Cancel::within(Duration::from_secs(3600)));
        let state = rules(SessionStateBuilder::new()).build();
        let (plan, config) = (LogicalPlan::default(), ConfigOptions::default());
        let empty: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::new(Schema::empty())));
        let errors = || {
            let analyzed = state.analyzer().rules.iter().map(|rule| rule.analyze(plan.clone(), &config).err());
            let optimized = state.optimizers().iter().map(|rule| rule.rewrite(plan.clone(), &state).err());
            let physical =
                state.physical_optimizers().iter().map(|rule| rule.optimize(Arc::clone(&empty), &config).err());
            analyzed
                .chain(optimized)
                .chain(physical)
                .map(|error| error.map(|error| SqlError::from_datafusion(&error)))
                .collect::<Vec<_>>()
        };
        let before = stop.clone().scope(async { errors() }).await;
        assert!(before.len() > 40 && before.iter().all(Option::is_none), "{before:?}");
        stop.end(SqlError::ShuttingDown);
        let after = stop.clone().scope(async { errors() }).await;
        assert!(after.iter().all(|error| matches!(error, Some(SqlError::ShuttingDown))), "{after:?}");
    }
}
