//! The columns of a table: their names, types and comments, and how they are built from rows.

use std::sync::Arc;

use arrow::{
    array::{
        Array as _, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, ListBuilder, RecordBatch,
        RecordBatchOptions, StringArray, StringBuilder, TimestampNanosecondArray,
    },
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use datafusion::common::Result;

use super::{BATCH_ROWS, COMMENT, ScanRequest, Table};
use crate::model::{Millis, Name, nanos};

/// Builds a column from rows.
type BuildColumn<T> = Box<dyn for<'r, 'a> Fn(&'r [<T as Table>::Row<'a>]) -> ArrayRef + Send + Sync>;

/// The columns of a table, in order.
pub(in super::super) struct Columns<T: Table> {
    fields: Vec<Field>,
    builders: Vec<BuildColumn<T>>,
}

/// The schema of a table, and the builders of its columns.
pub(in super::super) struct Layout<T: Table> {
    pub(in super::super) schema: SchemaRef,
    builders: Vec<BuildColumn<T>>,
}

impl<T: Table> From<Columns<T>> for Layout<T> {
    fn from(columns: Columns<T>) -> Self {
        Self { schema: Arc::new(Schema::new(columns.fields)), builders: columns.builders }
    }
}

impl<T: Table> Layout<T> {
    /// Builds a batch with the requested columns.
    pub(in super::super) fn batch(&self, rows: &[T::Row<'_>], request: &ScanRequest) -> Result<RecordBatch> {
        let builders = request.columns.iter().filter_map(|column| self.builders.get(*column));
        let mut arrays: Vec<ArrayRef> = builders.map(|build| build(rows)).collect();
        // The memory of a batch counts towards limits, so a short batch must not keep unused capacity.
        if rows.len() < BATCH_ROWS {
            arrays.iter_mut().for_each(|array| array.shrink_to_fit());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&request.schema), arrays, &options)?)
    }
}

impl<T: Table> Default for Columns<T> {
    fn default() -> Self {
        Self { fields: vec![], builders: vec![] }
    }
}

/// Defines methods that add a column of a type of values.
macro_rules! columns {
    ($( $(#[$doc:meta])* $name:ident: $value:ty => $type:expr, $nullable:expr, $build:path; )+) => {$(
        $(#[$doc])*
        pub(in super::super) fn $name(
            mut self,
            name: &str,
            comment: &str,
            get: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> $value + Send + Sync + 'static,
        ) -> Self {
            let comment = [(COMMENT.to_owned(), comment.to_owned())].into();
            self.fields.push(Field::new(name, $type, $nullable).with_metadata(comment));
            self.builders.push(Box::new(move |rows| Arc::new($build(rows.iter().map(&get)))));
            self
        }
    )+};
}

impl<T: Table> Columns<T> {
    columns! {
        /// Adds a column of counts or partition numbers.
        int32: i32 => DataType::Int32, false, Int32Array::from_iter_values;
        /// Adds a column of counts that may be NULL.
        optional_int32: Option<i32> => DataType::Int32, true, Int32Array::from_iter;
        /// Adds a column of offsets.
        int64: i64 => DataType::Int64, false, Int64Array::from_iter_values;
        /// Adds a column of offsets that may be NULL.
        optional_int64: Option<i64> => DataType::Int64, true, Int64Array::from_iter;
        /// Adds a column of rates or seconds that may be NULL.
        optional_float: Option<f64> => DataType::Float64, true, Float64Array::from_iter;
        /// Adds a column of flags.
        boolean: bool => DataType::Boolean, false, BooleanArray::from_iter;
        /// Adds a column of text.
        text: &'r str => DataType::Utf8, false, StringArray::from_iter_values;
        /// Adds a column of text that may be NULL.
        optional_text: Option<&'r str> => DataType::Utf8, true, StringArray::from_iter;
        /// Adds a column of computed text that may be NULL.
        optional_string: Option<String> => DataType::Utf8, true, StringArray::from_iter;
        /// Adds a column of lists of text.
        text_list: Option<&'r [Name]> => DataType::new_list(DataType::Utf8, true), true, lists;
        /// Adds a column of times; NULL if a time does not fit into 64 bits of nanoseconds.
        time: Option<Millis> => TIME, true, times;
        /// Adds a column of times in nanoseconds.
        nanoseconds: i64 => TIME, false, TimestampNanosecondArray::from_iter_values;
    }
}

const TIME: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);

fn times(times: impl Iterator<Item = Option<Millis>>) -> TimestampNanosecondArray {
    times.map(|time| time.and_then(nanos)).collect()
}

fn lists<'a>(lists: impl Iterator<Item = Option<&'a [Name]>>) -> ListArray {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for names in lists {
        names.iter().copied().flatten().for_each(|name| builder.values().append_value(name));
        builder.append(names.is_some());
    }
    builder.finish()
}
