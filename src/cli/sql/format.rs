//! Converts a result from Arrow IPC to the output format, batch by batch. Only the first rows of a table are kept in
//! memory.

use std::{io::Write, sync::Arc};

use arrow::{
    array::{Array as _, AsArray as _, RecordBatch},
    buffer::Buffer,
    datatypes::{DataType, FieldRef, Float64Type, SchemaRef},
    error::ArrowError,
    ipc::reader::StreamDecoder,
    util::display::{ArrayFormatter, FormatOptions},
};
use parquet::arrow::ArrowWriter;

use super::Format;
use crate::{
    cli::{
        Failure,
        text::{Column, ColumnKind, Table, TableLayout},
    },
    sql::output::{JsonRows, TIMESTAMP},
};

/// The columns of the result of EXPLAIN. A plan is a text of many lines, so it is not shown as a table.
const PLAN: [&str; 2] = ["plan_type", "plan"];

/// Writes a result that arrives as chunks of an Arrow IPC stream.
pub(super) struct Renderer<W: Write + Send> {
    decoder: StreamDecoder,
    output: Output<W>,
    /// Whether the schema has been decoded and passed to the output.
    started: bool,
}

enum Output<W: Write + Send> {
    Table { out: W, layout: TableLayout, table: Option<Table> },
    Json { out: W, rows: JsonRows, array: bool, first: bool },
    Csv { out: W, rows: JsonRows, header: bool },
    Arrow { out: W },
    Parquet { out: Option<W>, writer: Option<ArrowWriter<W>> },
}

impl<W: Write + Send> Renderer<W> {
    /// Returns a renderer. `layout` applies to tables only.
    pub(super) fn new(format: Format, layout: TableLayout, out: W) -> Self {
        let rows = JsonRows::new();
        let output = match format {
            Format::Table => Output::Table { out, layout, table: None },
            Format::Json => Output::Json { out, rows, array: true, first: true },
            Format::Ndjson => Output::Json { out, rows, array: false, first: true },
            Format::Csv => Output::Csv { out, rows, header: true },
            Format::Arrow => Output::Arrow { out },
            Format::Parquet => Output::Parquet { out: Some(out), writer: None },
        };
        Self { decoder: StreamDecoder::new(), output, started: false }
    }

    /// Decodes and writes the next chunk of the stream, which may end at any byte.
    pub(super) fn write_chunk(&mut self, bytes: Vec<u8>) -> Result<(), Failure> {
        if let Output::Arrow { out } = &mut self.output {
            return Ok(out.write_all(&bytes)?);
        }
        let mut buffer = Buffer::from_vec(bytes);
        while !buffer.is_empty() {
            let batch = self.decoder.decode(&mut buffer)?;
            if let (false, Some(schema)) = (self.started, self.decoder.schema()) {
                self.started = true;
                self.output.start(&schema)?;
            }
            if let Some(batch) = batch {
                self.output.batch(&batch)?;
            }
        }
        Ok(())
    }

    /// Writes the buffered rows and the end of the output. Returns the writer, and whether values were shortened.
    pub(super) fn finish(mut self) -> Result<(W, bool), Failure> {
        if !matches!(self.output, Output::Arrow { .. }) {
            self.decoder.finish()?;
        }
        self.output.finish()
    }

    /// Writes the buffered rows of a result that has ended with an error.
    pub(super) fn finish_partial(self) -> Result<(), Failure> {
        match self.output {
            Output::Table { mut out, table: Some(mut table), .. } => {
                table.finish(&mut out)?;
                out.flush()?;
            }
            Output::Json { mut out, .. } | Output::Csv { mut out, .. } | Output::Arrow { mut out } => out.flush()?,
            // A Parquet file without its footer cannot be read.
            Output::Table { table: None, .. } | Output::Parquet { .. } => {}
        }
        Ok(())
    }
}

impl<W: Write + Send> Output<W> {
    fn start(&mut self, schema: &SchemaRef) -> Result<(), Failure> {
        match self {
            Self::Table { table, layout, .. } => {
                let kind = |field: &FieldRef| match field.data_type() {
                    kind if kind.is_numeric() => ColumnKind::Number,
                    kind if kind.is_temporal() || *kind == DataType::Boolean => ColumnKind::Unshortened,
                    DataType::Utf8 if field.name() == "status" => ColumnKind::Status,
                    _ => ColumnKind::Text,
                };
                let columns = schema.fields().iter().map(|field| Column::new(kind(field), field.name())).collect();
                let is_plan = schema.fields().iter().map(|field| field.name().as_str()).eq(PLAN);
                *table = Some(if is_plan { Table::of_texts() } else { Table::new(columns, *layout) });
            }
            Self::Json { out, array: true, .. } => out.write_all(b"[")?,
            Self::Json { .. } | Self::Arrow { .. } => {}
            // An empty result has a header too.
            Self::Csv { .. } => self.batch(&RecordBatch::new_empty(Arc::clone(schema)))?,
            Self::Parquet { out, writer } => {
                let out = out.take().ok_or_else(|| malformed("two schemas"))?;
                *writer = Some(
                    ArrowWriter::try_new(out, Arc::clone(schema), Some(parquet_properties()))
                        .map_err(parquet_failed)?,
                );
            }
        }
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        match self {
            Self::Table { out, table, .. } => {
                write_rows(out, table.as_mut().ok_or_else(|| malformed("no schema"))?, batch)
            }
            Self::Json { out, rows, array, first } => Ok(rows.each(batch, |row| {
                let separator: &[u8] = match (*array, std::mem::replace(first, false)) {
                    (true, true) => b"\n",
                    (true, false) => b",\n",
                    (false, _) => b"",
                };
                out.write_all(separator)?;
                out.write_all(row)?;
                if *array { Ok(()) } else { out.write_all(b"\n") }
            })?),
            Self::Csv { out, rows, header } => Ok(rows.csv(batch, std::mem::replace(header, false), out)?),
            Self::Arrow { .. } => Ok(()),
            Self::Parquet { writer, .. } => {
                let writer = writer.as_mut().ok_or_else(|| malformed("no schema"))?;
                writer.write(batch).map_err(parquet_failed)
            }
        }
    }

    fn finish(self) -> Result<(W, bool), Failure> {
        let out = match self {
            Self::Table { mut out, table, .. } => {
                let Some(mut table) = table else { return Ok((out, false)) };
                table.finish(&mut out)?;
                return Ok((out, table.shortened()));
            }
            Self::Json { mut out, array: true, first, .. } => {
                out.write_all(if first { b"]\n" } else { b"\n]\n" })?;
                out
            }
            Self::Json { out, .. } | Self::Csv { out, .. } | Self::Arrow { out } => out,
            Self::Parquet { writer, .. } => {
                writer.ok_or_else(|| malformed("no schema"))?.into_inner().map_err(parquet_failed)?
            }
        };
        Ok((out, false))
    }
}

/// Returns the failure for a response that is not an Arrow stream.
fn malformed(what: &str) -> Failure {
    Failure::Command(format!("the response of the server is not an Arrow stream: {what}"))
}

fn parquet_properties() -> parquet::file::properties::WriterProperties {
    use parquet::{basic::Compression, file::properties::WriterProperties};
    WriterProperties::builder().set_compression(Compression::SNAPPY).build()
}

/// Returns the failure for an error of the Parquet writer. I/O errors become [`Failure::Output`].
fn parquet_failed(error: parquet::errors::ParquetError) -> Failure {
    match ArrowError::from(error) {
        ArrowError::ExternalError(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => Failure::Output(*error),
            Err(error) => Failure::Command(error.to_string()),
        },
        other => other.into(),
    }
}

/// Adds the rows of a batch to a table.
fn write_rows(out: &mut impl Write, table: &mut Table, batch: &RecordBatch) -> Result<(), Failure> {
    let options =
        FormatOptions::new().with_null("NULL").with_timestamp_format(Some(TIMESTAMP)).with_display_error(true);
    let mut columns = vec![];
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
        // More decimals of seconds would be noise: log ends are polled once per second.
        let decimals = if field.name().contains("_seconds") { 1 } else { 3 };
        columns.push((formatter, column.as_primitive_opt::<Float64Type>(), decimals));
    }
    for row in 0..batch.num_rows() {
        let cells = columns.iter().map(|(formatter, floats, decimals)| {
            let float = floats.filter(|floats| floats.is_valid(row)).map(|floats| floats.value(row));
            float.and_then(|float| rounded(float, *decimals)).map_or_else(|| formatter.value(row).try_to_string(), Ok)
        });
        table.row(out, cells.collect::<Result<_, _>>()?)?;
    }
    Ok(())
}

/// Returns a number with at most `decimals` decimals, or with three significant digits if it is small. `None` for
/// numbers that are too large or too small for this and are shown with all digits.
fn rounded(number: f64, decimals: usize) -> Option<String> {
    let size = number.abs();
    if !number.is_finite() || size >= 1e15 || (size > 0.0 && size < 1e-6) {
        return None;
    }
    if decimals == 1 || size == 0.0 {
        return Some(format!("{:.1}", number + 0.0));
    }
    // 0.00123 is 1.23e-3: the exponent is the number of zeros, after which three digits are shown.
    let zeros = format!("{size:e}").rsplit_once("e-").and_then(|(_, zeros)| zeros.parse::<usize>().ok());
    let decimals = zeros.map_or(decimals, |zeros| decimals.max(zeros + 2));
    let text = format!("{number:.decimals$}");
    let short = text.trim_end_matches('0');
    Some(if short.ends_with('.') { format!("{short}0") } else { short.to_owned() })
}

#[cfg(test)]
mod tests;
