//! Which shards of a cluster hold records of a group.
//!
//! The hash of its id gives the home of a group, but copies may lie elsewhere (see [`super::homes`]), and a group may be
//! unknown. A point query finds out here, without a look into each shard.

use dashmap::{DashMap, mapref::entry::Entry};

use crate::model::Name;

/// By group id, the epochs of the shards that hold records of the group. Each shard adds and removes its own, also one
/// that is loaded aside: the epoch tells which of two shards of a log partition is meant.
#[derive(Debug, Default)]
pub struct Copies(DashMap<Name, Epochs>);

/// Epochs of shards: nearly always of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Epochs {
    /// One shard.
    One(u64),
    /// None, or several.
    Several(Box<Vec<u64>>),
}

impl Epochs {
    /// Whether the shard of this epoch is among them.
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

    /// Notes that a shard has records of a group.
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

    /// Notes that a shard has no more records of a group.
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
