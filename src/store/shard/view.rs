//! Views of a shard, and copies of single offsets.

use std::sync::Arc;

use hashbrown::HashSet;

use super::super::{
    commits::CommitRings,
    event::ShardKey,
    group::{Extras, Row},
    membership::log::Members,
    pins::Retains,
};
use super::directory::Groups;
use crate::{
    clock::Ticks,
    model::{Name, Revision},
};

/// Ids of groups that have hidden records in a shard.
pub type HiddenGroups = Arc<HashSet<Name>>;

/// Copied result of a lookup of one committed offset. `entry` is `None` if the group has no such key.
#[derive(Clone, Debug)]
pub struct OffsetLookup {
    /// Group id.
    pub group: Name,
    /// Membership of the group.
    pub members: Members,
    /// Whether the group has committed offsets on the topic.
    pub has_topic: bool,
    /// The committed offset.
    pub entry: Option<CopiedEntry>,
}

/// A copied committed offset.
#[derive(Clone, Debug)]
pub struct CopiedEntry {
    /// Position among the group's entries.
    pub position: usize,
    /// Topic name.
    pub topic: Name,
    /// Index of the topic, see [`Entry`](crate::store::group::Entry).
    pub topic_index: usize,
    /// The commit.
    pub row: Row,
    /// The extras, if any.
    pub extras: Option<Extras>,
}

impl Retains for ShardView {
    fn retained(&self) -> usize {
        self.groups.retained()
    }
}

/// The state of a shard at one moment: a prefix of the order of its facts.
#[derive(Debug)]
pub struct ShardView {
    /// The shard's key.
    pub key: ShardKey,
    /// Incarnation of the shard.
    pub epoch: u64,
    /// Time at which the load began. Replayed records were committed earlier.
    pub load_began: Ticks,
    /// Sequence number of the last change.
    pub sequence: u64,
    /// The groups, visible or hidden.
    pub groups: Groups,
    /// The last commits.
    pub commits: CommitRings,
    /// Sequence number of the last change that a resync by revision would miss: a deletion, or a change out of order.
    pub last_full: u64,
    /// Revision of the last change.
    pub last: Revision,
    /// Ids of groups that are hidden in this shard.
    pub hidden: HiddenGroups,
}
