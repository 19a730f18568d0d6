//! Sessions that plan and run statements. They see the tables of a cut, and nothing that writes, reads files or
//! connects to other systems.

use std::{any::Any, sync::Arc};

use chrono::{DateTime, Utc};
use datafusion::{
    common::{
        DataFusionError, Result,
        runtime::{JoinSetTracer, set_join_set_tracer},
    },
    execution::{
        SessionState, TaskContext,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::MemoryPool,
        object_store::ObjectStoreRegistry,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    object_store::ObjectStore,
};
use futures::{FutureExt as _, future::BoxFuture};
use tracing::{Instrument as _, Span};

use super::{
    catalog,
    limits::{GuardRule, StatementContext, planner_rules},
};
use crate::config;

/// Creates the session of each statement.
pub(super) struct Sessions {
    /// The common part of all sessions, since creating it takes longer than planning most statements. It is behind a
    /// closure, since the compiler takes minutes to prove that a future that contains the type is `Send`.
    template: Box<dyn Fn() -> SessionState + Send + Sync>,
    /// The runtime of all statements, without its memory pool.
    runtime: RuntimeEnv,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    /// Creates the common part of all sessions.
    pub(super) fn new(settings: &config::Sql) -> Result<Self> {
        // Fails if another engine of the process has set it, as in tests.
        let _ = set_join_set_tracer(&SpanTracer);
        let runtime = RuntimeEnvBuilder::new()
            .with_object_store_registry(Arc::new(NoObjectStores))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build()?;
        let base = catalog::base_session(settings.target_partitions);
        let builder = planner_rules::rules(base, settings.max_value_bytes)
            .with_physical_optimizer_rule(Arc::new(GuardRule::new(settings)))
            .with_runtime_env(Arc::new(runtime.clone()));
        let state = catalog::session(builder)?;
        Ok(Self { template: Box::new(move || state.clone()), runtime })
    }

    /// Returns the session of a statement.
    pub(super) fn session(&self, statement_context: &Arc<StatementContext>) -> SessionState {
        let mut state = (self.template)();
        let now = DateTime::<Utc>::from_timestamp_millis(statement_context.cut.taken_at);
        state.execution_props_mut().query_execution_start_time = now;
        state.config_mut().set_extension(Arc::clone(statement_context));
        state
    }

    /// Returns the context in which the plan of a session runs.
    pub(super) fn task(&self, session: &SessionState, memory: Arc<dyn MemoryPool>) -> Arc<TaskContext> {
        let runtime = RuntimeEnv { memory_pool: memory, ..self.runtime.clone() };
        Arc::new(TaskContext::from(session).with_runtime(Arc::new(runtime)))
    }
}

/// Runs the tasks that a plan starts in the span of its statement.
struct SpanTracer;

type Output = Box<dyn Any + Send>;

impl JoinSetTracer for SpanTracer {
    fn trace_future(&self, future: BoxFuture<'static, Output>) -> BoxFuture<'static, Output> {
        future.in_current_span().boxed()
    }

    fn trace_block(&self, work: Box<dyn FnOnce() -> Output + Send>) -> Box<dyn FnOnce() -> Output + Send> {
        let span = Span::current();
        Box::new(move || span.in_scope(work))
    }
}

/// An object store registry that rejects every URL; the default one would read local files.
#[derive(Debug)]
struct NoObjectStores;

impl ObjectStoreRegistry for NoObjectStores {
    fn register_store(&self, _: &url::Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &url::Url) -> Result<Arc<dyn ObjectStore>> {
        Err(DataFusionError::Plan(format!("cannot read \"{url}\": statements read only the tables of offsetd")))
    }
}
