//! The cost of matching a regular expression.

use arrow::{
    array::{Array as _, AsArray as _},
    compute::cast,
    datatypes::DataType,
};
use datafusion::{common::Result, logical_expr::ColumnarValue};
use regex::{Error, RegexBuilder};

use super::super::super::error::SqlError;

/// Bytes of one state of a compiled expression.
const STATE_BYTES: usize = 32;
/// Bytes of a compiled expression: sizes below the minimum cost the same, and sizes above the maximum are rejected.
const SMALLEST: usize = 4 * 1024;
const LARGEST: usize = 1024 * 1024;

/// Returns the maximum steps of a regular expression, the second argument, for each byte of text.
///
/// # Errors
///
/// The expression is too large, or not the same for all rows.
pub(super) fn steps(args: &[ColumnarValue]) -> Result<usize> {
    let Some(pattern) = args.get(1) else { return Ok(0) };
    let is_constant = |value: &ColumnarValue| match value {
        ColumnarValue::Array(array) => array.len() <= 1,
        ColumnarValue::Scalar(_) => true,
    };
    if !is_constant(pattern) {
        let what = "a regular expression must be the same for all rows".to_owned();
        return Err(SqlError::Invalid(what).into_datafusion());
    }
    // Other arguments may be flags; of these, only case folding makes an expression larger.
    let is_text = |value: &ColumnarValue| value.data_type().is_string() && is_constant(value);
    let ignores_case = args
        .iter()
        .skip(2)
        .filter(|value| is_text(value))
        .map(text)
        .any(|text| text.is_ok_and(|text| text.is_some_and(|text| text.contains('i'))));
    let Some(pattern) = text(pattern)? else { return Ok(0) };
    let mut bytes = SMALLEST;
    while let Err(Error::CompiledTooBig(_)) =
        RegexBuilder::new(&pattern).case_insensitive(ignores_case).size_limit(bytes).build()
    {
        bytes *= 2;
        if bytes > LARGEST {
            let what = format!("the compiled regular expression has more than {LARGEST} bytes");
            return Err(SqlError::Invalid(what).into_datafusion());
        }
    }
    // The function reports an invalid expression itself.
    Ok(bytes / STATE_BYTES)
}

/// Returns the first text of a value.
fn text(value: &ColumnarValue) -> Result<Option<String>> {
    let texts = cast(&value.to_array(1)?, &DataType::Utf8)?;
    Ok(texts.as_string::<i32>().iter().next().flatten().map(str::to_owned))
}
