//! The lines of one group or topic: the values of its keys at each sample.
//!
//! A key without changes while samples were kept has no line: it had its current value at every sample. A line stores
//! its newest value, and runs of frames store the changes that led to it. The oldest run can therefore be dropped
//! without changing the others. A key that was deleted and created again has two lines.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{SampleNumber, run::Run};
use crate::model::Name;

/// [`Line::since`] of a line that existed before the first sample.
pub const BEFORE_FIRST: SampleNumber = 0;

/// One key from its creation to its deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Topic name.
    pub topic: Name,
    /// Partition of the topic.
    pub partition: i32,
    id: u32,
    /// The first sample that has the key.
    pub since: SampleNumber,
    /// The last sample at which the value changed; once the line has ended, the first sample without the key.
    at: SampleNumber,
    /// The value at the newest sample, or the last value before the end of the line.
    pub last: i64,
    /// Whether the values belong to another log than those of the previous line of the key.
    pub is_new_log: bool,
    ended: bool,
}

impl Line {
    /// Returns whether the newest sample has the key.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.ended
    }

    /// Returns whether samples from `floor` on need the line. A key that has not changed since then needs none.
    fn is_needed(&self, floor: SampleNumber) -> bool {
        self.at > floor || (self.is_open() && self.since > floor)
    }

    fn end(&mut self, index: SampleNumber) {
        (self.at, self.ended) = (index, true);
    }
}

/// A line with its values, oldest first. Each value holds from its sample on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// The line.
    pub line: Line,
    /// At least one value. The first is that of the oldest requested sample, or of `since`.
    pub values: Vec<(SampleNumber, i64)>,
}

impl Track {
    /// Returns whether the sample has the key.
    #[must_use]
    pub fn has(&self, index: SampleNumber) -> bool {
        self.line.since <= index && (self.line.is_open() || index < self.line.at)
    }

    /// Returns the memory used, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.values.capacity() * size_of::<(SampleNumber, i64)>()
    }

    /// Returns the value at a sample, with the sample from which it holds.
    #[must_use]
    pub fn at(&self, index: SampleNumber) -> Option<(SampleNumber, i64)> {
        let at = self.values.partition_point(|(since, _)| *since <= index);
        self.has(index).then(|| self.values.get(at.checked_sub(1)?).copied()).flatten()
    }
}

/// The lines of a group or topic.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Ordered by id.
    lines: Vec<Line>,
    next_id: u32,
    full: Vec<Arc<Run>>,
    open: Run,
}

impl Series {
    /// Returns the lines, oldest first.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Returns the memory used, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // A run is behind an `Arc`: a pointer and two counters.
        let full = self.full.iter().map(|run| size_of::<Run>() + 2 * size_of::<usize>() + run.heap()).sum::<usize>();
        let (lines, pointers) = (self.lines.capacity() * size_of::<Line>(), self.full.capacity() * size_of::<usize>());
        size_of::<Self>() + lines + pointers + full + self.open.heap()
    }

    /// Returns whether there are no lines.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.full.iter().map(|run| &**run).chain([&self.open])
    }

    /// Returns the lines that `wanted` selects, with their values at samples from `from` on.
    #[must_use]
    pub fn read(&self, from: SampleNumber, wanted: impl Fn(&Line) -> bool) -> Vec<Track> {
        let mut tracks = self.tracks(from, wanted);
        self.fill(from, &mut tracks);
        tracks
    }

    /// Returns the lines that `wanted` selects, to be [filled](Self::fill) with values.
    #[must_use]
    pub fn tracks(&self, from: SampleNumber, wanted: impl Fn(&Line) -> bool) -> Vec<Track> {
        let start = |line: &Line| Track { line: line.clone(), values: vec![(from.max(line.since), 0)] };
        self.lines.iter().filter(|line| wanted(line)).map(start).collect()
    }

    /// Adds the values at samples from `from` on to the tracks.
    pub fn fill(&self, from: SampleNumber, tracks: &mut [Track]) {
        let places: HashMap<u32, usize> = tracks.iter().zip(0..).map(|(track, at)| (track.line.id, at)).collect();
        for run in self.runs().filter(|run| run.last() > from && !places.is_empty()) {
            run.read(&mut |index, line, by| {
                let place = if index > from { places.get(&line) } else { None };
                if let Some(track) = place.and_then(|at| tracks.get_mut(*at)) {
                    track.values.push((index, by));
                }
            });
        }
        for track in tracks {
            // The changes are subtracted from the newest value, backwards.
            let mut value = track.line.last;
            for (_, known) in track.values.iter_mut().rev() {
                value = value.wrapping_sub(std::mem::replace(known, value));
            }
        }
    }

    /// Returns whether data of samples before `floor` can be dropped.
    #[must_use]
    pub fn has_older(&self, floor: SampleNumber) -> bool {
        self.runs().any(|run| !run.is_empty() && run.last() < floor)
            || self.lines.iter().any(|line| !line.is_needed(floor))
    }

    /// Drops the data of samples before `floor`. Returns whether a line is left.
    pub fn trim(&mut self, floor: SampleNumber) -> bool {
        self.full.retain(|run| run.last() >= floor);
        if self.open.last() < floor {
            self.open = Run::default();
        }
        self.lines.retain(|line| line.is_needed(floor));
        if self.lines.is_empty() {
            *self = Self::default();
        }
        !self.lines.is_empty()
    }
}

/// Writes one sample of a series, or prepares the next one. The series is copied at the first change.
#[derive(Debug)]
pub struct SeriesWriter {
    series: Arc<Series>,
    /// The sample that is written; if none is due, the next one.
    index: SampleNumber,
    is_due: bool,
    /// The line that probably belongs to the next key.
    cursor: usize,
    /// Open lines by key; built once keys come in another order than last time.
    by_key: Option<HashMap<(Name, i32), usize>>,
    /// Lines that were seen in this sample, with their values.
    seen: Vec<(u32, i64)>,
    has_new_line: bool,
}

/// A topic and partition.
pub type SeriesKey<'a> = (&'a Name, i32);

impl SeriesWriter {
    /// Returns a writer for sample `index`. Unless it `is_due`, only new lines are recorded.
    #[must_use]
    pub fn new(series: Option<&Arc<Series>>, index: SampleNumber, is_due: bool) -> Self {
        let series = series.map(Arc::clone).unwrap_or_default();
        Self { series, index, is_due, cursor: 0, by_key: None, seen: vec![], has_new_line: false }
    }

    /// Returns the open line of a key.
    fn find(&mut self, (topic, partition): SeriesKey<'_>) -> Option<usize> {
        let lines = &self.series.lines;
        let is_it = |line: &Line| line.partition == partition && line.is_open() && line.topic == *topic;
        let found = if lines.get(self.cursor).is_some_and(is_it) {
            self.cursor
        } else {
            let by_key = self.by_key.get_or_insert_with(|| {
                let open = lines.iter().enumerate().filter(|(_, line)| line.is_open());
                open.map(|(at, line)| ((Name::clone(&line.topic), line.partition), at)).collect()
            });
            by_key.get(&(Name::clone(topic), partition)).copied()?
        };
        self.cursor = found + 1;
        Some(found)
    }

    fn add_line(&mut self, (topic, partition): SeriesKey<'_>, since: SampleNumber, last: i64, is_new_log: bool) {
        let series = Arc::make_mut(&mut self.series);
        let (id, at) = (series.next_id, if since == BEFORE_FIRST { self.index } else { since });
        series.next_id += 1;
        series.lines.push(Line { topic: Name::clone(topic), partition, id, since, at, last, is_new_log, ended: false });
        if let Some(by_key) = &mut self.by_key {
            by_key.insert((Name::clone(topic), partition), series.lines.len() - 1);
        }
        self.has_new_line = true;
    }

    fn mark_seen(&mut self, line: Option<usize>, value: i64) {
        let line = line.and_then(|at| self.series.lines.get(at));
        self.seen.extend(line.map(|line| (line.id, value)));
    }

    fn newest_line(&self) -> Option<usize> {
        self.series.lines.len().checked_sub(1)
    }

    /// Records the current value of a key. `before` is used if no line has the key: its value at the previous sample,
    /// `Some(None)` if it did not exist then, or `None` if that is not known and it is assumed to be unchanged.
    pub fn record(&mut self, key: SeriesKey<'_>, value: i64, before: Option<Option<i64>>) {
        let known = self.find(key);
        match before {
            _ if known.is_some() => return self.mark_seen(known, value),
            Some(Some(before)) if before != value => self.add_line(key, BEFORE_FIRST, before, false),
            Some(None) => self.add_line(key, self.index, value, false),
            Some(Some(_)) | None => return,
        }
        self.mark_seen(self.newest_line(), value);
    }

    /// Records the current value of a key after its log was replaced. If no line has the key, its value was `before` at
    /// all earlier samples.
    pub fn record_new_log(&mut self, key: SeriesKey<'_>, value: i64, before: Option<i64>) {
        if let Some(before) = before {
            self.record_gone(key, before);
        }
        if let Some(at) = self.find(key)
            && let Some(line) = Arc::make_mut(&mut self.series).lines.get_mut(at)
        {
            line.end(self.index);
        }
        // The index by key still has the old line.
        self.by_key = None;
        self.add_line(key, self.index, value, true);
        self.mark_seen(self.newest_line(), value);
    }

    /// Records that a key without a line is gone; its value was `before` at all earlier samples. A key with a line is
    /// gone if it is not recorded.
    pub fn record_gone(&mut self, key: SeriesKey<'_>, before: i64) {
        if self.find(key).is_none() {
            self.add_line(key, BEFORE_FIRST, before, false);
        }
    }

    /// Returns the series with the sample, or `None` if nothing changed.
    #[must_use]
    pub fn finish(mut self) -> Option<Arc<Series>> {
        self.seen.sort_unstable();
        let (index, seen) = (self.index, &self.seen);
        let value_of = |line: &Line| {
            let at = seen.binary_search_by_key(&line.id, |(id, _)| *id).ok()?;
            seen.get(at).map(|(_, value)| *value)
        };
        let is_news = |line: &Line| line.is_open() && value_of(line) != Some(line.last);
        if !self.is_due || !self.series.lines.iter().any(is_news) {
            return self.has_new_line.then_some(self.series);
        }
        let series = Arc::make_mut(&mut self.series);
        let mut frame = Vec::with_capacity(series.lines.len());
        for line in series.lines.iter_mut().filter(|line| is_news(line)) {
            let Some(value) = value_of(line) else {
                line.end(index);
                continue;
            };
            // A line that is new in this sample has no change between two samples.
            if line.since < index {
                frame.push((line.id, value.wrapping_sub(line.last)));
            }
            (line.last, line.at) = (value, index);
        }
        if !frame.is_empty() {
            series.open.push(index, frame);
        }
        if series.open.is_full() {
            series.full.push(Arc::new(std::mem::take(&mut series.open)));
        }
        Some(self.series)
    }
}

#[cfg(test)]
mod tests;
