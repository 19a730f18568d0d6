//! The records behind an open transaction of one log partition, and the readers that wait for them.
//!
//! The consumer cannot distinguish plain commits from those of pending and aborted transactions. The coordinator can,
//! but its response has no log offset. It means the newest record with the same offset, metadata and leader epoch. If
//! several records match, they are equivalent.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use hashbrown::HashMap;

use super::super::{
    admin::Schedule,
    ask::Committed,
    requests::{LatestRequest, Waiters},
};
use crate::{
    model::{Millis, Name, Revision},
    store::{
        event::{Event, EventKind},
        group::StoredCommit,
        latest::{Scope, SourceError},
        names::NameInterner,
    },
};

/// Maximum number of records of a key. The newest are kept.
const PER_KEY: usize = 32;
/// Memory of a record in the maps, in bytes.
const OVERHEAD: usize = 192;

/// Group, topic and partition of a committed offset.
pub(super) type Key = (Name, Name, i32);

/// A commit, or a tombstone.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) log_offset: i64,
    at: Millis,
    commit: Option<StoredCommit>,
}

/// A request to the coordinator of a group.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) log_partition: i32,
    pub(super) group: Name,
    pub(super) keys: BTreeSet<Key>,
    /// The keys with records since the last request.
    pub(super) fresh: BTreeSet<Key>,
    /// Whether keys with a pending transaction return an error instead of their stable offset.
    pub(super) stable: bool,
}

/// The records of one log partition, and the readers that wait for them.
#[derive(Debug)]
pub(super) struct Range {
    /// The next offset to read.
    pub(super) read: i64,
    /// Whether records were dropped because the memory was full.
    pub(super) overflowed: bool,
    /// Memory of the records, in bytes.
    pub(super) bytes: usize,
    pub(super) waiters: Waiters<Key>,
    /// Epoch of the shard, or `None` if the next offset is not in the log any more.
    pub(super) epoch: Option<u64>,
    /// Time at which the partition was last needed.
    pub(super) wanted_at: Instant,
    /// By key, the records that the poll thread has not applied.
    kept: BTreeMap<Key, VecDeque<Kept>>,
    /// The keys of the records, by log offset.
    order: BTreeMap<i64, Key>,
    /// By group, the keys with records since the last request.
    fresh: HashMap<Name, BTreeSet<Key>>,
}

impl Kept {
    fn bytes(&self) -> usize {
        let rare = self.commit.as_ref().and_then(|commit| commit.extras.as_ref());
        size_of::<Self>() + OVERHEAD + rare.and_then(|rare| rare.metadata.as_ref()).map_or(0, |text| text.len())
    }

    /// Returns the event that a poll thread would apply.
    pub(super) fn event<'a>(&'a self, (group, topic, partition): &'a Key) -> Event<'a> {
        let partition = *partition;
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

impl Range {
    /// Makes an empty range that starts at log offset `from`.
    pub(super) fn new(from: i64, epoch: u64, now: Instant) -> Self {
        Self {
            read: from,
            overflowed: false,
            bytes: 0,
            waiters: Waiters::default(),
            epoch: Some(epoch),
            wanted_at: now,
            kept: BTreeMap::new(),
            order: BTreeMap::new(),
            fresh: HashMap::new(),
        }
    }

    /// Returns the time of the first record that the poll thread has not applied.
    pub(super) fn first_at(&self) -> Option<Millis> {
        let (_, key) = self.order.first_key_value()?;
        self.kept.get(key)?.front().map(|kept| kept.at)
    }

    /// Adds a commit or a tombstone if memory allows. Returns the number of dropped records.
    pub(super) fn keep(&mut self, event: &Event<'_>, names: &NameInterner, room: &mut usize) -> u64 {
        let (topic, partition, commit) = match &event.kind {
            EventKind::Commit { topic, partition, commit } => {
                (*topic, *partition, Some(StoredCommit::of(commit, *partition, event.revision, 0)))
            }
            EventKind::Delete { topic, partition } => (*topic, *partition, None),
            EventKind::Classic(_) | EventKind::GroupRecord(..) => return 0,
        };
        let kept = Kept { log_offset: event.revision.0, at: event.at, commit };
        let Some(left) = room.checked_sub(kept.bytes()) else {
            self.overflowed = true;
            return 1;
        };
        *room = left;
        self.bytes += kept.bytes();
        let key: Key = (names.intern(event.group), names.intern(topic), partition);
        self.order.insert(event.revision.0, key.clone());
        let of_key = self.kept.entry(key.clone()).or_default();
        of_key.push_back(kept);
        if of_key.len() > PER_KEY
            && let Some(oldest) = of_key.front()
        {
            self.order.remove(&oldest.log_offset);
            self.drop_oldest(&key, room);
        }
        self.fresh.entry(Name::clone(&key.0)).or_default().insert(key);
        0
    }

    fn drop_oldest(&mut self, key: &Key, room: &mut usize) {
        let Some(of_key) = self.kept.get_mut(key) else { return };
        let freed = of_key.pop_front().map_or(0, |kept| kept.bytes());
        self.bytes -= freed;
        *room += freed;
        if of_key.is_empty() {
            self.kept.remove(key);
        }
    }

    /// Removes the records that the poll thread has applied, in time linear in their number. Returns this number.
    pub(super) fn prune(&mut self, applied: i64, room: &mut usize) -> usize {
        let mut steps = 0;
        while let Some(record) = self.order.first_entry().filter(|record| *record.key() < applied) {
            let key = record.remove();
            self.drop_oldest(&key, room);
            steps += 1;
        }
        steps
    }

    /// Returns the newest record that matches a response of the coordinator, if the consumer has read one.
    pub(super) fn matching(&self, key: &Key, answer: Option<&Committed>) -> Option<&Kept> {
        self.kept.get(key)?.iter().rev().find(|kept| kept.is(answer))
    }

    /// Adds a reader that waits for responses to requests from number `from` on.
    pub(super) fn admit(
        &mut self,
        wanted: LatestRequest,
        (from, applied): (usize, Revision),
        groups: &mut Schedule,
        now: Instant,
    ) {
        let keys: BTreeSet<Key> = match wanted.scope {
            Scope::Key(group, topic, partition) => {
                let key = (group, topic, partition);
                if self.overflowed || self.kept.contains_key(&key) { [key].into() } else { BTreeSet::new() }
            }
            Scope::All if self.overflowed => {
                let shard = wanted.shard;
                let reason =
                    format!("log partition {shard}: too many commits behind an open transaction to keep them all");
                // Fails only if the reader has stopped waiting.
                let _ = wanted.done.send(Err(SourceError::Unreachable { reason }));
                return;
            }
            Scope::All => self.kept.keys().cloned().collect(),
        };
        for (group, ..) in &keys {
            groups.add(group, now);
            groups.hurry(group);
        }
        self.waiters.add(keys, from, wanted.done, applied);
    }

    /// Returns a request about the new keys of a group and the keys that readers wait for, or `None` without keys.
    pub(super) fn ask(&mut self, log_partition: i32, group: &Name) -> Option<Ask> {
        let (mut keys, mut fresh) = (self.waited_for(group), self.fresh.remove(group).unwrap_or_default());
        // The poll thread may have applied the records meanwhile.
        fresh.retain(|key| self.kept.contains_key(key));
        keys.extend(fresh.iter().cloned());
        (!keys.is_empty()).then(|| Ask { log_partition, group: Name::clone(group), keys, fresh, stable: true })
    }

    /// Returns the keys of a group that readers wait for.
    pub(super) fn waited_for(&self, group: &Name) -> BTreeSet<Key> {
        let first: Key = (Name::clone(group), Name::from(""), i32::MIN);
        let of_group = |left: &BTreeSet<Key>| {
            left.range(&first..).take_while(|key| key.0 == *group).cloned().collect::<Vec<Key>>()
        };
        self.waiters.left().flat_map(of_group).collect()
    }

    /// Adds the keys of a failed request to the next one.
    pub(super) fn failed(&mut self, ask: Ask) {
        self.fresh.entry(ask.group).or_default().extend(ask.fresh);
    }
}

#[cfg(test)]
mod tests;
