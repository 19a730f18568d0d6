//! `history`: samples of committed offsets and log ends.
//!
//! A key may have many samples. The table therefore does not collect the rows of a unit, as other tables do, but builds
//! batches key by key. Conditions on `sampled_at` limit the samples that are read.

use std::{ops::RangeInclusive, sync::Arc};

use tokio::task::block_in_place;

use super::{
    super::{
        error::SqlError,
        predicate::SAMPLED_AT,
        table::{BATCH_ROWS, Batches, Layout, ScanRequest, Units},
    },
    Columns, Flow, ScanPredicate, Table, Unit, UnitKind,
};
use crate::{
    history::joined::{Ages, JoinedKey, JoinedReader, SampleQuery, SampleRef},
    model::{Millis, Name, nanos},
    store::history_store::{Bounds, Point, ReadError},
};

const AGE: &str = "lag_seconds";

/// A sample of a key.
pub(super) struct Row<'a> {
    /// Time of the sample, in nanoseconds.
    at: i64,
    cluster: &'a str,
    source: &'a str,
    group: Name,
    topic: Name,
    partition: i32,
    point: Point,
    age: Option<f64>,
}

pub(super) struct History;

impl Table for History {
    type Row<'a> = Row<'a>;
    const NAME: &'static str = "history";
    const COMMENT: &'static str = "Samples of every committed offset with its log end, as far back as history reaches";
    const UNIT: UnitKind = UnitKind::Source;

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .nanoseconds(SAMPLED_AT, "Time of the sample (UTC)", |row| row.at)
            .text("cluster", "Name of the cluster in the configuration", |row| row.cluster)
            .text("source", "Source of the offset; kafka is the cluster itself", |row| row.source)
            .text("group_id", "Group id, including groups that no longer exist", |row| &row.group)
            .text("topic", "Topic name", |row| &row.topic)
            .int32("partition", "Partition of the topic", |row| row.partition)
            .int64("committed_offset", "Offset of the next record that the group would have read", |row| {
                row.point.committed_offset
            })
            .optional_int64("log_end_offset", "High watermark of the partition", |row| row.point.log_end_offset)
            .optional_int64("lag", "Uncommitted records at that time, including deleted ones; NULL if unknown", |row| {
                row.point.lag
            })
            .optional_float(
                AGE,
                "Age of the oldest unread record at that time (s), from the log ends of earlier samples; NULL if \
                 unknown",
                |row| row.age,
            )
    }

    /// The scan does not use this.
    fn rows<'a>(_: Unit<'a>, _: &'a ScanPredicate, _: impl FnMut(Row<'a>) -> Flow) -> Flow {
        Flow::Continue(())
    }

    fn scan<'a>(layout: Arc<Layout<Self>>, units: Units<'a>, request: &'a ScanRequest, bounds: Bounds) -> Batches<'a> {
        let times = request.predicate.times();
        let mut units = units.peekable();
        // All clusters share the history store.
        let waits = units.peek().is_some_and(|unit| unit.cluster.cluster.history_store().is_some());
        let mut keys = units.flat_map(move |unit| keys(unit, request, &times, bounds.clone())).fuse();
        let mut left = request.limit.unwrap_or(usize::MAX);
        let mut sampled: Option<Sampled<'a>> = None;
        let mut next = move || {
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
                    // The scan reports why the statement was cancelled.
                    Some(Err(ReadError::Stopped)) | None => break,
                }
            }
            left -= rows.len();
            (!rows.is_empty()).then(|| layout.batch(&rows, request))
        };
        // Other tasks run on the thread while this waits for the history store.
        Box::new(std::iter::from_fn(move || if waits { block_in_place(&mut next) } else { next() }))
    }
}

/// A key, and the samples of it that are returned.
struct Sampled<'a> {
    cluster: &'a str,
    source: &'a str,
    group: Name,
    key: JoinedKey,
    ages: Ages,
    sample_refs: Arc<[SampleRef]>,
    /// Number of samples that were returned.
    shown: usize,
}

impl<'a> Sampled<'a> {
    /// Returns the remaining samples.
    fn rows(&mut self) -> impl Iterator<Item = Row<'a>> + use<'_, 'a> {
        let Self { cluster, source, group, key, ages, sample_refs, shown } = self;
        std::iter::from_fn(move || {
            loop {
                let sample_ref = *sample_refs.get(*shown)?;
                *shown += 1;
                let (Some(point), Some(at)) = (key.at(sample_ref), nanos(sample_ref.at())) else { continue };
                let (group, topic, partition) = (Name::clone(group), Name::clone(&key.topic), key.partition);
                return Some(Row {
                    at,
                    cluster,
                    source,
                    group,
                    topic,
                    partition,
                    point,
                    age: ages.at(key, sample_ref, point),
                });
            }
        })
    }
}

/// Returns the matching keys of a source. An error is the last item.
fn keys<'a>(
    unit: Unit<'a>,
    request: &'a ScanRequest,
    times: &RangeInclusive<Millis>,
    bounds: Bounds,
) -> impl Iterator<Item = Result<Sampled<'a>, ReadError>> + Send + use<'a> {
    let of = &request.predicate;
    let wanted = SampleQuery {
        times: times.clone(),
        groups: of.groups.list().map(|groups| groups.map(str::to_owned).collect()),
        prefix: of.groups.prefix().to_owned(),
        first: String::new(),
        ages: of.needs(&[AGE]),
        bounds,
    };
    let mut joined = JoinedReader::new(unit.cluster, wanted, |id| of.groups.includes(id), |sample_refs| sample_refs);
    let sample_refs: Arc<[SampleRef]> =
        joined.as_mut().map(|joined| std::mem::take(&mut joined.sample_refs)).unwrap_or_default().into();
    let (cluster, source) = (&*unit.cluster.cluster.name, &*unit.cluster.source.id.name);
    let has_key = |topic: &str, partition| of.topics.includes(topic) && of.has_partition(partition);
    let mut failed = false;
    let keys = std::iter::from_fn(move || {
        let next = match &mut joined {
            Ok(joined) => joined.next_key(has_key).transpose(),
            Err(error) => Some(Err(*error)),
        };
        next.filter(|next| !std::mem::replace(&mut failed, next.is_err()))
    });
    keys.map(move |next| {
        let (group, key) = next?;
        Ok(Sampled {
            cluster,
            source,
            group,
            key,
            ages: Ages::default(),
            sample_refs: Arc::clone(&sample_refs),
            shown: 0,
        })
    })
}

#[cfg(test)]
mod tests;
