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
mod tests {
    use super::*;

    /// What stands at a place, and its hash at once: many of the same.
    fn hash_of(place: &u32) -> u64 {
        u64::from(*place / 3).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn places_are_found_beyond_what_two_bytes_hold_and_removed_ones_are_not() {
        const ALL: u32 = 70_000;
        let mut places = Places::default();
        let find = |places: &Places, place: u32| places.find(hash_of(&place), |other| *other == place);
        for place in 0..ALL {
            places.insert(hash_of(&place), place, hash_of);
            assert_eq!(matches!(places, Places::Short(_)), place <= u32::from(u16::MAX));
            // Also what stood there before the table grew.
            assert_eq!(find(&places, place / 2), Some(place / 2));
        }
        assert_eq!(find(&places, ALL), None);
        for place in (0..ALL).step_by(2) {
            places.remove(hash_of(&place), place);
        }
        for place in 0..ALL {
            assert_eq!(find(&places, place), (place % 2 == 1).then_some(place));
        }
        (0..ALL).for_each(|place| places.remove(hash_of(&place), place));
        assert!(places.is_empty());
    }
}
