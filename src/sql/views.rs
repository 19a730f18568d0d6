//! Views: named statements with a comment for each column. Each is planned once, over the tables and the views before
//! it; a statement that reads a view uses its plan.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::{
    common::{Column, DataFusionError, Result, metadata::FieldMetadata, tree_node::TreeNodeRecursion},
    config::Dialect,
    execution::SessionState,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder},
};
use futures::FutureExt as _;

use super::table::COMMENT;

mod definitions;

pub(super) use definitions::ALL as DEFINITIONS;

/// The definition of a view.
#[derive(Debug)]
pub(super) struct ViewDefinition {
    pub(super) name: &'static str,
    pub(super) comment: &'static str,
    /// The statement. It reads tables, and views defined before this one.
    pub(super) sql: &'static str,
    /// Its columns in order, with their comments.
    pub(super) columns: &'static [(&'static str, &'static str)],
}

/// A planned view.
#[derive(Debug)]
pub(super) struct View {
    pub(super) definition: &'static ViewDefinition,
    pub(super) plan: LogicalPlan,
    /// Number of tables that its plan reads.
    pub(super) relations: usize,
}

impl ViewDefinition {
    /// Plans the view's statement, and adds the comments to its columns.
    async fn plan(&self, state: &SessionState) -> Result<LogicalPlan> {
        let plan = state.statement_to_plan(state.sql_to_statement(self.sql, &Dialect::Generic)?).await?;
        let names = plan.schema().fields().iter().map(|field| field.name().as_str());
        if !names.eq(self.columns.iter().map(|(name, _)| *name)) {
            let text = format!("view \"{}\": its columns do not match their descriptions", self.name);
            return Err(DataFusionError::Plan(text));
        }
        let column = |(at, (name, comment)): (usize, &(&str, &str))| {
            let metadata = FieldMetadata::from(BTreeMap::from([(COMMENT.to_owned(), (*comment).to_owned())]));
            Expr::Column(Column::from(plan.schema().qualified_field(at))).alias_with_metadata(*name, Some(metadata))
        };
        let columns: Vec<Expr> = self.columns.iter().enumerate().map(column).collect();
        LogicalPlanBuilder::from(plan).project(columns)?.build()
    }
}

impl View {
    /// Plans a view in a session that contains the tables and views that it reads.
    ///
    /// # Errors
    /// The statement is wrong, or its columns do not match their descriptions.
    pub(super) fn new(definition: &'static ViewDefinition, state: &SessionState) -> Result<Self> {
        // Planning never waits, since all tables are in memory.
        let plan = definition.plan(state).now_or_never();
        let plan = plan.unwrap_or_else(|| Err(DataFusionError::Internal("planning did not finish".to_owned())))?;
        // The planner takes the type of a CASE or UNION from its first branch, the analyzer from all branches.
        let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
        let mut relations = 0;
        plan.apply_with_subqueries(|step| {
            relations += usize::from(matches!(step, LogicalPlan::TableScan(_)));
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(Self { definition, plan, relations })
    }

    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(self.plan.schema().inner())
    }
}
