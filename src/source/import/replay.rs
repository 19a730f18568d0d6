//! Applies the lines of an import file to the source's shard.

use std::time::Duration;

use super::{
    line::{self, Line, LineError},
    tail::{FileItem, MAX_LINE_BYTES},
};
use crate::{
    clock::Ticks,
    config,
    model::{Millis, Name, Revision},
    store::{
        event::{Event, EventKind},
        group,
        latest::ImportOutcome,
        source::ReadOutcome,
        writer::{ShardWriter, SourceWriter},
    },
};

/// Number of lines applied in one batch.
const BATCH_SIZE: usize = 256;

/// Applies lines in their order, and counts the rejected ones.
pub(super) struct LineApplier<'a> {
    writer: &'a SourceWriter,
    shard: &'a ShardWriter,
    source: &'a config::Source,
    pending: Vec<PendingLine>,
    next: Revision,
    is_loaded: bool,
    /// Number of rejected lines of the current file.
    malformed: u64,
    last_rejected: Option<String>,
}

/// An owned line that waits for its batch.
struct PendingLine {
    group: Name,
    topic: Name,
    partition: i32,
    commit: Option<(i64, Option<Millis>, Name)>,
}

impl<'a> LineApplier<'a> {
    pub(super) fn new(writer: &'a SourceWriter, shard: &'a ShardWriter, source: &'a config::Source) -> Self {
        let next = shard.applied().max(Revision(0));
        let (pending, last_rejected) = (Vec::with_capacity(BATCH_SIZE), None);
        shard.target(Revision(0), Revision(0), writer.clock().ticks());
        Self { writer, shard, source, pending, next, is_loaded: false, malformed: 0, last_rejected }
    }

    /// Processes a part of the file.
    pub(super) fn process(&mut self, item: FileItem<'_>) {
        match item {
            // The counters describe the current file only.
            FileItem::Start => (self.malformed, self.last_rejected) = (0, None),
            FileItem::TooLong(number) => self.reject(number, LineError::TooLong),
            FileItem::Unfinished(number) => self.reject(number, LineError::Unfinished),
            FileItem::Line(number, bytes) => {
                self.process_line(number, bytes);
            }
        }
    }

    /// Processes lines that a client sent. They are commits and deletions, even before the file was read.
    pub(super) fn import(&mut self, lines: &[u8]) -> ImportOutcome {
        let (is_loaded, malformed) = (self.is_loaded, self.malformed);
        self.flush();
        self.is_loaded = true;
        let mut outcome = ImportOutcome::default();
        for (line, number) in lines.split(|byte| *byte == b'\n').zip(1..) {
            match line.len() {
                0..=MAX_LINE_BYTES => outcome.accepted += u64::from(self.process_line(number, line)),
                _ => self.reject(number, LineError::TooLong),
            }
        }
        self.flush();
        self.is_loaded = is_loaded;
        outcome.malformed = self.malformed - malformed;
        outcome.last_rejected = self.last_rejected.clone().filter(|_| outcome.malformed > 0);
        outcome
    }

    /// Returns whether the line is an offset or a deletion.
    fn process_line(&mut self, number: u64, bytes: &[u8]) -> bool {
        match line::parse(bytes, self.source) {
            Ok(line) => {
                line.iter().for_each(|line| self.add(line));
                line.is_some()
            }
            Err(error) => {
                self.reject(number, error);
                false
            }
        }
    }

    fn reject(&mut self, number: u64, error: LineError) {
        self.malformed += 1;
        self.last_rejected = Some(format!("line {number}: {error}"));
    }

    fn add(&mut self, line: &Line<'_>) {
        let config = &self.writer.cluster().config;
        if !config.groups.accepts(&line.group) || !config.topics.accepts(&line.topic) {
            return;
        }
        let commit = line.commit.as_ref();
        let commit = commit.map(|of| (of.committed_offset, of.committed_at, Name::from(&*of.metadata)));
        let names = self.writer.names();
        let (group, topic) = (names.intern(&line.group), names.intern(&line.topic));
        self.pending.push(PendingLine { group, topic, partition: line.partition, commit });
        if self.pending.len() >= BATCH_SIZE {
            self.flush();
        }
    }

    /// Applies the pending lines. Returns the revision up to which the shard is applied.
    pub(super) fn flush(&mut self) -> Revision {
        let at = self.writer.clock().now();
        let mut events = Vec::with_capacity(self.pending.len());
        for line in &self.pending {
            let (topic, partition) = (&*line.topic, line.partition);
            let kind = match &line.commit {
                None => EventKind::Delete { topic, partition },
                Some((committed_offset, committed_at, metadata)) => EventKind::Commit {
                    topic,
                    partition,
                    commit: group::Commit {
                        committed_offset: *committed_offset,
                        committed_at: committed_at.unwrap_or(0),
                        leader_epoch: -1,
                        metadata,
                        expires_at: None,
                        topic_id: None,
                        first_seen_at: None,
                    },
                },
            };
            events.push(Event { revision: self.next, at, group: &line.group, kind });
            self.next = self.next.next();
        }
        self.shard.apply(&events, if self.is_loaded { Revision(0) } else { Revision::MAX });
        let deletions = self.pending.iter().filter(|line| line.commit.is_none()).count() as u64;
        let last = if events.is_empty() { None } else { Some(at) };
        self.shard.progress.count(events.len() as u64, deletions, last);
        drop(events);
        self.pending.clear();
        self.next
    }

    /// Ends the initial load: events applied from now on are reported as commits and deletions.
    pub(super) fn loaded(&mut self) {
        if !self.is_loaded {
            self.is_loaded = true;
            self.writer.loaded();
        }
    }

    /// Returns the statistics of the last read.
    pub(super) fn reading(&self, took: Ticks, interval: Duration) -> ReadOutcome {
        ReadOutcome {
            entries: self.shard.len().1 as u64,
            unmatched: 0,
            malformed: self.malformed,
            ambiguous: 0,
            forbidden: 0,
            last_rejected: self.last_rejected.clone(),
            read_at: self.writer.clock().now(),
            seconds: f64::from(took) / 10.0,
            interval,
        }
    }
}
