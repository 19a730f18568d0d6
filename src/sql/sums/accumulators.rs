//! Sums under way: of everything, of what differs, and of many groups.

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, ArrowNativeTypeOp, AsArray as _, BooleanArray, PrimitiveArray, UInt64Array},
    buffer::NullBuffer,
    datatypes::{ArrowNativeType as _, ArrowPrimitiveType as _, DataType},
};
use datafusion::{
    common::{DataFusionError, Result, ScalarValue, utils::SingleRowListArrayBuilder},
    logical_expr::{Accumulator, EmitTo, GroupsAccumulator},
};
use hashbrown::HashMap;

use super::{
    super::{arithmetic::fitting, error::SqlError},
    Term, Wide,
};

/// What becomes of a sum.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) kind: DataType,
    pub(super) is_mean: bool,
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

fn unknown<T>() -> Result<T> {
    Err(SqlError::Internal("a sum is given no values".to_owned()).into_datafusion())
}

fn only<T>(values: &[T]) -> Result<&T> {
    values.first().map_or_else(unknown, Ok)
}

fn both<T: Term>(states: &[ArrayRef]) -> Result<(&PrimitiveArray<T::Wide>, &UInt64Array)> {
    match states {
        [sums, counts] => Ok((sums.as_primitive(), counts.as_primitive())),
        _ => unknown(),
    }
}

/// A sum of all values, or of those that differ; also over a window that moves.
#[derive(Debug)]
pub(super) struct Total<T: Term> {
    outcome: Outcome,
    sum: Wide<T>,
    count: u64,
    /// How often each value is there, where only those that differ count.
    seen: Option<HashMap<Wide<T>, u64>>,
}

impl<T: Term> Total<T> {
    pub(super) fn new(outcome: Outcome, is_distinct: bool) -> Self {
        Self { outcome, sum: Default::default(), count: 0, seen: is_distinct.then(HashMap::new) }
    }

    fn add(&mut self, value: Wide<T>) -> Result<()> {
        if let Some(seen) = &mut self.seen {
            let times = seen.entry(value).or_default();
            *times += 1;
            if *times > 1 {
                return Ok(());
            }
        }
        self.sum = self.sum.add_checked(value)?;
        self.count += 1;
        Ok(())
    }

    fn remove(&mut self, value: Wide<T>) -> Result<()> {
        if let Some(seen) = &mut self.seen {
            match seen.get_mut(&value) {
                Some(times) if *times > 1 => {
                    *times -= 1;
                    return Ok(());
                }
                _ => seen.remove(&value),
            };
        }
        self.sum = self.sum.sub_checked(value)?;
        self.count = self.count.saturating_sub(1);
        Ok(())
    }
}

impl<T: Term> Accumulator for Total<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        only(values)?.as_primitive::<T>().iter().flatten().try_for_each(|value| self.add(T::widen(value)))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        only(values)?.as_primitive::<T>().iter().flatten().try_for_each(|value| self.remove(T::widen(value)))
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.outcome.scalar::<T>(self.sum, self.count)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        if let Some(seen) = &self.seen {
            let values = PrimitiveArray::<T::Wide>::from_iter_values(seen.keys().copied());
            return Ok(vec![SingleRowListArrayBuilder::new(Arc::new(values)).build_list_scalar()]);
        }
        let sum = ScalarValue::new_primitive::<T::Wide>(Some(self.sum), &T::Wide::DATA_TYPE)?;
        Ok(vec![sum, ScalarValue::from(self.count)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        if self.seen.is_some() {
            let mut lists = only(states)?.as_list::<i32>().iter().flatten();
            return lists.try_for_each(|list| {
                list.as_primitive::<T::Wide>().iter().flatten().try_for_each(|value| self.add(value))
            });
        }
        let (sums, counts) = both::<T>(states)?;
        self.sum = sums.iter().flatten().try_fold(self.sum, ArrowNativeTypeOp::add_checked)?;
        self.count += counts.iter().flatten().sum::<u64>();
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.seen.as_ref().map_or(0, HashMap::allocation_size)
    }
}

/// A sum for each of many groups.
pub(super) struct Totals<T: Term> {
    pub(super) outcome: Outcome,
    /// Of each, the sum and the number of its values.
    pub(super) groups: Vec<(Wide<T>, u64)>,
}

impl<T: Term> Totals<T> {
    fn add(&mut self, group: usize, value: Wide<T>, values: u64) -> Result<()> {
        if let Some((sum, count)) = self.groups.get_mut(group) {
            *sum = sum.add_checked(value)?;
            *count += values;
        }
        Ok(())
    }

    fn make_room(&mut self, groups: usize) {
        self.groups.resize(groups, (Wide::<T>::default(), 0));
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
        let groups = which.take_needed(&mut self.groups);
        let values = groups.into_iter().map(|(sum, count)| self.outcome.of::<T>(sum, count));
        self.outcome.array(values.collect::<Result<PrimitiveArray<T>>>()?)
    }

    fn state(&mut self, which: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = which.take_needed(&mut self.groups);
        let sums = PrimitiveArray::<T::Wide>::from_iter_values(groups.iter().map(|(sum, _)| *sum));
        let counts = UInt64Array::from_iter_values(groups.iter().map(|(_, count)| *count));
        Ok(vec![Arc::new(sums), Arc::new(counts)])
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
        self.groups.capacity() * size_of::<(Wide<T>, u64)>()
    }
}
