//! The sizes of values in bytes, row by row.

use arrow::{
    array::{Array, ArrayRef, AsArray as _, DictionaryArray, OffsetSizeTrait},
    datatypes::{ArrowDictionaryKeyType, DataType, Int64Type},
    downcast_dictionary_array,
};
use datafusion::common::Result;

/// Bytes of a value in addition to its text or items.
const FIXED: usize = 16;
/// Bytes of an item of a list in addition to its own.
const ITEM: usize = 4;

/// Returns the bytes of each row.
pub(crate) fn bytes(array: &dyn Array) -> Vec<usize> {
    if let Some((offsets, items)) = list(array) {
        let items: Vec<usize> = bytes(items.as_ref()).into_iter().map(|bytes| bytes.saturating_add(ITEM)).collect();
        return sums(&offsets, &items);
    }
    match array.data_type() {
        DataType::Utf8 => lengths(&positions(array.as_string::<i32>().value_offsets())),
        DataType::LargeUtf8 => lengths(&positions(array.as_string::<i64>().value_offsets())),
        DataType::Binary => lengths(&positions(array.as_binary::<i32>().value_offsets())),
        DataType::LargeBinary => lengths(&positions(array.as_binary::<i64>().value_offsets())),
        DataType::Utf8View => array.as_string_view().lengths().map(|bytes| bytes as usize).collect(),
        DataType::Dictionary(..) => downcast_dictionary_array!(
            array => of_codes(array),
            _ => vec![FIXED; array.len()]
        ),
        DataType::Null | DataType::Boolean => vec![1; array.len()],
        other => vec![other.primitive_width().unwrap_or_else(|| array.get_array_memory_size()); array.len()],
    }
}

/// Returns the number of innermost items in each row's list; 1 if the column is not a list.
pub(crate) fn leaves(array: &dyn Array) -> Vec<usize> {
    list(array).map_or_else(|| vec![1; array.len()], |(offsets, items)| sums(&offsets, &leaves(items.as_ref())))
}

/// Returns the values of an integer column, with negative ones as 0; 0 for other columns.
pub(crate) fn numbers(array: &ArrayRef) -> Result<Vec<usize>> {
    if !array.data_type().is_integer() {
        return Ok(vec![0; array.len()]);
    }
    let numbers = arrow::compute::cast(array, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>().iter();
    Ok(numbers.map(|number| usize::try_from(number.unwrap_or(0)).unwrap_or(0)).collect())
}

/// Returns the positions of the items of each row's list, and the items; `None` if the column is not a list.
fn list(array: &dyn Array) -> Option<(Vec<usize>, &ArrayRef)> {
    if let Some(lists) = array.as_list_opt::<i32>() {
        return Some((positions(lists.value_offsets()), lists.values()));
    }
    let lists = array.as_list_opt::<i64>()?;
    Some((positions(lists.value_offsets()), lists.values()))
}

/// Returns the positions at which each row starts and the last one ends.
fn positions<O: OffsetSizeTrait>(offsets: &[O]) -> Vec<usize> {
    offsets.iter().map(|offset| offset.as_usize()).collect()
}

/// Returns the distances between positions.
fn lengths(positions: &[usize]) -> Vec<usize> {
    positions.iter().zip(positions.iter().skip(1)).map(|(start, end)| end.saturating_sub(*start)).collect()
}

/// Returns the sum of the numbers between each position and the next one.
fn sums(positions: &[usize], numbers: &[usize]) -> Vec<usize> {
    let sum = |(start, end): (&usize, &usize)| {
        let numbers = numbers.get(*start..*end).unwrap_or_default();
        numbers.iter().fold(0_usize, |sum, number| sum.saturating_add(*number))
    };
    positions.iter().zip(positions.iter().skip(1)).map(sum).collect()
}

/// Returns the bytes of the values to which the dictionary keys of each row refer.
fn of_codes<K: ArrowDictionaryKeyType>(codes: &DictionaryArray<K>) -> Vec<usize> {
    let values = bytes(codes.values().as_ref());
    codes.keys_iter().map(|code| code.and_then(|code| values.get(code).copied()).unwrap_or(0)).collect()
}

/// Returns the greatest number of a column.
pub(crate) fn greatest(numbers: &[usize]) -> usize {
    numbers.iter().copied().max().unwrap_or(0)
}

/// Returns whether the bytes of a value depend on the value.
pub(crate) fn varies(kind: &DataType) -> bool {
    !kind.is_primitive() && !matches!(kind, DataType::Null | DataType::Boolean)
}

/// Returns an upper bound of the bytes of the widest row of some columns.
pub(crate) fn widest<'a>(columns: impl IntoIterator<Item = &'a ArrayRef>) -> usize {
    columns.into_iter().map(|column| greatest(&bytes(column.as_ref())) + FIXED).sum()
}
