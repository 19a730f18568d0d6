//! What was read behind an open transaction of one log partition, and which record an answer of a coordinator means.
//!
//! The look reads everything: plain commits, those of transactions under way, and those of aborted ones, and cannot tell
//! them apart. The coordinator can; its answer has no offset in the log. Offset, metadata and leader epoch together name
//! the record: the newest that is the same. Where several are, they mean the same.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;

use crate::{
    model::{Millis, Name, Revision},
    source::kafka::ask::Committed,
    store::{
        event::{Event, EventKind},
        group::StoredCommit,
        names::NameInterner,
    },
};

/// Records kept of a key: the newest.
const PER_KEY: usize = 32;
/// What a record costs beside itself: its part of the maps.
const OVERHEAD: usize = 192;

/// A committed key of a group.
pub(super) type TopicPartition = (Name, i32);

/// Memory for what is kept, of all partitions together.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) left: usize,
}

/// A commit, or a tombstone.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) log_offset: i64,
    at: Millis,
    commit: Option<StoredCommit>,
}

impl Kept {
    fn bytes(&self) -> usize {
        let extras = self.commit.as_ref().and_then(|commit| commit.extras.as_ref());
        size_of::<Self>() + OVERHEAD + extras.and_then(|extras| extras.metadata.as_ref()).map_or(0, |text| text.len())
    }

    /// As the reader would bring it.
    pub(super) fn event<'a>(&'a self, group: &'a str, (topic, partition): (&'a str, i32)) -> Event<'a> {
        let kind = match &self.commit {
            None => EventKind::Delete { topic, partition },
            Some(commit) => EventKind::Commit { topic, partition, commit: commit.commit() },
        };
        Event { revision: Revision(self.log_offset), at: self.at, group, kind }
    }

    fn is(&self, answer: Option<&Committed>) -> bool {
        match (&self.commit, answer) {
            (None, None) => true,
            (Some(commit), Some(answer)) => answer.is(&commit.row, commit.extras.as_ref()),
            _ => false,
        }
    }
}

#[derive(Debug, Default)]
struct Key {
    kept: VecDeque<Kept>,
    /// Offset of the newest record when the coordinator was last asked.
    asked: Option<i64>,
    /// A transaction under way commits the key, the coordinator said: some records of it may never count.
    unstable: bool,
}

impl Key {
    fn newest(&self) -> Option<i64> {
        self.kept.back().map(|kept| kept.log_offset)
    }
}

#[derive(Debug, Default)]
struct Group {
    keys: BTreeMap<TopicPartition, Key>,
    queued: bool,
}

/// What was read of one log partition.
#[derive(Debug)]
pub(super) struct Range {
    /// The next offset that the look will read.
    pub(super) read: i64,
    /// Records were left out: there are too many.
    pub(super) overflowed: bool,
    groups: HashMap<Name, Group>,
    /// The records that are kept, in the order of the log.
    order: BTreeMap<i64, (Name, TopicPartition)>,
    due: VecDeque<Name>,
    first: Option<(i64, Millis)>,
    bytes: usize,
}

impl Range {
    pub(super) fn new(from: i64) -> Self {
        Self {
            read: from,
            overflowed: false,
            groups: HashMap::new(),
            order: BTreeMap::new(),
            due: VecDeque::new(),
            first: None,
            bytes: 0,
        }
    }

    /// Notes that a record is there.
    pub(super) fn saw(&mut self, log_offset: i64, at: Millis) {
        self.read = self.read.max(log_offset + 1);
        self.first.get_or_insert((log_offset, at));
    }

    /// Time of the first record that was read.
    pub(super) fn first_at(&self) -> Option<Millis> {
        self.first.map(|(_, at)| at)
    }

    /// Keeps a commit or a tombstone, if there is room. Returns how many records were left out.
    pub(super) fn keep(&mut self, event: &Event<'_>, names: &NameInterner, budget: &mut Budget) -> u64 {
        let (topic, partition, commit) = match &event.kind {
            EventKind::Commit { topic, partition, commit } => {
                (*topic, *partition, Some(StoredCommit::of(commit, *partition, event.revision, 0)))
            }
            EventKind::Delete { topic, partition } => (*topic, *partition, None),
            EventKind::Classic(_) | EventKind::GroupRecord(..) => return 0,
        };
        let kept = Kept { log_offset: event.revision.0, at: event.at, commit };
        let bytes = kept.bytes();
        if bytes > budget.left {
            self.overflowed = true;
            return 1;
        }
        budget.left -= bytes;
        self.bytes += bytes;
        let (group, key) = (names.intern(event.group), (names.intern(topic), partition));
        self.order.insert(event.revision.0, (Name::clone(&group), key.clone()));
        let key = self.groups.entry(group).or_default().keys.entry(key).or_default();
        key.kept.push_back(kept);
        if key.kept.len() > PER_KEY
            && let Some(oldest) = key.kept.pop_front()
        {
            self.order.remove(&oldest.log_offset);
            self.bytes -= oldest.bytes();
            budget.left += oldest.bytes();
        }
        self.queue(event.group);
        0
    }

    fn queue(&mut self, id: &str) {
        let Some(name) = self.groups.get_key_value(id).map(|(name, _)| Name::clone(name)) else { return };
        let Some(group) = self.groups.get_mut(id) else { return };
        if !std::mem::replace(&mut group.queued, true) {
            self.due.push_back(name);
        }
    }

    /// The next group with records that its coordinator was not asked about, and their keys: those without a
    /// transaction under way (true), or those with one.
    pub(super) fn next_due(&mut self) -> Option<(Name, Vec<TopicPartition>, bool)> {
        while let Some(name) = self.due.pop_front() {
            let Some(group) = self.groups.get_mut(&name) else { continue };
            group.queued = false;
            let due = |stable: bool| {
                let is_due = move |key: &Key| key.unstable != stable && key.asked < key.newest();
                let due = group.keys.iter().filter(|(_, key)| is_due(key));
                due.map(|(key, _)| key.clone()).collect::<Vec<TopicPartition>>()
            };
            let (stable, unstable) = (due(true), due(false));
            if stable.is_empty() && unstable.is_empty() {
                continue;
            }
            if !stable.is_empty() && !unstable.is_empty() {
                self.queue(&name);
            }
            return Some(if stable.is_empty() { (name, unstable, false) } else { (name, stable, true) });
        }
        None
    }

    /// The coordinator said which keys a transaction under way commits.
    pub(super) fn set_unstable(&mut self, group: &str, keys: &[TopicPartition], unstable: bool) {
        let mut news = false;
        self.each(group, keys, |key| {
            if unstable && !key.unstable {
                // What is committed beside it is still to be told.
                key.asked = None;
                news = true;
            }
            key.unstable = unstable;
        });
        if news {
            self.queue(group);
        }
    }

    /// The coordinator is being asked about these keys.
    pub(super) fn asked(&mut self, group: &str, keys: &[TopicPartition]) {
        self.each(group, keys, |key| key.asked = key.newest());
    }

    /// The coordinator did not say: ask again.
    pub(super) fn again(&mut self, group: &str, keys: &[TopicPartition]) {
        self.each(group, keys, |key| key.asked = None);
        self.queue(group);
    }

    fn each(&mut self, group: &str, keys: &[TopicPartition], mut change: impl FnMut(&mut Key)) {
        let Some(group) = self.groups.get_mut(group) else { return };
        for key in keys {
            if let Some(key) = group.keys.get_mut(key) {
                change(key);
            }
        }
    }

    /// The record that the coordinator's answer means, if it was read.
    pub(super) fn matching(&self, group: &str, key: &TopicPartition, answer: Option<&Committed>) -> Option<&Kept> {
        self.groups.get(group)?.keys.get(key)?.kept.iter().rev().find(|kept| kept.is(answer))
    }

    /// The groups and keys with records.
    pub(super) fn keys(&self) -> impl Iterator<Item = (Name, Vec<TopicPartition>)> {
        self.groups.iter().map(|(name, group)| (Name::clone(name), group.keys.keys().cloned().collect()))
    }

    /// Whether there are records of a key.
    pub(super) fn has(&self, group: &str, key: &TopicPartition) -> bool {
        self.groups.get(group).is_some_and(|group| group.keys.contains_key(key))
    }

    /// Forgets what the reader has applied. Takes a step for each record that it forgets. Returns how many.
    pub(super) fn prune(&mut self, applied: i64, budget: &mut Budget) -> usize {
        let mut steps = 0;
        while let Some(record) = self.order.first_entry().filter(|record| *record.key() < applied) {
            let (group, key) = record.remove();
            steps += 1;
            let Some(of) = self.groups.get_mut(&group) else { continue };
            let Some(records) = of.keys.get_mut(&key) else { continue };
            let freed = records.kept.pop_front().map_or(0, |kept| kept.bytes());
            self.bytes -= freed;
            budget.left += freed;
            if records.kept.is_empty() {
                of.keys.remove(&key);
            }
            if of.keys.is_empty() {
                self.groups.remove(&group);
            }
        }
        if self.first.is_some_and(|(offset, _)| offset < applied) {
            let next = self.order.first_key_value();
            let kept = next.and_then(|(_, (group, key))| self.groups.get(group)?.keys.get(key)?.kept.front());
            self.first = kept.map(|kept| (kept.log_offset, kept.at));
        }
        steps
    }

    /// Gives its memory back.
    pub(super) fn release(self, budget: &mut Budget) {
        budget.left += self.bytes;
    }
}

#[cfg(test)]
mod tests;
