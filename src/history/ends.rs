//! Samples of log ends, log starts and trailing transaction markers (see [`crate::store::trailing`]).

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::HashMap;

use crate::{
    clock::Ticks,
    model::Name,
    store::{
        ends::{LogEnds, LogOffsets, Partition, Topic},
        samples::{SampleNumber, Samples, Series, SeriesWriter, TrailingMarkers},
    },
};

/// The log ends of a topic at the last sample, by partition: when the log was first seen, and its end.
type KnownTopic = Vec<(Ticks, Option<i64>)>;

/// The log ends of a cluster at the last sample.
#[derive(Debug, Default)]
pub(super) struct KnownEnds {
    /// Log ends by topic; `None` before the first sample.
    topics: Option<HashMap<Name, KnownTopic>>,
}

impl KnownEnds {
    /// Adds a sample and returns the resulting series of all topics.
    pub(super) fn sample(
        &mut self,
        series: &HashMap<Name, Arc<Series>>,
        ends: &LogEnds,
        index: SampleNumber,
        get: impl Fn(&LogOffsets) -> Option<i64>,
    ) -> HashMap<Name, Arc<Series>> {
        let before = self.topics.take();
        let (mut next, mut topics) = (series.clone(), HashMap::new());
        for topic in ends.topics() {
            let known = before.as_ref().and_then(|before| before.get(&topic.name));
            let value = |(at, partition): (usize, &Partition)| {
                let value = ends.value(*partition);
                match (get(&value), known.and_then(|known| known.get(at))) {
                    // A replaced log is recorded together with its first known end.
                    (None, Some((since, _))) => (*since, None),
                    (end, _) => (value.since, end),
                }
            };
            let now: KnownTopic = topic.partitions.iter().enumerate().map(value).collect();
            if before.is_some()
                && let Some(changed) = changed(topic, &now, known, index, series.get(&topic.name))
            {
                next.insert(Name::clone(&topic.name), changed);
            }
            topics.insert(Name::clone(&topic.name), now);
        }
        for (name, gone) in before.iter().flatten().filter(|(name, _)| !topics.contains_key(*name)) {
            let mut writer = SeriesWriter::new(series.get(name), index, true);
            for ((_, end), partition) in gone.iter().zip(0..) {
                end.iter().for_each(|end| writer.record_gone((name, partition), *end));
            }
            next.extend(writer.finish().map(|series| (Name::clone(name), series)));
        }
        self.topics = Some(topics);
        next
    }
}

/// Returns the series of a topic after another sample, or `None` if it has not changed.
fn changed(
    topic: &Topic,
    now: &KnownTopic,
    before: Option<&KnownTopic>,
    index: SampleNumber,
    series: Option<&Arc<Series>>,
) -> Option<Arc<Series>> {
    if before == Some(now) {
        return None;
    }
    let mut writer = SeriesWriter::new(series, index, true);
    // The topic was deleted and created again under the same name.
    let again = before.is_none() && series.is_some();
    for ((since, end), partition) in now.iter().zip(0..) {
        let key = (&topic.name, partition);
        let known = usize::try_from(partition).ok().and_then(|at| before?.get(at));
        let before = known.and_then(|(_, end)| *end);
        let is_other = known.is_some_and(|(known, _)| known != since);
        match (*end, before) {
            (Some(end), Some(before)) if is_other || end < before => writer.record_new_log(key, end, Some(before)),
            (Some(end), None) if again || is_other => writer.record_new_log(key, end, None),
            (Some(end), before) => writer.record(key, end, Some(before)),
            (None, Some(before)) => writer.record_gone(key, before),
            (None, None) => {}
        }
    }
    // Partitions that no longer exist.
    for ((_, end), partition) in before.into_iter().flatten().zip(0..).skip(now.len()) {
        end.iter().for_each(|end| writer.record_gone((&topic.name, partition), *end));
    }
    writer.finish()
}

/// Adds a sample of the trailing markers of all partitions: the number of offsets before the log end that no consumer
/// receives.
pub(super) fn sample_trailing_markers(samples: &mut Samples, ends: &LogEnds, index: SampleNumber) {
    let before = Arc::clone(&samples.trailing_now);
    let mut all = TrailingMarkers::new();
    for topic in ends.topics() {
        let before = before.get(&topic.name);
        let now = trailing_markers(topic, before, ends);
        if now.is_empty() {
            continue;
        }
        if before != Some(&now) {
            let mut writer = SeriesWriter::new(samples.trailing.get(&topic.name), index, true);
            for (partition, count) in &now {
                let before = before.and_then(|before| before.get(partition)).copied().unwrap_or(0);
                writer.record((&topic.name, *partition), *count, Some(Some(before)));
            }
            samples.trailing.extend(writer.finish().map(|series| (Arc::clone(&topic.name), series)));
        }
        all.insert(Arc::clone(&topic.name), now);
    }
    samples.trailing.retain(|topic, _| all.contains_key(topic));
    if *before != all {
        samples.trailing_now = Arc::new(all);
    }
}

/// Returns the trailing markers of a topic, by partition. Includes partitions that had some at the previous sample.
fn trailing_markers(topic: &Topic, before: Option<&BTreeMap<i32, i64>>, ends: &LogEnds) -> BTreeMap<i32, i64> {
    let had = |partition: &i32| before.is_some_and(|before| before.contains_key(partition));
    let markers =
        topic.partitions.iter().zip(0..).map(|(partition, number)| (number, ends.trailing_markers(*partition)));
    markers.filter(|(number, count)| *count > 0 || had(number)).collect()
}
