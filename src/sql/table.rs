//! What a table is, and the one adapter that makes a DataFusion table of it.
//!
//! A table names its columns and, for a part of a cut, visits its rows. The adapter collects rows,
//! builds only the columns that are asked for, and leaves filtering to DataFusion but for what
//! [`Wanted`] lets the table skip.

use std::{fmt, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListBuilder, RecordBatch, RecordBatchOptions,
        StringArray, StringBuilder, TimestampNanosecondArray,
    },
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
};

use super::wanted::Wanted;
use crate::{
    model::{Millis, nanos},
    store::{
        cut::{ClusterCut, Cut},
        shard::ShardView,
    },
};

/// Field metadata key of a column's comment.
pub const COMMENT: &str = "comment";

/// Rows of a batch.
pub(super) const BATCH_ROWS: usize = 8192;

/// The part of a cut that one scan partition reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit<'a> {
    pub(super) cut: &'a Cut,
    pub(super) cluster: &'a ClusterCut,
    /// For tables that are read shard by shard.
    pub(super) shard: Option<&'a ShardView>,
}

/// What a table is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Nothing: it says the same whatever the cluster.
    Server,
    Cluster,
    Shard,
}

/// A table.
pub(super) trait Table: Send + Sync + 'static {
    /// What a row borrows from the cut.
    type Row<'a>;
    const NAME: &'static str;
    const COMMENT: &'static str;
    const BY: By;
    /// Also clusters that are not loaded: for tables about the server itself.
    const SHOWS_UNLOADED: bool = false;

    fn columns() -> Vec<Column<Self>>;

    /// Visits the rows of a unit; at least those that are wanted.
    fn rows<'a>(unit: Unit<'a>, wanted: &Wanted, visit: &mut dyn FnMut(Self::Row<'a>));

    /// How many rows [`Table::rows`] visits when everything is wanted, if that is known for less.
    fn count(_unit: Unit<'_>) -> Option<usize> {
        None
    }
}

type Build<T> = Box<dyn for<'r, 'a> Fn(&'r [<T as Table>::Row<'a>]) -> ArrayRef + Send + Sync>;

/// A column of a table.
pub(super) struct Column<T: Table + ?Sized> {
    field: Field,
    build: Build<T>,
}

macro_rules! columns {
    ($( $(#[$doc:meta])* $name:ident, $optional:ident: $value:ty, $array:ty, $type:expr; )+) => {$(
        $(#[$doc])*
        #[allow(dead_code, reason = "not every type has both forms in use")]
        pub(super) fn $name<T: Table>(
            name: &str,
            comment: &str,
            get: for<'r, 'a> fn(&'r T::Row<'a>) -> $value,
        ) -> Column<T> {
            Column {
                field: field(name, comment, $type, false),
                build: Box::new(move |rows| Arc::new(rows.iter().map(|row| Some(get(row))).collect::<$array>())),
            }
        }

        $(#[$doc])*
        #[allow(dead_code, reason = "not every type has both forms in use")]
        pub(super) fn $optional<T: Table>(
            name: &str,
            comment: &str,
            get: for<'r, 'a> fn(&'r T::Row<'a>) -> Option<$value>,
        ) -> Column<T> {
            Column {
                field: field(name, comment, $type, true),
                build: Box::new(move |rows| Arc::new(rows.iter().map(get).collect::<$array>())),
            }
        }
    )+};
}

columns! {
    /// Text.
    text, optional_text: &'r str, StringArray, DataType::Utf8;
    /// Counts and numbers of partitions.
    int32, optional_int32: i32, Int32Array, DataType::Int32;
    /// Offsets.
    int64, optional_int64: i64, Int64Array, DataType::Int64;
    /// Rates and seconds.
    float, optional_float: f64, Float64Array, DataType::Float64;
    /// Flags.
    boolean, optional_boolean: bool, BooleanArray, DataType::Boolean;
}

/// Text that is made, not borrowed.
pub(super) fn optional_string<T: Table>(
    name: &str,
    comment: &str,
    get: for<'r, 'a> fn(&'r T::Row<'a>) -> Option<String>,
) -> Column<T> {
    Column {
        field: field(name, comment, DataType::Utf8, true),
        build: Box::new(move |rows| Arc::new(rows.iter().map(get).collect::<StringArray>())),
    }
}

/// A time; NULL beyond what nanoseconds in 64 bits hold.
pub(super) fn time<T: Table>(
    name: &str,
    comment: &str,
    get: for<'r, 'a> fn(&'r T::Row<'a>) -> Option<Millis>,
) -> Column<T> {
    Column {
        field: field(name, comment, DataType::Timestamp(TimeUnit::Nanosecond, None), true),
        build: Box::new(move |rows| {
            let times = rows.iter().map(|row| get(row).and_then(nanos));
            Arc::new(times.collect::<TimestampNanosecondArray>())
        }),
    }
}

/// A list of text.
pub(super) fn text_list<T: Table>(
    name: &str,
    comment: &str,
    get: for<'r, 'a> fn(&'r T::Row<'a>) -> Option<&'r [crate::model::Name]>,
) -> Column<T> {
    let item = Field::new("item", DataType::Utf8, true);
    Column {
        field: field(name, comment, DataType::List(Arc::new(item)), true),
        build: Box::new(move |rows| {
            let mut list = ListBuilder::new(StringBuilder::new());
            for row in rows {
                let names = get(row);
                names.iter().copied().flatten().for_each(|name| list.values().append_value(name));
                list.append(names.is_some());
            }
            Arc::new(list.finish())
        }),
    }
}

fn field(name: &str, comment: &str, data_type: DataType, nullable: bool) -> Field {
    let metadata = [(COMMENT.to_owned(), comment.to_owned())].into();
    Field::new(name, data_type, nullable).with_metadata(metadata)
}

/// A [`Table`] without its types, for the catalog.
pub(super) trait AnyTable: fmt::Debug + Send + Sync {
    fn name(&self) -> &'static str;
    fn comment(&self) -> &'static str;
    fn by(&self) -> By;
    fn shows_unloaded(&self) -> bool;
    fn schema(&self) -> SchemaRef;
    fn count(&self, unit: Unit<'_>) -> Option<usize>;
    /// Batches of the columns at `projection`, at most `limit` rows.
    fn batches(
        &self,
        unit: Unit<'_>,
        wanted: &Wanted,
        projection: &[usize],
        limit: Option<usize>,
    ) -> Result<Vec<RecordBatch>, ArrowError>;
}

/// A table with its columns made.
pub(super) struct Typed<T: Table> {
    columns: Vec<Column<T>>,
    schema: SchemaRef,
}

impl<T: Table> Typed<T> {
    pub(super) fn new() -> Self {
        let columns = T::columns();
        let fields: Vec<Field> = columns.iter().map(|column| column.field.clone()).collect();
        Self { columns, schema: Arc::new(Schema::new(fields)) }
    }
}

impl<T: Table> fmt::Debug for Typed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed").field("name", &T::NAME).finish_non_exhaustive()
    }
}

impl<T: Table> AnyTable for Typed<T> {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn comment(&self) -> &'static str {
        T::COMMENT
    }

    fn by(&self) -> By {
        T::BY
    }

    fn shows_unloaded(&self) -> bool {
        T::SHOWS_UNLOADED
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn count(&self, unit: Unit<'_>) -> Option<usize> {
        T::count(unit)
    }

    fn batches(
        &self,
        unit: Unit<'_>,
        wanted: &Wanted,
        projection: &[usize],
        limit: Option<usize>,
    ) -> Result<Vec<RecordBatch>, ArrowError> {
        let mut rows: Vec<T::Row<'_>> = vec![];
        let limit = limit.unwrap_or(usize::MAX);
        T::rows(unit, wanted, &mut |row| {
            if rows.len() < limit {
                rows.push(row);
            }
        });
        let schema = Arc::new(self.schema.project(projection)?);
        rows.chunks(BATCH_ROWS)
            .map(|rows| {
                let columns = projection.iter().filter_map(|index| self.columns.get(*index));
                let arrays = columns.map(|column| (column.build)(rows)).collect();
                let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
                RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &options)
            })
            .collect()
    }
}
