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
use datafusion::common::Result as SqlResult;

use super::super::{
    error::SqlError,
    table::{AnyTable, BATCH_ROWS, Batches, By, COMMENT, Question, Unit, Units},
    wanted::TIME,
};
use crate::{
    history::joined::{Ages, Joined, Key, Pick, Wanted},
    model::{Millis, Name, nanos},
    store::older::{Patience, Point, ReadError},
};

const AGE: &str = "lag_seconds";
/// Keys that are taken from a store at a time: a thread is given up once for all of them, and they are all in memory.
const AT_ONCE: usize = 32;
/// Samples, beyond which keys are taken one by one.
const MOST_AT_ONCE: usize = 1000;

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
        By::Source
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
        let mut keys = units.flat_map(move |unit| keys(unit, question, &times, patience.clone())).fuse();
        let mut rows = Rows { schema: &self.schema, question, left: question.limit.unwrap_or(usize::MAX) };
        let mut sampled: Option<Sampled<'a>> = None;
        Box::new(std::iter::from_fn(move || {
            let mut columns = Building::default();
            while rows.left > 0 && columns.rows < BATCH_ROWS {
                if sampled.as_mut().is_some_and(|sampled| columns.append(sampled)) {
                    continue;
                }
                match keys.next() {
                    Some(Ok(next)) => sampled = Some(next),
                    Some(Err(ReadError::OverBudget)) => {
                        rows.left = 0;
                        return Some(Err(SqlError::memory().into_datafusion()));
                    }
                    // The scan tells why the statement was stopped.
                    Some(Err(ReadError::Stopped)) | None => break,
                }
            }
            (columns.rows > 0).then(|| rows.batch(columns))
        }))
    }
}

/// A key and the samples to show of it.
struct Sampled<'a> {
    cluster: &'a str,
    source: &'a str,
    group: Name,
    key: Key,
    ages: Ages,
    picks: Arc<[Pick]>,
    /// Samples that were shown.
    shown: usize,
}

/// Returns the keys of a cluster that are wanted. An error is the last item.
fn keys<'a>(
    unit: Unit<'a>,
    question: &'a Question,
    times: &RangeInclusive<Millis>,
    patience: Patience,
) -> impl Iterator<Item = Result<Sampled<'a>, ReadError>> + Send + use<'a> {
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
    let picks: Arc<[Pick]> = joined.as_mut().map(|joined| std::mem::take(&mut joined.picks)).unwrap_or_default().into();
    let at_once = if picks.len() > MOST_AT_ONCE { 1 } else { AT_ONCE };
    let (cluster, source) = (&*unit.cluster.cluster.name, &*unit.cluster.source.id.name);
    let has_key = |topic: &str, partition| of.topics.includes(topic) && of.has_partition(partition);
    let (mut ready, mut failed) = (vec![].into_iter(), false);
    let keys = std::iter::from_fn(move || {
        ready.next().or_else(|| {
            let mut next = || {
                let next = match &mut joined {
                    Ok(joined) => joined.next_key(has_key).transpose(),
                    Err(error) => Some(Err(*error)),
                };
                next.filter(|next| !std::mem::replace(&mut failed, next.is_err()))
            };
            ready = patient(waits, || std::iter::from_fn(&mut next).take(at_once).collect::<Vec<_>>()).into_iter();
            ready.next()
        })
    });
    keys.map(move |next| {
        let (group, key) = next?;
        Ok(Sampled { cluster, source, group, key, ages: Ages::default(), picks: Arc::clone(&picks), shown: 0 })
    })
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
    /// Appends samples of a key until the batch is full. Returns whether there was one more.
    fn append(&mut self, sampled: &mut Sampled<'_>) -> bool {
        let Sampled { cluster, source, group, key, ages, picks, shown } = sampled;
        let before = *shown;
        for pick in picks.iter().skip(before) {
            if self.rows >= BATCH_ROWS {
                break;
            }
            *shown += 1;
            let (Some(point), Some(at)) = (key.at(*pick), nanos(pick.at())) else { continue };
            let Point { committed_offset, log_end_offset, lag } = point;
            self.sampled_at.append_value(at);
            let texts = [*cluster, *source, &**group, &*key.topic];
            self.texts.iter_mut().zip(texts).for_each(|(builder, text)| builder.append_value(text));
            self.partition.append_value(key.partition);
            self.committed_offset.append_value(committed_offset);
            self.log_end_offset.append_option(log_end_offset);
            self.lag.append_option(lag);
            self.lag_seconds.append_option(ages.at(key, *pick, point));
            self.rows += 1;
        }
        *shown > before
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

/// Rows that are being collected into batches.
struct Rows<'a> {
    schema: &'a SchemaRef,
    question: &'a Question,
    /// Rows that may still be given.
    left: usize,
}

impl Rows<'_> {
    fn batch(&mut self, columns: Building) -> SqlResult<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(columns.rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(self.schema), columns.finish(), &options)?;
        let batch = batch.slice(0, batch.num_rows().min(self.left));
        self.left -= batch.num_rows();
        Ok(batch.project(&self.question.columns)?)
    }
}

#[cfg(test)]
mod tests;
