//! A hash table of row or topic indexes. Indexes take two bytes each while they fit, because there are as many as
//! offsets.

use hashbrown::HashTable;

/// A set of indexes, found by the hash of the element at the index.
#[derive(Debug)]
pub(super) enum IndexTable {
    Short(HashTable<u16>),
    Long(HashTable<u32>),
}

impl Default for IndexTable {
    fn default() -> Self {
        Self::Short(HashTable::new())
    }
}

impl IndexTable {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Short(indexes) => indexes.is_empty(),
            Self::Long(indexes) => indexes.is_empty(),
        }
    }

    /// Returns the index of the element that `is` accepts.
    pub(super) fn find(&self, hash: u64, is: impl Fn(&u32) -> bool) -> Option<u32> {
        match self {
            Self::Short(indexes) => indexes.find(hash, |index| is(&u32::from(*index))).copied().map(u32::from),
            Self::Long(indexes) => indexes.find(hash, is).copied(),
        }
    }

    /// Adds an index that is not in the set. `hash_of` returns the hash of the element at an index.
    pub(super) fn insert(&mut self, hash: u64, index: u32, hash_of: impl Fn(&u32) -> u64) {
        match (&mut *self, u16::try_from(index)) {
            (Self::Short(indexes), Ok(index)) => {
                indexes.insert_unique(hash, index, |index| hash_of(&u32::from(*index)));
            }
            (Self::Short(indexes), Err(_)) => {
                let mut long = HashTable::with_capacity(indexes.len() + 1);
                for index in indexes.iter().copied().map(u32::from).chain([index]) {
                    long.insert_unique(hash_of(&index), index, &hash_of);
                }
                *self = Self::Long(long);
            }
            (Self::Long(indexes), _) => {
                indexes.insert_unique(hash, index, hash_of);
            }
        }
    }

    /// Removes an index, if it is in the set.
    pub(super) fn remove(&mut self, hash: u64, index: u32) {
        match self {
            Self::Short(indexes) => {
                if let Ok(entry) = indexes.find_entry(hash, |other| u32::from(*other) == index) {
                    entry.remove();
                }
            }
            Self::Long(indexes) => {
                if let Ok(entry) = indexes.find_entry(hash, |other| *other == index) {
                    entry.remove();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
