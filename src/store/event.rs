//! What goes into a shard, and what comes out of it for watchers.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    group::{Commit, Stored},
    membership::{GroupKind, Membership, piece::Piece},
};
use crate::model::{Millis, Name, Revision, SourceId, SourceKind};

/// Names a shard: where in the world its facts were read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardKey {
    /// The source.
    pub source: SourceId,
    /// What revisions of the shard are: a source that is read in another way has other shards.
    pub kind: SourceKind,
    /// Its number in the source: of a log, the partition.
    pub number: i32,
}

impl ShardKey {
    /// Partition of the log, where the source is one.
    #[must_use]
    pub fn partition(&self) -> Option<i32> {
        (self.kind == SourceKind::Log).then_some(self.number)
    }

    /// Offset in the log, where the source is one.
    #[must_use]
    pub fn offset(&self, revision: Revision) -> Option<i64> {
        (self.kind == SourceKind::Log).then_some(revision.0)
    }
}

/// How far shards are applied.
pub type Applied = BTreeMap<ShardKey, Revision>;

/// A fact of a source, in the order of its shard.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// Where it stands.
    pub revision: Revision,
    /// Time of the record, or when the change was found.
    pub at: Millis,
    /// Whose.
    pub group: &'a str,
    /// What.
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
    /// A record of a group of another kind.
    Piece(GroupKind, Box<Piece>),
}

/// A change of one committed offset, for watchers.
#[derive(Clone, Debug)]
pub struct Change {
    /// Counts the changes of the shard, from 1.
    pub sequence: u64,
    /// Of the fact that made the change.
    pub revision: Revision,
    /// Group id.
    pub group: Name,
    /// Topic name.
    pub topic: Name,
    /// Partition of the topic.
    pub partition: i32,
    /// `None`: the key is new.
    pub old: Option<Stored>,
    /// `None`: the key was deleted.
    pub new: Option<Stored>,
}
