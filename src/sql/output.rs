//! The format of answers: the types on the wire, JSON and CSV.

use std::{borrow::Cow, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch, RecordBatchOptions, StringBuilder,
        StructArray,
    },
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef, TimeUnit, UInt64Type},
    error::ArrowError,
    json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder},
    util::display::{ArrayFormatter, FormatOptions},
};

use super::error::SqlError;

/// The RFC 3339 format of times. Times are UTC, without a zone in their type.
pub const TIMESTAMP: &str = "%Y-%m-%dT%H:%M:%S%.fZ";

/// Returns the schema of an answer: text as Utf8 and times as nanoseconds without zone, which every client can read,
/// regardless of the types that the engine used.
#[must_use]
pub fn wire_schema(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| field.as_ref().clone().with_data_type(wire_type(field.data_type()));
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// Returns the wire type of a type of the engine.
fn wire_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, value) => wire_type(value),
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Nanosecond, None),
        other => other.clone(),
    }
}

/// Converts a batch to its wire schema.
///
/// # Errors
///
/// A time does not fit into 64 bits of nanoseconds, or the batch does not match the schema, which is a bug.
pub fn to_wire(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, SqlError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| lossless(column, field.data_type())).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| SqlError::Internal(format!("the answer does not match its declared schema: {error}")))
}

/// Converts a column to its [`wire_type`] without loss, and to no other type.
fn lossless(column: &ArrayRef, kind: &DataType) -> Result<ArrayRef, SqlError> {
    let is = column.data_type();
    if is == kind {
        return Ok(Arc::clone(column));
    }
    if wire_type(is) != *kind {
        return Err(SqlError::Internal(format!("a column of the answer is {is} but was declared as {kind}")));
    }
    let exact = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, kind, &exact).map_err(|error| match is {
        DataType::Timestamp(..) => SqlError::overflow("a time is outside of the years 1677 to 2262"),
        _ => SqlError::Internal(error.to_string()),
    })
}

/// Encodes rows as JSON in the format of `POST /v1/sql`: 64-bit integers as numbers below 2^53 and as strings above;
/// NULL as null; times in RFC 3339. Also encodes CSV.
#[derive(Debug)]
pub struct JsonRows {
    options: EncoderOptions,
    /// Whether CSV text that a spreadsheet would run as a formula is marked with an apostrophe.
    escapes_formulas: bool,
}

impl Default for JsonRows {
    fn default() -> Self {
        Self::new()
    }
}

impl JsonRows {
    /// Creates an encoder for batches of any schema.
    #[must_use]
    pub fn new() -> Self {
        let options = EncoderOptions::default()
            .with_explicit_nulls(true)
            .with_timestamp_format(TIMESTAMP.to_owned())
            .with_encoder_factory(Arc::new(ExactIntegers));
        Self { options, escapes_formulas: false }
    }

    /// Sets whether CSV text that a spreadsheet would run as a formula is marked with an apostrophe.
    #[must_use]
    pub fn escape_formulas(self, escapes_formulas: bool) -> Self {
        Self { escapes_formulas, ..self }
    }

    /// Calls `write` with each row as a JSON object.
    ///
    /// # Errors
    ///
    /// A type has no JSON form, or `write` fails.
    pub fn each(
        &self,
        batch: &RecordBatch,
        mut write: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), ArrowError> {
        let rows = StructArray::from(batch.clone());
        let field = Arc::new(Field::new("", rows.data_type().clone(), false));
        let mut encoder = make_encoder(&field, &rows, &self.options)?;
        let mut text = Vec::new();
        for row in 0..batch.num_rows() {
            text.clear();
            encoder.encode(row, &mut text);
            write(&text)?;
        }
        Ok(())
    }

    /// Writes rows as CSV: NULL as an empty field, empty text as `""`, lists and structs as JSON.
    ///
    /// # Errors
    ///
    /// A type has no text form, or writing to `out` fails.
    pub fn csv(&self, batch: &RecordBatch, header: bool, out: &mut impl std::io::Write) -> Result<(), ArrowError> {
        let schema = batch.schema();
        if header {
            let names = schema.fields().iter().map(|field| self.csv_text(field.name()));
            writeln!(out, "{}", names.collect::<Vec<_>>().join(","))?;
        }
        // CSV has no form of its own for lists and structs.
        let flat = schema.fields().iter().zip(batch.columns()).map(|(field, column)| match column.data_type() {
            kind if kind.is_nested() => self.texts(field, column),
            _ => Ok(Arc::clone(column)),
        });
        let flat = flat.collect::<Result<Vec<_>, _>>()?;
        let options = FormatOptions::default().with_timestamp_format(Some(TIMESTAMP));
        let columns = flat.iter().map(|column| ArrayFormatter::try_new(column, &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            for (at, (column, values)) in columns.iter().zip(&flat).enumerate() {
                if at > 0 {
                    out.write_all(b",")?;
                }
                // An array of untyped NULLs has no validity bitmap.
                if values.is_valid(row) && !values.data_type().is_null() {
                    let text = column.value(row).try_to_string()?;
                    let is_text =
                        matches!(values.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
                    let field = if is_text { self.csv_text(&text) } else { csv_field(&text) };
                    out.write_all(field.as_bytes())?;
                }
            }
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Returns a text as a CSV field.
    fn csv_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.escapes_formulas && is_formula(text) {
            // Always quoted, since some programs remove an unquoted apostrophe.
            Cow::Owned(format!("\"'{}\"", text.replace('"', "\"\"")))
        } else {
            csv_field(text)
        }
    }

    /// Returns the values of a column as JSON text.
    fn texts(&self, field: &FieldRef, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        let mut encoder = make_encoder(field, column.as_ref(), &self.options)?;
        let (mut texts, mut text) = (StringBuilder::new(), Vec::new());
        for row in 0..column.len() {
            text.clear();
            if encoder.is_null(row) {
                texts.append_null();
            } else {
                encoder.encode(row, &mut text);
                texts.append_value(String::from_utf8_lossy(&text));
            }
        }
        Ok(Arc::new(texts.finish()))
    }
}

/// Quotes a field where RFC 4180 requires it, and where it is empty, since an unquoted empty field is NULL.
fn csv_field(text: &str) -> Cow<'_, str> {
    if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

/// Returns whether a spreadsheet may run a text as a formula (OWASP, "CSV Injection"), including after white space.
fn is_formula(text: &str) -> bool {
    let signs = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
    text.starts_with(['\t', '\r', '\n']) || text.trim_start().starts_with(signs)
}

/// Encodes 64-bit integers from 2^53 on as strings, since JSON readers would round them.
#[derive(Debug)]
struct ExactIntegers;

impl EncoderFactory for ExactIntegers {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Int64 => Box::new(Integers(array.as_primitive::<Int64Type>())),
            DataType::UInt64 => Box::new(Integers(array.as_primitive::<UInt64Type>())),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

struct Integers<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl<T: ArrowPrimitiveType<Native: Into<i128>>> Encoder for Integers<'_, T> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value: i128 = self.0.value(row).into();
        let quote = if value.unsigned_abs() < 1 << 53 { "" } else { "\"" };
        out.extend_from_slice(format!("{quote}{value}{quote}").as_bytes());
    }
}
