//! A shard of a source: its groups, written by one thread in the order of revisions.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::{broadcast, watch};

use super::{
    commits::{CommitEvent, CommitRings},
    event::{Change, Event, EventKind, ShardKey},
    group::{Commit, CommitOrigin, Group, GroupView, ShardContext, StoredCommit},
    membership::record::GroupRecord,
    names::NameInterner,
    progress::Progress,
};
use crate::{
    clock::{Clock, Ticks},
    model::{Millis, Name, Revision},
};

mod directory;
mod provisional;
mod view;
mod replay;

use directory::Directory;
pub use directory::{GroupSet, Groups};
use provisional::Provisional;
pub use view::{CopiedEntry, HiddenGroups, OffsetLookup, ShardView};

/// Number of lock attempts before a reader parks; they take at most a tenth of a millisecond.
const LOCK_ATTEMPTS: u32 = 2000;

#[derive(Debug)]
struct ShardState {
    groups: Directory,
    commits: CommitRings,
    sequence: u64,
    last_full: u64,
    last: Revision,
    /// Greatest revision of a change.
    highest: Revision,
    /// Facts below this revision were passed to [`Shard::apply`].
    read_to: Revision,
    provisional: Provisional,
    changes: Option<broadcast::Sender<Arc<Change>>>,
    /// Groups that readers see in another shard, or nowhere.
    hidden: HiddenGroups,
    /// The view for readers until the next write, created on demand.
    view: OnceLock<Arc<ShardView>>,
}

/// Limits of a shard's buffers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum number of commits in its ring.
    pub commits_kept: usize,
    /// Maximum number of changes that a watcher may lag behind before it must resync.
    pub watch_queue: usize,
}

/// A shard, written by one thread. Readers copy values under its lock, or pin a view.
#[derive(Debug)]
pub struct Shard {
    /// The shard's key.
    pub key: ShardKey,
    /// Incarnation: greater after a rebuild.
    pub epoch: u64,
    /// Load progress and counters.
    pub progress: Progress,
    applied: watch::Sender<Revision>,
    /// Time at which `applied` last moved.
    applied_at: AtomicU32,
    /// Whether the shard has provisional values.
    has_provisional: AtomicBool,
    state: RwLock<ShardState>,
    names: Arc<NameInterner>,
    context: ShardContext,
    clock: Clock,
    limits: Limits,
}

impl Shard {
    /// Creates an empty shard.
    #[must_use]
    pub fn new(key: ShardKey, context: ShardContext, names: Arc<NameInterner>, clock: Clock, limits: Limits) -> Self {
        Self {
            key,
            epoch: context.epoch,
            progress: Progress::default(),
            applied: watch::Sender::new(Revision::NONE),
            applied_at: AtomicU32::new(0),
            has_provisional: AtomicBool::new(false),
            state: RwLock::new(ShardState {
                groups: Directory::default(),
                commits: CommitRings::new(limits.commits_kept),
                sequence: 0,
                last_full: 0,
                last: Revision::NONE,
                highest: Revision::NONE,
                read_to: Revision::NONE,
                provisional: Provisional::default(),
                changes: None,
                hidden: HiddenGroups::default(),
                view: OnceLock::new(),
            }),
            names,
            context,
            clock,
            limits,
        }
    }

    /// Applies events in the order of revisions, under one acquisition of the lock; the caller passes at most a few
    /// hundred at a time. Events below `live_from` are replayed: they do not enter the ring of commits. An event below
    /// one that was applied is dropped, so no key goes back if two readers deliver the same records.
    pub fn apply(&self, events: &[Event<'_>], live_from: Revision) {
        if events.is_empty() {
            return;
        }
        let now = self.now();
        let mut state = self.write();
        let is_quiet = state.changes.is_none() && state.provisional.is_empty();
        let kind = |event: &Event<'_>| {
            let is_commit = matches!(event.kind, EventKind::Commit { .. });
            is_quiet && is_commit && event.revision < live_from
        };
        let alike = |left: &Event<'_>, right: &Event<'_>| {
            kind(left) == kind(right) && left.group == right.group && left.revision < right.revision
        };
        for run in events.chunk_by(alike) {
            // The highest revision wins: events below an applied one are dropped.
            let known = run.partition_point(|event| event.revision < state.read_to);
            let run = run.get(known..).unwrap_or_default();
            if run.first().is_some_and(kind) {
                self.replay(&mut state, run, &now);
            } else {
                self.apply_each(&mut state, run, live_from, &now);
            }
        }
    }

    fn apply_each(&self, state: &mut ShardState, events: &[Event<'_>], live_from: Revision, now: &Now) {
        for event in events {
            state.read_to = event.revision.next();
            if self.is_provisional(state, event, now) {
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
                EventKind::GroupRecord(kind, record) => {
                    let change = |group: &mut Group<'_>| {
                        group.apply_group_record(*kind, GroupRecord::clone(record), event.revision);
                    };
                    self.members(state, event, record.is_tombstone(), change);
                }
            }
        }
    }

    fn now(&self) -> Now {
        Now { ticks: self.clock.ticks(), wall: self.clock.now() }
    }

    /// Sets the revision up to which (exclusive) the source is applied. It never moves back.
    pub fn set_applied(&self, revision: Revision) {
        self.end_provisional(revision);
        self.applied_at.store(self.clock.ticks(), Ordering::Relaxed);
        self.applied.send_if_modified(|applied| {
            let forward = revision > *applied;
            if forward {
                *applied = revision;
            }
            forward
        });
    }

    /// Returns the lowest revision that is not applied; [`Revision::NONE`] if nothing is known.
    #[must_use]
    pub fn applied(&self) -> Revision {
        *self.applied.borrow()
    }

    /// Returns whether the applied revision has not moved since `at`.
    #[must_use]
    pub fn applied_before(&self, at: Ticks) -> bool {
        self.applied_at.load(Ordering::Relaxed) < at
    }

    /// Waits until the source is applied up to `revision`. It waits forever if the shard is replaced, so the caller
    /// must set a deadline.
    ///
    /// # Cancel safety
    /// Safe: no state is changed.
    pub async fn wait_applied(&self, revision: Revision) {
        // The sender lives as long as `self`, so the wait cannot fail.
        let _ = self.applied.subscribe().wait_for(|applied| *applied >= revision).await;
    }

    /// Returns a view of the current state. Calls return the same view until the next write. A new view costs a
    /// fraction of a microsecond per block of groups, more after groups came or went. While it is pinned, the writer
    /// copies each chunk that it changes.
    #[must_use]
    pub fn pin(&self) -> Arc<ShardView> {
        self.view(&self.read())
    }

    /// Returns a view of the current state, and a receiver of all changes after it, without gaps or repetitions.
    #[must_use]
    pub fn subscribe(&self) -> (Arc<ShardView>, broadcast::Receiver<Arc<Change>>) {
        let mut state = self.write();
        let changes = state.changes.get_or_insert_with(|| broadcast::Sender::new(self.limits.watch_queue)).subscribe();
        (self.view(&state), changes)
    }

    /// Sets which groups are hidden in this shard. Returns whether the set changed.
    pub fn set_hidden(&self, hidden: Option<&HiddenGroups>) -> bool {
        let is_same = |known: &HiddenGroups| hidden.map_or(known.is_empty(), |hidden| hidden == known);
        if is_same(&self.read().hidden) {
            return false;
        }
        self.write().hidden = hidden.cloned().unwrap_or_default();
        true
    }

    /// Returns the hidden groups. The allocation is the same until they change.
    #[must_use]
    pub fn hidden(&self) -> HiddenGroups {
        HiddenGroups::clone(&self.read().hidden)
    }

    /// Returns a view of one group.
    #[must_use]
    pub fn group(&self, id: &str) -> Option<Arc<GroupView>> {
        let state = self.read();
        state.groups.view(state.groups.find(&self.context, id)?).map(Arc::clone)
    }

    /// Returns a copy of one committed offset.
    #[must_use]
    pub fn get(&self, group: &str, topic: &str, partition: i32) -> Option<OffsetLookup> {
        let state = self.read();
        let at = state.groups.find(&self.context, group)?;
        let view = state.groups.view(at)?;
        let entry = state.groups.get(&self.context, at, topic, partition);
        Some(OffsetLookup {
            group: Name::clone(&view.id),
            members: view.members.clone(),
            has_topic: entry.is_some() || view.topic_counts().any(|(name, _)| &**name == topic),
            entry: entry.map(|(position, entry)| CopiedEntry {
                position,
                topic: Name::clone(entry.topic),
                topic_index: entry.topic_index,
                row: *entry.row,
                extras: entry.extras.cloned(),
            }),
        })
    }

    /// Returns the number of groups and of committed offsets.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        let state = self.read();
        (state.groups.len(), state.groups.offsets())
    }

    /// Frees unused capacity after the load: the number of groups and offsets changes little from then on.
    pub fn shrink(&self) {
        self.write().groups.shrink();
    }

    /// Locks the state for reading. Spins before it parks, because the writer holds the lock for microseconds only:
    /// waking a parked reader costs the writer more than a short spin costs the reader.
    fn read(&self) -> RwLockReadGuard<'_, ShardState> {
        for _ in 0..LOCK_ATTEMPTS {
            if let Some(state) = self.state.try_read() {
                return state;
            }
            std::hint::spin_loop();
        }
        self.state.read()
    }

    /// Locks the state for writing. Drops the shared view, so that groups that no reader pins are changed in place.
    fn write(&self) -> RwLockWriteGuard<'_, ShardState> {
        let mut state = self.state.write();
        state.view.take();
        state
    }

    fn view(&self, state: &ShardState) -> Arc<ShardView> {
        let view = || ShardView {
            key: self.key.clone(),
            epoch: self.epoch,
            load_began: self.progress.load_began(),
            sequence: state.sequence,
            groups: state.groups.groups(),
            commits: state.commits.clone(),
            last_full: state.last_full,
            last: state.last,
            hidden: HiddenGroups::clone(&state.hidden),
        };
        Arc::clone(state.view.get_or_init(|| Arc::new(view())))
    }

    /// Returns the group; adds it if it is new.
    fn group_mut<'s>(&'s self, state: &'s mut ShardState, id: &str) -> Option<Group<'s>> {
        let at = state.groups.get_or_add(&self.context, id, |id| self.names.intern(id));
        state.groups.group_mut(&self.context, at)
    }

    fn commit(
        &self,
        state: &mut ShardState,
        event: &Event<'_>,
        key: (&str, i32),
        commit: &Commit<'_>,
        now: &Now,
        live: bool,
    ) {
        let watched = state.changes.is_some();
        // A replayed commit was applied before any log end was observed.
        let applied = if live { now.ticks } else { 0 };
        let Some(mut group) = self.group_mut(state, event.group) else { return };
        let old_extras = watched.then(|| group.get(key.0, key.1).and_then(|entry| entry.extras.cloned()));
        let intern = |name: &str| self.names.intern(name);
        let (place, old) =
            group.commit(key, commit, CommitOrigin { revision: event.revision, applied, at: now.wall }, intern);
        if live {
            group.count_live();
        }
        let Some(entry) = group.view.entry(place) else { return };
        let (topic, row, extras) = (Name::clone(entry.topic), *entry.row, entry.extras.cloned());
        let id = Name::clone(&group.view.id);
        let change = Change {
            sequence: 0,
            revision: event.revision,
            group: id,
            topic,
            partition: key.1,
            old: old.map(|row| StoredCommit { row, extras: old_extras.flatten() }),
            new: Some(StoredCommit { row, extras }),
        };
        if old.is_none() {
            state.groups.count_new(1);
        }
        record(state, change, event.at, now, live);
    }

    fn delete(&self, state: &mut ShardState, event: &Event<'_>, key: (&str, i32), now: &Now, live: bool) {
        let Some(at) = state.groups.find(&self.context, event.group) else { return };
        let Some(mut group) = state.groups.group_mut(&self.context, at) else { return };
        let Some(entry) = group.get(key.0, key.1) else { return };
        let (topic, extras) = (Name::clone(entry.topic), entry.extras.cloned());
        let id = Name::clone(&group.view.id);
        let Some(row) = group.remove(key.0, key.1) else { return };
        state.groups.count_deleted();
        let (revision, partition, old) = (event.revision, key.1, Some(StoredCommit { row, extras }));
        let change = Change { sequence: 0, revision, group: id, topic, partition, old, new: None };
        record(state, change, event.at, now, live);
        state.groups.drop_if_gone(&self.context, event.group);
    }

    fn members(&self, state: &mut ShardState, event: &Event<'_>, tombstone: bool, change: impl FnOnce(&mut Group<'_>)) {
        if tombstone && state.groups.find(&self.context, event.group).is_none() {
            return;
        }
        if let Some(mut group) = self.group_mut(state, event.group) {
            change(&mut group);
        }
        state.groups.drop_if_gone(&self.context, event.group);
    }
}

/// Counts everything that readers still pin as retained: the shard was rebuilt, or its log partition no longer exists.
impl Drop for Shard {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        state.view.take();
        state.groups.release(&self.context);
    }
}

struct Now {
    ticks: Ticks,
    wall: Millis,
}

/// Numbers a change, adds it to the ring if it is live, and sends it to watchers. Changes of hidden groups are ignored.
fn record(state: &mut ShardState, mut change: Change, at: Millis, now: &Now, live: bool) {
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
    // Without receivers, changes are no longer created.
    if state.changes.as_ref().is_some_and(|changes| changes.send(Arc::new(change)).is_err()) {
        state.changes = None;
    }
}

#[cfg(test)]
mod tests;
