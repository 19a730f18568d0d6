//! Places in a list, found by the hash of what is there. In two bytes each as long as they fit, which they do in all but
//! the largest groups: there are as many of them as offsets.

use hashbrown::HashTable;

/// A set of places.
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

    /// The place where what is looked for is.
    pub(super) fn find(&self, hash: u64, is: impl Fn(&u32) -> bool) -> Option<u32> {
        match self {
            Self::Short(places) => places.find(hash, |place| is(&u32::from(*place))).copied().map(u32::from),
            Self::Long(places) => places.find(hash, is).copied(),
        }
    }

    /// Takes in a place that is not there; `hash_of` tells what stands at a place.
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

    /// Removes a place, if it is there.
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
