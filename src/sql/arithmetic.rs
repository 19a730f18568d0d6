//! Arithmetic of integers and decimals that fails where the result does not fit its type.
//!
//! DataFusion's own operators wrap around. They are replaced once the types of a statement are known, and before the
//! optimiser computes constants with them. Floats, times and intervals keep DataFusion's operators, which do not wrap.

use arrow::{
    array::{Array, ArrayRef, AsArray as _},
    compute::{
        CastOptions, cast_with_options,
        kernels::{
            arity::try_binary,
            numeric::{add, mul, neg, sub},
        },
    },
    datatypes::{
        DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Field, FieldRef, Int64Type,
    },
    error::ArrowError,
};
use datafusion::{
    common::{DFSchema, Result, config::ConfigOptions, tree_node::Transformed},
    functions::utils::make_scalar_function,
    logical_expr::{
        BinaryExpr, ColumnarValue, Expr, ExprSchemable as _, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
        ScalarUDFImpl, Signature, Volatility, expr_rewriter::FunctionRewrite,
    },
    logical_expr_common::type_coercion::binary::BinaryTypeCoercer,
};

use super::error::SqlError;

/// Puts checked operators in place of DataFusion's.
#[derive(Debug)]
pub(super) struct CheckedArithmetic;

impl FunctionRewrite for CheckedArithmetic {
    fn name(&self) -> &'static str {
        "checked_arithmetic"
    }

    fn rewrite(&self, expression: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let exact = |operand: &Expr| Ok::<_, datafusion::error::DataFusionError>(is_exact(&operand.get_type(schema)?));
        match expression {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if wraps(op) && exact(&left)? && exact(&right)? => {
                Ok(Transformed::yes(Checked::function(Some(op)).call(vec![*left, *right])))
            }
            Expr::Negative(operand) if exact(&operand)? && !operand.get_type(schema)?.is_unsigned_integer() => {
                Ok(Transformed::yes(Checked::function(None).call(vec![*operand])))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

/// Whether values of a type are integers or decimals.
fn is_exact(kind: &DataType) -> bool {
    kind.is_integer() || kind.is_decimal()
}

fn wraps(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Plus
            | Operator::Minus
            | Operator::Multiply
            | Operator::BitwiseShiftLeft
            | Operator::BitwiseShiftRight
    )
}

fn internal(what: &str) -> datafusion::error::DataFusionError {
    SqlError::Internal(what.to_owned()).into_datafusion()
}

/// An operator as a function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    /// `None` is the unary minus.
    operator: Option<Operator>,
    signature: Signature,
}

impl Checked {
    fn function(operator: Option<Operator>) -> ScalarUDF {
        let operands = if operator.is_some() { 2 } else { 1 };
        ScalarUDF::from(Self { operator, signature: Signature::any(operands, Volatility::Immutable) })
    }

    fn compute(&self, operands: &[ArrayRef]) -> Result<ArrayRef> {
        let result = match (self.operator, operands) {
            (Some(Operator::Plus), [left, right]) => fitting(add(left, right)?),
            (Some(Operator::Minus), [left, right]) => fitting(sub(left, right)?),
            (Some(Operator::Multiply), [left, right]) => fitting(mul(left, right)?),
            (Some(operator), [left, right]) => shift(operator == Operator::BitwiseShiftLeft, left, right),
            (None, [operand]) => fitting(neg(operand)?),
            _ => return Err(internal("an operator has two operands")),
        };
        Ok(result?)
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &'static str {
        match self.operator {
            Some(Operator::Plus) => "+",
            Some(Operator::Multiply) => "*",
            Some(Operator::BitwiseShiftLeft) => "<<",
            Some(Operator::BitwiseShiftRight) => ">>",
            _ => "-",
        }
    }

    /// That of the operator, which names the column of an answer.
    fn schema_name(&self, operands: &[Expr]) -> Result<String> {
        let names: Vec<String> = operands.iter().map(|operand| operand.schema_name().to_string()).collect();
        match names.as_slice() {
            [operand] => Ok(format!("(- {operand})")),
            names => Ok(names.join(&format!(" {} ", self.name()))),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, operands: &[DataType]) -> Result<DataType> {
        match (self.operator, operands) {
            (Some(operator), [left, right]) => BinaryTypeCoercer::new(left, &operator, right).get_result_type(),
            (None, [operand]) => Ok(operand.clone()),
            _ => Err(internal("an operator has two operands")),
        }
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let kinds: Vec<DataType> = arguments.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Field::new(self.name(), self.return_type(&kinds)?, nullable).into())
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let compute = make_scalar_function(|operands| self.compute(operands), vec![]);
        compute(&arguments.args).map_err(|error| overflow(&error))
    }
}

/// The error with the word that tells its kind.
fn overflow(error: &datafusion::error::DataFusionError) -> datafusion::error::DataFusionError {
    match SqlError::from_datafusion(error) {
        SqlError::Invalid(text) => SqlError::overflow(&text).into_datafusion(),
        other => other.into_datafusion(),
    }
}

/// The array, if its decimals have no more digits than their type: arrow checks only whether they fit the bytes.
///
/// # Errors
/// A value has too many digits.
pub(super) fn fitting(array: ArrayRef) -> Result<ArrayRef, ArrowError> {
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

/// Shifts by 0 to 63 places; a bit that is shifted out on the left is an overflow.
fn shift(left: bool, value: &ArrayRef, places: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let exact = CastOptions { safe: false, ..CastOptions::default() };
    // Wide enough for 64 bits that move by 63 places.
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
