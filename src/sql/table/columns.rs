//! The columns of a table: their names, types and comments, and how they are built from rows.

use std::sync::Arc;

use arrow::{
    array::{
        Array as _, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListBuilder, RecordBatch,
        RecordBatchOptions, StringArray, StringBuilder, TimestampNanosecondArray,
    },
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use datafusion::common::Result;

use super::{BATCH_ROWS, COMMENT, ScanRequest, Table};
use crate::model::{Millis, Name, nanos};

/// The type of the rows from which columns are built.
pub(in super::super) trait RowType: 'static {
    type Row<'a>: Send;
}

impl<T: Table> RowType for T {
    type Row<'a> = T::Row<'a>;
}

/// Builds a column from rows.
type BuildColumn<R> = Box<dyn for<'r, 'a> Fn(&'r [<R as RowType>::Row<'a>]) -> ArrayRef + Send + Sync>;

/// The columns of a table, in order.
pub(in super::super) struct Columns<R: RowType> {
    fields: Vec<Field>,
    builders: Vec<BuildColumn<R>>,
}

/// The schema of a table, and the builders of its columns.
pub(in super::super) struct Layout<R: RowType> {
    pub(in super::super) schema: SchemaRef,
    builders: Vec<BuildColumn<R>>,
}

impl<R: RowType> From<Columns<R>> for Layout<R> {
    fn from(columns: Columns<R>) -> Self {
        Self { schema: Arc::new(Schema::new(columns.fields)), builders: columns.builders }
    }
}

impl<R: RowType> Layout<R> {
    /// Builds a batch with the requested columns.
    pub(in super::super) fn batch(&self, rows: &[R::Row<'_>], request: &ScanRequest) -> Result<RecordBatch> {
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

impl<R: RowType> Default for Columns<R> {
    fn default() -> Self {
        Self { fields: vec![], builders: vec![] }
    }
}

macro_rules! columns {
    ($( $(#[$doc:meta])* $name:ident: $value:ty, $array:ty, $type:expr, $nullable:expr, $from:ident; )+) => {$(
        $(#[$doc])*
        pub(in super::super) fn $name(
            self,
            name: &str,
            comment: &str,
            get: impl for<'r, 'a> Fn(&'r R::Row<'a>) -> $value + Send + Sync + 'static,
        ) -> Self {
            let build = move |rows: &[R::Row<'_>]| Arc::new(<$array>::$from(rows.iter().map(&get))) as ArrayRef;
            self.push(Field::new(name, $type, $nullable), comment, build)
        }
    )+};
}

impl<R: RowType> Columns<R> {
    fn push(
        mut self,
        field: Field,
        comment: &str,
        build: impl for<'r, 'a> Fn(&'r [R::Row<'a>]) -> ArrayRef + Send + Sync + 'static,
    ) -> Self {
        self.fields.push(field.with_metadata([(COMMENT.to_owned(), comment.to_owned())].into()));
        self.builders.push(Box::new(build));
        self
    }

    columns! {
        /// Adds a column of counts or partition numbers.
        int32: i32, Int32Array, DataType::Int32, false, from_iter_values;
        /// Adds a column of counts that may be NULL.
        optional_int32: Option<i32>, Int32Array, DataType::Int32, true, from_iter;
        /// Adds a column of offsets.
        int64: i64, Int64Array, DataType::Int64, false, from_iter_values;
        /// Adds a column of offsets that may be NULL.
        optional_int64: Option<i64>, Int64Array, DataType::Int64, true, from_iter;
        /// Adds a column of rates or seconds that may be NULL.
        optional_float: Option<f64>, Float64Array, DataType::Float64, true, from_iter;
        /// Adds a column of text.
        text: &'r str, StringArray, DataType::Utf8, false, from_iter_values;
        /// Adds a column of text that may be NULL.
        optional_text: Option<&'r str>, StringArray, DataType::Utf8, true, from_iter;
        /// Adds a column of computed text that may be NULL.
        optional_string: Option<String>, StringArray, DataType::Utf8, true, from_iter;
    }

    /// Adds a column of flags.
    pub(in super::super) fn boolean(
        self,
        name: &str,
        comment: &str,
        get: impl for<'r, 'a> Fn(&'r R::Row<'a>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let build = move |rows: &[R::Row<'_>]| {
            Arc::new(BooleanArray::from(rows.iter().map(&get).collect::<Vec<_>>())) as ArrayRef
        };
        self.push(Field::new(name, DataType::Boolean, false), comment, build)
    }

    /// Adds a column of times; NULL if a time does not fit into 64 bits of nanoseconds.
    pub(in super::super) fn time(
        self,
        name: &str,
        comment: &str,
        get: impl for<'r, 'a> Fn(&'r R::Row<'a>) -> Option<Millis> + Send + Sync + 'static,
    ) -> Self {
        self.times(name, comment, true, move |row| get(row).and_then(nanos))
    }

    /// Adds a column of times in nanoseconds.
    pub(in super::super) fn times(
        self,
        name: &str,
        comment: &str,
        nullable: bool,
        get: impl for<'r, 'a> Fn(&'r R::Row<'a>) -> Option<i64> + Send + Sync + 'static,
    ) -> Self {
        let build = move |rows: &[R::Row<'_>]| {
            Arc::new(rows.iter().map(&get).collect::<TimestampNanosecondArray>()) as ArrayRef
        };
        self.push(Field::new(name, DataType::Timestamp(TimeUnit::Nanosecond, None), nullable), comment, build)
    }

    /// Adds a column of lists of text.
    pub(in super::super) fn text_list(
        self,
        name: &str,
        comment: &str,
        get: impl for<'r, 'a> Fn(&'r R::Row<'a>) -> Option<&'r [Name]> + Send + Sync + 'static,
    ) -> Self {
        let build = move |rows: &[R::Row<'_>]| {
            let mut list = ListBuilder::new(StringBuilder::new());
            for row in rows {
                let names = get(row);
                names.iter().copied().flatten().for_each(|name| list.values().append_value(name));
                list.append(names.is_some());
            }
            Arc::new(list.finish()) as ArrayRef
        };
        let item = Field::new("item", DataType::Utf8, true);
        self.push(Field::new(name, DataType::List(Arc::new(item)), true), comment, build)
    }
}
