//! Batches as clients can read them: plain types on the wire, and JSON.

use std::{io::Write, sync::Arc};

use arrow::{
    array::{Array as _, RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
    util::display::{ArrayFormatter, DurationFormat, FormatOptions},
};

/// Integers from here on lose digits in a JSON reader that has only doubles.
const EXACT_IN_DOUBLES: i64 = 1 << 53;

/// The schema of an answer: text as Utf8 and times as nanoseconds without zone, which is what every
/// client reads, whatever form the engine computed them in.
#[must_use]
pub fn wire_schema(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| field.as_ref().clone().with_data_type(wire_type(field.data_type()));
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

fn wire_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, value) => wire_type(value),
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Nanosecond, None),
        other => other.clone(),
    }
}

/// A batch in its wire schema.
///
/// # Errors
/// A value that the wire type does not hold.
pub fn to_wire(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast(column, field.data_type())
            }
        })
        .collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// Rows as JSON objects, one string each: 64-bit integers as numbers below 2^53, else as strings;
/// times as RFC 3339 in UTC; NULL as null; NaN and infinities, which JSON has not, as null.
///
/// # Errors
/// A type that has no text.
pub fn json_rows(batch: &RecordBatch) -> Result<Vec<String>, ArrowError> {
    let names: Vec<String> =
        batch.schema().fields().iter().map(|field| serde_json::to_string(field.name()).unwrap_or_default()).collect();
    let columns = batch.columns().iter().map(|column| JsonColumn::new(column)).collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let mut text = vec![b'{'];
        for (index, (name, column)) in names.iter().zip(&columns).enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(text, "{comma}{name}:")?;
            column.write(row, &mut text)?;
        }
        text.push(b'}');
        rows.push(String::from_utf8(text).map_err(|error| ArrowError::JsonError(error.to_string()))?);
    }
    Ok(rows)
}

/// A batch with lists as JSON text, for formats without nesting.
///
/// # Errors
/// A type that has no text.
pub fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (column, field) in batch.columns().iter().zip(schema.fields()) {
        if let DataType::List(_) = field.data_type() {
            let JsonColumn::List(_, texts) = JsonColumn::new(column)? else { continue };
            let texts = texts
                .into_iter()
                .enumerate()
                .map(|(row, text)| (!column.is_null(row)).then(|| String::from_utf8_lossy(&text).into_owned()));
            fields.push(field.as_ref().clone().with_data_type(DataType::Utf8));
            columns.push(Arc::new(texts.collect::<arrow::array::StringArray>()) as arrow::array::ArrayRef);
        } else {
            fields.push(field.as_ref().clone());
            columns.push(Arc::clone(column));
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

/// How values of a column are written.
enum JsonColumn<'a> {
    /// As JSON writes it, but checked for size.
    Integer(ArrayFormatter<'a>, &'a dyn arrow::array::Array),
    /// Digits, or null for NaN and infinities.
    Float(ArrayFormatter<'a>, &'a dyn arrow::array::Array),
    Boolean(ArrayFormatter<'a>, &'a dyn arrow::array::Array),
    Text(ArrayFormatter<'a>, &'a dyn arrow::array::Array),
    Time(ArrayFormatter<'a>, &'a dyn arrow::array::Array),
    List(&'a dyn arrow::array::Array, Vec<Vec<u8>>),
}

impl<'a> JsonColumn<'a> {
    fn new(array: &'a dyn arrow::array::Array) -> Result<Self, ArrowError> {
        const OPTIONS: FormatOptions<'static> = FormatOptions::new()
            .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.fZ"))
            .with_duration_format(DurationFormat::ISO8601);
        if let DataType::List(_) = array.data_type() {
            return Self::list(array);
        }
        let formatter = ArrayFormatter::try_new(array, &OPTIONS)?;
        Ok(match array.data_type() {
            data_type if data_type.is_integer() => Self::Integer(formatter, array),
            data_type if data_type.is_floating() => Self::Float(formatter, array),
            DataType::Boolean => Self::Boolean(formatter, array),
            DataType::Timestamp(_, _) => Self::Time(formatter, array),
            _ => Self::Text(formatter, array),
        })
    }

    fn list(array: &'a dyn arrow::array::Array) -> Result<Self, ArrowError> {
        let lists = arrow::array::cast::as_list_array(array);
        let mut texts = Vec::with_capacity(lists.len());
        for row in 0..lists.len() {
            let mut text = vec![];
            if !lists.is_null(row) {
                let values = lists.value(row);
                let column = JsonColumn::new(&values)?;
                text.push(b'[');
                for index in 0..values.len() {
                    if index > 0 {
                        text.push(b',');
                    }
                    column.write(index, &mut text)?;
                }
                text.push(b']');
            }
            texts.push(text);
        }
        Ok(Self::List(array, texts))
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let (Self::Integer(_, array)
        | Self::Float(_, array)
        | Self::Boolean(_, array)
        | Self::Text(_, array)
        | Self::Time(_, array)
        | Self::List(array, _)) = self;
        if array.is_null(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match self {
            Self::Boolean(formatter, _) => write!(out, "{}", formatter.value(row))?,
            Self::Integer(formatter, _) => {
                let digits = formatter.value(row).to_string();
                let exact = digits.parse::<i64>().is_ok_and(|value| value.abs() < EXACT_IN_DOUBLES);
                let quote = if exact { "" } else { "\"" };
                write!(out, "{quote}{digits}{quote}")?;
            }
            Self::Float(formatter, _) => {
                let digits = formatter.value(row).to_string();
                let finite = digits.parse::<f64>().is_ok_and(f64::is_finite);
                write!(out, "{}", if finite { &digits } else { "null" })?;
            }
            Self::Text(formatter, _) | Self::Time(formatter, _) => {
                let text = formatter.value(row).to_string();
                serde_json::to_writer(out, &text).map_err(|error| ArrowError::JsonError(error.to_string()))?;
            }
            Self::List(_, texts) => out.extend_from_slice(texts.get(row).map(Vec::as_slice).unwrap_or_default()),
        }
        Ok(())
    }
}
