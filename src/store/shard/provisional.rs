//! Provisional values of a shard: commits after an open transaction, shown before the reader reaches them.
//!
//! The reader stops at the last stable offset. The coordinators of groups report the commits that come after it, and
//! the store shows them with the offsets of their records. Until the reader reaches such a record, earlier records of
//! the same key do not change the shown value, so that no committed offset jumps back. Once the reader has passed the
//! offset, only the log decides: if the record did not come, because its transaction was aborted, the value of the log
//! is restored.

use hashbrown::{Equivalent, HashMap};
use std::sync::atomic::Ordering;

use super::{
    super::{
        event::{Event, EventKind},
        group::StoredCommit,
    },
    Now, Shard, ShardState,
};
use crate::model::{Millis, Name, Revision};

/// Keys and memberships with a provisional value, ahead of the reader.
#[derive(Debug, Default)]
pub(super) struct Provisional {
    keys: HashMap<(Name, Name, i32), ProvisionalEntry>,
    /// By group, the last record about its members that the reader has not reached.
    members: HashMap<Name, Revision>,
}

impl Provisional {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.members.is_empty()
    }
}

/// A key with a provisional value.
#[derive(Debug)]
struct ProvisionalEntry {
    /// Revision of the record that is shown.
    revision: Revision,
    /// Value of the key by the reader's records alone; `None` if it does not exist.
    in_log: Option<StoredCommit>,
}

/// A borrowed key: (group, topic, partition).
#[derive(Hash)]
struct KeyRef<'a>(&'a str, &'a str, i32);

impl Equivalent<(Name, Name, i32)> for KeyRef<'_> {
    fn equivalent(&self, key: &(Name, Name, i32)) -> bool {
        *self.0 == *key.0 && *self.1 == *key.1 && self.2 == key.2
    }
}

impl Shard {
    /// Shows a commit or deletion that the reader has not reached. Returns `false` if nothing changed: the reader has
    /// passed the revision, or the record is already shown.
    pub fn show_early(&self, event: &Event<'_>) -> bool {
        let (topic, partition) = match &event.kind {
            EventKind::Commit { topic, partition, .. } | EventKind::Delete { topic, partition } => (*topic, *partition),
            EventKind::Classic(_) | EventKind::GroupRecord(..) => return false,
        };
        let now = self.now();
        let mut state = self.write();
        if event.revision < state.read_to || event.revision < self.applied() {
            return false;
        }
        match state.provisional.keys.get_mut(&KeyRef(event.group, topic, partition)) {
            Some(entry) if entry.revision == event.revision => return false,
            // The latest answer of the coordinator wins, even if its record has a lower offset.
            Some(entry) => entry.revision = event.revision,
            None => {
                let at = state.groups.find(&self.context, event.group);
                let known = at.and_then(|at| state.groups.get(&self.context, at, topic, partition));
                let in_log = known.map(|(_, entry)| StoredCommit { row: *entry.row, extras: entry.extras.cloned() });
                let key = (self.names.intern(event.group), self.names.intern(topic), partition);
                state.provisional.keys.insert(key, ProvisionalEntry { revision: event.revision, in_log });
            }
        }
        self.has_provisional.store(true, Ordering::Release);
        self.show(&mut state, event, &now);
        true
    }

    /// Marks the members of a group as stale, because the reader has not reached a record about them.
    pub fn mark_members_stale(&self, group: &str, revision: Revision, at: Millis) {
        let mut state = self.write();
        if revision < state.read_to || revision < self.applied() {
            return;
        }
        let Some(place) = state.groups.find(&self.context, group) else { return };
        let Some(mut group) = state.groups.group_mut(&self.context, place) else { return };
        let since = group.view.members_stale_since().map_or(at, |since| since.min(at));
        group.set_members_stale_since(Some(since));
        let id = Name::clone(&group.view.id);
        let last = state.provisional.members.entry(id).or_insert(revision);
        *last = (*last).max(revision);
        self.has_provisional.store(true, Ordering::Release);
    }

    /// Returns whether a record of the reader must not be applied because a later provisional value of its key is shown.
    pub(super) fn is_provisional(&self, state: &mut ShardState, event: &Event<'_>, now: &Now) -> bool {
        if state.provisional.keys.is_empty() {
            return false;
        }
        let (topic, partition, record) = match &event.kind {
            EventKind::Commit { topic, partition, commit } => {
                (*topic, *partition, Some(StoredCommit::of(commit, *partition, event.revision, now.ticks)))
            }
            EventKind::Delete { topic, partition } => (*topic, *partition, None),
            EventKind::Classic(_) | EventKind::GroupRecord(..) => return false,
        };
        let key = KeyRef(event.group, topic, partition);
        let Some(entry) = state.provisional.keys.get_mut(&key) else { return false };
        if event.revision < entry.revision {
            entry.in_log = record;
            return true;
        }
        let confirmed = event.revision == entry.revision;
        state.provisional.keys.remove(&key);
        confirmed
    }

    /// Ends the provisional values below `reached`: the reader has passed it, so the values of the log are restored.
    pub(super) fn end_provisional(&self, reached: Revision) {
        if !self.has_provisional.load(Ordering::Acquire) {
            return;
        }
        let now = self.now();
        let mut state = self.write();
        state.read_to = state.read_to.max(reached);
        let passed: Vec<_> = state.provisional.keys.extract_if(|_, entry| entry.revision < reached).collect();
        for ((group, topic, partition), entry) in passed {
            let kind = match &entry.in_log {
                Some(stored) => EventKind::Commit { topic: &topic, partition, commit: stored.commit() },
                None => EventKind::Delete { topic: &topic, partition },
            };
            let revision = entry.in_log.as_ref().map_or(entry.revision, |stored| stored.row.revision);
            self.show(&mut state, &Event { revision, at: now.wall, group: &group, kind }, &now);
        }
        let shown: Vec<_> = state.provisional.members.extract_if(|_, last| *last < reached).collect();
        for (id, _) in shown {
            let at = state.groups.find(&self.context, &id);
            if let Some(mut group) = at.and_then(|at| state.groups.group_mut(&self.context, at)) {
                group.set_members_stale_since(None);
            }
        }
        self.has_provisional.store(!state.provisional.is_empty(), Ordering::Release);
    }

    fn show(&self, state: &mut ShardState, event: &Event<'_>, now: &Now) {
        match &event.kind {
            EventKind::Commit { topic, partition, commit } => {
                self.commit(state, event, (topic, *partition), commit, now, true);
            }
            EventKind::Delete { topic, partition } => self.delete(state, event, (topic, *partition), now, true),
            EventKind::Classic(_) | EventKind::GroupRecord(..) => {}
        }
    }
}
