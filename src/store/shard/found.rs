//! What readers get of a shard.

use std::sync::Arc;

use hashbrown::HashSet;

use super::super::{
    commits::Rings,
    event::ShardKey,
    group::{Rare, Row},
    held::Retains,
    membership::log::Members,
};
use super::directory::Groups;
use crate::{
    clock::Ticks,
    model::{Name, Revision},
};

/// Groups whose records in a shard are not shown.
pub type Hidden = Arc<HashSet<Name>>;

/// One committed offset, copied out. `entry` is `None` where the group has no such key.
#[derive(Clone, Debug)]
pub struct Found {
    /// Group id.
    pub group: Name,
    /// What the log says of the members of the group.
    pub members: Members,
    /// The group has committed offsets on the topic.
    pub has_topic: bool,
    /// The offset.
    pub entry: Option<FoundEntry>,
}

/// A committed offset, copied out.
#[derive(Clone, Debug)]
pub struct FoundEntry {
    /// Its place among the group's entries.
    pub position: usize,
    /// Topic name.
    pub topic: Name,
    /// As in [`Entry`](crate::store::group::Entry).
    pub topic_index: usize,
    /// The commit.
    pub row: Row,
    /// Its rare fields, if any.
    pub rare: Option<Rare>,
}

impl Retains for ShardView {
    fn retained(&self) -> usize {
        self.groups.retained()
    }
}

/// The shard at one moment: one prefix of its order.
#[derive(Debug)]
pub struct ShardView {
    /// Which shard.
    pub key: ShardKey,
    /// Which incarnation of the shard.
    pub epoch: u64,
    /// When its load began: what it replayed was committed before.
    pub load_began: Ticks,
    /// Number of the last change.
    pub sequence: u64,
    /// The groups.
    pub groups: Groups,
    /// The last commits.
    pub commits: Rings,
    /// Number of the last change that a revision does not name: a deletion, or one out of order.
    pub last_full: u64,
    /// Revision of the last change.
    pub last: Revision,
    /// Groups that are not shown from here, as far as was known.
    pub hidden: Hidden,
}
