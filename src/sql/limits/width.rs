//! The sizes of values in bytes, row by row.

use arrow::{
    array::{Array, ArrayRef, AsArray as _},
    datatypes::{ArrowDictionaryKeyType, DataType, Int64Type},
    downcast_dictionary_array,
};
use datafusion::common::Result;

/// Bytes of a value in addition to its text or items.
const FIXED: usize = 16;

/// A number for each row of a column.
#[derive(Clone, Debug)]
pub(crate) enum RowSizes {
    /// The same number for all rows.
    All(usize),
    /// One number for each row.
    Each(Vec<usize>),
}

impl RowSizes {
    /// Returns the bytes of each row.
    pub(crate) fn bytes(array: &dyn Array) -> Self {
        match array.data_type() {
            DataType::Utf8 => Self::between(array.as_string::<i32>().value_offsets(), |bytes| bytes),
            DataType::LargeUtf8 => Self::between(array.as_string::<i64>().value_offsets(), |bytes| bytes),
            DataType::Binary => Self::between(array.as_binary::<i32>().value_offsets(), |bytes| bytes),
            DataType::LargeBinary => Self::between(array.as_binary::<i64>().value_offsets(), |bytes| bytes),
            DataType::Utf8View => Self::Each(array.as_string_view().lengths().map(|bytes| bytes as usize).collect()),
            DataType::List(_) => Self::items(array.as_list::<i32>().value_offsets(), array.as_list::<i32>().values()),
            DataType::LargeList(_) => {
                Self::items(array.as_list::<i64>().value_offsets(), array.as_list::<i64>().values())
            }
            DataType::Dictionary(..) => downcast_dictionary_array!(
                array => Self::of_codes(array),
                _ => Self::All(FIXED)
            ),
            DataType::Null | DataType::Boolean => Self::All(1),
            other => Self::All(other.primitive_width().unwrap_or_else(|| array.get_array_memory_size())),
        }
    }

    /// Returns the number of innermost items in each row's list; 0 if the column is not a list.
    pub(crate) fn leaves(array: &dyn Array) -> Self {
        fn leaves<O: Copy + TryInto<usize>>(offsets: &[O], values: &ArrayRef) -> RowSizes {
            if !values.data_type().is_nested() {
                return RowSizes::between(offsets, |items| items);
            }
            match RowSizes::leaves(values.as_ref()) {
                RowSizes::All(_) => RowSizes::between(offsets, |items| items),
                RowSizes::Each(inner) => RowSizes::sums(offsets, &inner, 0),
            }
        }
        match array.data_type() {
            DataType::List(_) => leaves(array.as_list::<i32>().value_offsets(), array.as_list::<i32>().values()),
            DataType::LargeList(_) => leaves(array.as_list::<i64>().value_offsets(), array.as_list::<i64>().values()),
            _ => Self::All(0),
        }
    }

    /// Returns the values of an integer column, with negative ones as 0; 0 for other columns.
    pub(crate) fn numbers(array: &ArrayRef) -> Result<Self> {
        if !array.data_type().is_integer() {
            return Ok(Self::All(0));
        }
        let numbers = arrow::compute::cast(array, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>().iter();
        Ok(Self::Each(numbers.map(|number| usize::try_from(number.unwrap_or(0)).unwrap_or(0)).collect()))
    }

    /// Returns a number for each row, from the distance between its offsets.
    fn between<O: Copy + TryInto<usize>>(offsets: &[O], of: impl Fn(usize) -> usize) -> Self {
        let offsets = offsets.iter().map(|offset| (*offset).try_into().unwrap_or(0));
        let ends = offsets.clone().skip(1);
        Self::Each(offsets.zip(ends).map(|(start, end): (usize, usize)| of(end.saturating_sub(start))).collect())
    }

    /// Returns the bytes of the items of each row.
    fn items<O: Copy + TryInto<usize>>(offsets: &[O], values: &ArrayRef) -> Self {
        match Self::bytes(values.as_ref()) {
            Self::All(bytes) => Self::between(offsets, |items| items.saturating_mul(bytes)),
            Self::Each(bytes) => Self::sums(offsets, &bytes, 4),
        }
    }

    /// Returns the sum of the numbers of each list's items, plus `more` for each item.
    fn sums<O: Copy + TryInto<usize>>(offsets: &[O], numbers: &[usize], more: usize) -> Self {
        let ends: Vec<usize> = std::iter::once(0)
            .chain(numbers.iter().scan(0_usize, |sum, number| {
                *sum = sum.saturating_add(*number).saturating_add(more);
                Some(*sum)
            }))
            .collect();
        let at = |offset: O| offset.try_into().ok().and_then(|at: usize| ends.get(at)).copied().unwrap_or(0);
        let starts = offsets.iter().map(|offset| at(*offset));
        Self::Each(starts.clone().zip(starts.skip(1)).map(|(start, end)| end.saturating_sub(start)).collect())
    }

    /// Returns the bytes of the values to which the dictionary keys of each row refer.
    fn of_codes<K: ArrowDictionaryKeyType>(codes: &arrow::array::DictionaryArray<K>) -> Self {
        let of_values = Self::bytes(codes.values().as_ref());
        Self::Each(codes.keys_iter().map(|code| code.map_or(0, |code| of_values.at(code))).collect())
    }

    /// Returns the number of a row.
    pub(crate) fn at(&self, row: usize) -> usize {
        match self {
            Self::All(number) => *number,
            Self::Each(numbers) => numbers.get(row).copied().unwrap_or(0),
        }
    }

    /// Returns the maximum.
    pub(crate) fn greatest(&self) -> usize {
        match self {
            Self::All(number) => *number,
            Self::Each(numbers) => numbers.iter().copied().max().unwrap_or(0),
        }
    }
}

/// Returns whether the bytes of a value depend on the value.
pub(crate) fn varies(kind: &DataType) -> bool {
    !kind.is_primitive() && !matches!(kind, DataType::Null | DataType::Boolean)
}

/// Returns an upper bound of the bytes of the widest row of some columns.
pub(crate) fn widest<'a>(columns: impl IntoIterator<Item = &'a ArrayRef>) -> usize {
    columns.into_iter().map(|column| RowSizes::bytes(column.as_ref()).greatest() + FIXED).sum()
}
