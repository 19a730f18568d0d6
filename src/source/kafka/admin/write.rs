//! Writes what coordinators tell to the store: what changed, in the order in which it was found.

use std::sync::Arc;

use hashbrown::HashSet;

use super::{
    super::{
        ffi::{CommittedOffset, DescribedGroup, NamedGroup},
        rights,
    },
    members,
};
use crate::{
    clock::Clock,
    model::{Millis, Name, Revision},
    store::{
        event::{Event, EventKind},
        group::{Commit, GroupView},
        membership::Membership,
        source::Fault,
        writer::{ShardWriter, SourceWriter},
    },
};

/// Facts that are applied under one hold of the shard's lock.
const AT_ONCE: usize = 256;
/// The number of the source's only shard.
pub(in super::super) const SHARD: i32 = 0;
/// The Admin API tells no time of a commit: `OffsetCommitRequest.DEFAULT_TIMESTAMP`.
const NO_TIME: Millis = -1;

/// Writes one shard, whose revisions count the changes that were found.
#[derive(Debug)]
pub(in super::super) struct Writer {
    door: SourceWriter,
    shard: ShardWriter,
    next: Revision,
    is_loaded: bool,
}

impl Writer {
    /// Goes on with the shard that is there, else with an empty one.
    pub(in super::super) fn new(door: SourceWriter) -> Self {
        let shard = door.shard(SHARD).unwrap_or_else(|| {
            let shard = door.new_shard(SHARD);
            door.publish(&shard);
            shard
        });
        let next = shard.applied().max(Revision(0));
        door.source().set_health(|health| health.shards = Some(1));
        Self { is_loaded: door.source().health().ready, door, shard, next }
    }

    /// The name, kept once.
    pub(super) fn name(&self, name: &str) -> Name {
        self.door.names().intern(name)
    }

    fn clock(&self) -> &Clock {
        self.door.clock()
    }

    /// Whether the operator wants to see the group.
    pub(super) fn accepts(&self, group: &str) -> bool {
        self.door.cluster().config.groups.accepts(group)
    }

    /// The groups that readers see.
    pub(super) fn groups(&self) -> impl Iterator<Item = Name> {
        let view = self.shard.pin();
        let groups: Vec<Name> = view.groups.iter().map(|group| Name::clone(&group.id)).collect();
        groups.into_iter()
    }

    /// Up to where everything that was found is applied.
    pub(super) fn revision(&self) -> Revision {
        self.next
    }

    /// Whether readers are answered already.
    pub(super) fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    /// Whether a right that was missing since readers were answered is there again.
    pub(super) fn is_allowed_again(&self) -> bool {
        let health = self.door.source().health();
        self.is_loaded && !health.ready && !health.is_refused()
    }

    /// Notes that all groups were looked at once.
    pub(super) fn loaded(&mut self) {
        self.is_loaded = true;
        self.door.loaded();
    }

    /// Whether log ends were fetched, which readers need, too.
    pub(super) fn are_ends_loaded(&self) -> bool {
        self.door.cluster().ends.current().loaded
    }

    /// Notes that no group may be described any more.
    pub(super) fn refused(&self, error: &str) {
        let reason = rights::cannot_describe_groups(&self.door.cluster().config, error);
        self.door.failed(Fault::Read, Some(reason));
    }

    /// Notes what fails, or does no longer.
    pub(super) fn failed(&self, fault: Fault, reason: Option<String>) {
        self.door.failed(fault, reason);
    }

    /// Takes over all that a group has committed. A partition that the coordinator does not tell keeps what was known.
    /// Returns whether something changed.
    pub(super) fn offsets(&mut self, group: &Name, answer: &[CommittedOffset]) -> bool {
        let view = self.shard.group(group);
        let mut events = vec![];
        let mut told = HashSet::new();
        let topics = &self.door.cluster().config.topics;
        for key in answer.iter().filter(|key| topics.accepts(&key.topic)) {
            let committed = match &key.result {
                Ok(Some(committed)) => committed,
                Ok(None) => continue,
                Err(_) => {
                    told.insert((&*key.topic, key.partition));
                    continue;
                }
            };
            told.insert((&*key.topic, key.partition));
            let found = self.shard.get(group, &key.topic, key.partition).and_then(|found| found.entry);
            if found.is_some_and(|entry| committed.is(&entry.row, entry.rare.as_ref())) {
                continue;
            }
            let commit = Commit {
                committed_offset: committed.offset,
                committed_at: NO_TIME,
                leader_epoch: committed.leader_epoch,
                metadata: &committed.metadata,
                expires_at: None,
                topic_id: None,
            };
            events.push(EventKind::Commit { topic: &key.topic, partition: key.partition, commit });
        }
        let entries = view.iter().flat_map(|view| view.entries());
        let gone = entries.filter(|entry| !told.contains(&(&**entry.topic, entry.row.partition)));
        events.extend(gone.map(|entry| EventKind::Delete { topic: entry.topic, partition: entry.row.partition }));
        let changed = !events.is_empty();
        self.apply(group, events);
        changed
    }

    /// Takes over the state and the members of a group. Returns whether they changed.
    pub(super) fn members(&mut self, group: &Name, described: &DescribedGroup) -> bool {
        let membership = members::membership(described, self.next, &|name| self.name(name));
        self.set_members(group, membership)
    }

    /// Takes over a group of a protocol that librdkafka does not describe: its kind and its state.
    pub(super) fn other_protocol(&mut self, group: &NamedGroup) {
        let (name, membership) = (self.name(&group.id), members::of_other_protocol(group, self.next));
        self.set_members(&name, membership);
    }

    fn set_members(&mut self, group: &Name, membership: Option<Membership>) -> bool {
        let view = self.shard.group(group);
        let is_same = match (view.as_ref().and_then(|view| view.membership()), &membership) {
            (None, None) => true,
            (Some(known), Some(told)) => known.is_alike(told),
            _ => false,
        };
        if !is_same {
            self.apply(group, vec![EventKind::Classic(membership.map(Arc::new))]);
        }
        !is_same
    }

    /// Removes a group that brokers list no longer.
    pub(super) fn gone(&mut self, group: &Name) {
        let view = self.shard.group(group);
        let entries = view.iter().flat_map(|view: &Arc<GroupView>| view.entries());
        let mut events: Vec<EventKind<'_>> =
            entries.map(|entry| EventKind::Delete { topic: entry.topic, partition: entry.row.partition }).collect();
        events.push(EventKind::Classic(None));
        self.apply(group, events);
    }

    fn apply(&mut self, group: &Name, events: Vec<EventKind<'_>>) {
        let at = self.clock().now();
        let events: Vec<Event<'_>> = events
            .into_iter()
            .map(|kind| {
                let revision = self.next;
                self.next = Revision(revision.0 + 1);
                Event { revision, at, group, kind }
            })
            .collect();
        // What stood at the start is no news.
        let live_from = if self.is_loaded { Revision(0) } else { Revision(i64::MAX) };
        for events in events.chunks(AT_ONCE) {
            self.shard.apply(events, live_from);
        }
        self.shard.reached(self.next);
    }
}
