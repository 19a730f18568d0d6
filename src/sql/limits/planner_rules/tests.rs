use datafusion::{arrow::datatypes::Schema, common::config::ConfigOptions, physical_plan::empty::EmptyExec};

use super::*;
use crate::{
    sql::{error::SqlError, limits::memory::plan_cancellable},
    work::{CancelHandle, EndReason, WorkError},
};

#[tokio::test]
async fn no_rule_starts_after_the_statement_must_end() {
    let cancel = CancelHandle::default();
    let state = rules(SessionStateBuilder::new(), usize::MAX).build();
    let (plan, config) = (LogicalPlan::default(), ConfigOptions::default());
    let empty: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::new(Schema::empty())));
    let errors = || {
        let analyzed = state.analyzer().rules.iter().map(|rule| rule.analyze(plan.clone(), &config).err());
        let optimized = state.optimizers().iter().map(|rule| rule.rewrite(plan.clone(), &state).err());
        let physical = state.physical_optimizers().iter().map(|rule| rule.optimize(Arc::clone(&empty), &config).err());
        analyzed
            .chain(optimized)
            .chain(physical)
            .map(|error| error.map(|error| SqlError::from_datafusion(&error)))
            .collect::<Vec<_>>()
    };
    let before = plan_cancellable(cancel.clone(), async { errors() }).await;
    assert!(before.len() > 40 && before.iter().all(Option::is_none), "{before:?}");
    cancel.end(EndReason::Disconnected);
    let after = plan_cancellable(cancel.clone(), async { errors() }).await;
    assert!(
        after.iter().all(|error| matches!(error, Some(SqlError::Work(WorkError::Ended(EndReason::Disconnected))))),
        "{after:?}"
    );
}
