//! What every session understands: the dialect, its options and its functions.

use datafusion::{
    execution::{SessionStateBuilder, SessionStateDefaults},
    prelude::SessionConfig,
};

use super::functions;

/// The one catalog.
pub const CATALOG: &str = "offsetd";
/// The schema of the tables.
pub const SCHEMA: &str = "public";

/// A session without tables.
pub(super) fn session(target_partitions: usize, max_value_bytes: usize) -> SessionStateBuilder {
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
