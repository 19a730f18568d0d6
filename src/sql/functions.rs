//! The functions that statements may call: an allow-list. `limits::functions` bounds those of text and lists.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray as _},
    compute::{cast, kernels::concat_elements::concat_elements_utf8},
    datatypes::DataType,
};
use datafusion::{
    common::{DFSchema, DataFusionError, Result},
    execution::SessionStateDefaults,
    functions::{
        datetime::planner::DatetimeFunctionPlanner, unicode::planner::UnicodeFunctionPlanner,
        utils::make_scalar_function,
    },
    functions_aggregate::planner::AggregateFunctionPlanner,
    functions_nested::planner::{FieldAccessPlanner, NestedFunctionPlanner},
    functions_window::planner::WindowFunctionPlanner,
    logical_expr::{
        AggregateUDF, ColumnarValue, Expr, ExprSchemable as _, ScalarUDF, WindowFunctionDefinition,
        planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawWindowExpr},
    },
    logical_expr_common::signature::Arity,
    sql::sqlparser::ast::BinaryOperator,
};

use super::{builtin::builtin, limits};

/// Numeric functions.
pub const NUMBERS: &str = "\
    abs acos asin atan atan2 cbrt ceil cos degrees exp floor gcd isnan iszero lcm ln log log10 log2 nanvl pi power \
    radians random round signum sin sqrt tan trunc greatest least";
/// Time functions.
pub const TIMES: &str = "\
    current_date current_time date_bin date_part date_trunc from_unixtime make_date now to_date to_local_time \
    to_timestamp to_timestamp_micros to_timestamp_millis to_timestamp_nanos to_timestamp_seconds to_unixtime";
/// Functions of values of any type.
pub const OTHERS: &str = "arrow_typeof coalesce get_field nullif nvl nvl2 uuid version";

/// Aggregate functions. Those that collect values reserve memory from the statement's limit.
const AGGREGATES: &str = "\
    any_value approx_distinct approx_median approx_percentile_cont array_agg avg bit_and bit_or bit_xor bool_and bool_or \
    corr count covar_pop covar_samp first_value grouping last_value max median min nth_value percentile_cont regr_slope \
    regr_intercept regr_r2 regr_count stddev stddev_pop string_agg sum var var_pop";

/// Returns the names of the text functions.
#[must_use]
pub fn text() -> Vec<&'static str> {
    let is_other = |name: &str| {
        name.contains("array") || matches!(name, "cardinality" | "empty" | "flatten" | "||" | "like" | "ilike")
    };
    limits::functions::names().filter(|name| !is_other(name)).collect()
}

/// Returns the names in a list.
#[must_use]
pub fn names(list: &'static str) -> Vec<&'static str> {
    list.split(' ').collect()
}

/// Returns the scalar functions. A rule of the analyzer bounds them, and also the functions behind operators.
pub(super) fn scalar() -> Vec<Arc<ScalarUDF>> {
    let known: Vec<&str> =
        [NUMBERS, TIMES, OTHERS].into_iter().flat_map(names).chain(limits::functions::names()).collect();
    let functions = SessionStateDefaults::default_scalar_functions().into_iter();
    functions.filter(|function| known.contains(&function.name())).collect()
}

/// Returns the aggregate functions.
pub(super) fn aggregates() -> Vec<Arc<AggregateUDF>> {
    let functions = SessionStateDefaults::default_aggregate_functions().into_iter();
    functions.filter(|function| names(AGGREGATES).contains(&function.name())).collect()
}

/// Returns the planners of expressions without a function name, such as `||` and `[1, 2]`. Structs have no planner.
pub(super) fn planners() -> Vec<Arc<dyn ExprPlanner>> {
    vec![
        Arc::new(OperatorPlanner),
        Arc::new(NestedFunctionPlanner),
        Arc::new(FieldAccessPlanner),
        Arc::new(DatetimeFunctionPlanner),
        Arc::new(UnicodeFunctionPlanner),
        Arc::new(AggregateFunctionPlanner),
        Arc::new(WindowFunctionPlanner),
    ]
}

/// Plans `||`, and rejects maps and window functions without arguments.
#[derive(Debug)]
struct OperatorPlanner;

impl ExprPlanner for OperatorPlanner {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        if expr.op != BinaryOperator::StringConcat {
            return Ok(PlannerResult::Original(expr));
        }
        if expr.left.get_type(schema)?.is_nested() || expr.right.get_type(schema)?.is_nested() {
            return Err(DataFusionError::Plan("the operator || concatenates text, not lists".to_owned()));
        }
        let concatenated = builtin("||", 2, |_, _| Ok(DataType::Utf8), concatenated);
        Ok(PlannerResult::Planned(concatenated.call(vec![expr.left, expr.right])))
    }

    fn plan_make_map(&self, _: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Err(DataFusionError::Plan("maps are not supported".to_owned()))
    }

    /// DataFusion 55.2 panics at first_value(), last_value() and nth_value(): their signatures allow no arguments.
    fn plan_window(&self, expr: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        let (name, signature) = match &expr.func_def {
            WindowFunctionDefinition::AggregateUDF(function) => (function.name(), function.signature()),
            WindowFunctionDefinition::WindowUDF(function) => (function.name(), function.signature()),
        };
        let takes_none = matches!(signature.type_signature.arity(), Arity::Fixed(0) | Arity::Variable);
        if expr.args.is_empty() && !takes_none {
            return Err(DataFusionError::Plan(format!("{name} requires arguments")));
        }
        Ok(PlannerResult::Original(expr))
    }
}

/// Evaluates `||`.
fn concatenated(_: &'static str, operands: &[ColumnarValue]) -> Result<ColumnarValue> {
    let join = |values: &[ArrayRef]| {
        let [left, right] = values else {
            return Err(DataFusionError::Plan("the operator || requires two texts".to_owned()));
        };
        let (left, right) = (cast(left, &DataType::Utf8)?, cast(right, &DataType::Utf8)?);
        Ok(Arc::new(concat_elements_utf8(left.as_string::<i32>(), right.as_string::<i32>())?) as ArrayRef)
    };
    make_scalar_function(join, vec![])(operands)
}
