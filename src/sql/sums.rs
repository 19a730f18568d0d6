//! `sum`, and `avg` of durations, that fail where the result does not fit its type.
//!
//! DataFusion's wrap around. These add in a wider type, so that the result does not depend on the order of the values, and
//! check it once at the end. Sums of floats, and averages of numbers, are DataFusion's.

use std::{fmt::Debug, hash::Hash, marker::PhantomData, sync::Arc};

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

use super::error::SqlError;

mod accumulators;

use accumulators::{Outcome, Total, Totals};

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

    /// How values are added, where that is not left to DataFusion.
    fn adding(&self, kind: &DataType, is_distinct: bool) -> Option<&'static dyn Adding> {
        let is_ours = !self.is_mean || (!is_distinct && matches!(kind, DataType::Duration(_)));
        adding(kind).filter(|_| is_ours)
    }

    fn outcome(&self, arguments: &AccumulatorArgs<'_>) -> Outcome {
        Outcome { kind: arguments.return_field.data_type().clone(), is_mean: self.is_mean }
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
        let Some(adding) = self.adding(arguments.return_type(), arguments.is_distinct) else {
            return self.inner.state_fields(arguments);
        };
        let wide = adding.wide();
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
        match self.adding(arguments.return_field.data_type(), arguments.is_distinct) {
            None => self.inner.accumulator(arguments),
            Some(adding) => Ok(adding.total(self.outcome(&arguments), arguments.is_distinct)),
        }
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match self.adding(arguments.return_field.data_type(), arguments.is_distinct) {
            Some(_) => self.accumulator(arguments),
            None => self.inner.create_sliding_accumulator(arguments),
        }
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        match self.adding(arguments.return_field.data_type(), arguments.is_distinct) {
            Some(_) => !arguments.is_distinct,
            None => self.inner.groups_accumulator_supported(arguments),
        }
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        match self.adding(arguments.return_field.data_type(), false) {
            Some(adding) => Ok(adding.totals(self.outcome(&arguments))),
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

/// How values of a type are added.
trait Adding: Sync {
    fn wide(&self) -> DataType;
    fn total(&self, outcome: Outcome, is_distinct: bool) -> Box<dyn Accumulator>;
    fn totals(&self, outcome: Outcome) -> Box<dyn GroupsAccumulator>;
}

impl<T: Term> Adding for PhantomData<T> {
    fn wide(&self) -> DataType {
        T::Wide::DATA_TYPE
    }

    fn total(&self, outcome: Outcome, is_distinct: bool) -> Box<dyn Accumulator> {
        Box::new(Total::<T>::new(outcome, is_distinct))
    }

    fn totals(&self, outcome: Outcome) -> Box<dyn GroupsAccumulator> {
        Box::new(Totals::<T> { outcome, groups: vec![] })
    }
}

/// A type of values to add, and one in which as many as there can be are added.
trait Term: ArrowPrimitiveType + Debug + Sync {
    type Wide: ArrowPrimitiveType<Native: Hash + Eq> + Debug;
    fn widen(value: Self::Native) -> Wide<Self>;
    /// `None` where it does not fit.
    fn narrow(value: Wide<Self>) -> Option<Self::Native>;
}

type Wide<T> = <<T as Term>::Wide as ArrowPrimitiveType>::Native;

macro_rules! terms {
    ($($kind:pat, $term:ident, $wide:ty, $widen:expr, $narrow:expr;)*) => {
        $(impl Term for $term {
            type Wide = $wide;
            fn widen(value: Self::Native) -> Wide<Self> {
                $widen(value)
            }
            fn narrow(value: Wide<Self>) -> Option<Self::Native> {
                $narrow(value)
            }
        })*

        /// How values of a type are added; `None` where that is left to DataFusion.
        fn adding(kind: &DataType) -> Option<&'static dyn Adding> {
            match kind {
                $($kind => Some(&PhantomData::<$term>),)*
                _ => None,
            }
        }
    };
}

terms! {
    DataType::Int64, Int64Type, Decimal128Type, i128::from, |wide| i64::try_from(wide).ok();
    DataType::UInt64, UInt64Type, Decimal128Type, i128::from, |wide| u64::try_from(wide).ok();
    DataType::Decimal32(..), Decimal32Type, Decimal128Type, i128::from, |wide| i32::try_from(wide).ok();
    DataType::Decimal64(..), Decimal64Type, Decimal128Type, i128::from, |wide| i64::try_from(wide).ok();
    DataType::Decimal128(..), Decimal128Type, Decimal256Type, i256::from_i128, i256::to_i128;
    DataType::Decimal256(..), Decimal256Type, Decimal256Type, |value| value, Some;
    DataType::Duration(TimeUnit::Second), DurationSecondType, Decimal128Type, i128::from, |wide| i64::try_from(wide).ok();
    DataType::Duration(TimeUnit::Millisecond), DurationMillisecondType, Decimal128Type, i128::from, |wide| i64::try_from(wide).ok();
    DataType::Duration(TimeUnit::Microsecond), DurationMicrosecondType, Decimal128Type, i128::from, |wide| i64::try_from(wide).ok();
    DataType::Duration(TimeUnit::Nanosecond), DurationNanosecondType, Decimal128Type, i128::from, |wide| i64::try_from(wide).ok();
    DataType::Interval(IntervalUnit::YearMonth), IntervalYearMonthType, Decimal128Type, i128::from, |wide| i32::try_from(wide).ok();
    DataType::Interval(IntervalUnit::DayTime), IntervalDayTimeType, IntervalDayTimeType, |value| value, Some;
    DataType::Interval(IntervalUnit::MonthDayNano), IntervalMonthDayNanoType, IntervalMonthDayNanoType, |value| value, Some;
}
