//! From a statement to its plan.

use std::sync::Arc;

use datafusion::{
    catalog::information_schema::INFORMATION_SCHEMA,
    config::Dialect,
    execution::{SessionState, context::SQLOptions},
    logical_expr::LogicalPlan,
};
use futures::executor::block_on;

use super::{
    super::{check, session::Functions, spelling, views},
    Cut, Plan, Shared, SqlError, Statement, describe, sort,
};

/// A statement that was understood.
pub(super) struct Logical {
    pub(super) plan: LogicalPlan,
    pub(super) session: SessionState,
    reads_data: bool,
    functions: Functions,
}

impl Shared {
    /// Plans a statement to be run, and keeps the plan if it can be run again.
    pub(super) fn plan_to_run(&self, statement: Statement, cut: &Arc<Cut>) -> Result<Plan, SqlError> {
        let Logical { plan: logical, session, reads_data, functions } = self.plan(&statement.sql, cut)?;
        let (bound, schema) = describe::bind(&session, logical.clone(), statement.parameters.clone())?;
        let physical = block_on(session.create_physical_plan(&bound)).map_err(sort)?;
        let plan = Plan { physical, schema, reads_data, functions };
        self.plans.keep(&statement, &logical, &plan);
        Ok(plan)
    }

    /// Plans a statement. Not async, nor what it calls: the tables are at hand, so that nothing in it waits; and that
    /// a future may be sent to another thread takes the compiler minutes to prove, when it holds a plan.
    pub(super) fn plan(&self, sql: &str, cut: &Arc<Cut>) -> Result<Logical, SqlError> {
        let session = self.sessions.planning(cut).map_err(sort)?;
        let sql = spelling::plain(sql)?;
        let parsed = session.sql_to_statement(&sql, &Dialect::Generic).map_err(sort)?;
        check::parsed(&parsed, &self.settings)?;
        let names = session.resolve_table_references(&parsed).map_err(sort)?;
        let lists_functions = names.iter().any(|name| name.schema() == Some(INFORMATION_SCHEMA));
        let functions = if lists_functions { Functions::of(&session) } else { Functions::default() };
        let names = views::with_reads(&names);
        let is_data = |name: &str| self.tables.iter().any(|table| table.name() == name && !table.shows_unloaded());
        let reads_data = names.iter().any(|name| is_data(name));
        self.check_loaded(reads_data, cut)?;
        block_on(views::plan(&session, &names)).map_err(sort)?;
        let plan = block_on(session.statement_to_plan(parsed)).map_err(sort)?;
        let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        options.verify_plan(&plan).map_err(sort)?;
        check::plan(&plan, &self.settings).map_err(sort)?;
        Ok(Logical { plan, session, reads_data, functions })
    }

    /// What reads data does not run without a cluster that is loaded.
    pub(super) fn check_loaded(&self, reads_data: bool, cut: &Cut) -> Result<(), SqlError> {
        let unready = cut.unready.clone().filter(|_| reads_data);
        unready.map_or(Ok(()), |unready| Err(unready.into()))
    }
}
