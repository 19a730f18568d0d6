//! The demo's workload: topics grow, groups commit, tick by tick.
//!
//! Everything depends on the number of the tick and a seed, never on a clock: times are only written into the records. So
//! the history is the same scenario run at once, and tests can run days of it.

use super::{
    error::DemoError,
    group::Group,
    scenario::{BACKLOG, GROUPS, TOPICS, TopicSpec},
    tick::{Event, Random, Tick, Topic},
};
use crate::model::Millis;

/// All topics and groups of the scenario.
#[derive(Debug)]
pub(super) struct Workload {
    tick: u64,
    last: Millis,
    random: Random,
    topics: Vec<Topic>,
    groups: Vec<Group>,
}

impl Workload {
    pub(super) fn new() -> Self {
        let topic = |spec: &'static TopicSpec| Topic { spec, ends: (0..spec.partitions).map(|_| 0).collect() };
        let groups = GROUPS.iter().zip(0..).map(|(spec, number)| Group::new(spec, number)).collect();
        Self { tick: 0, last: 0, random: Random(1), topics: TOPICS.iter().map(topic).collect(), groups }
    }

    /// Runs the next tick and returns what it writes, in order. Times never go back, also when the clock does.
    pub(super) fn tick(&mut self, at: Millis) -> Result<Vec<Event>, DemoError> {
        let Self { tick, last, random, topics, groups } = self;
        let mut events = vec![];
        if *tick == 0 {
            topics.iter_mut().for_each(|topic| topic.grow(&mut events, || BACKLOG));
        }
        *last = at.max(*last);
        // Groups first: they commit what was there a tick ago, so that a commit never shows before the records that it
        // covers.
        let mut now = Tick { number: *tick, at: *last, topics, random, events: &mut events };
        groups.iter_mut().try_for_each(|group| group.step(&mut now))?;
        // Not all topics grow at the same tick.
        for (topic, shift) in topics.iter_mut().zip(0..) {
            if (*tick + shift).is_multiple_of(topic.spec.every) {
                topic.grow(&mut events, || random.around(topic.spec.records));
            }
        }
        *tick += 1;
        Ok(events)
    }
}
