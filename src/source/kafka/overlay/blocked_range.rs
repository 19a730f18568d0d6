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
    live_source::Committed,
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
const MAX_PER_KEY: usize = 32;
/// Memory of a record in the maps, in bytes.
const OVERHEAD: usize = 192;

/// Group, topic and partition of a committed offset.
pub(super) type Key = (Name, Name, i32);

/// A commit or a tombstone that the poll thread has not applied.
#[derive(Debug)]
pub(super) struct KeptRecord {
    pub(super) log_offset: i64,
    /// Timestamp of the record.
    at: Millis,
    /// The commit, or `None` for a tombstone.
    commit: Option<StoredCommit>,
}

/// A request to the coordinator of a group.
#[derive(Debug)]
pub(super) struct CoordinatorRequest {
    pub(super) log_partition: i32,
    pub(super) group: Name,
    pub(super) keys: BTreeSet<Key>,
    /// The keys with records since the last request.
    pub(super) new_keys: BTreeSet<Key>,
    /// Whether keys with a pending transaction return an error instead of their stable offset.
    pub(super) require_stable: bool,
}

/// The records of one log partition, and the readers that wait for them.
#[derive(Debug)]
pub(super) struct BlockedRange {
    /// The next offset to read.
    pub(super) next_offset: i64,
    /// Whether records were dropped because the memory was full.
    pub(super) overflowed: bool,
    /// Memory of the records, in bytes.
    pub(super) bytes: usize,
    /// Readers that wait for responses about keys.
    pub(super) waiters: Waiters<Key>,
    /// Epoch of the shard, or `None` if the next offset is not in the log any more.
    pub(super) epoch: Option<u64>,
    /// Time at which the partition was last needed.
    pub(super) needed_at: Instant,
    /// By key, the records that the poll thread has not applied.
    records: BTreeMap<Key, VecDeque<KeptRecord>>,
    /// The keys of the records, by log offset.
    order: BTreeMap<i64, Key>,
    /// By group, the keys with records since the last request.
    new_keys: HashMap<Name, BTreeSet<Key>>,
}

impl KeptRecord {
    /// Returns the memory of the record, in bytes.
    fn bytes(&self) -> usize {
        let extras = self.commit.as_ref().and_then(|commit| commit.extras.as_ref());
        size_of::<Self>() + OVERHEAD + extras.and_then(|extras| extras.metadata.as_ref()).map_or(0, |text| text.len())
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

    /// Returns whether a coordinator that returns `committed` may mean this record.
    fn matches(&self, committed: Option<&Committed>) -> bool {
        match (&self.commit, committed) {
            (None, None) => true,
            (Some(commit), Some(committed)) => committed.equals_row(&commit.row, commit.extras.as_ref()),
            _ => false,
        }
    }
}

impl BlockedRange {
    /// Makes an empty range that starts at log offset `from`.
    pub(super) fn new(from: i64, epoch: u64, now: Instant) -> Self {
        Self {
            next_offset: from,
            overflowed: false,
            bytes: 0,
            waiters: Waiters::default(),
            epoch: Some(epoch),
            needed_at: now,
            records: BTreeMap::new(),
            order: BTreeMap::new(),
            new_keys: HashMap::new(),
        }
    }

    /// Returns the time of the first record that the poll thread has not applied.
    pub(super) fn first_record_at(&self) -> Option<Millis> {
        let (_, key) = self.order.first_key_value()?;
        self.records.get(key)?.front().map(|record| record.at)
    }

    /// Adds a commit or a tombstone if memory allows. Returns the number of dropped records.
    pub(super) fn add(&mut self, event: &Event<'_>, names: &NameInterner, free_bytes: &mut usize) -> u64 {
        let (topic, partition, commit) = match &event.kind {
            EventKind::Commit { topic, partition, commit } => {
                (*topic, *partition, Some(StoredCommit::of(commit, *partition, event.revision, 0)))
            }
            EventKind::Delete { topic, partition } => (*topic, *partition, None),
            EventKind::Classic(_) | EventKind::GroupRecord(..) => return 0,
        };
        let record = KeptRecord { log_offset: event.revision.0, at: event.at, commit };
        let Some(left) = free_bytes.checked_sub(record.bytes()) else {
            self.overflowed = true;
            return 1;
        };
        *free_bytes = left;
        self.bytes += record.bytes();
        let key: Key = (names.intern(event.group), names.intern(topic), partition);
        self.order.insert(event.revision.0, key.clone());
        let of_key = self.records.entry(key.clone()).or_default();
        of_key.push_back(record);
        if of_key.len() > MAX_PER_KEY
            && let Some(oldest) = of_key.front()
        {
            self.order.remove(&oldest.log_offset);
            self.drop_oldest(&key, free_bytes);
        }
        self.new_keys.entry(Name::clone(&key.0)).or_default().insert(key);
        0
    }

    /// Drops the oldest record of a key, and frees its memory.
    fn drop_oldest(&mut self, key: &Key, free_bytes: &mut usize) {
        let Some(of_key) = self.records.get_mut(key) else { return };
        let freed = of_key.pop_front().map_or(0, |record| record.bytes());
        self.bytes -= freed;
        *free_bytes += freed;
        if of_key.is_empty() {
            self.records.remove(key);
        }
    }

    /// Removes the records that the poll thread has applied, in time linear in their number. Returns this number.
    pub(super) fn prune(&mut self, applied: i64, free_bytes: &mut usize) -> usize {
        let mut steps = 0;
        while let Some(record) = self.order.first_entry().filter(|record| *record.key() < applied) {
            let key = record.remove();
            self.drop_oldest(&key, free_bytes);
            steps += 1;
        }
        steps
    }

    /// Returns the newest record that matches a response of the coordinator, if the consumer has read one.
    pub(super) fn matching(&self, key: &Key, committed: Option<&Committed>) -> Option<&KeptRecord> {
        self.records.get(key)?.iter().rev().find(|record| record.matches(committed))
    }

    /// Adds a reader that waits for responses to requests from number `from` on.
    pub(super) fn admit(
        &mut self,
        request: LatestRequest,
        (from, applied): (usize, Revision),
        groups: &mut Schedule,
        now: Instant,
    ) {
        let keys: BTreeSet<Key> = match request.scope {
            Scope::Key(group, topic, partition) => {
                let key = (group, topic, partition);
                if self.overflowed || self.records.contains_key(&key) { [key].into() } else { BTreeSet::new() }
            }
            Scope::All if self.overflowed => {
                let shard = request.shard;
                let reason =
                    format!("log partition {shard}: too many commits behind an open transaction to keep them all");
                // Fails only if the reader has stopped waiting.
                let _ = request.reply.send(Err(SourceError::Unreachable { reason }));
                return;
            }
            Scope::All => self.records.keys().cloned().collect(),
        };
        for (group, ..) in &keys {
            groups.add(group, now);
            groups.prioritize(group);
        }
        self.waiters.add(keys, from, request.reply, applied);
    }

    /// Returns a request about the new keys of a group and the keys that readers wait for, or `None` without keys.
    pub(super) fn next_request(&mut self, log_partition: i32, group: &Name) -> Option<CoordinatorRequest> {
        let (mut keys, mut new_keys) = (self.awaited_keys(group), self.new_keys.remove(group).unwrap_or_default());
        // The poll thread may have applied the records meanwhile.
        new_keys.retain(|key| self.records.contains_key(key));
        keys.extend(new_keys.iter().cloned());
        (!keys.is_empty()).then(|| CoordinatorRequest {
            log_partition,
            group: Name::clone(group),
            keys,
            new_keys,
            require_stable: true,
        })
    }

    /// Returns the keys of a group that readers wait for.
    pub(super) fn awaited_keys(&self, group: &Name) -> BTreeSet<Key> {
        let first: Key = (Name::clone(group), Name::from(""), i32::MIN);
        let of_group = |missing: &BTreeSet<Key>| {
            missing.range(&first..).take_while(|key| key.0 == *group).cloned().collect::<Vec<Key>>()
        };
        self.waiters.missing().flat_map(of_group).collect()
    }

    /// Adds the keys of a failed request to the next one.
    pub(super) fn requeue(&mut self, request: CoordinatorRequest) {
        self.new_keys.entry(request.group).or_default().extend(request.new_keys);
    }
}

#[cfg(test)]
mod tests;
