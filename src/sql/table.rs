//! What a table is, and the one adapter that makes a DataFusion table of it.
//!
//! A table names its columns and gives the rows of a unit, one by one, leaving out what [`Wanted`]
//! lets it skip. The adapter takes them a batch at a time, drops those that do not satisfy the
//! conditions, and builds only the columns that are asked for.

use std::{fmt, ops::Range, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListBuilder, RecordBatch, RecordBatchOptions,
        StringArray, StringBuilder, TimestampNanosecondArray,
    },
    buffer::BooleanBuffer,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use datafusion::{
    common::{Result, cast::as_boolean_array},
    physical_expr::PhysicalExpr,
};

use super::wanted::Wanted;
use crate::{
    model::{Millis, Name, nanos},
    store::cut::{ClusterCut, Cut, GroupCut},
};

/// Field metadata key of a column's comment.
pub const COMMENT: &str = "comment";

/// Rows of a batch.
pub(super) const BATCH_ROWS: usize = 8192;

/// What a table's rows are read from, a unit at a time: a cluster, a group of it, or some of a
/// group's offsets.
#[derive(Clone, Debug)]
pub(super) struct Unit<'a> {
    pub(super) cut: &'a Cut,
    pub(super) cluster: &'a ClusterCut,
    /// For tables that are read group by group.
    pub(super) group: Option<GroupCut<'a>>,
    /// Positions of the offsets, for tables that are read offset by offset.
    pub(super) offsets: Range<usize>,
}

/// What a table is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Nothing: it says the same whatever the cluster.
    Server,
    Cluster,
    Group,
    /// Committed offsets of groups: a large group is read in parts.
    Offset,
}

impl By {
    /// Units are groups or parts of them.
    pub(super) fn is_by_group(self) -> bool {
        matches!(self, Self::Group | Self::Offset)
    }
}

/// A table.
pub(super) trait Table: Send + Sync + 'static {
    /// What a row borrows from the cut.
    type Row<'a>: Send;
    const NAME: &'static str;
    const COMMENT: &'static str;
    const BY: By;
    /// Also clusters that are not loaded: for tables about the server itself.
    const SHOWS_UNLOADED: bool = false;
    /// The columns by which rows come ordered, in byte order and without NULLs, when
    /// [`Wanted::sorted`] asks for it; `cluster` first, then `group_id` where units are groups.
    const ORDER: &'static [&'static str] = &[];

    fn columns() -> Columns<Self>;

    /// The rows of a unit; at least those that are wanted.
    fn rows<'a>(unit: Unit<'a>, wanted: &'a Wanted) -> impl Iterator<Item = Self::Row<'a>> + Send;

    /// How many rows [`Table::rows`] gives when everything is wanted, if that is known for less.
    fn count(_unit: Unit<'_>) -> Option<usize> {
        None
    }
}

type Build<T> = Box<dyn for<'r, 'a> Fn(&'r [<T as Table>::Row<'a>]) -> ArrayRef + Send + Sync>;

/// The columns of a table, in order.
pub(super) struct Columns<T: Table + ?Sized> {
    fields: Vec<Field>,
    builds: Vec<Build<T>>,
}

impl<T: Table> Default for Columns<T> {
    fn default() -> Self {
        Self { fields: vec![], builds: vec![] }
    }
}

macro_rules! columns {
    ($( $(#[$doc:meta])* $name:ident, $optional:ident: $value:ty, $array:ty, $type:expr; )+) => {$(
        $(#[$doc])*
        #[allow(dead_code, reason = "not every type has both forms in use")]
        pub(super) fn $name(
            self,
            name: &str,
            comment: &str,
            get: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> $value + Send + Sync + 'static,
        ) -> Self {
            let field = Field::new(name, $type, false);
            self.push(field, comment, move |rows| Arc::new(<$array>::from_iter_values(rows.iter().map(&get))))
        }

        $(#[$doc])*
        #[allow(dead_code, reason = "not every type has both forms in use")]
        pub(super) fn $optional(
            self,
            name: &str,
            comment: &str,
            get: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> Option<$value> + Send + Sync + 'static,
        ) -> Self {
            let field = Field::new(name, $type, true);
            self.push(field, comment, move |rows| Arc::new(rows.iter().map(&get).collect::<$array>()))
        }
    )+};
}

impl<T: Table> Columns<T> {
    fn push(
        mut self,
        field: Field,
        comment: &str,
        build: impl for<'r, 'a> Fn(&'r [T::Row<'a>]) -> ArrayRef + Send + Sync + 'static,
    ) -> Self {
        self.fields.push(field.with_metadata([(COMMENT.to_owned(), comment.to_owned())].into()));
        self.builds.push(Box::new(build));
        self
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
    }

    /// Flags.
    pub(super) fn boolean(
        self,
        name: &str,
        comment: &str,
        get: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.push(Field::new(name, DataType::Boolean, false), comment, move |rows| {
            let flags: BooleanBuffer = rows.iter().map(&get).collect();
            Arc::new(BooleanArray::new(flags, None))
        })
    }

    /// Text that is made, not borrowed.
    pub(super) fn optional_string(
        self,
        name: &str,
        comment: &str,
        get: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let field = Field::new(name, DataType::Utf8, true);
        self.push(field, comment, move |rows| Arc::new(rows.iter().map(&get).collect::<StringArray>()))
    }

    /// A time; NULL beyond what nanoseconds in 64 bits hold.
    pub(super) fn time(
        self,
        name: &str,
        comment: &str,
        get: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> Option<Millis> + Send + Sync + 'static,
    ) -> Self {
        let field = Field::new(name, DataType::Timestamp(TimeUnit::Nanosecond, None), true);
        self.push(field, comment, move |rows| {
            let times = rows.iter().map(|row| get(row).and_then(nanos));
            Arc::new(times.collect::<TimestampNanosecondArray>())
        })
    }

    /// A list of text.
    pub(super) fn text_list(
        self,
        name: &str,
        comment: &str,
        get: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> Option<&'r [Name]> + Send + Sync + 'static,
    ) -> Self {
        let item = Field::new("item", DataType::Utf8, true);
        self.push(Field::new(name, DataType::List(Arc::new(item)), true), comment, move |rows| {
            let mut list = ListBuilder::new(StringBuilder::new());
            for row in rows {
                let names = get(row);
                names.iter().copied().flatten().for_each(|name| list.values().append_value(name));
                list.append(names.is_some());
            }
            Arc::new(list.finish())
        })
    }
}

/// What a scan asks of a table.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) wanted: Wanted,
    /// Rows must satisfy it.
    pub(super) filter: Option<Filter>,
    /// The columns to give.
    pub(super) projection: Vec<usize>,
    /// At most so many rows.
    pub(super) limit: Option<usize>,
}

/// A condition over some of a table's columns.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// Over the columns at `projection`, in that order.
    pub(super) condition: Arc<dyn PhysicalExpr>,
    pub(super) projection: Vec<usize>,
}

/// Units to read, one after another.
pub(super) type Units<'a> = Box<dyn Iterator<Item = Unit<'a>> + Send + 'a>;
/// Batches as they are made; some may be empty.
pub(super) type Batches<'a> = Box<dyn Iterator<Item = Result<RecordBatch>> + Send + 'a>;

/// A [`Table`] without its types, for the catalog.
pub(super) trait AnyTable: fmt::Debug + Send + Sync {
    fn name(&self) -> &'static str;
    fn comment(&self) -> &'static str;
    fn by(&self) -> By;
    fn shows_unloaded(&self) -> bool;
    fn order(&self) -> &'static [&'static str];
    fn schema(&self) -> SchemaRef;
    fn count(&self, unit: Unit<'_>) -> Option<usize>;
    /// The rows of units that answer a question.
    fn batches<'a>(&'a self, units: Units<'a>, question: &'a Question) -> Batches<'a>;
}

/// A table with its columns made.
pub(super) struct Typed<T: Table> {
    builds: Vec<Build<T>>,
    schema: SchemaRef,
}

impl<T: Table> Typed<T> {
    pub(super) fn new() -> Self {
        let Columns { fields, builds } = T::columns();
        Self { builds, schema: Arc::new(Schema::new(fields)) }
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

    fn order(&self) -> &'static [&'static str] {
        T::ORDER
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn count(&self, unit: Unit<'_>) -> Option<usize> {
        T::count(unit)
    }

    fn batches<'a>(&'a self, units: Units<'a>, question: &'a Question) -> Batches<'a> {
        let mut units = units;
        let (mut rows, mut given): (Vec<T::Row<'a>>, usize) = (vec![], 0);
        let mut left = question.limit.unwrap_or(usize::MAX);
        Box::new(std::iter::from_fn(move || {
            if given >= rows.len() {
                rows.clear();
                given = 0;
                while rows.len() < BATCH_ROWS.min(left) {
                    let Some(unit) = units.next() else { break };
                    // Not `extend`, which would ask for each row through all the adapters.
                    T::rows(unit, &question.wanted).for_each(|row| rows.push(row));
                }
                if rows.is_empty() {
                    return None;
                }
                if let Err(error) = self.keep(&mut rows, question.filter.as_ref()) {
                    return Some(Err(error));
                }
                rows.truncate(left);
                left -= rows.len();
            }
            let batch = rows.get(given..).unwrap_or_default();
            let batch = batch.get(..BATCH_ROWS).unwrap_or(batch);
            given += batch.len();
            Some(self.batch(batch, &question.projection))
        }))
    }
}

impl<T: Table> Typed<T> {
    fn batch(&self, rows: &[T::Row<'_>], projection: &[usize]) -> Result<RecordBatch> {
        let schema = Arc::new(self.schema.project(projection)?);
        let builds = projection.iter().filter_map(|index| self.builds.get(*index));
        let arrays = builds.map(|build| build(rows)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
    }

    /// Drops the rows that do not satisfy a filter: only its columns are built for all.
    fn keep(&self, rows: &mut Vec<T::Row<'_>>, filter: Option<&Filter>) -> Result<()> {
        let Some(filter) = filter else { return Ok(()) };
        let batch = self.batch(rows, &filter.projection)?;
        let kept = filter.condition.evaluate(&batch)?.into_array(rows.len())?;
        let kept = as_boolean_array(&kept)?;
        if kept.true_count() < rows.len() {
            // NULL is not true.
            let mut kept = kept.iter().map(|kept| kept == Some(true));
            rows.retain(|_| kept.next() == Some(true));
        }
        Ok(())
    }
}
