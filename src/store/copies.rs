//! Index from a group id to the shards that hold records of the group.
//!
//! The hash of a group id determines the group's home shard, but copies may be in other shards (see [`super::homes`]),
//! and the group may not exist. With this index, a point query does not have to check every shard.

use dashmap::{DashMap, mapref::entry::Entry};

use crate::model::Name;

/// Epochs of the shards that hold records of a group, by group id. Each shard adds and removes its own epoch, including
/// a shard that is loaded aside: the epoch distinguishes two shards of the same log partition.
#[derive(Debug, Default)]
pub struct Copies(DashMap<Name, Epochs>);

/// Epochs of shards. Nearly all groups are in one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Epochs {
    /// One shard.
    One(u64),
    /// None, or several.
    Several(Box<Vec<u64>>),
}

impl Epochs {
    /// Returns whether the shard with this epoch is included.
    #[must_use]
    pub fn contains(&self, epoch: u64) -> bool {
        match self {
            Self::One(only) => *only == epoch,
            Self::Several(epochs) => epochs.contains(&epoch),
        }
    }

    fn list(&self) -> Vec<u64> {
        match self {
            Self::One(only) => vec![*only],
            Self::Several(epochs) => Vec::clone(epochs),
        }
    }

    fn of(epochs: Vec<u64>) -> Self {
        match epochs.as_slice() {
            [only] => Self::One(*only),
            _ => Self::Several(Box::new(epochs)),
        }
    }
}

impl Copies {
    /// Returns the shards that hold records of a group.
    #[must_use]
    pub fn of(&self, group: &str) -> Epochs {
        self.0.get(group).map_or_else(|| Epochs::of(vec![]), |epochs| epochs.clone())
    }

    /// Adds a shard to a group.
    pub(super) fn add(&self, group: &Name, epoch: u64) {
        match self.0.entry(Name::clone(group)) {
            Entry::Vacant(place) => drop(place.insert(Epochs::One(epoch))),
            Entry::Occupied(mut known) => {
                let mut epochs = known.get().list();
                epochs.push(epoch);
                known.insert(Epochs::of(epochs));
            }
        }
    }

    /// Removes a shard from a group.
    pub(super) fn remove(&self, group: &str, epoch: u64) {
        let Some(mut known) = self.0.get_mut(group) else { return };
        let mut epochs = known.list();
        epochs.retain(|each| *each != epoch);
        *known = Epochs::of(epochs);
        drop(known);
        self.0.remove_if(group, |_, epochs| *epochs == Epochs::of(vec![]));
    }
}

#[cfg(test)]
mod tests;
