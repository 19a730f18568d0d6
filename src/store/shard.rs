//! One shard of a source: its groups, written by one thread in the order of revisions.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::{broadcast, watch};

use super::{
    commits::{CommitEvent, Rings},
    event::{Change, Event, EventKind, ShardKey},
    group::{Commit, Group, GroupView, Kit, Seen, Stored},
    membership::piece::Piece,
    names::Names,
    progress::Progress,
};
use crate::{
    clock::{Clock, Ticks},
    model::{Millis, Name, Revision},
};

mod directory;
mod early;
mod found;
mod replay;

use directory::Directory;
pub use directory::{GroupSet, Groups};
use early::Ahead;
pub use found::{Found, FoundEntry, Hidden, ShardView};

/// How often a reader looks whether the writer is done before it goes to sleep: a tenth of a millisecond, or less.
const LOOKS: u32 = 2000;

#[derive(Debug)]
struct State {
    groups: Directory,
    commits: Rings,
    sequence: u64,
    last_full: u64,
    last: Revision,
    /// Greatest revision of a change.
    highest: Revision,
    /// Facts below were handed to [`Shard::apply`].
    read_to: Revision,
    ahead: Ahead,
    changes: Option<broadcast::Sender<Arc<Change>>>,
    /// Groups whose present records lie in another shard, or nowhere.
    hidden: Hidden,
    /// What readers get until the next write, if one has asked.
    view: OnceLock<Arc<ShardView>>,
}

/// What a shard may keep beside its offsets.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Commits in its ring.
    pub commits_kept: usize,
    /// Changes that a watcher may lag behind before it must resync.
    pub watch_queue: usize,
}

/// A shard, written by one thread; readers copy under its lock or pin a view.
#[derive(Debug)]
pub struct Shard {
    /// Which shard.
    pub key: ShardKey,
    /// Rises when the shard is rebuilt.
    pub epoch: u64,
    /// Counters, and the range of the load.
    pub progress: Progress,
    applied: watch::Sender<Revision>,
    /// When `applied` last moved.
    applied_at: AtomicU32,
    /// Something is shown ahead of the reader.
    has_ahead: AtomicBool,
    state: RwLock<State>,
    names: Arc<Names>,
    kit: Kit,
    clock: Clock,
    limits: Limits,
}

impl Shard {
    /// An empty shard.
    #[must_use]
    pub fn new(key: ShardKey, kit: Kit, names: Arc<Names>, clock: Clock, limits: Limits) -> Self {
        Self {
            key,
            epoch: kit.epoch,
            progress: Progress::default(),
            applied: watch::Sender::new(Revision::NONE),
            applied_at: AtomicU32::new(0),
            has_ahead: AtomicBool::new(false),
            state: RwLock::new(State {
                groups: Directory::default(),
                commits: Rings::new(limits.commits_kept),
                sequence: 0,
                last_full: 0,
                last: Revision::NONE,
                highest: Revision::NONE,
                read_to: Revision::NONE,
                ahead: Ahead::default(),
                changes: None,
                hidden: Hidden::default(),
                view: OnceLock::new(),
            }),
            names,
            kit,
            clock,
            limits,
        }
    }

    /// Applies events in the order of revisions, under one hold of the lock: the caller passes at most a few
    /// hundred at a time. Events below `live_from` are replayed: no news, so kept out of the ring. An event below one that
    /// was applied is dropped: no key goes back, also where two readers bring the same records.
    pub fn apply(&self, events: &[Event<'_>], live_from: Revision) {
        if events.is_empty() {
            return;
        }
        let now = self.moment();
        let mut state = self.write();
        let is_quiet = state.changes.is_none() && state.ahead.is_empty();
        let kind = |event: &Event<'_>| {
            let is_commit = matches!(event.kind, EventKind::Commit { .. });
            is_quiet && is_commit && event.revision < live_from
        };
        let alike = |left: &Event<'_>, right: &Event<'_>| {
            kind(left) == kind(right) && left.group == right.group && left.revision < right.revision
        };
        for run in events.chunk_by(alike) {
            // The highest revision wins: what lies below one that was applied is dropped.
            let known = run.partition_point(|event| event.revision < state.read_to);
            let run = run.get(known..).unwrap_or_default();
            if run.first().is_some_and(kind) {
                self.replay(&mut state, run, &now);
            } else {
                self.apply_each(&mut state, run, live_from, &now);
            }
        }
    }

    fn apply_each(&self, state: &mut State, events: &[Event<'_>], live_from: Revision, now: &Now) {
        for event in events {
            state.read_to = event.revision.next();
            if self.holds_back(state, event, now) {
                continue;
            }
            let live = event.revision >= live_from;
            match &event.kind {
                EventKind::Commit { topic, partition, commit } => {
                    self.commit(state, event, (topic, *partition), commit, now, live);
                }
                EventKind::Delete { topic, partition } => {
                    self.delete(state, event, (topic, *partition), now, live);
                }
                EventKind::Classic(membership) => {
                    self.members(state, event, membership.is_none(), |group| {
                        group.set_classic(membership.clone());
                    });
                }
                EventKind::Piece(kind, piece) => {
                    let change = |group: &mut Group<'_>| {
                        group.apply_piece(*kind, Piece::clone(piece), event.revision);
                    };
                    self.members(state, event, piece.is_tombstone(), change);
                }
            }
        }
    }

    fn moment(&self) -> Now {
        Now { ticks: self.clock.ticks(), wall: self.clock.now() }
    }

    /// Declares the source applied up to, not including, `revision`. Moves only forward.
    pub fn set_applied(&self, revision: Revision) {
        self.hand_back(revision);
        self.applied_at.store(self.clock.ticks(), Ordering::Relaxed);
        self.applied.send_if_modified(|applied| {
            let forward = revision > *applied;
            if forward {
                *applied = revision;
            }
            forward
        });
    }

    /// The least revision that is not applied; [`Revision::NONE`] before anything is known.
    #[must_use]
    pub fn applied(&self) -> Revision {
        *self.applied.borrow()
    }

    /// Whether nothing was applied since.
    #[must_use]
    pub fn applied_before(&self, at: Ticks) -> bool {
        self.applied_at.load(Ordering::Relaxed) < at
    }

    /// Waits until the source is applied up to `revision`. Never returns for a shard that was replaced:
    /// bound it by a deadline.
    ///
    /// # Cancel safety
    /// Holds nothing.
    pub async fn wait_applied(&self, revision: Revision) {
        // The sender lives as long as self.
        let _ = self.applied.subscribe().wait_for(|applied| *applied >= revision).await;
    }

    /// The shard as it is now: the same view until something is written. The first costs a fraction of a microsecond for
    /// each block of groups, more where groups came or went; and, while it lives, the writer a copy of each chunk that it
    /// then touches.
    #[must_use]
    pub fn pin(&self) -> Arc<ShardView> {
        self.view(&self.read())
    }

    /// The shard as it is now, and every change after it, with none between or missing.
    #[must_use]
    pub fn subscribe(&self) -> (Arc<ShardView>, broadcast::Receiver<Arc<Change>>) {
        let mut state = self.write();
        let changes = state.changes.get_or_insert_with(|| broadcast::Sender::new(self.limits.watch_queue)).subscribe();
        (self.view(&state), changes)
    }

    /// Says which groups are not shown from here. Returns whether that is new.
    pub fn set_hidden(&self, hidden: Option<&Hidden>) -> bool {
        let is_same = |known: &Hidden| hidden.map_or(known.is_empty(), |hidden| hidden == known);
        if is_same(&self.read().hidden) {
            return false;
        }
        self.write().hidden = hidden.cloned().unwrap_or_default();
        true
    }

    /// Groups that are not shown from here. The same allocation until they change.
    #[must_use]
    pub fn hidden(&self) -> Hidden {
        Hidden::clone(&self.read().hidden)
    }

    /// One group as it is now.
    #[must_use]
    pub fn group(&self, id: &str) -> Option<Arc<GroupView>> {
        let state = self.read();
        state.groups.view(state.groups.find(&self.kit, id)?).map(Arc::clone)
    }

    /// Copies one committed offset.
    #[must_use]
    pub fn get(&self, group: &str, topic: &str, partition: i32) -> Option<Found> {
        let state = self.read();
        let at = state.groups.find(&self.kit, group)?;
        let view = state.groups.view(at)?;
        let entry = state.groups.get(&self.kit, at, topic, partition);
        Some(Found {
            group: Name::clone(&view.id),
            members: view.members.clone(),
            has_topic: entry.is_some() || view.topic_counts().any(|(name, _)| &**name == topic),
            entry: entry.map(|(position, entry)| FoundEntry {
                position,
                topic: Name::clone(entry.topic),
                topic_index: entry.topic_index,
                row: *entry.row,
                rare: entry.rare.cloned(),
            }),
        })
    }

    /// Groups and committed offsets.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        let state = self.read();
        (state.groups.len(), state.groups.offsets())
    }

    /// Gives back the memory that was kept for growing: what was loaded is about what there will be.
    pub fn shrink(&self) {
        self.write().groups.shrink();
    }

    /// The state, to be read. The writer holds its lock for tens of microseconds. Who sleeps meanwhile is woken by the
    /// writer, or given the lock before it, and either takes of its time many times what a reader loses that looks again.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        for _ in 0..LOOKS {
            if let Some(state) = self.state.try_read() {
                return state;
            }
            std::hint::spin_loop();
        }
        self.state.read()
    }

    /// The state, to be changed. The view that was kept for readers goes, so that what nobody reads is changed in place.
    fn write(&self) -> RwLockWriteGuard<'_, State> {
        let mut state = self.state.write();
        state.view.take();
        state
    }

    fn view(&self, state: &State) -> Arc<ShardView> {
        let view = || ShardView {
            key: self.key.clone(),
            epoch: self.epoch,
            load_began: self.progress.load_began(),
            sequence: state.sequence,
            groups: state.groups.groups(),
            commits: state.commits.clone(),
            last_full: state.last_full,
            last: state.last,
            hidden: Hidden::clone(&state.hidden),
        };
        Arc::clone(state.view.get_or_init(|| Arc::new(view())))
    }

    /// The group, new if need be.
    fn group_mut<'s>(&'s self, state: &'s mut State, id: &str) -> Option<Group<'s>> {
        let at = state.groups.enter(&self.kit, id, |id| self.names.intern(id));
        state.groups.group_mut(&self.kit, at)
    }

    fn commit(
        &self,
        state: &mut State,
        event: &Event<'_>,
        key: (&str, i32),
        commit: &Commit<'_>,
        now: &Now,
        live: bool,
    ) {
        let watched = state.changes.is_some();
        // A loaded commit was applied before any log end was observed.
        let applied = if live { now.ticks } else { 0 };
        let Some(mut group) = self.group_mut(state, event.group) else { return };
        let old_rare = watched.then(|| group.get(key.0, key.1).and_then(|entry| entry.rare.cloned()));
        let intern = |name: &str| self.names.intern(name);
        let (place, old) = group.commit(key, commit, Seen { revision: event.revision, applied, at: now.wall }, intern);
        if live {
            group.count_live();
        }
        let Some(entry) = group.view.entry(place) else { return };
        let (topic, row, rare) = (Name::clone(entry.topic), *entry.row, entry.rare.cloned());
        let id = Name::clone(&group.view.id);
        let change = Change {
            sequence: 0,
            revision: event.revision,
            group: id,
            topic,
            partition: key.1,
            old: old.map(|row| Stored { row, rare: old_rare.flatten() }),
            new: Some(Stored { row, rare }),
        };
        if old.is_none() {
            state.groups.count_new(1);
        }
        record(state, change, event.at, now, live);
    }

    fn delete(&self, state: &mut State, event: &Event<'_>, key: (&str, i32), now: &Now, live: bool) {
        let Some(at) = state.groups.find(&self.kit, event.group) else { return };
        let Some(mut group) = state.groups.group_mut(&self.kit, at) else { return };
        let Some(entry) = group.get(key.0, key.1) else { return };
        let (topic, rare) = (Name::clone(entry.topic), entry.rare.cloned());
        let id = Name::clone(&group.view.id);
        let Some(row) = group.remove(key.0, key.1) else { return };
        state.groups.count_deleted();
        let (revision, partition, old) = (event.revision, key.1, Some(Stored { row, rare }));
        let change = Change { sequence: 0, revision, group: id, topic, partition, old, new: None };
        record(state, change, event.at, now, live);
        state.groups.drop_if_gone(&self.kit, event.group);
    }

    fn members(&self, state: &mut State, event: &Event<'_>, tombstone: bool, change: impl FnOnce(&mut Group<'_>)) {
        if tombstone && state.groups.find(&self.kit, event.group).is_none() {
            return;
        }
        if let Some(mut group) = self.group_mut(state, event.group) {
            change(&mut group);
        }
        state.groups.drop_if_gone(&self.kit, event.group);
    }
}

/// Rebuilt, or of a log partition that is no more: what is still read of it is the readers' alone.
impl Drop for Shard {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        state.view.take();
        state.groups.leave(&self.kit);
    }
}

struct Now {
    ticks: Ticks,
    wall: Millis,
}

/// Numbers a change, keeps it in the ring if it is news, and hands it to watchers. Not where the group is not shown from
/// here.
fn record(state: &mut State, mut change: Change, at: Millis, now: &Now, live: bool) {
    if state.hidden.contains(&change.group) {
        return;
    }
    state.sequence += 1;
    state.last = change.revision;
    change.sequence = state.sequence;
    if change.new.is_none() || change.revision < state.highest {
        state.last_full = state.sequence;
    }
    state.highest = state.highest.max(change.revision);
    if live {
        state.commits.push(CommitEvent {
            group: Name::clone(&change.group),
            topic: Name::clone(&change.topic),
            partition: change.partition,
            committed_offset: change.new.as_ref().map(|new| new.row.committed_offset),
            previous_offset: change.old.as_ref().map(|old| old.row.committed_offset),
            committed_at: change.new.as_ref().map_or(at, |new| new.row.committed_at),
            revision: change.revision,
            applied_at: now.wall,
            sequence: state.sequence,
        });
    }
    // Without receivers the last watcher has gone: stop making changes for it.
    if state.changes.as_ref().is_some_and(|changes| changes.send(Arc::new(change)).is_err()) {
        state.changes = None;
    }
}

#[cfg(test)]
mod tests;
