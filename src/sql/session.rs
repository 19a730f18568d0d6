//! Sessions that plan and run statements: the tables over a cut, and nothing that writes, reads files or reaches beyond the
//! process.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::{
    catalog::{MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider as _, TableProvider, view::ViewTable},
    common::{DataFusionError, Result},
    execution::{
        SessionState, SessionStateBuilder, SessionStateDefaults, TaskContext,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::MemoryPool,
        object_store::ObjectStoreRegistry,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    object_store::ObjectStore,
    prelude::SessionConfig,
};

use super::{
    functions,
    limits::{Guards, Reading, planning},
    scan::LiveTable,
    tables,
    views::{self, View},
};
use crate::config;

/// The one catalog.
pub const CATALOG: &str = "offsetd";
/// The schema of the tables.
pub const SCHEMA: &str = "public";

/// Makes the session of each statement.
pub(super) struct Sessions {
    /// What all sessions have in common: making it takes longer than planning most statements. It is behind a closure,
    /// since the compiler takes minutes to prove that a future that holds the type may be sent to another thread.
    template: Box<dyn Fn() -> SessionState + Send + Sync>,
    /// But for the memory.
    runtime: RuntimeEnv,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    pub(super) fn new(settings: &config::Sql) -> Result<Self> {
        let runtime = RuntimeEnvBuilder::new()
            .with_object_store_registry(Arc::new(NoStores))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build()?;
        let builder =
            planning::rules(language(settings.target_partitions, settings.max_value_bytes), settings.max_value_bytes)
                .with_physical_optimizer_rule(Arc::new(Guards::new(settings)))
                .with_runtime_env(Arc::new(runtime.clone()));
        let state = with_tables(builder, views::all())?;
        Ok(Self { template: Box::new(move || state.clone()), runtime })
    }

    /// The session of a statement.
    pub(super) fn session(&self, reading: Reading) -> SessionState {
        let mut state = (self.template)();
        let now = DateTime::<Utc>::from_timestamp_millis(reading.cut.taken_at);
        state.execution_props_mut().query_execution_start_time = now;
        state.config_mut().set_extension(Arc::new(reading));
        state
    }

    /// What the plan of a session runs with.
    pub(super) fn task(&self, session: &SessionState, memory: Arc<dyn MemoryPool>) -> Arc<TaskContext> {
        let runtime = RuntimeEnv { memory_pool: memory, ..self.runtime.clone() };
        Arc::new(TaskContext::from(session).with_runtime(Arc::new(runtime)))
    }
}

/// A session that plans the statements of views over the tables and the views before.
pub(super) fn of_views(before: &[View]) -> Result<SessionState> {
    with_tables(language(1, usize::MAX), before)
}

/// What every session understands.
fn language(target_partitions: usize, max_value_bytes: usize) -> SessionStateBuilder {
    let mut config = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_information_schema(true)
        .with_target_partitions(target_partitions.max(1));
    let options = config.options_mut();
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    options.execution.collect_statistics = true;
    options.execution.enable_recursive_ctes = false;
    // It takes comments for a part of the types: a UNION of columns with different ones would be refused.
    options.execution.skip_physical_aggregate_schema_check = true;
    // Scans of live tables have their partitions already; small inputs are not worth shuffling.
    options.optimizer.enable_round_robin_repartition = false;
    // No scan looks at what a filter becomes under way.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.optimizer.enable_topk_dynamic_filter_pushdown = false;
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    // A scan that gives its rows in order needs no sort, and nothing to stand in for its memory.
    options.execution.sort_pushdown_buffer_capacity = 1024 * 1024;
    SessionStateBuilder::new()
        .with_config(config)
        .with_expr_planners(functions::planners(max_value_bytes))
        .with_scalar_functions(functions::scalar(max_value_bytes))
        .with_aggregate_functions(functions::aggregates())
        .with_window_functions(SessionStateDefaults::default_window_functions())
}

/// A session with all tables and some views.
fn with_tables(builder: SessionStateBuilder, views: &[View]) -> Result<SessionState> {
    let (state, schema, catalog) = (builder.build(), MemorySchemaProvider::new(), MemoryCatalogProvider::new());
    for table in tables::all() {
        let name = table.name().to_owned();
        schema.register_table(name, Arc::new(LiveTable(table)))?;
    }
    for view in views {
        let table = ViewTable::new(view.plan().clone(), Some(view.sql().to_owned()));
        schema.register_table(view.name().to_owned(), Arc::new(table) as Arc<dyn TableProvider>)?;
    }
    datafusion::catalog::CatalogProvider::register_schema(&catalog, SCHEMA, Arc::new(schema))?;
    state.catalog_list().register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    Ok(state)
}

/// Refuses every URL: the default registry would serve files.
#[derive(Debug)]
struct NoStores;

impl ObjectStoreRegistry for NoStores {
    fn register_store(&self, _: &url::Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &url::Url) -> Result<Arc<dyn ObjectStore>> {
        Err(DataFusionError::Plan(format!("no access to {url}")))
    }
}
