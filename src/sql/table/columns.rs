//! The columns of a table: what each is called, and how it is built, some rows at a time.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, ArrowPrimitiveType, BooleanBuilder, Float64Array, Int32Array, Int64Array, ListBuilder,
        NullBufferBuilder, PrimitiveArray, StringBuilder,
    },
    datatypes::{
        ArrowNativeType, DataType, Field, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampNanosecondType,
    },
};

use super::{COMMENT, Table};
use crate::model::{Millis, Name, nanos};

/// Takes rows into a column.
pub(super) trait Building<T: Table> {
    fn append(&mut self, rows: &[T::Row<'_>]);
    fn finish(self: Box<Self>) -> ArrayRef;
}

/// A column of a batch that is being built.
pub(super) type Column<T> = Box<dyn Building<T> + Send>;
/// Begins a column of about so many rows.
pub(super) type Start<T> = Box<dyn Fn(usize) -> Column<T> + Send + Sync>;

/// A builder, and how it takes rows.
struct Appender<B, F> {
    builder: B,
    append: Arc<F>,
    finish: fn(B) -> ArrayRef,
}

impl<T, B, F> Building<T> for Appender<B, F>
where
    T: Table,
    F: for<'r, 'a> Fn(&mut B, &'r [T::Row<'a>]),
{
    fn append(&mut self, rows: &[T::Row<'_>]) {
        (self.append)(&mut self.builder, rows);
    }

    fn finish(self: Box<Self>) -> ArrayRef {
        (self.finish)(self.builder)
    }
}

/// The columns of a table, in order.
pub(in super::super) struct Columns<T: Table + ?Sized> {
    pub(super) fields: Vec<Field>,
    pub(super) starts: Vec<Start<T>>,
}

impl<T: Table> Default for Columns<T> {
    fn default() -> Self {
        Self { fields: vec![], starts: vec![] }
    }
}

/// What a text may take, for the room that a builder has at the start.
const TEXT_BYTES: usize = 16;

/// Takes text over in runs: rows that follow each other mostly have the very same cluster, group and topic.
fn append_runs<'r>(builder: &mut StringBuilder, values: impl Iterator<Item = Option<&'r str>>) {
    let is_same = |left: Option<&str>, right: Option<&str>| match (left, right) {
        (Some(left), Some(right)) => std::ptr::eq(left, right),
        (left, right) => left.is_none() && right.is_none(),
    };
    let mut append = |value: Option<&str>, count| match value {
        Some(text) => builder.append_value_n(text, count),
        None => builder.append_nulls(count),
    };
    let (mut run, mut count) = (None, 0);
    for value in values {
        if !is_same(run, value) {
            append(run, count);
            (run, count) = (value, 0);
        }
        count += 1;
    }
    append(run, count);
}

/// Values of which some are missing. Where none of some rows is, or all are, that is told once for all of them.
struct Optional<V> {
    values: Vec<V>,
    present: NullBufferBuilder,
}

impl<V: ArrowNativeType> Optional<V> {
    fn with_capacity(rows: usize) -> Self {
        Self { values: Vec::with_capacity(rows), present: NullBufferBuilder::new(rows) }
    }

    fn append<R>(&mut self, rows: &[R], get: impl Fn(&R) -> Option<V>) {
        let mut missing = 0;
        self.values.extend(rows.iter().map(|row| {
            let value = get(row);
            missing += usize::from(value.is_none());
            value.unwrap_or_default()
        }));
        match missing {
            0 => self.present.append_n_non_nulls(rows.len()),
            all if all == rows.len() => self.present.append_n_nulls(rows.len()),
            _ => rows.iter().for_each(|row| self.present.append(get(row).is_some())),
        }
    }

    fn finish<P: ArrowPrimitiveType<Native = V>>(mut self) -> ArrayRef {
        Arc::new(PrimitiveArray::<P>::new(self.values.into(), self.present.finish()))
    }
}

fn starting<T, B, F>(start: fn(usize) -> B, append: F, finish: fn(B) -> ArrayRef) -> Start<T>
where
    T: Table,
    B: Send + 'static,
    F: for<'r, 'a> Fn(&mut B, &'r [T::Row<'a>]) + Send + Sync + 'static,
{
    let append = Arc::new(append);
    Box::new(move |rows| Box::new(Appender { builder: start(rows), append: Arc::clone(&append), finish }))
}

macro_rules! numbers {
    ($( $(#[$doc:meta])* $name:ident, $optional:ident: $value:ty, $array:ty, $kind:ty, $type:expr; )+) => {$(
        $(#[$doc])*
        #[allow(dead_code, reason = "not every type has both forms in use")]
        pub(in super::super) fn $name(
            self,
            name: &str,
            comment: &str,
            get: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> $value + Send + Sync + 'static,
        ) -> Self {
            let append = move |values: &mut Vec<$value>, rows: &[T::Row<'_>]| values.extend(rows.iter().map(&get));
            let field = Field::new(name, $type, false);
            self.push(field, comment, Vec::with_capacity, append, |values| Arc::new(<$array>::from(values)))
        }

        $(#[$doc])*
        #[allow(dead_code, reason = "not every type has both forms in use")]
        pub(in super::super) fn $optional(
            self,
            name: &str,
            comment: &str,
            get: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> Option<$value> + Send + Sync + 'static,
        ) -> Self {
            let append = move |values: &mut Optional<$value>, rows: &[T::Row<'_>]| values.append(rows, &get);
            let field = Field::new(name, $type, true);
            self.push(field, comment, Optional::with_capacity, append, Optional::finish::<$kind>)
        }
    )+};
}

impl<T: Table> Columns<T> {
    fn push<B, F>(
        mut self,
        field: Field,
        comment: &str,
        start: fn(usize) -> B,
        append: F,
        finish: fn(B) -> ArrayRef,
    ) -> Self
    where
        B: Send + 'static,
        F: for<'r, 'a> Fn(&mut B, &'r [T::Row<'a>]) + Send + Sync + 'static,
    {
        self.fields.push(field.with_metadata([(COMMENT.to_owned(), comment.to_owned())].into()));
        self.starts.push(starting(start, append, finish));
        self
    }

    numbers! {
        /// Counts and numbers of partitions.
        int32, optional_int32: i32, Int32Array, Int32Type, DataType::Int32;
        /// Offsets.
        int64, optional_int64: i64, Int64Array, Int64Type, DataType::Int64;
        /// Rates and seconds.
        float, optional_float: f64, Float64Array, Float64Type, DataType::Float64;
    }

    fn strings(
        self,
        name: &str,
        comment: &str,
        nullable: bool,
        append: impl for<'r, 'a> Fn(&mut StringBuilder, &'r [T::Row<'a>]) + Send + Sync + 'static,
    ) -> Self {
        let start = |rows| StringBuilder::with_capacity(rows, rows * TEXT_BYTES);
        let field = Field::new(name, DataType::Utf8, nullable);
        self.push(field, comment, start, append, |mut builder| Arc::new(builder.finish()))
    }

    /// Text.
    pub(in super::super) fn text(
        self,
        name: &str,
        comment: &str,
        get: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> &'r str + Send + Sync + 'static,
    ) -> Self {
        self.strings(name, comment, false, move |builder, rows| {
            append_runs(builder, rows.iter().map(|row| Some(get(row))))
        })
    }

    /// Text that some rows lack.
    pub(in super::super) fn optional_text(
        self,
        name: &str,
        comment: &str,
        get: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> Option<&'r str> + Send + Sync + 'static,
    ) -> Self {
        self.strings(name, comment, true, move |builder, rows| append_runs(builder, rows.iter().map(&get)))
    }

    /// Text that is made, not borrowed.
    pub(in super::super) fn optional_string(
        self,
        name: &str,
        comment: &str,
        get: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.strings(name, comment, true, move |builder, rows| match rows.iter().any(|row| get(row).is_some()) {
            true => builder.extend(rows.iter().map(&get)),
            false => builder.append_nulls(rows.len()),
        })
    }

    /// Flags.
    pub(in super::super) fn boolean(
        self,
        name: &str,
        comment: &str,
        get: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let append = move |builder: &mut BooleanBuilder, rows: &[T::Row<'_>]| {
            rows.iter().for_each(|row| builder.append_value(get(row)));
        };
        let field = Field::new(name, DataType::Boolean, false);
        self.push(field, comment, BooleanBuilder::with_capacity, append, |mut builder| Arc::new(builder.finish()))
    }

    /// A time; NULL beyond what nanoseconds in 64 bits hold.
    pub(in super::super) fn time(
        self,
        name: &str,
        comment: &str,
        get: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> Option<Millis> + Send + Sync + 'static,
    ) -> Self {
        let append = move |times: &mut Optional<i64>, rows: &[T::Row<'_>]| {
            times.append(rows, |row| get(row).and_then(nanos));
        };
        let field = Field::new(name, DataType::Timestamp(TimeUnit::Nanosecond, None), true);
        self.push(field, comment, Optional::with_capacity, append, Optional::finish::<TimestampNanosecondType>)
    }

    /// A list of text.
    pub(in super::super) fn text_list(
        self,
        name: &str,
        comment: &str,
        get: impl for<'r, 'a> Fn(&'r T::Row<'a>) -> Option<&'r [Name]> + Send + Sync + 'static,
    ) -> Self {
        let append = move |list: &mut ListBuilder<StringBuilder>, rows: &[T::Row<'_>]| {
            for row in rows {
                let names = get(row);
                names.iter().copied().flatten().for_each(|name| list.values().append_value(name));
                list.append(names.is_some());
            }
        };
        let item = Field::new("item", DataType::Utf8, true);
        let field = Field::new(name, DataType::List(Arc::new(item)), true);
        let start = |_| ListBuilder::new(StringBuilder::new());
        self.push(field, comment, start, append, |mut builder| Arc::new(builder.finish()))
    }
}
