//! The functions that statements may call: an allow-list. Those of text and lists have bounds, see `limits::functions`.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray as _},
    compute::{cast, kernels::concat_elements::concat_elements_utf8},
    datatypes::DataType,
};
use datafusion::{
    common::{DFSchema, DataFusionError, Result},
    execution::SessionStateDefaults,
    functions::utils::make_scalar_function,
    logical_expr::{
        AggregateUDF, ColumnarValue, Expr, ExprSchemable as _, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
        Volatility, WindowFunctionDefinition,
        planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawDictionaryExpr, RawWindowExpr},
    },
    logical_expr_common::signature::Arity,
    sql::sqlparser::ast::BinaryOperator,
};

use super::{limits, sums::Exact};

/// Names of functions.
pub type Names = &'static [&'static str];

/// Of numbers.
pub const NUMBERS: Names = &[
    "abs", "acos", "asin", "atan", "atan2", "cbrt", "ceil", "cos", "degrees", "exp", "floor", "gcd", "isnan", "iszero",
    "lcm", "ln", "log", "log10", "log2", "nanvl", "pi", "power", "radians", "random", "round", "signum", "sin", "sqrt",
    "tan", "trunc", "greatest", "least",
];
/// Of times.
pub const TIMES: Names = &[
    "current_date",
    "current_time",
    "date_bin",
    "date_part",
    "date_trunc",
    "from_unixtime",
    "make_date",
    "now",
    "to_date",
    "to_local_time",
    "to_timestamp",
    "to_timestamp_micros",
    "to_timestamp_millis",
    "to_timestamp_nanos",
    "to_timestamp_seconds",
    "to_unixtime",
];
/// Of anything.
pub const OTHERS: Names = &["arrow_typeof", "coalesce", "get_field", "nullif", "nvl", "nvl2", "uuid", "version"];

/// Aggregates; those that collect values take their memory from the statement's.
const AGGREGATES: &[&str] = &[
    "any_value",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "first_value",
    "grouping",
    "last_value",
    "max",
    "median",
    "min",
    "nth_value",
    "percentile_cont",
    "regr_slope",
    "regr_intercept",
    "regr_r2",
    "regr_count",
    "stddev",
    "stddev_pop",
    "string_agg",
    "sum",
    "var",
    "var_pop",
];

/// Functions that are written as operators.
const OPERATORS: Names = &["||", "like", "ilike"];

/// Functions of text.
#[must_use]
pub fn text() -> Vec<&'static str> {
    let is_of_lists = |name: &str| {
        name.contains("array") || matches!(name, "cardinality" | "empty" | "flatten") || OPERATORS.contains(&name)
    };
    limits::functions::names().filter(|name| !is_of_lists(name)).collect()
}

/// The scalar functions.
pub(super) fn scalar(max_value_bytes: usize) -> Vec<Arc<ScalarUDF>> {
    let known: Vec<&str> =
        [NUMBERS, TIMES, OTHERS].into_iter().flatten().copied().chain(limits::functions::names()).collect();
    let functions = SessionStateDefaults::default_scalar_functions().into_iter();
    let known = functions.filter(|function| known.contains(&function.name()));
    known.map(|function| limits::functions::bounded(function, max_value_bytes)).collect()
}

/// The aggregates.
pub(super) fn aggregates() -> Vec<Arc<AggregateUDF>> {
    let functions = SessionStateDefaults::default_aggregate_functions().into_iter();
    functions.filter(|function| AGGREGATES.contains(&function.name())).map(Exact::of).collect()
}

/// Planners of what is written without a name: `||`, `[1, 2]`.
pub(super) fn planners(max_value_bytes: usize) -> Vec<Arc<dyn ExprPlanner>> {
    let array = scalar(max_value_bytes).into_iter().find(|function| function.name() == "make_array");
    let own: Arc<dyn ExprPlanner> = Arc::new(Planner { max: max_value_bytes, array });
    std::iter::once(own).chain(SessionStateDefaults::default_expr_planners()).collect()
}

#[derive(Debug)]
struct Planner {
    max: usize,
    array: Option<Arc<ScalarUDF>>,
}

impl ExprPlanner for Planner {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        if expr.op != BinaryOperator::StringConcat {
            return Ok(PlannerResult::Original(expr));
        }
        if expr.left.get_type(schema)?.is_nested() || expr.right.get_type(schema)?.is_nested() {
            return Err(DataFusionError::Plan("|| joins texts, not lists".to_owned()));
        }
        let joined = ScalarUDF::from(Joined { signature: Signature::any(2, Volatility::Immutable) });
        let function = limits::functions::bounded(Arc::new(joined), self.max);
        Ok(PlannerResult::Planned(function.call(vec![expr.left, expr.right])))
    }

    fn plan_array_literal(&self, exprs: Vec<Expr>, _: &DFSchema) -> Result<PlannerResult<Vec<Expr>>> {
        match &self.array {
            Some(array) => Ok(PlannerResult::Planned(array.call(exprs))),
            None => Ok(PlannerResult::Original(exprs)),
        }
    }

    fn plan_struct_literal(&self, _: Vec<Expr>, _: bool) -> Result<PlannerResult<Vec<Expr>>> {
        Err(DataFusionError::Plan("there are no structs".to_owned()))
    }

    fn plan_dictionary_literal(&self, _: RawDictionaryExpr, _: &DFSchema) -> Result<PlannerResult<RawDictionaryExpr>> {
        Err(DataFusionError::Plan("there are no structs".to_owned()))
    }

    fn plan_make_map(&self, _: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Err(DataFusionError::Plan("there are no maps".to_owned()))
    }

    /// DataFusion 55.2 panics at first_value(), last_value() and nth_value(), whose signatures allow no arguments.
    fn plan_window(&self, expr: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        let (name, signature) = match &expr.func_def {
            WindowFunctionDefinition::AggregateUDF(function) => (function.name(), function.signature()),
            WindowFunctionDefinition::WindowUDF(function) => (function.name(), function.signature()),
        };
        let takes_none = matches!(signature.type_signature.arity(), Arity::Fixed(0) | Arity::Variable);
        if expr.args.is_empty() && !takes_none {
            return Err(DataFusionError::Plan(format!("{name} takes arguments")));
        }
        Ok(PlannerResult::Original(expr))
    }

    fn plan_overlay(&self, _: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Err(DataFusionError::Plan("there is no function overlay".to_owned()))
    }
}

/// `||`: NULL when either is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Joined {
    signature: Signature,
}

impl ScalarUDFImpl for Joined {
    fn name(&self) -> &'static str {
        "||"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let join = |values: &[ArrayRef]| {
            let [left, right] = values else {
                return Err(DataFusionError::Plan("|| takes two texts".to_owned()));
            };
            let (left, right) = (cast(left, &DataType::Utf8)?, cast(right, &DataType::Utf8)?);
            Ok(Arc::new(concat_elements_utf8(left.as_string::<i32>(), right.as_string::<i32>())?) as ArrayRef)
        };
        make_scalar_function(join, vec![])(&args.args)
    }
}
