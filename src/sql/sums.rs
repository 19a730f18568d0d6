//! `sum`, and `avg` of durations, that fail where the result does not fit its type.
//!
//! DataFusion's wrap around. These add in a wider type, so that the result does not depend on the order of the values, and
//! check it once at the end. Sums of floats, and averages of numbers, are DataFusion's.

use std::{fmt::Debug, hash::Hash, sync::Arc};

use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType, Field, FieldRef,
    Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimeUnit,
    UInt64Type, i256,
};
use datafusion::{
    common::Result,
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::{AggregateOrderSensitivity, format_state_name},
    },
};
use hashbrown::HashMap;

use super::error::SqlError;

mod accumulators;

use accumulators::{Distinct, Outcome, Total, Totals};

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
            Ok(Box::new(Totals::<$term> { result: Outcome { kind, is_mean }, groups: vec![] }))
        };
    }
    with_term!(kind, make, unknown())
}
