//! The catalog of every session: SQL options, functions, all tables, and the views, each of which is planned once.

use std::sync::{Arc, LazyLock};

use datafusion::{
    catalog::{
        CatalogProvider as _, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider as _, view::ViewTable,
    },
    common::Result,
    execution::{SessionState, SessionStateBuilder, SessionStateDefaults},
    prelude::SessionConfig,
};

use super::{
    functions,
    scan::LiveTable,
    table::{AnyTable, OPERATOR_ROWS},
    tables::{self, TableDescription},
    views::{DEFINITIONS, View},
};

/// Name of the catalog.
pub const CATALOG: &str = "offsetd";
/// Name of the schema that holds the tables.
pub const SCHEMA: &str = "public";

/// All views, each after the views that it reads.
static VIEWS: LazyLock<Vec<View>> = LazyLock::new(|| {
    let mut views = vec![];
    for definition in DEFINITIONS {
        let state = register(base_session(1), &views);
        match state.and_then(|state| View::new(definition, &state)) {
            Ok(view) => views.push(view),
            Err(error) => tracing::error!(view = definition.name, %error, "cannot plan a view; it is not available"),
        }
    }
    views
});

/// Returns a session with all tables and views.
///
/// # Errors
/// DataFusion rejects a table.
pub(super) fn session(builder: SessionStateBuilder) -> Result<SessionState> {
    tables::set_descriptions(describe_all);
    register(builder, &VIEWS)
}

/// Returns a session with all tables and the given views.
fn register(builder: SessionStateBuilder, views: &[View]) -> Result<SessionState> {
    let (state, schema, catalog) = (builder.build(), MemorySchemaProvider::new(), MemoryCatalogProvider::new());
    for table in tables::all() {
        schema.register_table(table.name.to_owned(), Arc::new(LiveTable(table)))?;
    }
    for view in views {
        let table = ViewTable::new(view.plan.clone(), Some(view.definition.sql.to_owned()));
        schema.register_table(view.definition.name.to_owned(), Arc::new(table))?;
    }
    catalog.register_schema(SCHEMA, Arc::new(schema))?;
    state.catalog_list().register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    Ok(state)
}

/// Returns a session without tables: only its options and functions.
pub(super) fn base_session(target_partitions: usize) -> SessionStateBuilder {
    let mut config = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_information_schema(true)
        .with_batch_size(OPERATOR_ROWS)
        .with_target_partitions(target_partitions.max(1));
    let options = config.options_mut();
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    options.sql_parser.default_null_ordering = "nulls_last".to_owned();
    options.execution.collect_statistics = true;
    options.execution.enable_recursive_ctes = false;
    // The check compares field metadata as part of the type, so that a UNION of columns with different comments would
    // fail.
    options.execution.skip_physical_aggregate_schema_check = true;
    // Scans of live tables are partitioned already, and small inputs are not worth a repartition.
    options.optimizer.enable_round_robin_repartition = false;
    // No scan uses filters that are computed while the statement runs.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.optimizer.enable_topk_dynamic_filter_pushdown = false;
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    // A scan that returns its rows in order needs no sort and no memory for one.
    options.execution.sort_pushdown_buffer_capacity = 1024 * 1024;
    SessionStateBuilder::new()
        .with_config(config)
        .with_expr_planners(functions::planners())
        .with_scalar_functions(functions::scalar())
        .with_aggregate_functions(functions::aggregates())
        .with_window_functions(SessionStateDefaults::default_window_functions())
}

/// Returns the number of tables that a name stands for: more than one for a view.
pub(super) fn relation_count(name: &str) -> usize {
    VIEWS.iter().find(|view| view.definition.name == name).map_or(1, |view| view.relations)
}

/// Returns the descriptions of all tables and views, ordered by name.
pub(super) fn describe_all() -> Vec<TableDescription> {
    let table = |table: Arc<AnyTable>| (table.name, table.comment, Arc::clone(&table.schema), false);
    let view = |view: &View| (view.definition.name, view.definition.comment, view.schema(), true);
    let all = tables::all().into_iter().map(table).chain(VIEWS.iter().map(view));
    let all = all.map(|(name, comment, schema, is_view)| TableDescription { name, comment, schema, is_view });
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|table| table.name);
    all
}

#[cfg(test)]
mod tests;
