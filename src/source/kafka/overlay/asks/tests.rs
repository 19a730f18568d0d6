use std::{
    cell::Cell,
    hash::{Hash, Hasher},
};

use super::*;
use crate::source::kafka::now;

thread_local! {
    static COMPARISONS: Cell<usize> = const { Cell::new(0) };
}

/// A key that counts how often it is compared.
#[derive(Debug)]
struct Counted(usize);

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        COMPARISONS.set(COMPARISONS.get() + 1);
        self.0 == other.0
    }
}

impl Eq for Counted {}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[test]
fn answers_are_matched_with_keys_in_a_step_for_each() {
    const KEYS: usize = 10_000;
    let keys: Vec<Counted> = (0..KEYS).map(Counted).collect();
    // In another order, some missing.
    let answers = (0..KEYS).rev().filter(|number| number % 10 != 0).map(|number| (Counted(number), number));
    for (key, answer) in matched(&keys, answers) {
        assert_eq!(answer, (key.0 % 10 != 0).then_some(key.0));
    }
    let comparisons = COMPARISONS.get();
    // Some are of keys whose hashes look alike in the table.
    assert!(comparisons < 3 * KEYS, "{comparisons} comparisons for {KEYS} keys");
}

#[test]
fn groups_are_asked_about_and_settled_in_a_step_for_each() {
    const GROUPS: usize = 5_000;
    let (start, group) = (now(), |number: usize| Name::from(format!("g{number}")));
    let keys: Vec<TopicPartition> = vec![("t".into(), 0), ("t".into(), 1)];
    let mut needs = Needs::new((0..GROUPS).map(|number| (group(number), keys.clone())), 0, start);
    let (looks, mut asked) = (Cell::new(0), HashSet::new());
    for number in 0..GROUPS {
        let is_free = |name: &Name| {
            looks.set(looks.get() + 1);
            !asked.contains(name)
        };
        let next = Name::clone(needs.next(start, is_free).unwrap());
        asked.insert(Name::clone(&next));
        needs.settle(number, &next, &keys, start);
    }
    assert_eq!((looks.get(), needs.groups.len(), needs.due.len()), (GROUPS, 0, 0));
}

#[test]
fn a_group_is_asked_about_again_later_until_all_its_keys_are_settled() {
    let (start, group) = (now(), Name::from("g"));
    let keys: Vec<TopicPartition> = vec![("t".into(), 0), ("t".into(), 1)];
    let mut needs = Needs::new([(Name::clone(&group), keys.clone())].into_iter(), 5, start);
    let next = |needs: &Needs, now| needs.next(now, |_| true).is_some();
    needs.settle(4, &group, &keys, start);
    assert!(next(&needs, start), "a request from before says nothing");
    needs.settle(5, &group, &keys[..1], start);
    assert!(!next(&needs, start) && next(&needs, start + UNSTABLE.0));
    needs.settle(6, &group, &keys[..1], start);
    assert!(!next(&needs, start + UNSTABLE.0) && next(&needs, start + 2 * UNSTABLE.0), "asked ever more seldom");
    needs.settle(7, &group, &keys[1..], start);
    assert!(needs.groups.is_empty() && needs.due.is_empty());
}
