//! What goes into a shard, and what comes out of it for watchers.

use std::sync::Arc;

use super::{
    group::{Commit, Stored},
    membership::{GroupKind, Membership, piece::Piece},
};
use crate::model::{Millis, Name};

/// Names a shard: where in the world its facts were read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardKey {
    /// The name that the operator gave the cluster.
    pub cluster: Name,
    /// `kafka`, or the name of another offset store.
    pub source: Name,
    /// Partition of `__consumer_offsets`.
    pub log_partition: i32,
}

/// What a record of the log says, in the order of the log.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// Offset of the record.
    pub log_offset: i64,
    /// Time of the record.
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
    /// Offset of the record that made the change.
    pub log_offset: i64,
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
