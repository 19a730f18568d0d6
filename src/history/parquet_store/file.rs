//! The Parquet schema of a file, and the conversion of rows to and from it.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, AsArray as _, Int32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMillisecondBuilder},
    datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMillisecondType},
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::{
        metadata::SortingColumn,
        properties::{EnabledStatistics, WriterProperties},
    },
    schema::types::ColumnPath,
};

use super::{ParquetStoreError, Row};
use crate::{
    model::{Millis, Name, SOURCE_KAFKA},
    store::history_store::Point,
};

/// Number of rows of a row group, which is the least that a reader of one group must examine.
pub(super) const ROW_GROUP: usize = 65_536;
/// Number of rows added at a time.
pub(super) const BATCH: usize = 8192;
/// Number of rows of a page.
const PAGE: usize = 4096;
/// Metadata key of the times of the file's samples, separated by commas.
const TIMES: &str = "offsetd.samples";
/// Name of the first column.
const SOURCE: &str = "source";

/// Returns the columns, in order. `cluster` and the date are part of the path. A file without the first column belongs
/// to the cluster's own source.
pub(super) fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new(SOURCE, DataType::Utf8, false),
        Field::new("group_id", DataType::Utf8, false),
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("sampled_at", time, false),
        Field::new("committed_offset", DataType::Int64, true),
        Field::new("log_end_offset", DataType::Int64, true),
        Field::new("lag", DataType::Int64, true),
    ]))
}

/// Column indexes in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct ColumnIndexes {
    pub(super) group: usize,
    pub(super) time: usize,
}

impl ColumnIndexes {
    /// Returns the indexes in a file with or without the first column.
    pub(super) fn of(file: &Schema) -> Self {
        let group = usize::from(file.fields().first().is_some_and(|first| first.name() == SOURCE));
        Self { group, time: group + 3 }
    }
}

fn properties() -> Result<WriterProperties, parquet::errors::ParquetError> {
    let sorted = |column_idx| SortingColumn { column_idx, descending: false, nulls_first: false };
    let group = ColumnPath::from("group_id");
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_data_page_row_count_limit(PAGE)
        .set_write_batch_size(PAGE)
        .set_sorting_columns(Some((1..=4).map(sorted).collect()))
        .set_column_bloom_filter_enabled(group.clone(), true)
        .set_column_bloom_filter_max_ndv(group, 10_000)
        .build())
}

/// Returns a file of the rows of a source. The rows must be in order; `times` are the times of the samples.
pub(super) fn write(source: &str, rows: &[Row], times: &[Millis]) -> Result<Vec<u8>, ParquetStoreError> {
    let mut output = FileWriter::new(source, times)?;
    for rows in rows.chunks(BATCH) {
        output.add(rows)?;
    }
    output.finish()
}

/// A file that is being written.
pub(super) struct FileWriter {
    source: String,
    writer: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
}

impl FileWriter {
    /// Returns an empty file with the times of its samples.
    pub(super) fn new(source: &str, times: &[Millis]) -> Result<Self, ParquetStoreError> {
        let times: Vec<String> = times.iter().map(Millis::to_string).collect();
        let metadata: HashMap<String, String> = [(TIMES.to_owned(), times.join(","))].into();
        let schema = Arc::new(Schema::clone(&schema()).with_metadata(metadata));
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties()?))?;
        Ok(Self { source: source.to_owned(), writer, schema })
    }

    /// Adds rows, which must follow the rows added before.
    pub(super) fn add(&mut self, rows: &[Row]) -> Result<(), ParquetStoreError> {
        Ok(self.writer.write(&batch(&self.source, rows, &self.schema)?)?)
    }

    /// Returns the bytes that are complete.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.inner_mut())
    }

    /// Returns the remaining bytes.
    pub(super) fn finish(self) -> Result<Vec<u8>, ParquetStoreError> {
        Ok(self.writer.into_inner()?)
    }
}

fn batch(of: &str, rows: &[Row], schema: &SchemaRef) -> Result<RecordBatch, arrow::error::ArrowError> {
    let (mut source, mut group, mut topic) = (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
    let (mut partition, mut at) = (Int32Builder::new(), TimestampMillisecondBuilder::new().with_timezone("UTC"));
    let (mut committed, mut end, mut lag) = (Int64Builder::new(), Int64Builder::new(), Int64Builder::new());
    for row in rows {
        source.append_value(of);
        group.append_value(&row.group);
        topic.append_value(&row.topic);
        partition.append_value(row.partition);
        at.append_value(row.at);
        committed.append_option(row.point.map(|point| point.committed_offset));
        end.append_option(row.point.and_then(|point| point.log_end_offset));
        lag.append_option(row.point.and_then(|point| point.lag));
    }
    RecordBatch::try_new(
        Arc::clone(schema),
        vec![
            Arc::new(source.finish()),
            Arc::new(group.finish()),
            Arc::new(topic.finish()),
            Arc::new(partition.finish()),
            Arc::new(at.finish()),
            Arc::new(committed.finish()),
            Arc::new(end.finish()),
            Arc::new(lag.finish()),
        ],
    )
}

/// Returns the times of a file's samples; `None` if the file has another schema.
pub(super) fn times(of: &Schema) -> Option<Vec<Millis>> {
    let is_same = |(ours, theirs): (&Arc<Field>, &Arc<Field>)| {
        ours.name() == theirs.name() && ours.data_type() == theirs.data_type()
    };
    let ours = schema();
    let ours = ours.fields().iter().skip(1 - ColumnIndexes::of(of).group);
    let same = ours.len() == of.fields().len() && ours.zip(of.fields()).all(is_same);
    let times = of.metadata().get(TIMES).filter(|_| same)?;
    times.split(',').map(|at| at.parse().ok()).collect()
}

/// Returns the rows of a batch; `None` if the columns differ or a row belongs to another source.
pub(super) fn rows(source: &str, batch: &RecordBatch) -> Option<Vec<Row>> {
    let ColumnIndexes { group, time } = ColumnIndexes::of(&batch.schema());
    let text = |at: usize| batch.columns().get(at)?.as_string_opt::<i32>();
    let number = |at: usize| batch.columns().get(at)?.as_primitive_opt::<Int64Type>();
    let is_of_source = match group {
        0 => source == SOURCE_KAFKA,
        _ => text(0)?.iter().all(|of| of == Some(source)),
    };
    if !is_of_source {
        return None;
    }
    let (groups, topics) = (text(group)?, text(group + 1)?);
    let partitions = batch.columns().get(group + 2)?.as_primitive_opt::<Int32Type>()?;
    let times = batch.columns().get(time)?.as_primitive_opt::<TimestampMillisecondType>()?;
    let (committed, ends, lags) = (number(time + 1)?, number(time + 2)?, number(time + 3)?);
    let mut rows: Vec<Row> = Vec::with_capacity(batch.num_rows());
    // Most rows have the same names as the row before.
    let name = |text: &str, before: Option<&Name>| match before {
        Some(before) if **before == *text => Name::clone(before),
        _ => Name::from(text),
    };
    for at in 0..batch.num_rows() {
        let known = |of: &arrow::array::Int64Array| of.is_valid(at).then(|| of.value(at));
        let point = known(committed).map(|committed_offset| Point {
            committed_offset,
            log_end_offset: known(ends),
            lag: known(lags),
        });
        let before = rows.last();
        rows.push(Row {
            group: name(groups.value(at), before.map(|row| &row.group)),
            topic: name(topics.value(at), before.map(|row| &row.topic)),
            partition: partitions.value(at),
            at: times.value(at),
            point,
        });
    }
    Some(rows)
}

/// Returns the approximate size of rows in memory (bytes).
pub(super) fn memory(rows: &[Row]) -> usize {
    let names =
        rows.chunk_by(|row, next| Name::ptr_eq(&row.group, &next.group) && Name::ptr_eq(&row.topic, &next.topic));
    let names = names.filter_map(<[Row]>::first).map(|row| row.group.len() + row.topic.len());
    size_of_val(rows) + names.sum::<usize>()
}
