//! The catalog: all tables, and the views, each planned once.

use std::sync::{Arc, LazyLock};

use datafusion::{
    catalog::{
        CatalogProvider as _, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider as _, view::ViewTable,
    },
    common::Result,
    execution::{SessionState, SessionStateBuilder},
};

use super::{
    language::{self, CATALOG, SCHEMA},
    scan::LiveTable,
    table::AnyTable,
    tables::{self, TableDescription},
    views::{DEFINITIONS, View},
};

/// All views, each after those that it reads.
static VIEWS: LazyLock<Vec<View>> = LazyLock::new(|| {
    let mut views = vec![];
    for definition in DEFINITIONS {
        let state = register(language::session(1, usize::MAX), &views);
        match state.and_then(|state| View::new(definition, &state)) {
            Ok(view) => views.push(view),
            Err(error) => tracing::error!(view = definition.name, %error, "a view is left out"),
        }
    }
    views
});

/// A session with all tables and views.
///
/// # Errors
/// DataFusion refuses a table.
pub(super) fn session(builder: SessionStateBuilder) -> Result<SessionState> {
    tables::describe(described);
    register(builder, &VIEWS)
}

/// A session with all tables and some views.
fn register(builder: SessionStateBuilder, views: &[View]) -> Result<SessionState> {
    let (state, schema, catalog) = (builder.build(), MemorySchemaProvider::new(), MemoryCatalogProvider::new());
    for table in tables::all() {
        schema.register_table(table.name().to_owned(), Arc::new(LiveTable(table)))?;
    }
    for view in views {
        let table = ViewTable::new(view.plan().clone(), Some(view.sql().to_owned()));
        schema.register_table(view.name().to_owned(), Arc::new(table))?;
    }
    catalog.register_schema(SCHEMA, Arc::new(schema))?;
    state.catalog_list().register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    Ok(state)
}

/// How many tables a name stands for.
pub(super) fn relations(name: &str) -> usize {
    VIEWS.iter().find(|view| view.name() == name).map_or(1, View::relations)
}

/// All tables and views, by name.
pub(super) fn described() -> Vec<TableDescription> {
    let table = |table: Arc<dyn AnyTable>| (table.name(), table.comment(), table.schema(), false);
    let view = |view: &View| (view.name(), view.comment(), view.schema(), true);
    let all = tables::all().into_iter().map(table).chain(VIEWS.iter().map(view));
    let all = all.map(|(name, comment, schema, is_view)| TableDescription { name, comment, schema, is_view });
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|table| table.name);
    all
}

#[cfg(test)]
mod tests;
