//! Samples of committed offsets and log ends over time: takes them, keeps them, and reads them.
//!
//! A [`Sampler`] reads all offsets of a source at an interval. Each round updates the windows from which status and
//! rates are computed ([`windows`](crate::store::windows)). At a longer interval, a round also stores a sample
//! ([`samples`](crate::store::samples)). The initial load of a log and an unreachable cluster produce no samples,
//! because the current offsets are unknown then.

use std::{collections::BTreeSet, sync::Arc};

use hashbrown::HashMap;

use crate::{
    clock::{Ticks, ticks},
    config,
    lag::{self, StatusContext},
    model::{Name, Status},
    store::{
        Store,
        cluster::Cluster,
        cut::{GroupCut, SourceCut},
        ends::{LogEnds, LogOffsets, Topic},
        group::Entry,
        pin,
        samples::{SampleNumber, SampleTime, Samples, Series, SeriesWriter},
        source::Source,
        trailing::{Gap, LONGEST_GAP},
        windows::{GroupWindows, KeyWindow, Replaced, Windows},
    },
};

pub mod parquet_store;
mod ends;
pub mod joined;
mod statuses;
pub mod downsample;
pub mod in_memory;

use ends::KnownEnds;
use statuses::StatusTracker;

/// Minimum time for which neither the commit nor the log end has moved before the records in between are inspected for
/// transaction markers (100 ms ticks).
const MIN_QUIET: Ticks = 20;

/// Sampling intervals, and how many samples are retained in memory.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Time between two stored samples.
    pub step: Ticks,
    /// Time for which samples are retained in memory.
    pub memory_for: Ticks,
    /// Memory limit of all samples of a source (bytes).
    pub max_bytes: usize,
    /// Time between two sampling rounds.
    pub interval: Ticks,
}

impl Settings {
    /// Returns the settings of a configuration.
    #[must_use]
    pub fn new(history: &config::History, lag: &config::Lag) -> Self {
        Self {
            step: ticks(history.step),
            memory_for: ticks(history.memory_for),
            max_bytes: history.max_bytes,
            interval: ticks(lag.sample_interval),
        }
    }
}

/// Takes the samples of one source, and of the log ends of the topics that its groups consume.
#[derive(Debug)]
pub struct Sampler {
    store: Arc<Store>,
    cluster: Arc<Cluster>,
    source: Arc<Source>,
    settings: Settings,
    /// Time of the last round; `None` before the first.
    last_round: Option<SampleTime>,
    ends: KnownEnds,
    starts: KnownEnds,
    statuses: StatusTracker,
    /// Number of the Kafka cluster that the last round sampled, see [`Cluster::incarnation`].
    incarnation: u64,
}

impl Sampler {
    /// Returns a sampler that has run no round yet.
    #[must_use]
    pub fn new(store: Arc<Store>, (cluster, source): (Arc<Cluster>, Arc<Source>), settings: Settings) -> Self {
        let (ends, starts, statuses) = Default::default();
        let incarnation = *cluster.incarnation();
        Self { store, cluster, source, settings, last_round: None, ends, starts, statuses, incarnation }
    }

    /// Returns the source.
    #[must_use]
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Runs one round over all committed offsets. It computes the next windows, stores a sample if one is due, and
    /// selects the partitions to inspect for transaction markers.
    pub fn sample(&mut self) {
        let moment = SampleTime { ticks: self.store.clock.ticks(), at: self.store.clock.now() };
        self.reset_for_new_cluster();
        let cut = pin(&self.cluster, &self.source);
        let is_due = cut.health.reachable && self.is_due(&cut.samples, moment.ticks);
        let window = self.store.settings().window;
        let mut round = SamplingRound {
            cut: &cut,
            now: moment.ticks,
            last_round: self.last_round,
            index: cut.samples.next(),
            is_due,
            context: StatusContext { ends: &cut.ends, window, now: moment.ticks, now_at: moment.at, load_began: 0 },
            gaps: BTreeSet::new(),
        };
        let (mut windows, mut series) = (HashMap::new(), HashMap::new());
        self.statuses.begin_round(cut.windows.replaced.is_some());
        for group in cut.groups() {
            let id = &group.group.id;
            let (next, status) = round.group(group, &mut series);
            self.statuses.record(id, status);
            if group.group.live_commits > 0 {
                windows.insert(Name::clone(id), Arc::new(next));
            }
        }
        round.end_vanished_groups(&mut series);
        let cluster = Arc::clone(&self.cluster);
        let incarnation = cluster.incarnation();
        if *incarnation != self.incarnation || !Arc::ptr_eq(&self.source.windows.load(), &cut.windows) {
            // Discard the round: meanwhile another Kafka cluster replaced this one, or the source's read mode changed.
            return;
        }
        self.cluster.unchecked_gaps.set(&self.source.id.name, std::mem::take(&mut round.gaps).into_iter());
        self.publish(&cut.samples, series, &round, moment);
        self.source.windows.store(Arc::new(Windows { groups: windows, replaced: None }));
        self.last_round = Some(moment);
    }

    fn reset_for_new_cluster(&mut self) {
        let incarnation = *self.cluster.incarnation();
        if incarnation != self.incarnation {
            (self.last_round, self.ends, self.starts, self.incarnation) =
                (None, KnownEnds::default(), KnownEnds::default(), incarnation);
            self.statuses.clear();
        }
    }

    fn is_due(&self, samples: &Samples, now: Ticks) -> bool {
        let early = self.settings.interval / 2;
        samples
            .newest()
            .is_none_or(|newest| now.saturating_sub(newest.ticks).saturating_add(early) >= self.settings.step)
    }

    /// Publishes the next version of the samples, if anything changed. The windows are published afterwards: by then,
    /// each key that changed has a line in the samples.
    fn publish(
        &mut self,
        before: &Samples,
        groups: HashMap<Name, Arc<Series>>,
        round: &SamplingRound<'_>,
        moment: SampleTime,
    ) {
        let changes = self.statuses.finish_round(moment.at);
        let lines_changed = groups.len() != before.groups.len()
            || groups.iter().any(|(id, series)| before.groups.get(id).is_none_or(|known| !Arc::ptr_eq(known, series)));
        if !round.is_due && !lines_changed && changes.is_none() {
            return;
        }
        let mut next = before.clone();
        next.groups = groups;
        if let Some(changes) = changes {
            next.changes = changes;
        }
        if round.is_due {
            let (ends, now) = (&round.cut.ends, moment.ticks);
            next.topics = self.ends.sample(&next.topics, ends, round.index, |value| lag::log_end(value, now));
            let start = |value: &LogOffsets| (value.log_start >= 0).then_some(value.log_start);
            next.starts = self.starts.sample(&next.starts, ends, round.index, start);
            ends::sample_trailing_markers(&mut next, ends, round.index);
            next.push(moment);
        }
        next.trim(moment.ticks.saturating_sub(self.settings.memory_for), self.settings.max_bytes);
        self.source.samples.publish(next);
    }
}

/// Offsets by topic and partition; `None` if there was no offset.
type PreviousOffsets<'a> = HashMap<(&'a str, i32), Option<i64>>;

/// One sampling round over all offsets of a source.
struct SamplingRound<'a> {
    cut: &'a SourceCut,
    now: Ticks,
    /// Time of the previous round.
    last_round: Option<SampleTime>,
    /// Index of this round's sample, or of the next sample if none is due.
    index: SampleNumber,
    is_due: bool,
    context: StatusContext<'a>,
    gaps: BTreeSet<Gap>,
}

impl SamplingRound<'_> {
    /// Returns the next windows and the status of a group, and adds its lines to `series`. The windows are empty unless
    /// the group has committed since the initial load.
    fn group(&mut self, group: GroupCut<'_>, series: &mut HashMap<Name, Arc<Series>>) -> (GroupWindows, Status) {
        let (view, ends) = (group.group, &*self.cut.ends);
        let before = self.cut.windows.groups.get(&view.id);
        let known = self.cut.samples.groups.get(&view.id);
        let is_live = view.live_commits > 0;
        let mut writer = (is_live || known.is_some() || self.is_replaced(&view.id))
            .then(|| SeriesWriter::new(known, self.index, self.is_due));
        let topics: Vec<_> = view.topic_names().map(|name| ends.topic(name)).collect();
        let mut windows = Vec::with_capacity(if is_live { view.len() } else { 0 });
        let previous_offsets =
            if is_live && before.is_none() { self.previous_offsets(group) } else { PreviousOffsets::new() };
        let mut worst = lag::status_before_offsets(view);
        let context = StatusContext { load_began: group.shard.load_began, ..self.context };
        for (position, entry) in view.entries().enumerate() {
            let topic = topics.get(entry.topic_index).copied().flatten().map(|topic| &**topic);
            let lag = lag::lag(entry.row, entry.extras, &group.shard.key, topic, ends, self.now);
            if lag.lag.is_ok_and(|lag| (1..=LONGEST_GAP).contains(&lag)) {
                self.select_gap(&entry, topic);
            }
            let window = before.and_then(|before| before.get(position, &entry));
            if let Some(writer) = &mut writer {
                let before = self.previous_offset(&view.id, &entry, window, &previous_offsets);
                writer.record((entry.topic, entry.row.partition), entry.row.committed_offset, before);
            }
            let next = is_live.then(|| {
                let first = || KeyWindow::first(&entry, lag.log_since, lag.unread(), self.now);
                let of_log = window.filter(|window| window.is_of_log(lag.log_since));
                of_log.map_or_else(first, |window| window.next(&entry, lag.unread(), self.now))
            });
            worst = worst.max(lag::status(entry.row, &lag, next.as_ref(), context));
            windows.extend(next);
        }
        if let Some(writer) = &mut writer {
            self.end_replaced_keys(&view.id, writer);
        }
        self.store_series(&view.id, writer, known, series);
        (GroupWindows(windows), worst)
    }

    /// Returns the offset at the previous round, in the form that [`SeriesWriter::record`] takes.
    fn previous_offset(
        &self,
        group: &Name,
        entry: &Entry<'_>,
        window: Option<&KeyWindow>,
        previous_offsets: &PreviousOffsets<'_>,
    ) -> Option<Option<i64>> {
        let replaced = self.cut.windows.replaced.as_ref();
        if let Some(before) = replaced.and_then(|of| of.before(group, entry.topic, entry.row.partition)) {
            return Some(before);
        }
        match (window, self.last_round) {
            (Some(window), _) => Some(Some(window.committed_offset)),
            (None, Some(last_round)) if entry.row.applied >= last_round.ticks => {
                Some(previous_offsets.get(&(&**entry.topic, entry.row.partition)).copied().flatten())
            }
            (None, _) => None,
        }
    }

    /// Returns the offsets that a group had before its first commits since the previous round.
    fn previous_offsets<'g>(&self, group: GroupCut<'g>) -> PreviousOffsets<'g> {
        let mut previous_offsets = PreviousOffsets::new();
        let Some(last_round) = self.last_round else { return previous_offsets };
        let of_group = group.shard.commits.iter().filter(|event| event.group == group.group.id);
        for event in of_group.filter(|event| event.applied_at >= last_round.at) {
            previous_offsets.entry((&event.topic, event.partition)).or_insert(event.previous_offset);
        }
        previous_offsets
    }

    fn store_series(
        &self,
        id: &Name,
        writer: Option<SeriesWriter>,
        known: Option<&Arc<Series>>,
        series: &mut HashMap<Name, Arc<Series>>,
    ) {
        let next = writer.and_then(SeriesWriter::finish).or_else(|| known.cloned());
        if let Some(next) = next {
            series.insert(Name::clone(id), next);
        }
    }

    fn is_replaced(&self, group: &str) -> bool {
        self.cut.windows.replaced.as_ref().is_some_and(|replaced| replaced.has(group))
    }

    /// Ends the lines of a group's offsets that disappeared when the source's read mode changed.
    fn end_replaced_keys(&self, group: &str, writer: &mut SeriesWriter) {
        for (topic, partition, offset) in self.cut.windows.replaced.iter().flat_map(|replaced| replaced.gone(group)) {
            writer.record_gone((topic, partition), offset);
        }
    }

    /// Ends the lines of groups that no longer exist.
    fn end_vanished_groups(&self, series: &mut HashMap<Name, Arc<Series>>) {
        let known = &self.cut.samples.groups;
        let replaced = self.cut.windows.replaced.iter().flat_map(Replaced::groups);
        let replaced = replaced.filter(|id| !known.contains_key(*id) && self.cut.group(id).is_none());
        for id in known.keys().chain(replaced) {
            if !series.contains_key(id) {
                let mut writer = SeriesWriter::new(known.get(id), self.index, self.is_due);
                self.end_replaced_keys(id, &mut writer);
                self.store_series(id, Some(writer), known.get(id), series);
            }
        }
    }

    fn select_gap(&mut self, entry: &Entry<'_>, topic: Option<&Topic>) {
        let ends: &LogEnds = &self.cut.ends;
        let since = self.now.saturating_sub(MIN_QUIET);
        let number = usize::try_from(entry.row.partition).ok();
        let partition = topic.zip(number).and_then(|(topic, number)| topic.partitions.get(number));
        if entry.row.applied <= since && partition.is_some_and(|partition| ends.is_unchanged(*partition, since)) {
            self.gaps.insert((Name::clone(entry.topic), entry.row.partition, entry.row.committed_offset));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
