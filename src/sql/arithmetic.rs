//! Integer and decimal arithmetic that fails when the result does not fit its type.
//!
//! DataFusion's operators wrap around. They are replaced after the types of a statement are known, and before the
//! optimizer evaluates constant expressions. Floats, times and intervals keep DataFusion's operators, which do not
//! wrap.

use arrow::{
    array::{Array, ArrayRef, AsArray as _, new_null_array},
    compute::{
        CastOptions, cast_with_options,
        kernels::{
            arity::try_binary,
            numeric::{add, mul, neg, sub},
        },
    },
    datatypes::{DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Int64Type},
    error::ArrowError,
};
use datafusion::{
    common::{DFSchema, Result, config::ConfigOptions, tree_node::Transformed},
    functions::utils::make_scalar_function,
    logical_expr::{BinaryExpr, ColumnarValue, Expr, ExprSchemable as _, Operator, expr_rewriter::FunctionRewrite},
    logical_expr_common::type_coercion::binary::BinaryTypeCoercer,
};

use super::{builtin::builtin, error::SqlError};

/// A rewrite rule that replaces DataFusion's operators with checked ones.
#[derive(Debug)]
pub(super) struct CheckedArithmetic;

impl FunctionRewrite for CheckedArithmetic {
    fn name(&self) -> &'static str {
        "checked_arithmetic"
    }

    fn rewrite(&self, expression: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let exact = |operand: &Expr| Ok::<_, datafusion::error::DataFusionError>(is_exact(&operand.get_type(schema)?));
        match expression {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                match WRAPPING.iter().find(|(_, operator)| *operator == op) {
                    Some((name, _)) if exact(&left)? && exact(&right)? => Ok(checked(name, vec![*left, *right])),
                    _ => Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
                }
            }
            Expr::Negative(operand) if exact(&operand)? && !operand.get_type(schema)?.is_unsigned_integer() => {
                Ok(checked("-", vec![*operand]))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

/// Returns whether values of a type are integers or decimals.
fn is_exact(kind: &DataType) -> bool {
    kind.is_integer() || kind.is_decimal()
}

/// The operators that wrap around, by name. The unary minus shares the name of the binary one.
const WRAPPING: [(&str, Operator); 5] = [
    ("+", Operator::Plus),
    ("-", Operator::Minus),
    ("*", Operator::Multiply),
    ("<<", Operator::BitwiseShiftLeft),
    (">>", Operator::BitwiseShiftRight),
];

/// Returns a call of the checked operator.
fn checked(name: &'static str, operands: Vec<Expr>) -> Transformed<Expr> {
    Transformed::yes(builtin(name, operands.len(), result, compute).call(operands))
}

/// Returns the result type of a checked operator.
fn result(name: &'static str, operands: &[DataType]) -> Result<DataType> {
    let operator = WRAPPING.iter().find(|(known, _)| *known == name).map(|(_, operator)| operator);
    match (operator, operands) {
        (Some(operator), [left, right]) => BinaryTypeCoercer::new(left, operator, right).get_result_type(),
        (_, [operand]) => Ok(operand.clone()),
        _ => Err(SqlError::Internal("a binary operator needs two operands".to_owned()).into_datafusion()),
    }
}

/// Evaluates a checked operator.
fn compute(name: &'static str, operands: &[ColumnarValue]) -> Result<ColumnarValue> {
    let of_arrays = |operands: &[ArrayRef]| {
        let result = match (name, operands) {
            ("+", [left, right]) => add(left, right).and_then(fitting),
            ("-", [left, right]) => sub(left, right).and_then(fitting),
            ("*", [left, right]) => mul(left, right).and_then(fitting),
            (name, [left, right]) => shift(name == "<<", left, right),
            (_, operands) => operands
                .first()
                .map_or_else(|| Ok(new_null_array(&DataType::Null, 0)), |operand| neg(operand).and_then(fitting)),
        };
        Ok(result?)
    };
    make_scalar_function(of_arrays, vec![])(operands).map_err(|error| overflow(&error))
}

/// Returns the error with the word "overflow" in its text.
fn overflow(error: &datafusion::error::DataFusionError) -> datafusion::error::DataFusionError {
    match SqlError::from_datafusion(error) {
        SqlError::Invalid(text) => SqlError::overflow(&text).into_datafusion(),
        other => other.into_datafusion(),
    }
}

/// Returns the array if its decimals have no more digits than their type allows. Arrow checks only that they fit the
/// bytes.
///
/// # Errors
///
/// A value has too many digits.
fn fitting(array: ArrayRef) -> Result<ArrayRef, ArrowError> {
    fn check<T: DecimalType>(array: &dyn Array, precision: u8) -> Result<(), ArrowError> {
        array.as_primitive::<T>().validate_decimal_precision(precision)
    }
    match *array.data_type() {
        DataType::Decimal32(precision, _) => check::<Decimal32Type>(&array, precision)?,
        DataType::Decimal64(precision, _) => check::<Decimal64Type>(&array, precision)?,
        DataType::Decimal128(precision, _) => check::<Decimal128Type>(&array, precision)?,
        DataType::Decimal256(precision, _) => check::<Decimal256Type>(&array, precision)?,
        _ => {}
    }
    Ok(array)
}

/// Shifts by 0 to 63 places. Losing a bit on the left is an overflow.
fn shift(left: bool, value: &ArrayRef, places: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let exact = CastOptions { safe: false, ..CastOptions::default() };
    // 128 bits hold a 64-bit value shifted by 63 places.
    let wide = DataType::Decimal128(38, 0);
    let values = cast_with_options(value, &wide, &exact)?;
    let places = cast_with_options(places, &DataType::Int64, &exact)?;
    let bits = i64::try_from(value.data_type().primitive_width().unwrap_or_default() * 8).unwrap_or(i64::MAX);
    let moved = |value: i128, places: i64| match places {
        places if !(0..bits).contains(&places) => {
            Err(ArrowError::ArithmeticOverflow(format!("{bits} bits cannot be shifted by {places} places")))
        }
        places if left => Ok(value << places),
        places => Ok(value >> places),
    };
    let shifted: arrow::array::Decimal128Array =
        try_binary(values.as_primitive::<Decimal128Type>(), places.as_primitive::<Int64Type>(), moved)?;
    cast_with_options(&shifted.with_data_type(wide), value.data_type(), &exact)
}
