//! A session for one statement: the tables over its cut, and nothing that writes, reads files or
//! reaches beyond the process.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

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
    logical_expr::{AggregateUDF, ScalarUDF, WindowUDF},
    object_store::ObjectStore,
    prelude::SessionConfig,
};
use parking_lot::Mutex;

use super::{
    functions,
    grouping::Grouping,
    limits::{Reading, Stoppable, planning},
    scan::LiveTable,
    table::AnyTable,
    views::{self, View},
};
use crate::{config, store::cut::Cut};

/// The one catalog.
pub const CATALOG: &str = "offsetd";
/// The schema of the tables.
pub const SCHEMA: &str = "public";

/// Makes what statements are planned and run with.
pub(super) struct Sessions {
    plan: Box<Plan>,
    config: SessionConfig,
    /// But for the memory.
    runtime: RuntimeEnv,
}

/// A trait object: whatever holds a planner's state by its type, and is to be sent to another thread, takes the compiler
/// minutes to prove that it may be.
type Plan = dyn Fn(&Arc<Cut>) -> Result<SessionState> + Send + Sync;

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    pub(super) fn new(tables: &[Arc<dyn AnyTable>], settings: &config::Sql) -> Result<Self> {
        let template = Template::new(tables, settings);
        let config = template.state.config().clone();
        let runtime = RuntimeEnvBuilder::new()
            .with_object_store_registry(Arc::new(NoStores))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build()?;
        Ok(Self { plan: Box::new(move |cut| template.session(cut)), config, runtime })
    }

    /// A session that plans statements, by what a cut holds.
    pub(super) fn planning(&self, cut: &Arc<Cut>) -> Result<SessionState> {
        (self.plan)(cut)
    }

    /// What a plan runs with: the statement's cut and memory, and no functions but to list them, since a plan holds its own.
    pub(super) fn running(
        &self,
        reading: Reading,
        memory: Arc<dyn MemoryPool>,
        functions: Functions,
    ) -> Arc<TaskContext> {
        let runtime = Arc::new(RuntimeEnv { memory_pool: memory, ..self.runtime.clone() });
        let config = self.config.clone().with_extension(Arc::new(reading));
        let Functions { scalar, aggregate, window } = functions;
        let higher = Default::default();
        Arc::new(TaskContext::new(None, String::new(), config, scalar, higher, aggregate, window, runtime))
    }
}

/// The functions that a plan can list.
#[derive(Clone, Debug, Default)]
pub(super) struct Functions {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    aggregate: HashMap<String, Arc<AggregateUDF>>,
    window: HashMap<String, Arc<WindowUDF>>,
}

impl Functions {
    /// All that a session knows.
    pub(super) fn of(state: &SessionState) -> Self {
        Self {
            scalar: state.scalar_functions().clone(),
            aggregate: state.aggregate_functions().clone(),
            window: state.window_functions().clone(),
        }
    }
}

/// What all sessions have in common: making it takes longer than planning most statements.
struct Template {
    state: SessionState,
    tables: Arc<BTreeMap<&'static str, Arc<dyn AnyTable>>>,
}

impl Template {
    fn new(tables: &[Arc<dyn AnyTable>], settings: &config::Sql) -> Self {
        let state = planning::rules(language(settings.target_partitions, settings.max_value_bytes))
            .with_physical_optimizer_rule(Arc::new(Grouping))
            .with_physical_optimizer_rule(Arc::new(Stoppable::new(settings)))
            .build();
        let tables = tables.iter().map(|table| (table.name(), Arc::clone(table))).collect();
        Self { state, tables: Arc::new(tables) }
    }

    fn session(&self, cut: &Arc<Cut>) -> Result<SessionState> {
        let mut state = self.state.clone();
        state.execution_props_mut().query_execution_start_time = DateTime::<Utc>::from_timestamp_millis(cut.taken_at);
        let (tables, cut) = (Arc::clone(&self.tables), Arc::clone(cut));
        // Not that of the template, which all would share.
        state.register_catalog_list(Arc::new(MemoryCatalogProviderList::new()));
        with_schema(state, Arc::new(LiveSchema { tables, cut, planned: Mutex::default() }))
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
    // No scan looks at what a filter becomes under way, and a plan that has one cannot be run again.
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
}

#[async_trait]
impl SchemaProvider for LiveSchema {
    fn table_names(&self) -> Vec<String> {
        let views = views::all().iter().map(View::name);
        self.tables.keys().copied().chain(views).map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.tables.get(name).map(Arc::clone) {
            return Ok(Some(Arc::new(LiveTable { table, cut: Arc::clone(&self.cut) })));
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
