//! Views: named statements with a comment for each column. Each is planned once, over the tables and the views before
//! it; a statement that reads a view uses its plan.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::{
    common::{Column, DataFusionError, Result, TableReference, metadata::FieldMetadata, tree_node::TreeNodeRecursion},
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
    /// Comments by column. A column of a table or view keeps its comment if none is given here.
    pub(super) comments: &'static [(&'static str, &'static str)],
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
        let plan = state.create_logical_plan(self.sql).await?;
        let wrong =
            |what: &str, column: &str| DataFusionError::Plan(format!("view \"{}\": {what} {column}", self.name));
        let names = plan.schema().fields().iter().map(|field| field.name());
        if let Some((name, _)) =
            self.comments.iter().find(|(commented, _)| !names.clone().any(|name| name == commented))
        {
            return Err(wrong("a comment on the unknown column", name));
        }
        let column = |(qualifier, field): (Option<&TableReference>, &FieldRef)| {
            let name = field.name();
            let own = self.comments.iter().find(|(commented, _)| commented == name).map(|(_, comment)| *comment);
            let comment = own.or_else(|| field.metadata().get(COMMENT).map(String::as_str));
            let comment = comment.ok_or_else(|| wrong("no comment on the column", name))?;
            let metadata = FieldMetadata::from(BTreeMap::from([(COMMENT.to_owned(), comment.to_owned())]));
            Ok(Expr::Column(Column::from((qualifier, field))).alias_with_metadata(name, Some(metadata)))
        };
        let columns = plan.schema().iter().map(column).collect::<Result<Vec<_>>>()?;
        LogicalPlanBuilder::from(plan).project(columns)?.build()
    }
}

impl View {
    /// Plans a view in a session that contains the tables and views that it reads.
    ///
    /// # Errors
    /// The statement is wrong, or its comments do not match its columns.
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
