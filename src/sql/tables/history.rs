//! `history`: what committed offsets and log ends were at samples.
//!
//! Its rows are many for each key, so that it does not collect those of a unit as other tables do: it makes batches key by
//! key. A condition on `sampled_at` decides which samples are looked at.

use std::{ops::RangeInclusive, sync::Arc};

use super::super::{
    error::SqlError,
    table::{AnyTable, BATCH_ROWS, Batches, By, Columns, Layout, Question, Rows, Unit, Units, by},
    wanted::TIME,
};
use crate::{
    history::joined::{Ages, Joined, Key, Pick, Wanted},
    model::{Millis, Name, nanos},
    store::older::{Bounds, Point, ReadError},
};

const AGE: &str = "lag_seconds";
/// Keys that are taken from a store at a time: a thread is given up once for all of them, and they are all in memory.
const AT_ONCE: usize = 32;
/// Samples, beyond which keys are taken one by one.
const MOST_AT_ONCE: usize = 1000;

/// A sample of a key.
pub(super) struct Row<'a> {
    /// When, in nanoseconds.
    at: i64,
    cluster: &'a str,
    source: &'a str,
    group: Name,
    topic: Name,
    partition: i32,
    point: Point,
    age: Option<f64>,
}

/// The rows of the table.
pub(super) struct Samples;

impl Rows for Samples {
    type Row<'a> = Row<'a>;
}

/// The table.
pub(super) fn table() -> Arc<AnyTable> {
    let layout = Arc::new(Layout::from(columns()));
    Arc::new(AnyTable {
        name: "history",
        comment: "Samples of every committed offset with its log end, as far back as they are kept",
        by: By::Source,
        shows_unloaded: false,
        order: &[],
        schema: Arc::clone(&layout.schema),
        count: |_| None,
        scan: by(move |units, question, bounds| scan(Arc::clone(&layout), units, question, bounds.clone())),
    })
}

fn columns() -> Columns<Samples> {
    Columns::<Samples>::default()
        .times(TIME, "When (UTC)", false, |row| Some(row.at))
        .text("cluster", "Name that the operator gave the cluster", |row| row.cluster)
        .text("source", "Where the offset was read; kafka is __consumer_offsets", |row| row.source)
        .text("group_id", "Consumer group, also one that is gone", |row| &row.group)
        .text("topic", "Topic name", |row| &row.topic)
        .int32("partition", "Partition of the topic", |row| row.partition)
        .int64("committed_offset", "The next offset that the group would read", |row| row.point.committed_offset)
        .optional_int64("log_end_offset", "High watermark of the partition", |row| row.point.log_end_offset)
        .optional_int64("lag", "Records not committed then, those deleted unread included; NULL when unknown", |row| {
            row.point.lag
        })
        .optional_float(
            AGE,
            "Age of the oldest unread record then (s), by the log ends of earlier samples; NULL when unknown",
            |row| row.age,
        )
}

fn scan<'a>(layout: Arc<Layout<Samples>>, units: Units<'a>, question: &'a Question, bounds: Bounds) -> Batches<'a> {
    let times = question.wanted.times();
    let mut keys = units.flat_map(move |unit| keys(unit, question, &times, bounds.clone())).fuse();
    let mut left = question.limit.unwrap_or(usize::MAX);
    let mut sampled: Option<Sampled<'a>> = None;
    Box::new(std::iter::from_fn(move || {
        let (mut rows, room) = (vec![], left.min(BATCH_ROWS));
        while rows.len() < room {
            let more = sampled.iter_mut().flat_map(Sampled::rows).take(room - rows.len());
            rows.extend(more);
            if rows.len() == room {
                break;
            }
            match keys.next() {
                Some(Ok(next)) => sampled = Some(next),
                Some(Err(ReadError::OverBudget)) => {
                    left = 0;
                    return Some(Err(SqlError::memory().into_datafusion()));
                }
                // The scan tells why the statement was stopped.
                Some(Err(ReadError::Stopped)) | None => break,
            }
        }
        left -= rows.len();
        (!rows.is_empty()).then(|| layout.batch(&rows, question))
    }))
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

impl<'a> Sampled<'a> {
    /// The samples that were not shown yet.
    fn rows(&mut self) -> impl Iterator<Item = Row<'a>> + use<'_, 'a> {
        let Self { cluster, source, group, key, ages, picks, shown } = self;
        std::iter::from_fn(move || {
            loop {
                let pick = *picks.get(*shown)?;
                *shown += 1;
                let (Some(point), Some(at)) = (key.at(pick), nanos(pick.at())) else { continue };
                let (group, topic, partition) = (Name::clone(group), Name::clone(&key.topic), key.partition);
                return Some(Row {
                    at,
                    cluster,
                    source,
                    group,
                    topic,
                    partition,
                    point,
                    age: ages.at(key, pick, point),
                });
            }
        })
    }
}

/// Returns the keys of a cluster that are wanted. An error is the last item.
fn keys<'a>(
    unit: Unit<'a>,
    question: &'a Question,
    times: &RangeInclusive<Millis>,
    bounds: Bounds,
) -> impl Iterator<Item = Result<Sampled<'a>, ReadError>> + Send + use<'a> {
    let of = &question.wanted;
    let wanted = Wanted {
        times: times.clone(),
        groups: of.groups.list().map(|groups| groups.map(str::to_owned).collect()),
        prefix: of.groups.prefix().to_owned(),
        first: String::new(),
        ages: of.needs(&[AGE]),
        bounds,
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

#[cfg(test)]
mod tests;
