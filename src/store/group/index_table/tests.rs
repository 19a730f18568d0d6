use super::*;

/// Returns the hash of the element at an index; three indexes each share a hash.
fn hash_of(index: &u32) -> u64 {
    u64::from(*index / 3).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[test]
fn indexes_beyond_two_bytes_are_found_and_removed_ones_are_not() {
    const ALL: u32 = 70_000;
    let mut indexes = IndexTable::default();
    let find = |indexes: &IndexTable, index: u32| indexes.find(hash_of(&index), |other| *other == index);
    for index in 0..ALL {
        indexes.insert(hash_of(&index), index, hash_of);
        assert_eq!(matches!(indexes, IndexTable::Short(_)), index <= u32::from(u16::MAX));
        // Indexes from before the growth are found, too.
        assert_eq!(find(&indexes, index / 2), Some(index / 2));
    }
    assert_eq!(find(&indexes, ALL), None);
    for index in (0..ALL).step_by(2) {
        indexes.remove(hash_of(&index), index);
    }
    for index in 0..ALL {
        assert_eq!(find(&indexes, index), (index % 2 == 1).then_some(index));
    }
    (0..ALL).for_each(|index| indexes.remove(hash_of(&index), index));
    assert!(indexes.is_empty());
}
