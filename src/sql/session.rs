//! A session for one statement: the tables over its cut, and nothing that writes, reads files or
//! reaches beyond the process.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::{
    catalog::{
        CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider, SchemaProvider,
        TableProvider,
    },
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
use parking_lot::Mutex;

use super::{
    functions,
    guard::Stoppable,
    planning,
    scan::LiveTable,
    stop::Stop,
    table::AnyTable,
    views::{self, View},
};
use crate::{config, store::cut::Cut};

/// The one catalog.
pub const CATALOG: &str = "offsetd";
/// The schema of the tables.
pub const SCHEMA: &str = "public";

/// Makes the sessions of statements.
pub(super) struct Sessions(Box<Make>);

/// A trait object: whatever holds a planner's state by its type, and is to be sent to another thread, takes the compiler
/// minutes to prove that it may be.
type Make = dyn Fn(&Arc<Cut>, Arc<dyn MemoryPool>, &Stop) -> Result<Session> + Send + Sync;

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    pub(super) fn new(tables: &[Arc<dyn AnyTable>], settings: &config::Sql) -> Self {
        let template = Template::new(tables, settings);
        Self(Box::new(move |cut, memory, stop| template.session(cut, memory, stop)))
    }

    /// A session over a cut.
    pub(super) fn make(&self, cut: &Arc<Cut>, memory: Arc<dyn MemoryPool>, stop: &Stop) -> Result<Session> {
        (self.0)(cut, memory, stop)
    }
}

/// What all sessions have in common: making it takes longer than planning most statements.
struct Template {
    state: SessionState,
    tables: Arc<BTreeMap<&'static str, Arc<dyn AnyTable>>>,
}

/// A session of one statement.
pub(super) struct Session {
    pub(super) state: SessionState,
    /// The statement asks which functions there are.
    pub(super) lists_functions: bool,
    memory: Arc<RuntimeEnv>,
}

impl Template {
    fn new(tables: &[Arc<dyn AnyTable>], settings: &config::Sql) -> Self {
        let state = planning::rules(language(settings.target_partitions, settings.max_value_bytes))
            .with_physical_optimizer_rule(Arc::new(Stoppable::new(settings)))
            .build();
        let tables = tables.iter().map(|table| (table.name(), Arc::clone(table))).collect();
        Self { state, tables: Arc::new(tables) }
    }

    fn session(&self, cut: &Arc<Cut>, memory: Arc<dyn MemoryPool>, stop: &Stop) -> Result<Session> {
        let memory = RuntimeEnvBuilder::new()
            .with_memory_pool(memory)
            .with_object_store_registry(Arc::new(NoStores))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        let mut state = self.state.clone();
        state.execution_props_mut().query_execution_start_time = DateTime::<Utc>::from_timestamp_millis(cut.taken_at);
        let (tables, cut, stop) = (Arc::clone(&self.tables), Arc::clone(cut), stop.clone());
        // Not that of the template, which all would share.
        state.register_catalog_list(Arc::new(MemoryCatalogProviderList::new()));
        let state = with_schema(state, Arc::new(LiveSchema { tables, cut, planned: Mutex::default(), stop }))?;
        Ok(Session { state, lists_functions: false, memory })
    }
}

impl Session {
    /// What a plan runs with: the statement's memory, and no functions but to list them, since a plan holds its own.
    pub(super) fn task(&self) -> Arc<TaskContext> {
        let state = &self.state;
        let (session, config) = (state.session_id().to_owned(), state.config().clone());
        let (mut scalar, higher, mut aggregate, mut window) = Default::default();
        if self.lists_functions {
            scalar = state.scalar_functions().clone();
            aggregate = state.aggregate_functions().clone();
            window = state.window_functions().clone();
        }
        let runtime = Arc::clone(&self.memory);
        Arc::new(TaskContext::new(None, session, config, scalar, higher, aggregate, window, runtime))
    }
}

/// A session that plans, over tables that are registered with it.
pub(super) fn without_rows() -> Result<SessionState> {
    with_schema(language(1, usize::MAX).build(), Arc::new(MemorySchemaProvider::new()))
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
    // A scan that gives its rows in order needs no sort, and nothing to stand in for its memory.
    options.execution.sort_pushdown_buffer_capacity = 1024 * 1024;
    SessionStateBuilder::new()
        .with_config(config)
        .with_expr_planners(functions::planners(max_value_bytes))
        .with_scalar_functions(functions::scalar(max_value_bytes))
        .with_aggregate_functions(functions::aggregates())
        .with_window_functions(SessionStateDefaults::default_window_functions())
}

fn with_schema(state: SessionState, schema: Arc<dyn SchemaProvider>) -> Result<SessionState> {
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema(SCHEMA, schema)?;
    state.catalog_list().register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    Ok(state)
}

/// The tables over one cut, and the views.
#[derive(Debug)]
struct LiveSchema {
    tables: Arc<BTreeMap<&'static str, Arc<dyn AnyTable>>>,
    cut: Arc<Cut>,
    /// The views that the statement reads.
    planned: Mutex<BTreeMap<String, Arc<dyn TableProvider>>>,
    stop: Stop,
}

#[async_trait]
impl SchemaProvider for LiveSchema {
    fn table_names(&self) -> Vec<String> {
        let views = views::all().iter().map(View::name);
        self.tables.keys().copied().chain(views).map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.tables.get(name).map(Arc::clone) {
            return Ok(Some(Arc::new(LiveTable { table, cut: Arc::clone(&self.cut), stop: self.stop.clone() })));
        }
        let planned = self.planned.lock().get(name).map(Arc::clone);
        Ok(planned.or_else(|| views::find(name).map(View::described)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.contains_key(name) || views::find(name).is_some()
    }

    fn register_table(&self, name: String, table: Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.planned.lock().insert(name, table))
    }
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
