use super::*;

/// Returns the hash of the element at an index; three indexes each share a hash.
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
        // Indexes from before the growth are found, too.
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
