//! Samples of what lies before log ends and is given to no reader, see [`crate::store::silent`].

use std::{collections::BTreeMap, sync::Arc};

use crate::store::{
    ends::{Ends, Topic},
    samples::{Index, Samples, Tails, Writer},
};

/// Adds the tails of all partitions to samples.
pub(super) fn sample(samples: &mut Samples, ends: &Ends, index: Index) {
    let before = Arc::clone(&samples.tails_now);
    let mut all = Tails::new();
    for topic in ends.topics() {
        let before = before.get(&topic.name);
        let now = tails(topic, before, ends);
        if now.is_empty() {
            continue;
        }
        if before != Some(&now) {
            let mut writer = Writer::new(samples.tails.get(&topic.name), index, true);
            let number = writer.topic(&topic.name);
            for (partition, tail) in &now {
                let before = before.and_then(|before| before.get(partition)).copied().unwrap_or(0);
                writer.note((number, *partition), *tail, Some(Some(before)));
            }
            samples.tails.extend(writer.finish().map(|series| (Arc::clone(&topic.name), series)));
        }
        all.insert(Arc::clone(&topic.name), now);
    }
    samples.tails.retain(|topic, _| all.contains_key(topic));
    if *before != all {
        samples.tails_now = Arc::new(all);
    }
}

/// The tails of a topic, by partition: of those that have one, or had.
fn tails(topic: &Topic, before: Option<&BTreeMap<i32, i64>>, ends: &Ends) -> BTreeMap<i32, i64> {
    let had = |partition: &i32| before.is_some_and(|before| before.contains_key(partition));
    let tails = topic.partitions.iter().zip(0..).map(|(partition, number)| (number, ends.silent_tail(*partition)));
    tails.filter(|(number, tail)| *tail > 0 || had(number)).collect()
}
