//! `sum`, and `avg` of durations, that fail when the result does not fit its type.
//!
//! DataFusion's own functions wrap around. A rule of the analyzer lets them add in a wider type, which no sum of rows
//! in memory can overflow. The result is checked once at the end, so it does not depend on the order of the values.
//! Sums of floats and averages of numbers are unchanged.

use std::sync::Arc;

use arrow::{
    array::ArrayRef,
    compute::{CastOptions, cast_with_options},
    datatypes::DataType,
};
use datafusion::{
    common::{
        Column, DFSchema, Result, ScalarValue,
        config::ConfigOptions,
        tree_node::{Transformed, TransformedResult as _},
    },
    functions::utils::make_scalar_function,
    logical_expr::{
        Aggregate, ColumnarValue, Expr, ExprSchemable as _, LogicalPlan, LogicalPlanBuilder, Window, cast, lit,
    },
    optimizer::AnalyzerRule,
};

use super::{builtin::builtin, error::SqlError};

/// Maximum digits of a decimal, so that a sum cannot overflow 76 digits.
const MAX_DIGITS: u8 = 60;

/// The rule of the analyzer.
#[derive(Debug)]
pub(super) struct CheckedSums;

impl AnalyzerRule for CheckedSums {
    fn name(&self) -> &'static str {
        "checked_sums"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(check_sums).data()
    }
}

/// Lets the functions of a step add in wider types, and converts their results to the original types.
fn check_sums(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let (input, functions) = match &plan {
        LogicalPlan::Aggregate(aggregate) => (&aggregate.input, &aggregate.aggr_expr),
        LogicalPlan::Window(window) => (&window.input, &window.window_expr),
        _ => return Ok(Transformed::no(plan)),
    };
    let wide: Vec<Expr> = functions.iter().map(|function| widen(function, input.schema())).collect::<Result<_>>()?;
    if wide == *functions {
        return Ok(Transformed::no(plan));
    }
    let schema = Arc::clone(plan.schema());
    let plan = match plan {
        LogicalPlan::Aggregate(Aggregate { input, group_expr, .. }) => {
            LogicalPlan::Aggregate(Aggregate::try_new(input, group_expr, wide)?)
        }
        LogicalPlan::Window(Window { input, .. }) => LogicalPlan::Window(Window::try_new(wide, input)?),
        other => other,
    };
    let columns = schema.iter().zip(plan.schema().iter()).map(|((qualifier, field), wide)| {
        let (column, kind) = (Expr::Column(Column::from(wide)), field.data_type());
        if wide.1.data_type() == kind {
            return Ok(column);
        }
        let narrow = builtin("narrow", 2, |_, kinds| Ok(kinds.last().cloned().unwrap_or(DataType::Null)), narrow);
        let narrow = narrow.call(vec![column, lit(ScalarValue::new_default(kind)?)]);
        Ok(narrow.alias_qualified(qualifier.cloned(), field.name()))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(LogicalPlanBuilder::from(plan).project(columns)?.build()?))
}

/// Returns the function over values of a wider type, with the name of the original one; or unchanged, if its result
/// cannot overflow.
fn widen(function: &Expr, schema: &DFSchema) -> Result<Expr> {
    let mut wide = function.clone().unalias();
    let (name, is_distinct, values) = match &mut wide {
        Expr::AggregateFunction(call) => (call.func.name().to_owned(), call.params.distinct, &mut call.params.args),
        Expr::WindowFunction(window) => (window.fun.name().to_owned(), window.params.distinct, &mut window.params.args),
        _ => return Ok(function.clone()),
    };
    let [value] = values.as_mut_slice() else { return Ok(function.clone()) };
    let refuse = |what: String| Err(SqlError::Invalid(format!("{name} {what}")).into_datafusion());
    let added = match (name.as_str(), value.get_type(schema)?) {
        ("sum" | "avg", DataType::Decimal256(digits, _)) if digits > MAX_DIGITS => {
            return refuse(format!(
                "accepts decimals of at most {MAX_DIGITS} digits; one of {digits} digits may overflow"
            ));
        }
        ("sum" | "avg", DataType::Interval(_)) => {
            return refuse("does not accept intervals, which have no fixed length".to_owned());
        }
        ("avg", DataType::Duration(_)) if is_distinct => return Ok(function.clone()),
        ("sum" | "avg", DataType::Duration(_)) => {
            *value = cast(value.clone(), DataType::Int64);
            DataType::Decimal128(38, 0)
        }
        ("sum", DataType::Int64 | DataType::UInt64) => DataType::Decimal128(38, 0),
        ("sum", DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale)) => DataType::Decimal128(38, scale),
        ("sum", DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale)) => DataType::Decimal256(76, scale),
        _ => return Ok(function.clone()),
    };
    *value = cast(value.clone(), added);
    Ok(wide.alias(function.schema_name().to_string()))
}

/// Converts outcomes to the type of the second operand.
fn narrow(_: &'static str, operands: &[ColumnarValue]) -> Result<ColumnarValue> {
    let exact = CastOptions { safe: false, ..CastOptions::default() };
    let of_arrays = |operands: &[ArrayRef]| {
        let [outcome, other] = operands else {
            return Err(SqlError::Internal("narrow needs two operands".to_owned()).into_datafusion());
        };
        let kind = other.data_type();
        let narrowed = match kind {
            DataType::Duration(_) => cast_with_options(outcome, &DataType::Int64, &exact)
                .and_then(|numbers| cast_with_options(&numbers, kind, &exact)),
            _ => cast_with_options(outcome, kind, &exact),
        };
        narrowed.map_err(|_| SqlError::overflow(&format!("the sum does not fit {kind}")).into_datafusion())
    };
    make_scalar_function(of_arrays, vec![])(operands)
}
