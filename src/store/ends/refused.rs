//! Topics of which brokers refuse to tell anything.

use std::{collections::BTreeMap, sync::Arc};

use super::{EndsBoard, Topic, TopicMetadata, slots::Slots};
use crate::{clock::Ticks, model::Name};

impl EndsBoard {
    /// Notes whether the brokers refuse to tell anything of a topic that no listing shows.
    pub fn set_refused(&self, name: &Name, refused: bool, now: Ticks) {
        let known = self.current.load().topic(name).map(|topic| topic.refused);
        if known.unwrap_or(false) == refused {
            return;
        }
        self.update(|ends, free| {
            let mut topics = BTreeMap::clone(&ends.topics);
            let mut slots = Slots { values: &mut ends.values, free, now, absent_at: None };
            let unseen = TopicMetadata { name: Name::clone(name), leaders: vec![] };
            let topic = slots.merge(topics.get(name), &unseen);
            if refused {
                topics.insert(Name::clone(name), Arc::new(Topic { refused, ..Topic::clone(&topic) }));
            } else {
                topics.remove(name);
            }
            ends.set(topics);
        });
    }
}
