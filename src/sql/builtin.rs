//! Scalar functions of offsetd: each has a name, a result type and an implementation.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::{
    common::Result,
    logical_expr::{
        ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    },
};

/// Returns the result type for the name of a function and the types of its operands.
type ResultType = fn(&'static str, &[DataType]) -> Result<DataType>;
/// Evaluates a function.
type Compute = fn(&'static str, &[ColumnarValue]) -> Result<ColumnarValue>;

/// Returns a function of operands of any type. Its result is NULL if an operand is NULL.
pub(super) fn builtin(name: &'static str, operands: usize, result: ResultType, compute: Compute) -> Arc<ScalarUDF> {
    let signature = Signature::any(operands, Volatility::Immutable);
    Arc::new(ScalarUDF::from(BuiltinFunction { name, signature, result, compute }))
}

#[derive(Debug)]
struct BuiltinFunction {
    name: &'static str,
    signature: Signature,
    result: ResultType,
    compute: Compute,
}

impl PartialEq for BuiltinFunction {
    fn eq(&self, other: &Self) -> bool {
        (self.name, &self.signature) == (other.name, &other.signature)
    }
}

impl Eq for BuiltinFunction {}

impl Hash for BuiltinFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.name, &self.signature).hash(state);
    }
}

impl ScalarUDFImpl for BuiltinFunction {
    fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the text of the call, which names the column of an answer. An operator is written between its two
    /// operands, or before its only one.
    fn schema_name(&self, operands: &[Expr]) -> Result<String> {
        let names: Vec<String> = operands.iter().map(|operand| operand.schema_name().to_string()).collect();
        Ok(match names.as_slice() {
            names if self.name.starts_with(char::is_alphabetic) => format!("{}({})", self.name, names.join(",")),
            [operand] => format!("({} {operand})", self.name),
            names => names.join(&format!(" {} ", self.name)),
        })
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, operands: &[DataType]) -> Result<DataType> {
        (self.result)(self.name, operands)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let kinds: Vec<DataType> = arguments.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Field::new(self.name, self.return_type(&kinds)?, nullable).into())
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        (self.compute)(self.name, &arguments.args)
    }
}
