//! Records shown before their reader comes to them: plain commits behind an open transaction.
//!
//! The reader stops at the last stable offset; what lies behind is learned from the group's
//! coordinator and shown early, under the offset of its record. When the reader comes to that
//! record, nothing changes; what it brings of the key before is held back, so that no offset jumps
//! back. Once the reader has passed the record, the log alone decides: a record that never came
//! (it was part of a transaction that was aborted) leaves what the log says.

use hashbrown::{Equivalent, HashMap};
use std::sync::atomic::Ordering;

use super::{
    super::{
        event::{Event, EventKind},
        group::Stored,
    },
    Now, Shard, State,
};
use crate::model::{Millis, Name, Revision};

/// What is shown ahead of the reader, and what hides members.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    keys: HashMap<(Name, Name, i32), Early>,
    /// By group, the last record about its members that the reader has not come to.
    members: HashMap<Name, Revision>,
}

impl Ahead {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.members.is_empty()
    }
}

/// A key that is shown early.
#[derive(Debug)]
struct Early {
    /// Of the record that is shown.
    revision: Revision,
    /// What the key is by the reader's records alone.
    by_reader: Option<Stored>,
}

/// A borrowed key.
#[derive(Hash)]
struct Key<'a>(&'a str, &'a str, i32);

impl Equivalent<(Name, Name, i32)> for Key<'_> {
    fn equivalent(&self, key: &(Name, Name, i32)) -> bool {
        *self.0 == *key.0 && *self.1 == *key.1 && self.2 == key.2
    }
}

impl Shard {
    /// Shows a commit or a deletion that the reader has not come to. Returns whether that changed
    /// anything: not where the reader was there already, or the record is shown.
    pub fn show_early(&self, event: &Event<'_>) -> bool {
        let (topic, partition) = match &event.kind {
            EventKind::Commit { topic, partition, .. } | EventKind::Delete { topic, partition } => (*topic, *partition),
            EventKind::Classic(_) | EventKind::Piece(..) => return false,
        };
        let now = self.moment();
        let mut state = self.write();
        if event.revision < state.read_to || event.revision < self.applied() {
            return false;
        }
        match state.ahead.keys.get_mut(&Key(event.group, topic, partition)) {
            Some(early) if early.revision == event.revision => return false,
            // What the coordinator says later holds, also where its record lies before.
            Some(early) => early.revision = event.revision,
            None => {
                let at = state.groups.find(&self.kit, event.group);
                let known = at.and_then(|at| state.groups.get(&self.kit, at, topic, partition));
                let by_reader = known.map(|(_, entry)| Stored { row: *entry.row, rare: entry.rare.cloned() });
                let key = (self.names.intern(event.group), self.names.intern(topic), partition);
                state.ahead.keys.insert(key, Early { revision: event.revision, by_reader });
            }
        }
        self.has_ahead.store(true, Ordering::Release);
        self.show(&mut state, event, &now);
        true
    }

    /// Notes that a record about a group's members lies ahead of the reader.
    pub fn hide_members(&self, group: &str, revision: Revision, at: Millis) {
        let mut state = self.write();
        if revision < state.read_to || revision < self.applied() {
            return;
        }
        let Some(place) = state.groups.find(&self.kit, group) else { return };
        let Some(mut group) = state.groups.group_mut(&self.kit, place) else { return };
        let since = group.view.members_stale_since().map_or(at, |since| since.min(at));
        group.set_members_stale_since(Some(since));
        let id = Name::clone(&group.view.id);
        let last = state.ahead.members.entry(id).or_insert(revision);
        *last = (*last).max(revision);
        self.has_ahead.store(true, Ordering::Release);
    }

    /// Whether the reader's record is of a key that is shown early and must not be applied.
    pub(super) fn holds_back(&self, state: &mut State, event: &Event<'_>, now: &Now) -> bool {
        if state.ahead.keys.is_empty() {
            return false;
        }
        let (topic, partition, record) = match &event.kind {
            EventKind::Commit { topic, partition, commit } => {
                (*topic, *partition, Some(Stored::of(commit, *partition, event.revision, now.ticks)))
            }
            EventKind::Delete { topic, partition } => (*topic, *partition, None),
            EventKind::Classic(_) | EventKind::Piece(..) => return false,
        };
        let key = Key(event.group, topic, partition);
        let Some(early) = state.ahead.keys.get_mut(&key) else { return false };
        if event.revision < early.revision {
            early.by_reader = record;
            return true;
        }
        let confirmed = event.revision == early.revision;
        state.ahead.keys.remove(&key);
        confirmed
    }

    /// The reader has passed `reached`: from here on its records alone decide about what lies before.
    pub(super) fn hand_back(&self, reached: Revision) {
        if !self.has_ahead.load(Ordering::Acquire) {
            return;
        }
        let now = self.moment();
        let mut state = self.write();
        state.read_to = state.read_to.max(reached);
        let passed: Vec<_> = state.ahead.keys.extract_if(|_, early| early.revision < reached).collect();
        for ((group, topic, partition), early) in passed {
            let kind = match &early.by_reader {
                Some(stored) => EventKind::Commit { topic: &topic, partition, commit: stored.commit() },
                None => EventKind::Delete { topic: &topic, partition },
            };
            let revision = early.by_reader.as_ref().map_or(early.revision, |stored| stored.row.revision);
            self.show(&mut state, &Event { revision, at: now.wall, group: &group, kind }, &now);
        }
        let shown: Vec<_> = state.ahead.members.extract_if(|_, last| *last < reached).collect();
        for (id, _) in shown {
            let at = state.groups.find(&self.kit, &id);
            if let Some(mut group) = at.and_then(|at| state.groups.group_mut(&self.kit, at)) {
                group.set_members_stale_since(None);
            }
        }
        self.has_ahead.store(!state.ahead.is_empty(), Ordering::Release);
    }

    fn show(&self, state: &mut State, event: &Event<'_>, now: &Now) {
        match &event.kind {
            EventKind::Commit { topic, partition, commit } => {
                self.commit(state, event, (topic, *partition), commit, now, true);
            }
            EventKind::Delete { topic, partition } => self.delete(state, event, (topic, *partition), now, true),
            EventKind::Classic(_) | EventKind::Piece(..) => {}
        }
    }
}
