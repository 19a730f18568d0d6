//! `sum`, and `avg` of durations, that fail where the result does not fit its type.
//!
//! DataFusion's wrap around. These add in a wider type, so that the result does not depend on the order of the values, and
//! check it once at the end. Sums of floats, and averages of numbers, are DataFusion's.

use std::{
    fmt::{self, Debug, Formatter},
    hash::Hash,
    sync::Arc,
};

use arrow::{
    array::{Array as _, ArrayRef, ArrowNativeTypeOp, AsArray as _, BooleanArray, PrimitiveArray, UInt64Array},
    buffer::NullBuffer,
    datatypes::{
        ArrowNativeType as _, ArrowPrimitiveType, DataType, Decimal32Type, Decimal64Type, Decimal128Type,
        Decimal256Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
        Field, FieldRef, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
        TimeUnit, UInt64Type, i256,
    },
};
use datafusion::{
    common::{DataFusionError, Result, ScalarValue, utils::SingleRowListArrayBuilder},
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, SetMonotonicity,
        Signature,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::{AggregateOrderSensitivity, format_state_name},
    },
};
use hashbrown::HashMap;

use super::{arithmetic::fitting, error::SqlError};

/// Digits of decimals of which so many can be added that no sum of rows in memory overflows.
const MEAN_DIGITS: u8 = 60;

/// DataFusion's `sum` or `avg` with accumulators that do not wrap.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Exact {
    inner: Arc<AggregateUDF>,
    is_mean: bool,
}

impl Exact {
    /// In place of `sum` and `avg`; any other function as it is.
    pub(super) fn of(function: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
        let is_mean = match function.name() {
            "sum" => false,
            "avg" => true,
            _ => return function,
        };
        Arc::new(AggregateUDF::from(Self { inner: function, is_mean }))
    }

    /// The type that values are added in, where they are not left to DataFusion.
    fn wide(&self, kind: &DataType, is_distinct: bool) -> Option<DataType> {
        let is_ours = !self.is_mean || (!is_distinct && matches!(kind, DataType::Duration(_)));
        is_ours.then(|| wide_type(kind)).flatten()
    }
}

impl AggregateUDFImpl for Exact {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(kinds)
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        if let (true, [DataType::Decimal256(digits, _)]) = (self.is_mean, kinds)
            && *digits > MEAN_DIGITS
        {
            let what = format!("avg takes decimals of at most {MEAN_DIGITS} digits, this one has {digits}");
            return Err(SqlError::Invalid(what).into_datafusion());
        }
        self.inner.return_type(kinds)
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let Some(wide) = self.wide(arguments.return_type(), arguments.is_distinct) else {
            return self.inner.state_fields(arguments);
        };
        if arguments.is_distinct {
            let (name, item) = (format_state_name(arguments.name, "distinct"), Field::new_list_field(wide, true));
            return Ok(vec![Field::new_list(name, item, false).into()]);
        }
        Ok(vec![
            Field::new(format_state_name(arguments.name, "sum"), wide, false).into(),
            Field::new(format_state_name(arguments.name, "count"), DataType::UInt64, false).into(),
        ])
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let kind = arguments.return_field.data_type().clone();
        match (self.wide(&kind, arguments.is_distinct), arguments.is_distinct) {
            (None, _) => self.inner.accumulator(arguments),
            (Some(_), true) => distinct(kind),
            (Some(_), false) => total(kind, self.is_mean),
        }
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match self.wide(arguments.return_field.data_type(), arguments.is_distinct) {
            Some(_) => self.accumulator(arguments),
            None => self.inner.create_sliding_accumulator(arguments),
        }
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        match self.wide(arguments.return_field.data_type(), arguments.is_distinct) {
            Some(_) => !arguments.is_distinct,
            None => self.inner.groups_accumulator_supported(arguments),
        }
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let kind = arguments.return_field.data_type().clone();
        match self.wide(&kind, false) {
            Some(_) => totals(kind, self.is_mean),
            None => self.inner.create_groups_accumulator(arguments),
        }
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

/// A type of values to add, and one in which as many as there can be are added.
trait Term: ArrowPrimitiveType + Debug {
    type Wide: ArrowPrimitiveType<Native: Hash + Eq> + Debug;
    fn widen(value: Self::Native) -> Wide<Self>;
    /// `None` where it does not fit.
    fn narrow(value: Wide<Self>) -> Option<Self::Native>;
}

type Wide<T> = <<T as Term>::Wide as ArrowPrimitiveType>::Native;

macro_rules! terms {
    ($($term:ty, $wide:ty, $widen:expr, $narrow:expr;)*) => {$(
        impl Term for $term {
            type Wide = $wide;
            fn widen(value: Self::Native) -> Wide<Self> {
                $widen(value)
            }
            fn narrow(value: Wide<Self>) -> Option<Self::Native> {
                $narrow(value)
            }
        }
    )*};
}

terms! {
    Int64Type, Decimal128Type, i128::from, |wide| i64::try_from(wide).ok();
    UInt64Type, Decimal128Type, i128::from, |wide| u64::try_from(wide).ok();
    Decimal32Type, Decimal128Type, i128::from, |wide| i32::try_from(wide).ok();
    Decimal64Type, Decimal128Type, i128::from, |wide| i64::try_from(wide).ok();
    Decimal128Type, Decimal256Type, i256::from_i128, i256::to_i128;
    Decimal256Type, Decimal256Type, |value| value, Some;
    DurationSecondType, Decimal128Type, i128::from, |wide| i64::try_from(wide).ok();
    DurationMillisecondType, Decimal128Type, i128::from, |wide| i64::try_from(wide).ok();
    DurationMicrosecondType, Decimal128Type, i128::from, |wide| i64::try_from(wide).ok();
    DurationNanosecondType, Decimal128Type, i128::from, |wide| i64::try_from(wide).ok();
    IntervalYearMonthType, Decimal128Type, i128::from, |wide| i32::try_from(wide).ok();
    IntervalDayTimeType, IntervalDayTimeType, |value| value, Some;
    IntervalMonthDayNanoType, IntervalMonthDayNanoType, |value| value, Some;
}

/// Gives the type parameter that stands for a type of arrow's.
macro_rules! with_term {
    ($kind:expr, $make:ident, $none:expr) => {
        match $kind {
            DataType::Int64 => $make!(Int64Type),
            DataType::UInt64 => $make!(UInt64Type),
            DataType::Decimal32(..) => $make!(Decimal32Type),
            DataType::Decimal64(..) => $make!(Decimal64Type),
            DataType::Decimal128(..) => $make!(Decimal128Type),
            DataType::Decimal256(..) => $make!(Decimal256Type),
            DataType::Duration(TimeUnit::Second) => $make!(DurationSecondType),
            DataType::Duration(TimeUnit::Millisecond) => $make!(DurationMillisecondType),
            DataType::Duration(TimeUnit::Microsecond) => $make!(DurationMicrosecondType),
            DataType::Duration(TimeUnit::Nanosecond) => $make!(DurationNanosecondType),
            DataType::Interval(IntervalUnit::YearMonth) => $make!(IntervalYearMonthType),
            DataType::Interval(IntervalUnit::DayTime) => $make!(IntervalDayTimeType),
            DataType::Interval(IntervalUnit::MonthDayNano) => $make!(IntervalMonthDayNanoType),
            _ => $none,
        }
    };
}

fn unknown<T>() -> Result<T> {
    Err(SqlError::Internal("values of this type are not summed up here".to_owned()).into_datafusion())
}

fn wide_type(kind: &DataType) -> Option<DataType> {
    macro_rules! wide {
        ($term:ty) => {
            Some(<$term as Term>::Wide::DATA_TYPE)
        };
    }
    with_term!(kind, wide, None)
}

fn total(kind: DataType, is_mean: bool) -> Result<Box<dyn Accumulator>> {
    macro_rules! make {
        ($term:ty) => {
            Ok(Box::new(Total::<$term> { result: Outcome { kind, is_mean }, sum: Default::default(), count: 0 }))
        };
    }
    with_term!(kind, make, unknown())
}

fn distinct(kind: DataType) -> Result<Box<dyn Accumulator>> {
    macro_rules! make {
        ($term:ty) => {
            Ok(Box::new(Distinct::<$term> { result: Outcome { kind, is_mean: false }, counts: HashMap::new() }))
        };
    }
    with_term!(kind, make, unknown())
}

fn totals(kind: DataType, is_mean: bool) -> Result<Box<dyn GroupsAccumulator>> {
    macro_rules! make {
        ($term:ty) => {
            Ok(Box::new(Totals::<$term> { result: Outcome { kind, is_mean }, sums: vec![], counts: vec![] }))
        };
    }
    with_term!(kind, make, unknown())
}

/// What becomes of a sum.
#[derive(Debug)]
struct Outcome {
    kind: DataType,
    is_mean: bool,
}

impl Outcome {
    /// NULL of no values.
    fn of<T: Term>(&self, sum: Wide<T>, count: u64) -> Result<Option<T::Native>> {
        if count == 0 {
            return Ok(None);
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let value = if self.is_mean { sum.div_checked(Wide::<T>::usize_as(count))? } else { sum };
        T::narrow(value).map(Some).ok_or_else(|| self.overflow())
    }

    fn array<T: Term>(&self, values: PrimitiveArray<T>) -> Result<ArrayRef> {
        fitting(Arc::new(values.with_data_type(self.kind.clone()))).map_err(|_| self.overflow())
    }

    fn scalar<T: Term>(&self, sum: Wide<T>, count: u64) -> Result<ScalarValue> {
        let value = PrimitiveArray::<T>::from_iter([self.of::<T>(sum, count)?]);
        ScalarValue::try_from_array(&self.array(value)?, 0)
    }

    fn overflow(&self) -> DataFusionError {
        SqlError::overflow(&format!("a sum does not fit {}", self.kind)).into_datafusion()
    }
}

fn only<T>(values: &[T]) -> Result<&T> {
    values.first().map_or_else(unknown, Ok)
}

fn both<'a, T: Term>(states: &'a [ArrayRef]) -> Result<(&'a PrimitiveArray<T::Wide>, &'a UInt64Array)> {
    match states {
        [sums, counts] => Ok((sums.as_primitive(), counts.as_primitive())),
        _ => unknown(),
    }
}

/// A sum, also over a window that moves.
struct Total<T: Term> {
    result: Outcome,
    sum: Wide<T>,
    count: u64,
}

impl<T: Term> Debug for Total<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Total").field("result", &self.result).finish_non_exhaustive()
    }
}

impl<T: Term> Accumulator for Total<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = only(values)?.as_primitive::<T>();
        if values.null_count() == 0 {
            self.sum = values.values().iter().try_fold(self.sum, |sum, value| sum.add_checked(T::widen(*value)))?;
        } else {
            self.sum = values.iter().flatten().try_fold(self.sum, |sum, value| sum.add_checked(T::widen(value)))?;
        }
        self.count += (values.len() - values.null_count()) as u64;
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = only(values)?.as_primitive::<T>();
        self.sum = values.iter().flatten().try_fold(self.sum, |sum, value| sum.sub_checked(T::widen(value)))?;
        self.count = self.count.saturating_sub((values.len() - values.null_count()) as u64);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.result.scalar::<T>(self.sum, self.count)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sum = ScalarValue::new_primitive::<T::Wide>(Some(self.sum), &T::Wide::DATA_TYPE)?;
        Ok(vec![sum, ScalarValue::from(self.count)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (sums, counts) = both::<T>(states)?;
        self.sum = sums.iter().flatten().try_fold(self.sum, ArrowNativeTypeOp::add_checked)?;
        self.count += counts.iter().flatten().sum::<u64>();
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// A sum of what differs, also over a window that moves.
struct Distinct<T: Term> {
    result: Outcome,
    /// How often each value is there.
    counts: HashMap<Wide<T>, u64>,
}

impl<T: Term> Debug for Distinct<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Distinct").field("result", &self.result).finish_non_exhaustive()
    }
}

impl<T: Term> Accumulator for Distinct<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in only(values)?.as_primitive::<T>().iter().flatten() {
            *self.counts.entry(T::widen(value)).or_default() += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in only(values)?.as_primitive::<T>().iter().flatten().map(T::widen) {
            if let Some(count) = self.counts.get_mut(&value) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&value);
                }
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let zero = Wide::<T>::default();
        let sum = self.counts.keys().try_fold(zero, |sum, value| sum.add_checked(*value))?;
        self.result.scalar::<T>(sum, self.counts.len() as u64)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = PrimitiveArray::<T::Wide>::from_iter_values(self.counts.keys().copied());
        Ok(vec![SingleRowListArrayBuilder::new(Arc::new(values)).build_list_scalar()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in only(states)?.as_list::<i32>().iter().flatten() {
            for value in values.as_primitive::<T::Wide>().iter().flatten() {
                *self.counts.entry(value).or_default() += 1;
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.allocation_size()
    }
}

/// A sum for each of many groups.
struct Totals<T: Term> {
    result: Outcome,
    sums: Vec<Wide<T>>,
    counts: Vec<u64>,
}

impl<T: Term> Totals<T> {
    fn add(&mut self, group: usize, value: Wide<T>, values: u64) -> Result<()> {
        if let (Some(sum), Some(count)) = (self.sums.get_mut(group), self.counts.get_mut(group)) {
            *sum = sum.add_checked(value)?;
            *count += values;
        }
        Ok(())
    }

    fn make_room(&mut self, groups: usize) {
        self.sums.resize(groups, Wide::<T>::default());
        self.counts.resize(groups, 0);
    }
}

/// Which rows count.
fn counted(nulls: Option<&NullBuffer>, filter: Option<&BooleanArray>) -> Option<NullBuffer> {
    let passed = filter.map(|filter| match filter.nulls() {
        Some(known) => NullBuffer::new(filter.values() & known.inner()),
        None => NullBuffer::new(filter.values().clone()),
    });
    NullBuffer::union(nulls, passed.as_ref())
}

impl<T: Term> GroupsAccumulator for Totals<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        all_groups: usize,
    ) -> Result<()> {
        self.make_room(all_groups);
        let values = only(values)?.as_primitive::<T>();
        let mut rows = groups.iter().zip(values.values());
        match counted(values.nulls(), filter) {
            None => rows.try_for_each(|(group, value)| self.add(*group, T::widen(*value), 1)),
            Some(counted) => rows
                .zip(counted.iter())
                .filter(|(_, is_counted)| *is_counted)
                .try_for_each(|((group, value), _)| self.add(*group, T::widen(*value), 1)),
        }
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], all_groups: usize) -> Result<()> {
        self.make_room(all_groups);
        let (sums, counts) = both::<T>(states)?;
        let mut rows = groups.iter().zip(sums.values().iter().zip(counts.values()));
        rows.try_for_each(|(group, (sum, count))| self.add(*group, *sum, *count))
    }

    fn evaluate(&mut self, which: EmitTo) -> Result<ArrayRef> {
        let (sums, counts) = (which.take_needed(&mut self.sums), which.take_needed(&mut self.counts));
        let values = sums.into_iter().zip(counts).map(|(sum, count)| self.result.of::<T>(sum, count));
        self.result.array(values.collect::<Result<PrimitiveArray<T>>>()?)
    }

    fn state(&mut self, which: EmitTo) -> Result<Vec<ArrayRef>> {
        let (sums, counts) = (which.take_needed(&mut self.sums), which.take_needed(&mut self.counts));
        let sums = PrimitiveArray::<T::Wide>::from_iter_values(sums);
        Ok(vec![Arc::new(sums), Arc::new(UInt64Array::from(counts))])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = only(values)?.as_primitive::<T>();
        let counted = counted(values.nulls(), filter);
        let is_counted = |row| counted.as_ref().is_none_or(|counted| counted.is_valid(row));
        let sums = values.values().iter().enumerate();
        let sums = sums.map(|(row, value)| if is_counted(row) { T::widen(*value) } else { Wide::<T>::default() });
        let sums = PrimitiveArray::<T::Wide>::from_iter_values(sums);
        let counts = UInt64Array::from_iter_values((0..values.len()).map(|row| u64::from(is_counted(row))));
        Ok(vec![Arc::new(sums), Arc::new(counts)])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<Wide<T>>() + self.counts.capacity() * size_of::<u64>()
    }
}
