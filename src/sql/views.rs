//! Views: statements that have a name, and a comment for each column.
//!
//! A statement is planned with the views that it reads, directly or through another one; the rest cost it nothing. The
//! catalog shows them all: the types of their columns are found once, by planning each over tables without rows.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Column, DataFusionError, Result, TableReference, metadata::FieldMetadata},
    config::Dialect,
    datasource::empty::EmptyTable,
    execution::SessionState,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType},
    physical_plan::ExecutionPlan,
    sql::parser::Statement,
};
use futures::FutureExt as _;

use super::{limits::statement, session, table::COMMENT, tables};

mod active_consumers;
mod consumers;
mod relations;
mod stopped_groups;

/// What is written down of a view.
#[derive(Debug)]
struct Definition {
    name: &'static str,
    comment: &'static str,
    /// Reads tables, and the views before this one.
    sql: &'static str,
    /// Its columns in order, and what they mean.
    columns: &'static [(&'static str, &'static str)],
}

const DEFINITIONS: &[Definition] = &[relations::VIEW, active_consumers::VIEW, consumers::VIEW, stopped_groups::VIEW];

/// A view.
#[derive(Debug)]
pub(super) struct View {
    definition: &'static Definition,
    schema: SchemaRef,
    /// The tables and views that it reads, itself and those behind others too.
    reads: BTreeSet<String>,
    relations: usize,
}

/// All views, each after those that it reads.
pub(super) fn all() -> &'static [View] {
    static VIEWS: LazyLock<Vec<View>> = LazyLock::new(|| {
        let mut views = vec![];
        for definition in DEFINITIONS {
            match View::new(definition, &views) {
                Ok(view) => views.push(view),
                Err(error) => tracing::error!(view = definition.name, %error, "a view is left out"),
            }
        }
        views
    });
    &VIEWS
}

pub(super) fn find(name: &str) -> Option<&'static View> {
    all().iter().find(|view| view.definition.name == name)
}

/// How many tables a name stands for.
pub(super) fn relations(name: &str) -> usize {
    find(name).map_or(1, |view| view.relations)
}

/// The names, and what the views among them read.
pub(super) fn with_reads(names: &[TableReference]) -> BTreeSet<&str> {
    let reads = |name: &'_ TableReference| find(name.table()).map(|view| view.reads.iter().map(String::as_str));
    let of_views = names.iter().filter_map(reads).flatten();
    of_views.chain(names.iter().map(TableReference::table)).collect()
}

/// Plans the views among the names in a session, for a statement that reads them.
pub(super) async fn plan(state: &SessionState, names: &BTreeSet<&str>) -> Result<()> {
    for view in all().iter().filter(|view| names.contains(view.name())) {
        let plan = view.definition.plan(view.definition.parse(state)?, state).await?;
        register(state, view.name(), Arc::new(ViewTable { view, plan: Some(plan) }))?;
    }
    Ok(())
}

fn register(state: &SessionState, name: &str, table: Arc<dyn TableProvider>) -> Result<()> {
    state.schema_for_ref(TableReference::bare(name))?.register_table(name.to_owned(), table).map(drop)
}

impl Definition {
    fn parse(&self, state: &SessionState) -> Result<Statement> {
        state.sql_to_statement(self.sql, &Dialect::Generic)
    }

    /// The plan of the view's statement, with its comments.
    async fn plan(&self, statement: Statement, state: &SessionState) -> Result<LogicalPlan> {
        let plan = state.statement_to_plan(statement).await?;
        let names = plan.schema().fields().iter().map(|field| field.name().as_str());
        if !names.eq(self.columns.iter().map(|(name, _)| *name)) {
            return Err(DataFusionError::Plan(format!("view {}: the columns are not those described", self.name)));
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
    fn new(definition: &'static Definition, before: &[Self]) -> Result<Self> {
        let state = session::without_rows()?;
        for table in tables::all() {
            register(&state, table.name(), Arc::new(EmptyTable::new(table.schema())))?;
        }
        for view in before {
            register(&state, view.name(), Arc::new(EmptyTable::new(view.schema())))?;
        }
        let statement = definition.parse(&state)?;
        let of_view = |name: &str| before.iter().find(|view| view.name() == name);
        let relations = statement::relations(&statement, &|name| of_view(name).map_or(1, |view| view.relations));
        let named = state.resolve_table_references(&statement)?;
        let mut reads: BTreeSet<String> = named.iter().map(|name| name.table().to_owned()).collect();
        let behind = named.iter().filter_map(|name| of_view(name.table())).flat_map(|view| view.reads.iter().cloned());
        reads.extend(behind.collect::<Vec<_>>());
        reads.insert(definition.name.to_owned());
        // Nothing is waited for: there is nothing but memory.
        let plan = definition.plan(statement, &state).now_or_never();
        let plan = plan.unwrap_or_else(|| Err(DataFusionError::Internal("planning waits".to_owned())))?;
        // The planner types a CASE or a UNION by its first branch; the analysis, by all.
        let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
        let schema: Schema = plan.schema().as_arrow().clone();
        Ok(Self { definition, schema: Arc::new(schema), reads, relations })
    }

    pub(super) fn name(&self) -> &'static str {
        self.definition.name
    }

    pub(super) fn comment(&self) -> &'static str {
        self.definition.comment
    }

    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// For the catalog, which shows what the view is, and reads nothing.
    pub(super) fn described(&'static self) -> Arc<dyn TableProvider> {
        Arc::new(ViewTable { view: self, plan: None })
    }
}

/// A view in a session.
#[derive(Debug)]
struct ViewTable {
    view: &'static View,
    /// Where the statement reads it.
    plan: Option<LogicalPlan>,
}

#[async_trait]
impl TableProvider for ViewTable {
    fn schema(&self) -> SchemaRef {
        self.view.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn get_table_definition(&self) -> Option<&str> {
        Some(self.view.definition.sql)
    }

    /// Takes the view's place in the statement's plan.
    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        self.plan.as_ref().map(Cow::Borrowed)
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Err(DataFusionError::Internal(format!("view {} was not planned", self.view.name())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_is_sound_and_every_column_has_a_comment() {
        let names: Vec<_> = all().iter().map(View::name).collect();
        assert_eq!(names, DEFINITIONS.iter().map(|definition| definition.name).collect::<Vec<_>>());
        for view in all() {
            assert!(!view.comment().is_empty());
            assert!(view.schema().fields().iter().all(|field| !field.metadata()[COMMENT].is_empty()), "{view:?}");
        }
    }

    #[test]
    fn a_view_stands_for_all_that_it_reads() {
        let names = [TableReference::bare("consumers"), TableReference::bare("topics")];
        let reads = with_reads(&names);
        for name in ["assignments", "consumers", "groups", "offsets", "topics"] {
            assert!(reads.contains(name), "{name}: {reads:?}");
        }
        assert!(!reads.contains("lag"), "{reads:?}");
        assert!(relations("consumers") >= 3);
        assert_eq!((relations("topics"), relations("nowhere")), (1, 1));
    }

    #[test]
    fn a_column_of_branches_of_several_types_has_the_type_of_its_values() {
        let sql = "SELECT CASE WHEN lag IS NULL THEN 0 ELSE lag_seconds END AS x FROM lag UNION ALL SELECT 1";
        let definition = Box::leak(Box::new(Definition { name: "v", comment: "c", sql, columns: &[("x", "x")] }));
        let schema = View::new(definition, &[]).unwrap().schema();
        assert_eq!(schema.field(0).data_type(), &arrow::datatypes::DataType::Float64);
    }

    #[test]
    fn a_definition_that_is_wrong_is_refused() {
        let wrong = |sql, columns| {
            let definition = Box::leak(Box::new(Definition { name: "v", comment: "c", sql, columns }));
            View::new(definition, &[]).unwrap_err().to_string()
        };
        assert!(wrong("SELECT nothing FROM lag", &[("nothing", "n")]).contains("nothing"));
        assert!(wrong("SELECT lag FROM lag", &[("lags", "n")]).contains("not those described"));
        assert!(wrong("SELECT lag FROM lag", &[]).contains("not those described"));
    }
}
