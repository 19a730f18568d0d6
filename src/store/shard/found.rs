//! What a point query copies out.

use std::sync::Arc;

use super::super::{
    group::{Rare, Row},
    membership::Membership,
};
use crate::model::Name;

/// One committed offset, copied out. `entry` is `None` where the group has no such key.
#[derive(Clone, Debug)]
pub struct Found {
    /// Group id.
    pub group: Name,
    /// Members of the group.
    pub membership: Option<Arc<Membership>>,
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
