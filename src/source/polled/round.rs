//! One listing of a store, or of a group of it, compared with the shard as it goes.

use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};

use crate::{
    model::{Millis, Name, Revision},
    store::{
        ends::Ends,
        event::{Event, EventKind},
        group::{Commit, GroupView},
        shard::{FoundEntry, ShardView},
        writer::{ShardWriter, SourceWriter},
    },
};

/// Changes that are applied together.
const TOGETHER: usize = 256;
/// Longest text of a key that was rejected, in bytes.
const LONGEST_KEY: usize = 200;

/// An offset that a store holds.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// Group id.
    pub group: &'a str,
    /// Topic name.
    pub topic: &'a str,
    /// Partition of the topic.
    pub partition: i32,
    /// The next offset that the group will read.
    pub committed_offset: i64,
    /// When it was committed, if the store tells.
    pub committed_at: Option<Millis>,
    /// Text beside it.
    pub metadata: &'a str,
}

/// Why something that a store holds is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The layout does not say what it is.
    Unmatched,
    /// It says no offset.
    Malformed,
    /// The layout says several things of it.
    Ambiguous,
    /// The store refuses to show it.
    Forbidden,
}

/// A part of what a store holds: a group, or of it a topic, or a partition.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Group id.
    pub group: &'a str,
    /// Topic name.
    pub topic: Option<&'a str>,
    /// Partition.
    pub partition: Option<i32>,
}

/// A listing under way.
#[derive(Debug)]
pub struct Round<'a> {
    writer: &'a SourceWriter,
    shard: &'a ShardWriter,
    /// The groups that are listed, as they were when the listing began. Nothing is deleted before it ends, so that places
    /// stay what they are.
    before: Before,
    /// Of the groups, only this topic and partition are listed.
    topic: Option<String>,
    partition: Option<i32>,
    /// By group, the places of its offsets that were listed.
    listed: HashMap<Name, Vec<bool>>,
    /// Changes that are not applied yet; `None` is a deletion. The last of a key counts.
    changes: HashMap<Key, Option<Change>>,
    next: Revision,
    live_from: Revision,
    seen: Seen,
}

/// What a listing is compared with.
#[derive(Debug)]
enum Before {
    All(Arc<ShardView>),
    One(Option<Arc<GroupView>>),
}

/// What a listing showed.
#[derive(Debug, Default)]
pub struct Seen {
    /// Offsets.
    pub entries: u64,
    /// Offsets that are new, are others, or are gone.
    pub changes: u64,
    /// Of these, gone.
    pub deletions: u64,
    /// See [`Rejected::Unmatched`].
    pub unmatched: u64,
    /// See [`Rejected::Malformed`].
    pub malformed: u64,
    /// See [`Rejected::Ambiguous`].
    pub ambiguous: u64,
    /// See [`Rejected::Forbidden`].
    pub forbidden: u64,
    /// The last key that is no row.
    pub last_rejected: Option<String>,
    /// Up to where it is applied.
    pub reached: Revision,
}

type Key = (Name, Name, i32);

#[derive(Debug)]
struct Change {
    committed_offset: i64,
    committed_at: Millis,
    leader_epoch: i32,
    metadata: Name,
}

/// A borrowed key.
#[derive(Hash)]
struct KeyRef<'a>(&'a str, &'a str, i32);

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.0 == *key.0 && *self.1 == *key.1 && self.2 == key.2
    }
}

impl<'a> Round<'a> {
    /// A listing of all groups begins. `live`: what is found is news.
    #[must_use]
    pub fn new(writer: &'a SourceWriter, shard: &'a ShardWriter, live: bool) -> Self {
        Self::compared((writer, shard), Before::All(shard.pin()), live)
    }

    /// A listing of one group begins: nothing is told of the others.
    #[must_use]
    pub fn of_group(writer: &'a SourceWriter, shard: &'a ShardWriter, group: &str, live: bool) -> Self {
        Self::compared((writer, shard), Before::One(shard.group(group)), live)
    }

    /// A listing of a part of the store begins: nothing is told of the rest.
    #[must_use]
    pub fn of_part(writer: &'a SourceWriter, shard: &'a ShardWriter, part: &Part<'_>, live: bool) -> Self {
        let mut round = Self::of_group(writer, shard, part.group, live);
        (round.topic, round.partition) = (part.topic.map(str::to_owned), part.partition);
        round
    }

    fn compared((writer, shard): (&'a SourceWriter, &'a ShardWriter), before: Before, live: bool) -> Self {
        Self {
            writer,
            shard,
            before,
            topic: None,
            partition: None,
            listed: HashMap::new(),
            changes: HashMap::new(),
            next: shard.applied().max(Revision(0)),
            live_from: if live { Revision(0) } else { Revision::MAX },
            seen: Seen::default(),
        }
    }

    /// The topics of the cluster; `None` while they are not known.
    #[must_use]
    pub fn topics(&self) -> Option<Arc<Ends>> {
        topics(self.writer)
    }

    /// Takes an offset that the store holds. Of several for one key, the last counts.
    pub fn found(&mut self, listed: &Listed<'_>) {
        self.committed(listed, -1);
    }

    /// The same of a store that tells the epoch of the last consumed record, or -1.
    pub fn committed(&mut self, listed: &Listed<'_>, leader_epoch: i32) {
        if !self.accepts(listed.group, listed.topic) {
            return;
        }
        self.seen.entries += 1;
        let known = self.shard.get(listed.group, listed.topic, listed.partition).and_then(|found| found.entry);
        if let Some(known) = &known {
            self.mark(listed.group, known.position);
        }
        let is_pending = self.changes.contains_key(&KeyRef(listed.group, listed.topic, listed.partition));
        if !is_pending && known.is_some_and(|known| is_same(&known, listed, leader_epoch)) {
            return;
        }
        let intern = |text: &str| self.writer.names().intern(text);
        let key = (intern(listed.group), intern(listed.topic), listed.partition);
        let (committed_offset, metadata) = (listed.committed_offset, Name::from(listed.metadata));
        let committed_at = listed.committed_at.unwrap_or(0);
        let change = Change { committed_offset, committed_at, leader_epoch, metadata };
        self.changes.insert(key, Some(change));
        if self.changes.len() >= TOGETHER {
            self.apply();
        }
    }

    /// Takes note of an offset that the store does not tell now: a row of it stays as it is.
    pub fn not_told(&mut self, group: &str, topic: &str, partition: i32, why: Rejected) {
        if !self.accepts(group, topic) {
            return;
        }
        if let Some(known) = self.shard.get(group, topic, partition).and_then(|found| found.entry) {
            self.mark(group, known.position);
        }
        self.reject(why, &format!("{group}/{topic}/{partition}"));
    }

    /// Takes note of an offset that the store says to hold no more: of a listing that shows only some, and is not complete.
    pub fn gone(&mut self, group: &str, topic: &str, partition: i32) {
        let Some(known) = self.shard.get(group, topic, partition).and_then(|found| found.entry) else { return };
        self.mark(group, known.position);
        self.changes.insert((self.writer.names().intern(group), known.topic, partition), None);
        self.seen.deletions += 1;
    }

    /// The rows that were not listed so far, as (group, topic, partition).
    #[must_use]
    pub fn missing(&self) -> Vec<(Name, Name, i32)> {
        let mut missing = vec![];
        for group in self.before.groups() {
            let listed = self.listed.get(&group.id).map_or(&[][..], Vec::as_slice);
            let entries = group.entries().enumerate().filter(|(position, entry)| {
                let is_of_part = self.topic.as_deref().is_none_or(|topic| topic == &**entry.topic)
                    && self.partition.is_none_or(|partition| partition == entry.row.partition);
                is_of_part && listed.get(*position) != Some(&true)
            });
            let key = |topic: &Name, partition| (Name::clone(&group.id), Name::clone(topic), partition);
            missing.extend(entries.map(|(_, entry)| key(entry.topic, entry.row.partition)));
        }
        missing
    }

    /// Counts something that is no row. `key` is shown to operators, so it must not hold the value.
    pub fn reject(&mut self, why: Rejected, key: &str) {
        let count = match why {
            Rejected::Unmatched => &mut self.seen.unmatched,
            Rejected::Malformed => &mut self.seen.malformed,
            Rejected::Ambiguous => &mut self.seen.ambiguous,
            Rejected::Forbidden => &mut self.seen.forbidden,
        };
        *count += 1;
        let end = key.floor_char_boundary(LONGEST_KEY);
        self.seen.last_rejected = key.get(..end).map(str::to_owned);
    }

    /// The listing ends; `complete`: what it did not show is deleted.
    #[must_use]
    pub fn finish(mut self, complete: bool) -> Seen {
        self.apply();
        if complete {
            self.delete_missing();
        }
        self.seen.reached = self.next;
        self.seen
    }

    /// Whether the operator wants to see the offset.
    fn accepts(&self, group: &str, topic: &str) -> bool {
        let config = &self.writer.cluster().config;
        config.groups.accepts(group) && config.topics.accepts(topic)
    }

    fn mark(&mut self, group: &str, position: usize) {
        let places = match self.listed.get_mut(group) {
            Some(places) => places,
            None => self.listed.entry(self.writer.names().intern(group)).or_default(),
        };
        if places.len() <= position {
            places.resize(position + 1, false);
        }
        if let Some(place) = places.get_mut(position) {
            *place = true;
        }
    }

    fn delete_missing(&mut self) {
        for (group, topic, partition) in self.missing() {
            self.changes.insert((group, topic, partition), None);
            self.seen.deletions += 1;
            if self.changes.len() >= TOGETHER {
                self.apply();
            }
        }
        self.apply();
    }

    /// Applies what was found so far, group by group.
    fn apply(&mut self) {
        let mut changes: Vec<(Key, Option<Change>)> = self.changes.drain().collect();
        changes.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        self.seen.changes += changes.len() as u64;
        let at = self.writer.clock().now();
        let mut events = Vec::with_capacity(changes.len());
        for ((group, topic, partition), change) in &changes {
            let partition = *partition;
            let kind = match change {
                None => EventKind::Delete { topic, partition },
                Some(change) => EventKind::Commit { topic, partition, commit: change.commit() },
            };
            events.push(Event { revision: self.next, at, group, kind });
            self.next = self.next.next();
        }
        self.shard.apply(&events, self.live_from);
    }
}

impl Change {
    fn commit(&self) -> Commit<'_> {
        Commit {
            committed_offset: self.committed_offset,
            committed_at: self.committed_at,
            leader_epoch: self.leader_epoch,
            metadata: &self.metadata,
            expires_at: None,
            topic_id: None,
        }
    }
}

impl Before {
    fn groups(&self) -> Box<dyn Iterator<Item = &Arc<GroupView>> + '_> {
        match self {
            Self::All(view) => Box::new(view.groups.iter()),
            Self::One(group) => Box::new(group.iter()),
        }
    }
}

/// The topics of the cluster; `None` while they are not known.
pub(super) fn topics(writer: &SourceWriter) -> Option<Arc<Ends>> {
    let ends = writer.cluster().ends.current();
    let is_known = ends.topics().next().is_some();
    is_known.then_some(ends)
}

/// Whether a row says what is listed. A store that tells when it was committed may tell of a commit of the same offset.
fn is_same(known: &FoundEntry, listed: &Listed<'_>, leader_epoch: i32) -> bool {
    let at = known.row.committed_at;
    at == listed.committed_at.unwrap_or(0)
        && known.row.says(known.rare.as_ref(), listed.committed_offset, leader_epoch, listed.metadata)
}
