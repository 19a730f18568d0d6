//! One listing of a store, or of a part of it, compared with the shard while it is read.

use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};

use crate::{
    model::{Millis, Name, Revision},
    store::{
        ends::LogEnds,
        event::{Event, EventKind},
        group::{Commit, GroupView},
        membership::Membership,
        names::NameInterner,
        shard::{CopiedEntry, ShardView},
        writer::{ShardWriter, SourceWriter},
    },
};

/// Number of changes applied in one batch.
const BATCH_SIZE: usize = 256;
/// Maximum length of the text of a rejected key, in bytes.
const MAX_KEY_BYTES: usize = 200;

/// An offset that a store holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoredOffset<'a> {
    /// Group id.
    pub group: &'a str,
    /// Topic name.
    pub topic: &'a str,
    /// Partition of the topic.
    pub partition: i32,
    /// The offset of the record that the group reads next.
    pub committed_offset: i64,
    /// The commit time, if the store knows it.
    pub committed_at: Option<Millis>,
    /// When the key got its first offset, if the store knows it.
    pub first_seen_at: Option<Millis>,
    /// The metadata text of the commit.
    pub metadata: &'a str,
}

/// Why an entry of a store is not a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The layout does not match the entry's name.
    Unmatched,
    /// The value holds no offset.
    Malformed,
    /// The layout matches in several ways.
    Ambiguous,
    /// The store refuses access to the entry.
    Forbidden,
}

/// A part of a store: a group, a topic of the group, or a partition of that topic.
#[derive(Clone, Copy, Debug)]
pub struct Subset<'a> {
    /// Group id.
    pub group: &'a str,
    /// Topic name; `None` means all topics of the group.
    pub topic: Option<&'a str>,
    /// Partition of the topic; `None` means all.
    pub partition: Option<i32>,
}

/// A listing in progress.
#[derive(Debug)]
pub struct ListingRound<'a> {
    writer: &'a SourceWriter,
    shard: &'a ShardWriter,
    /// The listed groups as they were when the listing began. Nothing is deleted before the listing ends, so that the
    /// positions in `listed` stay valid.
    known_rows: KnownRows,
    /// The topic that is listed; `None` means all topics of the groups. `partition` likewise.
    topic: Option<String>,
    partition: Option<i32>,
    /// For each group, whether the entry at each position was listed.
    listed: HashMap<Name, Vec<bool>>,
    /// Changes that are not applied yet; `None` is a deletion. A later change replaces an earlier one of the same key.
    changes: HashMap<OffsetKey, Option<Change>>,
    next: Revision,
    live_from: Revision,
    seen: ListingStats,
}

/// The rows with which a listing is compared.
#[derive(Debug)]
enum KnownRows {
    All(Arc<ShardView>),
    One(Option<Arc<GroupView>>),
}

/// Statistics of a listing.
#[derive(Debug, Default)]
pub struct ListingStats {
    /// Number of offsets that the listing showed.
    pub entries: u64,
    /// Number of offsets that were added, changed or deleted.
    pub changes: u64,
    /// Number of deletions among the changes.
    pub deletions: u64,
    /// Number of entries rejected as [`Rejected::Unmatched`].
    pub unmatched: u64,
    /// Number of entries rejected as [`Rejected::Malformed`].
    pub malformed: u64,
    /// Number of entries rejected as [`Rejected::Ambiguous`].
    pub ambiguous: u64,
    /// Number of entries rejected as [`Rejected::Forbidden`].
    pub forbidden: u64,
    /// The key rejected last.
    pub last_rejected: Option<String>,
    /// The revision up to which the shard is applied.
    pub reached: Revision,
}

type OffsetKey = (Name, Name, i32);

#[derive(Debug)]
struct Change {
    committed_offset: i64,
    committed_at: Millis,
    first_seen_at: Option<Millis>,
    leader_epoch: i32,
    metadata: Name,
}

/// A borrowed [`OffsetKey`].
#[derive(Hash)]
struct OffsetKeyRef<'a>(&'a str, &'a str, i32);

impl Equivalent<OffsetKey> for OffsetKeyRef<'_> {
    fn equivalent(&self, key: &OffsetKey) -> bool {
        *self.0 == *key.0 && *self.1 == *key.1 && self.2 == key.2
    }
}

impl<'a> ListingRound<'a> {
    /// Starts a listing of all groups. `live` makes its changes events instead of part of the initial load.
    #[must_use]
    pub fn new(writer: &'a SourceWriter, shard: &'a ShardWriter, live: bool) -> Self {
        Self::compared((writer, shard), KnownRows::All(shard.pin()), live)
    }

    /// Starts a listing of one group. The rows of other groups do not change.
    #[must_use]
    pub fn of_group(writer: &'a SourceWriter, shard: &'a ShardWriter, group: &str, live: bool) -> Self {
        Self::compared((writer, shard), KnownRows::One(shard.group(group)), live)
    }

    /// Starts a listing of a part of the store. Other rows do not change.
    #[must_use]
    pub fn of_subset(writer: &'a SourceWriter, shard: &'a ShardWriter, subset: &Subset<'_>, live: bool) -> Self {
        let mut round = Self::of_group(writer, shard, subset.group, live);
        (round.topic, round.partition) = (subset.topic.map(str::to_owned), subset.partition);
        round
    }

    fn compared((writer, shard): (&'a SourceWriter, &'a ShardWriter), known_rows: KnownRows, live: bool) -> Self {
        Self {
            writer,
            shard,
            known_rows,
            topic: None,
            partition: None,
            listed: HashMap::new(),
            changes: HashMap::new(),
            next: shard.applied().max(Revision(0)),
            live_from: if live { Revision(0) } else { Revision::MAX },
            seen: ListingStats::default(),
        }
    }

    /// Returns the topics of the cluster, or `None` while they are not known.
    #[must_use]
    pub fn topics(&self) -> Option<Arc<LogEnds>> {
        topics(self.writer)
    }

    /// Records an offset that the store holds. If a key occurs several times, the last occurrence wins.
    pub fn found(&mut self, listed: &StoredOffset<'_>) {
        self.found_with_epoch(listed, -1);
    }

    /// Does the same as [`ListingRound::found`], for a store that knows the leader epoch of the last consumed record
    /// (-1 if unknown).
    pub fn found_with_epoch(&mut self, listed: &StoredOffset<'_>, leader_epoch: i32) {
        if !self.accepts(listed.group, listed.topic) {
            return;
        }
        self.seen.entries += 1;
        let known = self.shard.get(listed.group, listed.topic, listed.partition).and_then(|found| found.entry);
        if let Some(known) = &known {
            self.mark_listed(listed.group, known.position);
        }
        let is_pending = self.changes.contains_key(&OffsetKeyRef(listed.group, listed.topic, listed.partition));
        if !is_pending && known.is_some_and(|known| is_same(&known, listed, leader_epoch)) {
            return;
        }
        let intern = |text: &str| self.writer.names().intern(text);
        let key = (intern(listed.group), intern(listed.topic), listed.partition);
        let (committed_offset, metadata) = (listed.committed_offset, Name::from(listed.metadata));
        let committed_at = listed.committed_at.unwrap_or(0);
        let first_seen_at = listed.first_seen_at;
        let change = Change { committed_offset, committed_at, first_seen_at, leader_epoch, metadata };
        self.changes.insert(key, Some(change));
        if self.changes.len() >= BATCH_SIZE {
            self.apply();
        }
    }

    /// Records that the store holds an offset that it did not return now, so that its row stays as it is.
    pub fn keep_row(&mut self, group: &str, topic: &str, partition: i32, why: Rejected) {
        if self.accepts(group, topic) {
            self.mark_row(group, topic, partition);
            self.reject(why, &format!("{group}/{topic}/{partition}"));
        }
    }

    /// Marks a row as listed, so that it stays as it is.
    pub fn mark_row(&mut self, group: &str, topic: &str, partition: i32) {
        if let Some(known) = self.shard.get(group, topic, partition).and_then(|found| found.entry) {
            self.mark_listed(group, known.position);
        }
    }

    /// Sets the members of a group, for a store that registers them; `None` removes them. `members` gets the revision
    /// of the change. Returns whether they changed.
    pub fn set_members(&mut self, group: &str, members: impl FnOnce(Revision) -> Option<Membership>) -> bool {
        if !self.writer.cluster().config.groups.accepts(group) {
            return false;
        }
        // Events are applied in the order of their revisions.
        self.apply();
        let members = members(self.next);
        let view = self.shard.group(group);
        let is_same = match (view.as_ref().and_then(|view| view.membership()), &members) {
            (None, None) => true,
            (Some(known), Some(members)) => known.is_alike(members),
            _ => false,
        };
        if !is_same {
            let kind = EventKind::Classic(members.map(Arc::new));
            let event = Event { revision: self.next, at: self.writer.clock().now(), group, kind };
            self.shard.apply(&[event], self.live_from);
            self.next = self.next.next();
        }
        !is_same
    }

    /// Returns the groups that had members when the listing began.
    #[must_use]
    pub fn groups_with_members(&self) -> Vec<Name> {
        let groups = self.known_rows.groups().filter(|group| group.membership().is_some());
        groups.map(|group| Name::clone(&group.id)).collect()
    }

    /// Returns the interned names.
    #[must_use]
    pub fn names(&self) -> &'a NameInterner {
        self.writer.names()
    }

    /// Deletes the row of an offset that the store reports as deleted. For listings that are not complete.
    pub fn delete_row(&mut self, group: &str, topic: &str, partition: i32) {
        let Some(known) = self.shard.get(group, topic, partition).and_then(|found| found.entry) else { return };
        self.mark_listed(group, known.position);
        self.changes.insert((self.writer.names().intern(group), known.topic, partition), None);
        self.seen.deletions += 1;
    }

    /// Returns the rows that were not listed so far, as (group, topic, partition).
    #[must_use]
    pub fn missing(&self) -> Vec<(Name, Name, i32)> {
        let mut missing = vec![];
        for group in self.known_rows.groups() {
            let listed = self.listed.get(&group.id).map_or(&[][..], Vec::as_slice);
            let entries = group.entries().enumerate().filter(|(position, entry)| {
                let is_in_subset = self.topic.as_deref().is_none_or(|topic| topic == &**entry.topic)
                    && self.partition.is_none_or(|partition| partition == entry.row.partition);
                is_in_subset && listed.get(*position) != Some(&true)
            });
            let key = |topic: &Name, partition| (Name::clone(&group.id), Name::clone(topic), partition);
            missing.extend(entries.map(|(_, entry)| key(entry.topic, entry.row.partition)));
        }
        missing
    }

    /// Counts an entry that is not a row. `key` is shown to operators, so it must not contain the value.
    pub fn reject(&mut self, why: Rejected, key: &str) {
        let count = match why {
            Rejected::Unmatched => &mut self.seen.unmatched,
            Rejected::Malformed => &mut self.seen.malformed,
            Rejected::Ambiguous => &mut self.seen.ambiguous,
            Rejected::Forbidden => &mut self.seen.forbidden,
        };
        *count += 1;
        let end = key.floor_char_boundary(MAX_KEY_BYTES);
        self.seen.last_rejected = key.get(..end).map(str::to_owned);
    }

    /// Ends the listing. If `complete`, the rows that it did not show are deleted.
    #[must_use]
    pub fn finish(mut self, complete: bool) -> ListingStats {
        self.apply();
        if complete {
            self.delete_missing();
        }
        self.seen.reached = self.next;
        self.seen
    }

    /// Returns whether the cluster's filters of groups and topics accept the offset.
    fn accepts(&self, group: &str, topic: &str) -> bool {
        let config = &self.writer.cluster().config;
        config.groups.accepts(group) && config.topics.accepts(topic)
    }

    fn mark_listed(&mut self, group: &str, position: usize) {
        let flags = match self.listed.get_mut(group) {
            Some(flags) => flags,
            None => self.listed.entry(self.writer.names().intern(group)).or_default(),
        };
        if flags.len() <= position {
            flags.resize(position + 1, false);
        }
        if let Some(flag) = flags.get_mut(position) {
            *flag = true;
        }
    }

    fn delete_missing(&mut self) {
        for (group, topic, partition) in self.missing() {
            self.changes.insert((group, topic, partition), None);
            self.seen.deletions += 1;
            if self.changes.len() >= BATCH_SIZE {
                self.apply();
            }
        }
        self.apply();
    }

    /// Applies the changes collected so far, ordered by group.
    fn apply(&mut self) {
        let mut changes: Vec<(OffsetKey, Option<Change>)> = self.changes.drain().collect();
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
            first_seen_at: self.first_seen_at,
        }
    }
}

impl KnownRows {
    fn groups(&self) -> Box<dyn Iterator<Item = &Arc<GroupView>> + '_> {
        match self {
            Self::All(view) => Box::new(view.groups.iter()),
            Self::One(group) => Box::new(group.iter()),
        }
    }
}

/// Returns the topics of the cluster, or `None` while they are not known.
pub(super) fn topics(writer: &SourceWriter) -> Option<Arc<LogEnds>> {
    let ends = writer.cluster().ends.current();
    let is_known = ends.topics().next().is_some();
    is_known.then_some(ends)
}

/// Returns whether a row equals the listed offset. A store that knows commit times may report a new commit of the same
/// offset.
fn is_same(known: &CopiedEntry, listed: &StoredOffset<'_>, leader_epoch: i32) -> bool {
    let at = known.row.committed_at;
    at == listed.committed_at.unwrap_or(0)
        && known.row.has_values(known.extras.as_ref(), listed.committed_offset, leader_epoch, listed.metadata)
}
