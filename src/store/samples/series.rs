//! The lines of one group, or of one topic: the values of its keys at samples.
//!
//! A key that did not change while samples were kept has no line: what it is now it was all the time. A line holds its
//! newest value, and frames and blocks what led there, so that the oldest go without a word to the others. A key that went
//! and came again has two lines.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{
    Index,
    block::{Block, Change, Open},
};
use crate::model::Name;

/// [`Line::until`] of a line that goes on.
const OPEN: Index = Index::MAX;
/// [`Line::since`] of a line that was there before the first sample.
pub const EVER: Index = 0;

/// Topics without a line that are no matter.
const SPARE_TOPICS: usize = 8;

/// A key while it was there, in 36 bytes: every key that moves has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed(4))]
pub struct Line {
    id: u32,
    topic: u32,
    /// Partition of the topic.
    pub partition: i32,
    /// The first sample that has it.
    pub since: Index,
    /// The last sample at which it changed; once it has ended, the first that has it no more.
    at: Index,
    /// Its last change, if that is known and fits; else 0.
    by: i32,
    /// The value at the newest sample, or the last one before its end.
    pub last: i64,
    /// Not the same log as that of the line before.
    pub renewed: bool,
    ended: bool,
}

impl Line {
    /// The first sample that has it no more.
    fn until(&self) -> Index {
        if self.ended { self.at } else { OPEN }
    }

    /// Whether the newest sample has it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.ended
    }

    /// Whether samples from `floor` on need it: of a key that did not change since, it is told by what it is now.
    fn is_needed(&self, floor: Index) -> bool {
        self.at > floor || (self.is_open() && self.since > floor)
    }

    fn end(&mut self, index: Index) {
        (self.at, self.ended) = (index, true);
    }
}

/// A line with its values, oldest first: each from its sample on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// The line.
    pub line: Line,
    /// At least one; the first is that of the oldest sample asked for, or of `since`.
    pub values: Vec<(Index, i64)>,
}

impl Track {
    /// Whether the sample has it.
    #[must_use]
    pub fn has(&self, index: Index) -> bool {
        (self.line.since..self.line.until()).contains(&index)
    }

    /// The value at a sample, and since when it is that.
    #[must_use]
    pub fn at(&self, index: Index) -> Option<(Index, i64)> {
        let at = self.values.partition_point(|(since, _)| *since <= index);
        self.has(index).then(|| self.values.get(at.checked_sub(1)?).copied()).flatten()
    }
}

/// The lines of a group or topic.
#[derive(Clone, Debug, Default)]
pub struct Series {
    topics: Arc<Vec<Name>>,
    /// By id.
    lines: Vec<Line>,
    next: u32,
    open: Open,
    blocks: Vec<Block>,
}

impl Series {
    /// The lines, oldest first.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The topic of a line.
    #[must_use]
    pub fn topic(&self, line: &Line) -> Option<&Name> {
        self.topics.get(line.topic as usize)
    }

    /// Bytes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let blocks = self.blocks.iter().map(Block::heap).sum::<usize>() + self.blocks.capacity() * size_of::<Block>();
        let topics = self.topics.capacity() * size_of::<Name>();
        size_of::<Self>() + self.lines.capacity() * size_of::<Line>() + self.open.heap() + blocks + topics
    }

    /// Neither a line nor anything to come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Adds a frame, and closes those that make a block.
    fn push(&mut self, index: Index, frame: &[(u32, i64)]) {
        if frame.is_empty() {
            return;
        }
        self.open.push(index, frame);
        if self.open.is_full() {
            self.blocks.push(self.open.close());
            self.open = Open::default();
        }
    }

    /// What all lines were at samples from `from` on.
    #[must_use]
    pub fn read(&self, from: Index) -> Vec<Track> {
        let mut changes: Vec<Change> = vec![];
        let mut note = |change: Change| {
            if change.index > from {
                changes.push(change);
            }
        };
        for block in self.blocks.iter().filter(|block| block.last() > from) {
            block.read(&mut note);
        }
        self.open.changes().into_iter().for_each(note);
        // Stable: the changes of a line stay in order.
        changes.sort_by_key(|change| change.line);
        let mut changes = changes.as_slice();
        let mut tracks = Vec::with_capacity(self.lines.len());
        for line in &self.lines {
            let before = changes.partition_point(|change| change.line < line.id);
            let own = changes.get(before..).unwrap_or_default();
            let own = own.split_at_checked(own.partition_point(|change| change.line == line.id));
            let Some((own, rest)) = own else { continue };
            changes = rest;
            tracks.push(track(line, own, from));
        }
        tracks
    }

    /// Whether there is something older than a sample to drop.
    #[must_use]
    pub fn has_older(&self, floor: Index) -> bool {
        self.blocks.iter().any(|block| block.last() < floor)
            || (self.open.last() < floor && !self.open.is_empty())
            || self.lines.iter().any(|line| !line.is_needed(floor))
    }

    /// Drops what is older than a sample; whether anything is left.
    pub fn trim(&mut self, floor: Index) -> bool {
        self.blocks.retain(|block| block.last() >= floor);
        if self.open.last() < floor && !self.open.is_empty() {
            self.open = Open::default();
        }
        self.lines.retain(|line| line.is_needed(floor));
        if self.lines.is_empty() {
            *self = Self::default();
        } else {
            self.trim_topics();
        }
        !self.lines.is_empty()
    }

    /// Lets go of topics without a line, once there are many.
    fn trim_topics(&mut self) {
        let mut used: Vec<u32> = self.lines.iter().map(|line| line.topic).collect();
        used.sort_unstable();
        used.dedup();
        if self.topics.len() <= 2 * used.len() + SPARE_TOPICS {
            return;
        }
        for line in &mut self.lines {
            line.topic = used.binary_search(&line.topic).ok().and_then(|at| u32::try_from(at).ok()).unwrap_or(0);
        }
        let topics = used.iter().filter_map(|at| self.topics.get(*at as usize)).map(Name::clone);
        self.topics = Arc::new(topics.collect());
    }
}

fn track(line: &Line, changes: &[Change], from: Index) -> Track {
    let mut value = line.last;
    let mut values = Vec::with_capacity(changes.len() + 1);
    for change in changes.iter().rev() {
        values.push((change.index, value));
        value = value.wrapping_sub(change.by);
    }
    values.push((from.max(line.since), value));
    values.reverse();
    Track { line: *line, values }
}

/// Writes one sample of a series, or prepares for the next one. Copies the series once something is new.
#[derive(Debug)]
pub struct Writer {
    series: Arc<Series>,
    /// The sample, or the next one where none is taken now.
    index: Index,
    is_due: bool,
    /// Topics of the writer, and their numbers in the series.
    topics: Vec<(Name, Option<u32>)>,
    by_name: Option<HashMap<Name, u32>>,
    /// The open line that is likely meant next.
    cursor: usize,
    /// Open lines by key, once the order is not that of the last time.
    by_key: Option<HashMap<(u32, i32), usize>>,
    /// Lines that were seen, and their values.
    seen: Vec<(u32, i64)>,
    entered: bool,
}

/// A partition of a topic, by the topic's number in a [`Writer`].
pub type Key = (usize, i32);

/// Topics that are looked for one by one.
const FEW_TOPICS: usize = 8;

impl Writer {
    /// A writer for sample `index`; unless it `is_due`, only new lines are noted.
    #[must_use]
    pub fn new(series: Option<&Arc<Series>>, index: Index, is_due: bool) -> Self {
        Self {
            series: series.map(Arc::clone).unwrap_or_default(),
            index,
            is_due,
            topics: vec![],
            by_name: None,
            cursor: 0,
            by_key: None,
            seen: vec![],
            entered: false,
        }
    }

    /// The writer's number of a topic, asked for once.
    pub fn topic(&mut self, name: &Name) -> usize {
        let topics = &self.series.topics;
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let known = if topics.len() <= FEW_TOPICS {
            topics.iter().position(|topic| topic == name).map(number)
        } else {
            let by_name = || topics.iter().map(Name::clone).zip(0..).collect();
            self.by_name.get_or_insert_with(by_name).get(name).copied()
        };
        self.topics.push((Name::clone(name), known));
        self.topics.len() - 1
    }

    /// The open line of a key.
    fn find(&mut self, key: Key) -> Option<usize> {
        let (topic, partition) = (self.topics.get(key.0)?.1?, key.1);
        let lines = &self.series.lines;
        let is_it = |line: &Line| line.topic == topic && line.partition == partition && line.is_open();
        if lines.get(self.cursor).is_some_and(is_it) {
            self.cursor += 1;
            return Some(self.cursor - 1);
        }
        let by_key = self.by_key.get_or_insert_with(|| {
            let open = lines.iter().enumerate().filter(|(_, line)| line.is_open());
            open.map(|(at, line)| ((line.topic, line.partition), at)).collect()
        });
        let found = by_key.get(&(topic, partition)).copied();
        if let Some(at) = found {
            self.cursor = at + 1;
        }
        found
    }

    fn enter(&mut self, key: Key, since: Index, last: i64, renewed: bool) {
        let series = Arc::make_mut(&mut self.series);
        let Some((name, number)) = self.topics.get_mut(key.0) else { return };
        let topic = *number.get_or_insert_with(|| {
            Arc::make_mut(&mut series.topics).push(Name::clone(name));
            u32::try_from(series.topics.len() - 1).unwrap_or(u32::MAX)
        });
        let at = if since == EVER { self.index } else { since };
        let (id, partition) = (series.next, key.1);
        series.next += 1;
        series.lines.push(Line { id, topic, partition, since, at, by: 0, last, renewed, ended: false });
        if let Some(by_key) = &mut self.by_key {
            by_key.insert((topic, partition), series.lines.len() - 1);
        }
        self.entered = true;
    }

    /// A value of the newest line of all.
    fn see_newest(&mut self, value: i64) {
        if let Some(line) = self.series.lines.last() {
            self.seen.push((line.id, value));
        }
    }

    /// Notes the value of a key now. `before` is what it was at the sample before, where no line says so: `Some(None)`
    /// if it was not there, `None` if that is not known, and it is taken to have been the same.
    pub fn note(&mut self, key: Key, value: i64, before: Option<Option<i64>>) {
        if let Some(at) = self.find(key) {
            if let Some(line) = self.series.lines.get(at) {
                self.seen.push((line.id, value));
            }
            return;
        }
        match before {
            Some(Some(before)) if before != value => self.enter(key, EVER, before, false),
            Some(None) => self.enter(key, self.index, value, false),
            Some(Some(_)) | None => return,
        }
        self.see_newest(value);
    }

    /// Notes that the value of a key now is of another log than the one before. Where no line says it, the one before
    /// was `before` all the time.
    pub fn renew(&mut self, key: Key, value: i64, before: Option<i64>) {
        if let Some(before) = before {
            self.gone(key, before);
        }
        if let Some(at) = self.find(key)
            && let Some(line) = Arc::make_mut(&mut self.series).lines.get_mut(at)
        {
            line.end(self.index);
        }
        // The line that is found by the key from now on is another.
        self.by_key = None;
        self.enter(key, self.index, value, true);
        self.see_newest(value);
    }

    /// Notes that a key is gone that was `before` all the time, if it has no line. One that has is gone when it is not
    /// noted.
    pub fn gone(&mut self, key: Key, before: i64) {
        if self.find(key).is_none() {
            self.enter(key, EVER, before, false);
        }
    }

    /// The series with the sample; `None` if it is as before.
    #[must_use]
    pub fn finish(mut self) -> Option<Arc<Series>> {
        if !self.is_due {
            return self.entered.then_some(self.series);
        }
        self.seen.sort_unstable();
        let (mut changes, mut ended) = (vec![], vec![]);
        let mut seen = self.seen.iter().peekable();
        for (at, line) in self.series.lines.iter().enumerate().filter(|(_, line)| line.is_open()) {
            while seen.next_if(|(id, _)| *id < line.id).is_some() {}
            match seen.next_if(|(id, _)| *id == line.id) {
                Some((_, value)) if *value != line.last => changes.push((at, *value)),
                Some(_) => {}
                None => ended.push(at),
            }
        }
        if changes.is_empty() && ended.is_empty() {
            return self.entered.then_some(self.series);
        }
        let series = Arc::make_mut(&mut self.series);
        let mut frame = Vec::with_capacity(changes.len());
        for (at, value) in changes {
            let Some(line) = series.lines.get_mut(at) else { continue };
            // New in this sample: what it was between two samples is nobody's business.
            if line.since < self.index {
                let by = value.wrapping_sub(line.last);
                let before = if series.open.includes(line.at) { line.by } else { 0 };
                frame.push((line.id, by.wrapping_sub(i64::from(before))));
                line.by = i32::try_from(by).unwrap_or(0);
            }
            (line.last, line.at) = (value, self.index);
        }
        for at in ended {
            if let Some(line) = series.lines.get_mut(at) {
                line.end(self.index);
            }
        }
        series.push(self.index, &frame);
        Some(self.series)
    }
}

#[cfg(test)]
mod tests;
