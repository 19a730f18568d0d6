//! The supported types of parameters, and their layout in Arrow IPC.
//!
//! Only types with values that take no more memory than their bytes are supported: numbers, text, bytes, times, lists
//! of these, and dictionaries of these. A list of views, dictionaries or runs could repeat one value a million times.
//! Lists of lists, structs, maps and unions are not useful in a statement.

use std::collections::BTreeSet;

use arrow::ipc::{Decimal, Endianness, Field, Int, KeyValue, Schema, TimeUnit, Type};

use super::InvalidParameters;

/// Maximum number of columns, equal to that of placeholders (`$1` to `$1024`).
const MAX_COLUMNS: usize = 1024;

/// The layout of a value that contains no other values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// NULL, without bytes.
    Null,
    /// A value of fixed width.
    Fixed,
    /// Text or bytes with offsets of this many bytes.
    Offsets(usize),
    /// Text or bytes with views, in a number of buffers that the message declares.
    Views,
}

/// A column of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// A single value.
    Plain(Plain),
    /// A list of values, with offsets of `offset` bytes.
    List { offset: usize, values: Plain },
    /// An index of `index` bytes into the dictionary `id`.
    Dictionary { id: i64, index: usize, values: Plain },
}

/// Returns the columns of a schema.
pub(super) fn columns(schema: Schema<'_>, header: &[u8]) -> Result<Vec<Column>, InvalidParameters> {
    if schema.endianness() != Endianness::Little {
        return Err(InvalidParameters::Schema("it is big-endian"));
    }
    let fields = schema.fields().ok_or(InvalidParameters::Schema("it has no list of fields"))?;
    if fields.len() > MAX_COLUMNS {
        return Err(InvalidParameters::Columns(MAX_COLUMNS));
    }
    // A flatbuffer may share parts: every field could refer to the same name of a megabyte, and the decoder copies
    // each.
    let mut text = TextBudget { left: header.len() };
    text.pairs(schema.custom_metadata().into_iter().flatten())?;
    let columns: Vec<Column> = fields.iter().map(|field| column(&field, &mut text)).collect::<Result<_, _>>()?;
    let mut ids = BTreeSet::new();
    let shared = columns.iter().any(|column| matches!(column, Column::Dictionary { id, .. } if !ids.insert(*id)));
    // Reject shared dictionaries, because one value of a dictionary would be copied into each column.
    if shared { Err(InvalidParameters::Schema("two columns share a dictionary")) } else { Ok(columns) }
}

fn column(field: &Field<'_>, text: &mut TextBudget) -> Result<Column, InvalidParameters> {
    text.of(field)?;
    let mut children = field.children().into_iter().flatten();
    let child = children.next();
    if children.next().is_some() {
        return Err(unsupported(field));
    }
    let offset = match field.type_type() {
        Type::List => Some(size_of::<i32>()),
        Type::LargeList => Some(size_of::<i64>()),
        _ => None,
    };
    match (child, field.dictionary(), offset) {
        (Some(child), None, Some(offset)) => {
            text.of(&child)?;
            let nested = child.children().is_some_and(|children| !children.is_empty()) || child.dictionary().is_some();
            let values = plain(&child).filter(|values| !nested && *values != Plain::Views);
            values.map(|values| Column::List { offset, values }).ok_or_else(|| unsupported(field))
        }
        (None, Some(dictionary), None) => {
            let index = dictionary.indexType().and_then(int);
            let index = index.ok_or(InvalidParameters::Schema("a dictionary has no valid type of its indices"))?;
            let id = dictionary.id();
            let values = plain(field).filter(|values| !matches!(values, Plain::Null | Plain::Views));
            values.map(|values| Column::Dictionary { id, index, values }).ok_or_else(|| unsupported(field))
        }
        (None, None, None) => plain(field).map(Column::Plain).ok_or_else(|| unsupported(field)),
        _ => Err(unsupported(field)),
    }
}

fn plain(field: &Field<'_>) -> Option<Plain> {
    match field.type_type() {
        Type::Null => Some(Plain::Null),
        Type::Utf8 | Type::Binary => Some(Plain::Offsets(size_of::<i32>())),
        Type::LargeUtf8 | Type::LargeBinary => Some(Plain::Offsets(size_of::<i64>())),
        Type::Utf8View | Type::BinaryView => Some(Plain::Views),
        _ => is_fixed(field).then_some(Plain::Fixed),
    }
}

/// Returns whether a type has a fixed width and attributes that Arrow knows. The decoder panics on other attributes.
fn is_fixed(field: &Field<'_>) -> bool {
    match field.type_type() {
        Type::Bool => true,
        Type::Int => field.type_as_int().and_then(int).is_some(),
        Type::FloatingPoint => field.type_as_floating_point().is_some_and(|of| of.precision().variant_name().is_some()),
        Type::Decimal => field.type_as_decimal().is_some_and(is_decimal),
        Type::Date => field.type_as_date().is_some_and(|of| of.unit().variant_name().is_some()),
        Type::Time => field.type_as_time().is_some_and(|of| match of.unit() {
            TimeUnit::SECOND | TimeUnit::MILLISECOND => of.bitWidth() == 32,
            TimeUnit::MICROSECOND | TimeUnit::NANOSECOND => of.bitWidth() == 64,
            _ => false,
        }),
        Type::Timestamp => field.type_as_timestamp().is_some_and(|of| of.unit().variant_name().is_some()),
        Type::Duration => field.type_as_duration().is_some_and(|of| of.unit().variant_name().is_some()),
        Type::Interval => field.type_as_interval().is_some_and(|of| of.unit().variant_name().is_some()),
        Type::FixedSizeBinary => field.type_as_fixed_size_binary().is_some_and(|of| of.byteWidth() > 0),
        _ => false,
    }
}

/// Returns the number of bytes of an integer type.
fn int(int: Int<'_>) -> Option<usize> {
    usize::try_from(int.bitWidth() / 8).ok().filter(|bytes| [1, 2, 4, 8].contains(bytes) && int.bitWidth() % 8 == 0)
}

fn is_decimal(decimal: Decimal<'_>) -> bool {
    let digits = match decimal.bitWidth() {
        32 => 9,
        64 => 18,
        128 => 38,
        256 => 76,
        _ => 0,
    };
    (1..=digits).contains(&decimal.precision()) && (-digits..=decimal.precision()).contains(&decimal.scale())
}

fn unsupported(field: &Field<'_>) -> InvalidParameters {
    // The flatbuffer enum names it `Struct_`, because `struct` is a keyword in some languages.
    InvalidParameters::Type(field.type_type().variant_name().unwrap_or("unknown").trim_end_matches('_'))
}

/// Total length that names, time zones and metadata of fields may still have.
struct TextBudget {
    left: usize,
}

impl TextBudget {
    fn of(&mut self, field: &Field<'_>) -> Result<(), InvalidParameters> {
        self.take(field.name())?;
        self.take(field.type_as_timestamp().and_then(|time| time.timezone()))?;
        self.pairs(field.custom_metadata().into_iter().flatten())
    }

    fn pairs<'a>(&mut self, mut pairs: impl Iterator<Item = KeyValue<'a>>) -> Result<(), InvalidParameters> {
        pairs.try_for_each(|pair| {
            self.take(pair.key())?;
            self.take(pair.value())
        })
    }

    fn take(&mut self, text: Option<&str>) -> Result<(), InvalidParameters> {
        // Each pair and each text has an offset of four bytes, unless they are shared.
        let left = self.left.checked_sub(text.map_or(0, str::len) + size_of::<u32>());
        self.left = left.ok_or(InvalidParameters::Schema("its texts are longer than the message"))?;
        Ok(())
    }
}
