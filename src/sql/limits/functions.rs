//! Functions of text and lists, with limits on the time and memory of a call.
//!
//! These functions allocate without a memory pool and do not yield. The cost of a call is therefore computed beforehand
//! from the sizes of its arguments, row by row. A row that costs too much is rejected; a call over many rows is split
//! into slices, and the statement can end between two slices.

use std::{
    hash::{Hash, Hasher},
    ops::Range,
    sync::Arc,
};

use arrow::{
    array::Array as _,
    compute::concat,
    datatypes::{DataType, FieldRef},
};
use datafusion::{
    common::Result,
    logical_expr::{
        ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
        simplify::{ExprSimplifyResult, SimplifyContext},
    },
};

use super::{
    super::error::SqlError,
    memory::{OperatorAccount, check_current},
    width,
};

mod pattern;
mod rewrite;
mod table;
#[cfg(test)]
mod tests;

use rewrite::RESERVING;
pub(crate) use rewrite::{BoundingRule, cancellable_filter};
pub(crate) use table::names;
use table::{CostModel, Steps, cost_model};

/// Maximum bytes of the results of one call for one batch.
const RESULT_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of the arguments of one slice. They are limited since a function may copy a constant argument for each row.
const SLICE_BYTES: usize = 4 * 1024 * 1024;
/// Maximum steps of one slice; a step takes a few nanoseconds.
const SLICE_STEPS: usize = 1 << 26;
/// Maximum steps of one row.
const ROW_STEPS: usize = 1 << 28;

/// Returns the function with its limits, or unchanged if it needs none.
pub(crate) fn bounded(function: Arc<ScalarUDF>, max_value_bytes: usize) -> Arc<ScalarUDF> {
    match cost_model(function.name()) {
        Some(cost_model) => Arc::new(BoundedFunction { inner: function, cost_model, max: max_value_bytes }.into()),
        None => function,
    }
}

/// Returns whether the results of a function are reserved in the account of the operator that calls it.
pub(crate) fn is_bounded(function: &ScalarUDF) -> bool {
    function.inner().is::<BoundedFunction>() || function.name() == RESERVING
}

/// A function with limits.
#[derive(Debug)]
struct BoundedFunction {
    inner: Arc<ScalarUDF>,
    cost_model: CostModel,
    /// Maximum bytes of one result.
    max: usize,
}

impl PartialEq for BoundedFunction {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner && self.max == other.max
    }
}

impl Eq for BoundedFunction {}

impl Hash for BoundedFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl ScalarUDFImpl for BoundedFunction {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
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

    /// Skipped for functions that DataFusion would replace with a call or an operator without limits.
    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        match self.cost_model.steps {
            Steps::Bytes | Steps::Product if !self.cost_model.grows => self.inner.simplify(args, info),
            _ => Ok(ExprSimplifyResult::Original(args)),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        check_current()?;
        let call = CallSizes::new(self, &args)?;
        let is_charged = width::varies(args.return_field.data_type());
        let account = OperatorAccount::current().filter(|_| is_charged);
        let (slices, expected) = call.slices()?;
        if let Some(account) = &account {
            account.reserve(expected)?;
        }
        let value = match slices {
            None => self.inner.invoke_with_args(args)?,
            Some(slices) => ColumnarValue::Array(self.call_in_slices(&args, slices)?),
        };
        if let Some(account) = &account {
            let bytes = size(&value);
            account.reserve(bytes.saturating_sub(expected))?;
            account.release(expected.saturating_sub(bytes));
        }
        Ok(value)
    }
}

/// Returns the bytes of a value.
fn size(value: &ColumnarValue) -> usize {
    match value {
        ColumnarValue::Array(array) => array.get_array_memory_size(),
        ColumnarValue::Scalar(scalar) => scalar.size(),
    }
}

/// Calls the function for one slice after another.
impl BoundedFunction {
    fn call_in_slices(&self, args: &ScalarFunctionArgs, slices: Vec<Range<usize>>) -> Result<arrow::array::ArrayRef> {
        let mut results = Vec::with_capacity(slices.len());
        for rows in slices {
            check_current()?;
            let of_slice = |value: &ColumnarValue| match value {
                ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(rows.start, rows.len())),
                ColumnarValue::Scalar(scalar) => ColumnarValue::Scalar(scalar.clone()),
            };
            let result = self.inner.invoke_with_args(ScalarFunctionArgs {
                args: args.args.iter().map(of_slice).collect(),
                arg_fields: args.arg_fields.clone(),
                number_rows: rows.len(),
                return_field: Arc::clone(&args.return_field),
                config_options: Arc::clone(&args.config_options),
            })?;
            results.push(result.into_array(rows.len())?);
        }
        Ok(concat(&results.iter().map(AsRef::as_ref).collect::<Vec<_>>())?)
    }
}

/// The sizes of the arguments of a call, row by row.
struct CallSizes<'a> {
    function: &'a BoundedFunction,
    arguments: Vec<ArgumentSizes>,
    /// Steps for each byte of text, if the function takes a regular expression.
    pattern: usize,
    rows: usize,
}

/// The sizes of an argument in each row, or in all rows if there is only one value.
struct ArgumentSizes {
    bytes: Vec<usize>,
    /// Items of lists; 1 for other values.
    items: Vec<usize>,
    /// Values of integers; 0 for other types.
    numbers: Vec<usize>,
}

/// The cost of one or more rows.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// Bytes of the arguments.
    read: usize,
    steps: usize,
    /// Maximum bytes of the result.
    result: usize,
}

impl Cost {
    fn plus(self, other: Self) -> Self {
        let Self { read, steps, result } = self;
        Self {
            read: read.saturating_add(other.read),
            steps: steps.saturating_add(other.steps),
            result: result.saturating_add(other.result),
        }
    }

    fn times(self, rows: usize) -> Self {
        let Self { read, steps, result } = self;
        Self { read: read.saturating_mul(rows), steps: steps.saturating_mul(rows), result: result.saturating_mul(rows) }
    }

    fn fits_slice(self) -> bool {
        self.read <= SLICE_BYTES && self.steps <= SLICE_STEPS
    }
}

impl<'a> CallSizes<'a> {
    fn new(function: &'a BoundedFunction, args: &ScalarFunctionArgs) -> Result<Self> {
        let all_scalar = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if all_scalar { 1 } else { args.number_rows };
        let sizes = |value: &ColumnarValue| {
            let array = value.to_array(1)?;
            let (bytes, items) = (width::bytes(array.as_ref()), width::leaves(array.as_ref()));
            Ok(ArgumentSizes { bytes, items, numbers: width::numbers(&array)? })
        };
        let arguments = args.args.iter().map(sizes).collect::<Result<Vec<_>>>()?;
        let pattern = match function.cost_model.steps {
            Steps::Regex => pattern::steps(&args.args)?,
            Steps::Bytes | Steps::Product => 0,
        };
        Ok(Self { function, arguments, pattern, rows })
    }

    /// Returns the slices of rows for which the function is called, or `None` for one call; and the bytes of the
    /// result.
    fn slices(&self) -> Result<(Option<Vec<Range<usize>>>, usize)> {
        // An upper bound: no row costs more than one with the maximum of each size.
        let most = self.cost(width::greatest);
        let all = most.times(self.rows);
        if all.fits_slice() && all.result <= RESULT_BYTES && !self.is_too_long(most) {
            return Ok((None, all.result));
        }
        let (mut slices, mut start, mut slice, mut whole) = (vec![], 0, Cost::default(), Cost::default());
        for row in 0..self.rows {
            let cost = self.cost(|sizes| sizes.get(row).or(sizes.first()).copied().unwrap_or(0));
            self.check_row(cost)?;
            whole = whole.plus(cost);
            if row > start && !slice.plus(cost).fits_slice() {
                slices.push(start..row);
                (start, slice) = (row, Cost::default());
            }
            slice = slice.plus(cost);
        }
        if self.function.cost_model.grows && whole.result > RESULT_BYTES {
            let (name, rows, bytes) = (self.function.name(), self.rows, whole.result);
            let what = format!("{rows} values of {name} may have {bytes} bytes; {RESULT_BYTES} are allowed");
            return Err(SqlError::Limit { what, setting: "sql.max_value_bytes" }.into_datafusion());
        }
        slices.push(start..self.rows);
        Ok((Some(slices).filter(|slices| slices.len() > 1), whole.result))
    }

    /// Returns the cost of a row; `size` returns its size among those of all rows.
    fn cost(&self, size: impl Fn(&[usize]) -> usize) -> Cost {
        let bytes: Vec<usize> = self.arguments.iter().map(|argument| size(&argument.bytes)).collect();
        let numbers: Vec<usize> = self.arguments.iter().map(|argument| size(&argument.numbers)).collect();
        let read = bytes.iter().fold(0, |sum: usize, bytes| sum.saturating_add(*bytes));
        let steps = match self.function.cost_model.steps {
            Steps::Bytes => read,
            Steps::Regex => bytes.first().map_or(0, |text| text.saturating_add(1).saturating_mul(self.pattern)),
            Steps::Product => {
                let items = self.arguments.iter().take(2).map(|argument| size(&argument.items));
                // Comparing two items takes a function call; bytes are compared many at a time.
                let by_items = items.fold(16, usize::saturating_mul);
                by_items.max(bytes.iter().take(2).copied().fold(1, usize::saturating_mul) / 8)
            }
        };
        Cost { read, steps, result: (self.function.cost_model.result)(&bytes, &numbers) }
    }

    /// Returns whether a result would exceed the maximum bytes of a value.
    fn is_too_long(&self, cost: Cost) -> bool {
        self.function.cost_model.grows && cost.result > self.function.max
    }

    /// Rejects a row that costs too much.
    fn check_row(&self, cost: Cost) -> Result<()> {
        let (name, max) = (self.function.name(), self.function.max);
        let what = if self.is_too_long(cost) {
            format!("a value of {name} may have {} bytes; {max} are allowed", cost.result)
        } else if cost.steps > ROW_STEPS {
            format!("{name} may take {} steps for values of {} bytes; {ROW_STEPS} are allowed", cost.steps, cost.read)
        } else {
            return Ok(());
        };
        Err(SqlError::Limit { what, setting: "sql.max_value_bytes" }.into_datafusion())
    }
}
