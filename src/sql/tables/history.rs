//! `history`: what committed offsets and log ends were at samples.
//!
//! Its rows are many for each key, so that it does not collect those of a unit as other tables do: it makes batches key by
//! key. A condition on `sampled_at` decides which samples are looked at.

use std::{ops::RangeInclusive, sync::Arc};

use arrow::{
    array::{
        ArrayRef, Float64Builder, Int32Builder, Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder,
        TimestampNanosecondBuilder,
    },
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use datafusion::common::Result;

use super::super::{
    table::{AnyTable, BATCH_ROWS, Batches, By, COMMENT, Question, Unit, Units},
    wanted::TIME,
};
use crate::{
    history::{
        ages::Ages,
        joined::{Joined, Key, Pick, Wanted},
    },
    model::{Millis, Name, SOURCE_KAFKA, nanos},
    store::older::{Patience, Point},
};

const AGE: &str = "lag_seconds";
/// Keys that are taken from a store at a time: a thread is given up once for all of them, and they are all in memory.
const AT_ONCE: usize = 32;

/// Name, comment, type, and whether it may be NULL.
const COLUMNS: [(&str, &str, DataType, bool); 10] = [
    (TIME, "When (UTC)", DataType::Timestamp(TimeUnit::Nanosecond, None), false),
    ("cluster", "Name that the operator gave the cluster", DataType::Utf8, false),
    ("source", "Where the offset was read; kafka is __consumer_offsets", DataType::Utf8, false),
    ("group_id", "Consumer group, also one that is gone", DataType::Utf8, false),
    ("topic", "Topic name", DataType::Utf8, false),
    ("partition", "Partition of the topic", DataType::Int32, false),
    ("committed_offset", "The next offset that the group would read", DataType::Int64, false),
    ("log_end_offset", "High watermark of the partition", DataType::Int64, true),
    ("lag", "Records not committed then, those deleted unread included; NULL when unknown", DataType::Int64, true),
    (
        AGE,
        "Age of the oldest unread record then (s), by the log ends of earlier samples; NULL when unknown",
        DataType::Float64,
        true,
    ),
];

#[derive(Debug)]
pub(super) struct HistoryTable {
    schema: SchemaRef,
}

impl HistoryTable {
    pub(super) fn new() -> Self {
        let field = |(name, comment, of, nullable): (&str, &str, DataType, bool)| {
            Field::new(name, of, nullable).with_metadata([(COMMENT.to_owned(), comment.to_owned())].into())
        };
        Self { schema: Arc::new(Schema::new(COLUMNS.map(field).to_vec())) }
    }
}

impl AnyTable for HistoryTable {
    fn name(&self) -> &'static str {
        "history"
    }

    fn comment(&self) -> &'static str {
        "Samples of every committed offset with its log end, as far back as they are kept"
    }

    fn by(&self) -> By {
        By::Cluster
    }

    fn shows_unloaded(&self) -> bool {
        false
    }

    fn order(&self) -> &'static [&'static str] {
        &[]
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn count(&self, _: Unit<'_>) -> Option<usize> {
        None
    }

    fn batches<'a>(&'a self, units: Units<'a>, question: &'a Question, patience: &Patience) -> Batches<'a> {
        let patience = patience.clone();
        let times = question.wanted.times();
        let keys = units.flat_map(move |unit| keys(unit, question, &times, patience.clone()));
        let mut rows = Rows { schema: &self.schema, question, left: question.limit.unwrap_or(usize::MAX) };
        let mut keys = keys.fuse();
        Box::new(std::iter::from_fn(move || {
            let mut columns = Building::default();
            while rows.left > 0 && columns.rows < BATCH_ROWS {
                let Some(sampled) = keys.next() else { break };
                columns.append(&sampled);
            }
            (columns.rows > 0).then(|| rows.batch(columns))
        }))
    }
}

/// A key and the samples to show of it.
struct Sampled<'a> {
    cluster: &'a str,
    group: Name,
    key: Key,
    picks: Arc<[Pick]>,
}

/// The keys of a cluster that are wanted.
fn keys<'a>(
    unit: Unit<'a>,
    question: &'a Question,
    times: &RangeInclusive<Millis>,
    patience: Patience,
) -> impl Iterator<Item = Sampled<'a>> + Send + use<'a> {
    let of = &question.wanted;
    let wanted = Wanted {
        times: times.clone(),
        groups: of.groups.list().map(|groups| groups.map(str::to_owned).collect()),
        prefix: of.groups.prefix().to_owned(),
        first: String::new(),
        ages: of.needs(&[AGE]),
        patience,
    };
    // Not while others wait for the thread.
    let waits = unit.cluster.cluster.older().is_some();
    let mut joined = patient(waits, || Joined::new(unit.cluster, wanted, |id| of.groups.includes(id), |picks| picks));
    let picks: Arc<[Pick]> = std::mem::take(&mut joined.picks).into();
    let cluster = &*unit.cluster.cluster.name;
    let has_key = |topic: &str, partition| of.topics.includes(topic) && of.has_partition(partition);
    let mut ready = vec![].into_iter();
    let keys = std::iter::from_fn(move || {
        ready.next().or_else(|| {
            let some = || std::iter::from_fn(|| joined.next_key(has_key)).take(AT_ONCE).collect::<Vec<_>>();
            ready = patient(waits, some).into_iter();
            ready.next()
        })
    });
    keys.map(move |(group, key)| Sampled { cluster, group, key, picks: Arc::clone(&picks) })
}

/// Does what may wait for a store.
fn patient<T>(waits: bool, work: impl FnOnce() -> T) -> T {
    if waits { tokio::task::block_in_place(work) } else { work() }
}

/// Columns of a batch.
#[derive(Default)]
struct Building {
    rows: usize,
    sampled_at: TimestampNanosecondBuilder,
    texts: [StringBuilder; 4],
    partition: Int32Builder,
    committed_offset: Int64Builder,
    log_end_offset: Int64Builder,
    lag: Int64Builder,
    lag_seconds: Float64Builder,
}

impl Building {
    fn append(&mut self, sampled: &Sampled<'_>) {
        let mut ages = Ages::new(&sampled.key);
        for pick in &*sampled.picks {
            let (Some(point), Some(at)) = (sampled.key.at(*pick), nanos(pick.at())) else { continue };
            let Point { committed_offset, log_end_offset, lag } = point;
            self.sampled_at.append_value(at);
            let texts = [sampled.cluster, SOURCE_KAFKA, &*sampled.group, &*sampled.key.topic];
            self.texts.iter_mut().zip(texts).for_each(|(builder, text)| builder.append_value(text));
            self.partition.append_value(sampled.key.partition);
            self.committed_offset.append_value(committed_offset);
            self.log_end_offset.append_option(log_end_offset);
            self.lag.append_option(lag);
            self.lag_seconds.append_option(ages.at(*pick, point));
            self.rows += 1;
        }
    }

    fn finish(mut self) -> Vec<ArrayRef> {
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(self.sampled_at.finish())];
        arrays.extend(self.texts.iter_mut().map(|text| Arc::new(text.finish()) as ArrayRef));
        arrays.push(Arc::new(self.partition.finish()));
        let numbers = [&mut self.committed_offset, &mut self.log_end_offset, &mut self.lag];
        arrays.extend(numbers.map(|number| Arc::new(number.finish()) as ArrayRef));
        arrays.push(Arc::new(self.lag_seconds.finish()));
        arrays
    }
}

/// What becomes of rows.
struct Rows<'a> {
    schema: &'a SchemaRef,
    question: &'a Question,
    /// Rows that may still be given.
    left: usize,
}

impl Rows<'_> {
    fn batch(&mut self, columns: Building) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(columns.rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(self.schema), columns.finish(), &options)?;
        let batch = batch.slice(0, batch.num_rows().min(self.left));
        self.left -= batch.num_rows();
        Ok(batch.project(&self.question.columns)?)
    }
}
