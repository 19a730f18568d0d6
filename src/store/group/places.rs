//! A hash table of row or topic indexes. Indexes take two bytes each while they fit, because there are as many as
//! offsets.

use hashbrown::HashTable;

/// A set of indexes, found by the hash of the element at the index.
#[derive(Debug)]
pub(super) enum Places {
    Short(HashTable<u16>),
    Long(HashTable<u32>),
}

impl Default for Places {
    fn default() -> Self {
        Self::Short(HashTable::new())
    }
}

impl Places {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Short(places) => places.is_empty(),
            Self::Long(places) => places.is_empty(),
        }
    }

    /// Returns the index of the element that `is` accepts.
    pub(super) fn find(&self, hash: u64, is: impl Fn(&u32) -> bool) -> Option<u32> {
        match self {
            Self::Short(places) => places.find(hash, |place| is(&u32::from(*place))).copied().map(u32::from),
            Self::Long(places) => places.find(hash, is).copied(),
        }
    }

    /// Adds an index that is not in the set. `hash_of` returns the hash of the element at an index.
    pub(super) fn insert(&mut self, hash: u64, place: u32, hash_of: impl Fn(&u32) -> u64) {
        match (&mut *self, u16::try_from(place)) {
            (Self::Short(places), Ok(place)) => {
                places.insert_unique(hash, place, |place| hash_of(&u32::from(*place)));
            }
            (Self::Short(places), Err(_)) => {
                let mut long = HashTable::with_capacity(places.len() + 1);
                for place in places.iter().copied().map(u32::from).chain([place]) {
                    long.insert_unique(hash_of(&place), place, &hash_of);
                }
                *self = Self::Long(long);
            }
            (Self::Long(places), _) => {
                places.insert_unique(hash, place, hash_of);
            }
        }
    }

    /// Removes an index, if it is in the set.
    pub(super) fn remove(&mut self, hash: u64, place: u32) {
        match self {
            Self::Short(places) => {
                if let Ok(entry) = places.find_entry(hash, |other| u32::from(*other) == place) {
                    entry.remove();
                }
            }
            Self::Long(places) => {
                if let Ok(entry) = places.find_entry(hash, |other| *other == place) {
                    entry.remove();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
