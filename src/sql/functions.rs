//! The functions that statements may call: an allow-list, with caps on those whose result can be
//! much larger than what they are given. They allocate outside the memory pool, and one call could
//! end the process.

use std::{hash::Hash, sync::Arc};

use arrow::{
    array::{Array as _, AsArray as _},
    compute::kernels::concat_elements::concat_elements_utf8,
    datatypes::{DataType, FieldRef},
};
use datafusion::{
    common::{DFSchema, DataFusionError, Result, ScalarValue},
    execution::SessionStateDefaults,
    logical_expr::{
        AggregateUDF, ColumnarValue, Expr, ExprSchemable as _, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
        ScalarUDFImpl, Signature, Volatility,
        planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawDictionaryExpr},
    },
    sql::sqlparser::ast::BinaryOperator,
};

use super::{error::SqlError, sums::Exact};

/// Bytes that one call for one batch may make.
const BATCH_BYTES: usize = 32 * 1024 * 1024;

/// Names of functions whose results are no larger than their arguments, but for a small factor.
pub type Names = &'static [&'static str];

/// Of numbers.
pub const NUMBERS: Names = &[
    "abs", "acos", "asin", "atan", "atan2", "cbrt", "ceil", "cos", "degrees", "exp", "floor", "gcd", "isnan", "iszero",
    "lcm", "ln", "log", "log10", "log2", "nanvl", "pi", "power", "radians", "random", "round", "signum", "sin", "sqrt",
    "tan", "trunc", "greatest", "least",
];
/// Of text.
const TEXT: Names = &[
    "ascii",
    "bit_length",
    "btrim",
    "character_length",
    "chr",
    "contains",
    "ends_with",
    "find_in_set",
    "initcap",
    "left",
    "lower",
    "ltrim",
    "octet_length",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "reverse",
    "right",
    "rtrim",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "substr_index",
    "to_hex",
    "translate",
    "upper",
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
/// Of lists.
const LISTS: Names = &[
    "array_any_value",
    "array_dims",
    "array_distinct",
    "array_element",
    "array_except",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_intersect",
    "array_length",
    "array_max",
    "array_min",
    "array_ndims",
    "array_pop_back",
    "array_pop_front",
    "array_position",
    "array_positions",
    "array_remove",
    "array_remove_all",
    "array_reverse",
    "array_slice",
    "array_sort",
    "cardinality",
    "empty",
    "flatten",
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

/// How large a result may be, by the longest argument texts and the arguments' numbers.
type Estimate = fn(&[usize], &[usize]) -> usize;

/// Functions that make large from small, with an upper bound of a value's bytes.
const CAPPED: &[(&str, Estimate)] = &[
    ("concat", |bytes, _| sum(bytes)),
    ("concat_ws", |bytes, _| sum(bytes).saturating_add(at(bytes, 0).saturating_mul(bytes.len()))),
    ("make_array", |bytes, _| sum(bytes).saturating_add(8 * bytes.len())),
    ("repeat", |bytes, numbers| at(bytes, 0).saturating_mul(at(numbers, 1))),
    ("lpad", |bytes, numbers| at(bytes, 0).saturating_add(at(numbers, 1).saturating_mul(4))),
    ("rpad", |bytes, numbers| at(bytes, 0).saturating_add(at(numbers, 1).saturating_mul(4))),
    ("replace", |bytes, _| replaced(at(bytes, 0), at(bytes, 2))),
    ("regexp_replace", |bytes, _| replaced(at(bytes, 0), at(bytes, 2))),
    // A sign of the format becomes a date in words.
    ("to_char", |bytes, _| at(bytes, 1).saturating_mul(32)),
];

/// Functions that make text.
#[must_use]
pub fn text() -> Vec<&'static str> {
    let capped = CAPPED.iter().map(|(name, _)| *name).filter(|name| *name != "make_array");
    TEXT.iter().copied().chain(capped).collect()
}

fn sum(bytes: &[usize]) -> usize {
    bytes.iter().fold(0, |sum: usize, bytes| sum.saturating_add(*bytes))
}

fn at(values: &[usize], index: usize) -> usize {
    values.get(index).copied().unwrap_or(0)
}

/// Every byte, and the end, may be replaced.
fn replaced(text: usize, by: usize) -> usize {
    text.saturating_add((text.saturating_add(1)).saturating_mul(by))
}

/// The scalar functions.
pub(super) fn scalar(max_value_bytes: usize) -> Vec<Arc<ScalarUDF>> {
    let functions = SessionStateDefaults::default_scalar_functions().into_iter();
    functions
        .filter_map(|function| {
            if [NUMBERS, TEXT, TIMES, LISTS, OTHERS].iter().any(|names| names.contains(&function.name())) {
                return Some(function);
            }
            let (_, estimate) = CAPPED.iter().find(|(name, _)| *name == function.name())?;
            Some(Arc::new(Capped { inner: function, estimate: *estimate, max: max_value_bytes }.into()))
        })
        .collect()
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
        let function = ScalarUDF::from(Joined { max: self.max, signature: Signature::any(2, Volatility::Immutable) });
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

    fn plan_overlay(&self, _: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Err(DataFusionError::Plan("there is no function overlay".to_owned()))
    }
}

fn check(name: &str, bytes: usize, rows: usize, max: usize) -> Result<()> {
    let too_long = bytes > max;
    if !too_long && bytes.saturating_mul(rows) <= BATCH_BYTES {
        return Ok(());
    }
    let what = if too_long {
        format!("a value of {name} may have {bytes} bytes, {max} are allowed")
    } else {
        format!("{rows} values of {name} may have {bytes} bytes each, {BATCH_BYTES} together are allowed")
    };
    Err(SqlError::Limit { what, setting: "sql.max_value_bytes" }.into_datafusion())
}

/// A function that is called only when its result stays small.
#[derive(Debug)]
struct Capped {
    inner: Arc<ScalarUDF>,
    estimate: Estimate,
    max: usize,
}

impl PartialEq for Capped {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner && self.max == other.max
    }
}

impl Eq for Capped {}

impl Hash for Capped {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl ScalarUDFImpl for Capped {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bytes: Vec<usize> = args.args.iter().map(longest).collect::<Result<_>>()?;
        let numbers: Vec<usize> = args.args.iter().map(greatest).collect::<Result<_>>()?;
        check(self.name(), (self.estimate)(&bytes, &numbers), args.number_rows, self.max)?;
        self.inner.invoke_with_args(args)
    }
}

/// Bytes of the longest text, or of an average list.
fn longest(value: &ColumnarValue) -> Result<usize> {
    let array = match value {
        ColumnarValue::Array(array) => Arc::clone(array),
        ColumnarValue::Scalar(scalar) => scalar.to_array()?,
    };
    let max = |lengths: &mut dyn Iterator<Item = Option<usize>>| lengths.flatten().max().unwrap_or(0);
    Ok(match array.data_type() {
        DataType::Utf8 => max(&mut array.as_string::<i32>().iter().map(|text| text.map(str::len))),
        DataType::LargeUtf8 => max(&mut array.as_string::<i64>().iter().map(|text| text.map(str::len))),
        DataType::Utf8View => max(&mut array.as_string_view().iter().map(|text| text.map(str::len))),
        data_type if data_type.is_nested() => array.to_data().get_slice_memory_size()? / array.len().max(1),
        _ => 32,
    })
}

/// The greatest number, of numbers.
fn greatest(value: &ColumnarValue) -> Result<usize> {
    let array = match value {
        ColumnarValue::Array(array) if array.data_type().is_integer() => Arc::clone(array),
        ColumnarValue::Scalar(scalar) if scalar.data_type().is_integer() => scalar.to_array()?,
        _ => return Ok(0),
    };
    let numbers = arrow::compute::cast(&array, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<arrow::datatypes::Int64Type>();
    let greatest = arrow::compute::max(numbers).unwrap_or(0);
    Ok(usize::try_from(greatest).unwrap_or(0))
}

/// `||`: NULL when either is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Joined {
    max: usize,
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
        let bytes: Vec<usize> = args.args.iter().map(longest).collect::<Result<_>>()?;
        let is_scalar = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { args.number_rows };
        check("||", sum(&bytes), rows, self.max)?;
        let texts = |value: &ColumnarValue| value.cast_to(&DataType::Utf8, None)?.to_array(rows);
        let [left, right] = args.args.as_slice() else {
            return Err(DataFusionError::Plan("|| takes two texts".to_owned()));
        };
        let joined = concat_elements_utf8(texts(left)?.as_string::<i32>(), texts(right)?.as_string::<i32>())?;
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&joined, 0)?));
        }
        Ok(ColumnarValue::Array(Arc::new(joined)))
    }
}
