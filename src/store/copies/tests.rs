use super::*;

#[test]
fn a_group_is_indexed_by_its_shards_and_removed_with_the_last() {
    let copies = Copies::default();
    let group = Name::from("g");
    assert!(!copies.of("g").contains(1));
    copies.add(&group, 1);
    copies.add(&group, 2);
    assert_eq!([1, 2, 3].map(|epoch| copies.of("g").contains(epoch)), [true, true, false]);
    copies.remove("g", 1);
    copies.remove("g", 1);
    copies.remove("other", 1);
    assert_eq!(copies.of("g"), Epochs::One(2));
    copies.remove("g", 2);
    assert!(copies.0.is_empty());
}

#[test]
fn an_entry_takes_two_words_in_addition_to_the_name() {
    assert_eq!(size_of::<Epochs>(), 16);
}
