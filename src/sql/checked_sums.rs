//! `sum`, and `avg` of durations, that fail when the result does not fit its type.
//!
//! DataFusion's own functions wrap around. These add in a wider type, which no sum of rows in memory can overflow. The
//! result is checked once at the end, so it does not depend on the order of the values. Sums of floats and averages of
//! numbers are unchanged.

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, BooleanArray},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type},
};
use datafusion::{
    common::{Result, ScalarValue},
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, SetMonotonicity,
        Signature,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::AggregateOrderSensitivity,
    },
};

use super::error::SqlError;

/// Maximum digits of a decimal, so that a sum cannot overflow 76 digits.
const MAX_DIGITS: u8 = 60;

/// DataFusion's `sum` or `avg` over values of a wider type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CheckedAggregate {
    inner: Arc<AggregateUDF>,
    is_avg: bool,
}

/// The types of a checked sum.
#[derive(Clone, Debug)]
struct SumTypes {
    /// The type in which values are added.
    added: DataType,
    /// The type of the sum or average of such values.
    outcome: FieldRef,
    /// The type of the result.
    result: DataType,
}

impl CheckedAggregate {
    /// Replaces `sum` and `avg`, and returns any other function unchanged.
    pub(super) fn replace(function: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
        let is_avg = match function.name() {
            "sum" => false,
            "avg" => true,
            _ => return function,
        };
        Arc::new(AggregateUDF::from(Self { inner: function, is_avg }))
    }

    /// Returns the types for a result type; `None` if DataFusion's function is used unchanged.
    fn types(&self, result: &FieldRef, is_distinct: bool) -> Result<Option<SumTypes>> {
        let kind = result.data_type();
        let added = match kind {
            DataType::Duration(_) if !self.is_avg || !is_distinct => DataType::Decimal128(38, 0),
            _ if self.is_avg => return Ok(None),
            DataType::Int64 | DataType::UInt64 => DataType::Decimal128(38, 0),
            DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => DataType::Decimal128(38, *scale),
            DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => DataType::Decimal256(76, *scale),
            _ => return Ok(None),
        };
        let outcome = self.inner.return_type(std::slice::from_ref(&added))?;
        let outcome = Arc::new(result.as_ref().clone().with_data_type(outcome));
        Ok(Some(SumTypes { added, outcome, result: kind.clone() }))
    }

    /// Creates an accumulator with `make`; if values are added in a wider type, one of that type inside
    /// [`WideAccumulator`].
    fn make<A, B>(
        &self,
        arguments: AccumulatorArgs<'_>,
        make: impl Fn(&AggregateUDF, AccumulatorArgs<'_>) -> Result<A>,
        wrap: impl Fn(WideAccumulator<A>) -> B,
    ) -> Result<B>
    where
        A: Into<B>,
    {
        let Some(types) = self.types(&arguments.return_field, arguments.is_distinct)? else {
            return Ok(make(&self.inner, arguments)?.into());
        };
        let fields = [Arc::new(Field::new("value", types.added.clone(), true))];
        let return_field = Arc::clone(&types.outcome);
        let inner = make(&self.inner, AccumulatorArgs { return_field, expr_fields: &fields, ..arguments })?;
        Ok(wrap(WideAccumulator { inner, types }))
    }
}

impl AggregateUDFImpl for CheckedAggregate {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let refuse = |what: String| Err(SqlError::Invalid(format!("{} {what}", self.name())).into_datafusion());
        match types {
            [DataType::Decimal256(digits, _)] if *digits > MAX_DIGITS => {
                refuse(format!("accepts decimals of at most {MAX_DIGITS} digits; one of {digits} digits may overflow"))
            }
            [DataType::Interval(_)] => refuse("does not accept intervals, which have no fixed length".to_owned()),
            types => self.inner.return_type(types),
        }
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let Some(types) = self.types(&arguments.return_field, arguments.is_distinct)? else {
            return self.inner.state_fields(arguments);
        };
        let fields = [Arc::new(Field::new("value", types.added, true))];
        let arguments = StateFieldsArgs { input_fields: &fields, return_field: types.outcome, ..arguments };
        self.inner.state_fields(arguments)
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.make(arguments, |inner, arguments| inner.accumulator(arguments), |wide| Box::new(wide) as _)
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.make(arguments, |inner, arguments| inner.create_sliding_accumulator(arguments), |wide| Box::new(wide) as _)
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        !arguments.is_distinct && self.inner.groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        self.make(arguments, |inner, arguments| inner.create_groups_accumulator(arguments), |wide| Box::new(wide) as _)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(kind)
    }
}

/// An accumulator over a wider type. Its state has that type.
#[derive(Debug)]
struct WideAccumulator<A> {
    inner: A,
    types: SumTypes,
}

/// A cast that fails when a value does not fit.
const EXACT: CastOptions<'_> = CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

/// Converts values to the type in which they are added.
impl<A> WideAccumulator<A> {
    fn widen(&self, values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let widen = |values: &ArrayRef| match values.data_type() {
            // Without the cast's check of each value, since every value fits.
            DataType::Int64 => {
                let wide = values.as_primitive::<Int64Type>().unary::<_, Decimal128Type>(i128::from);
                Ok(Arc::new(wide.with_data_type(self.types.added.clone())) as ArrayRef)
            }
            DataType::Duration(_) => {
                let numbers = cast_with_options(values, &DataType::Int64, &EXACT)?;
                Ok(cast_with_options(&numbers, &self.types.added, &EXACT)?)
            }
            _ => Ok(cast_with_options(values, &self.types.added, &EXACT)?),
        };
        values.iter().map(widen).collect()
    }

    /// Converts an outcome to the result type.
    fn narrow(&self, outcome: &ArrayRef) -> Result<ArrayRef> {
        let result = &self.types.result;
        let narrow = match result {
            DataType::Duration(_) => cast_with_options(outcome, &DataType::Int64, &EXACT)
                .and_then(|numbers| cast_with_options(&numbers, result, &EXACT)),
            _ => cast_with_options(outcome, result, &EXACT),
        };
        narrow.map_err(|_| SqlError::overflow(&format!("the sum does not fit {result}")).into_datafusion())
    }
}

impl Accumulator for WideAccumulator<Box<dyn Accumulator>> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&self.widen(values)?)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&self.widen(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let outcome = self.inner.evaluate()?.to_array()?;
        ScalarValue::try_from_array(&self.narrow(&outcome)?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}

impl GroupsAccumulator for WideAccumulator<Box<dyn GroupsAccumulator>> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        all_groups: usize,
    ) -> Result<()> {
        self.inner.update_batch(&self.widen(values)?, groups, filter, all_groups)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], all_groups: usize) -> Result<()> {
        self.inner.merge_batch(states, groups, all_groups)
    }

    fn evaluate(&mut self, which: EmitTo) -> Result<ArrayRef> {
        let outcome = self.inner.evaluate(which)?;
        self.narrow(&outcome)
    }

    fn state(&mut self, which: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(which)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&self.widen(values)?, filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
