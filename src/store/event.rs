//! Events that are written to a shard, and changes that it sends to watchers.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    group::{Commit, StoredCommit},
    membership::{GroupKind, Membership, record::GroupRecord},
};
use crate::model::{Millis, Name, Revision, SourceId, SourceKind};

/// Identity of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardKey {
    /// The source.
    pub source: SourceId,
    /// Meaning of the shard's revisions. A source that is read in another mode has other shards.
    pub kind: SourceKind,
    /// Number within the source; of a log, the partition.
    pub number: i32,
}

impl ShardKey {
    /// Returns the partition of the log, if the source is a log.
    #[must_use]
    pub fn partition(&self) -> Option<i32> {
        (self.kind == SourceKind::Log).then_some(self.number)
    }

    /// Returns the offset in the log, if the source is a log.
    #[must_use]
    pub fn offset(&self, revision: Revision) -> Option<i64> {
        (self.kind == SourceKind::Log).then_some(revision.0)
    }
}

/// Revisions up to which (exclusive) shards are applied.
pub type AppliedRevisions = BTreeMap<ShardKey, Revision>;

/// A fact of a source, in the order of its shard.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// Position in the order of the shard.
    pub revision: Revision,
    /// Time of the record, or when the change was found.
    pub at: Millis,
    /// The group of the event.
    pub group: &'a str,
    /// The fact.
    pub kind: EventKind<'a>,
}

/// The kinds of [`Event`].
#[derive(Clone, Debug)]
pub enum EventKind<'a> {
    /// An offset was committed.
    Commit {
        /// Topic name.
        topic: &'a str,
        /// Partition of the topic.
        partition: i32,
        /// The offset.
        commit: Commit<'a>,
    },
    /// A committed offset was deleted or expired.
    Delete {
        /// Topic name.
        topic: &'a str,
        /// Partition of the topic.
        partition: i32,
    },
    /// The members of a classic group; `None` removes them and leaves its offsets.
    Classic(Option<Arc<Membership>>),
    /// A record about the members of a next-generation group.
    GroupRecord(GroupKind, Box<GroupRecord>),
}

/// A change of one committed offset, for watchers.
#[derive(Clone, Debug)]
pub struct Change {
    /// Counts the changes of the shard, from 1.
    pub sequence: u64,
    /// Revision of the fact that made the change.
    pub revision: Revision,
    /// Group id.
    pub group: Name,
    /// Topic name.
    pub topic: Name,
    /// Partition of the topic.
    pub partition: i32,
    /// The value before; `None` if the key is new.
    pub old: Option<StoredCommit>,
    /// The value after; `None` if the key was deleted.
    pub new: Option<StoredCommit>,
}
