//! The workload of a cluster: all its topics and groups, advanced tick by tick.
//!
//! Everything depends on the number of the tick and a seed, never on a clock: times are only written into the records.
//! So the history is the same scenario without pauses, and tests can run days of it.

use super::{
    cluster::{DemoError, MockKafka},
    group::Group,
    scenario::{ClusterSpec, TICK_MS, TopicSpec},
};
use crate::{
    decode::{wire::Wire, write_key},
    model::{Millis, Uuid},
};

/// Number of ticks that are run without pauses at the start: five minutes.
pub(super) const HISTORY: u64 = 5 * 60 * 1000 / TICK_MS;
/// Number of records in each data partition at the start.
pub(super) const BACKLOG: u32 = 1000;

/// An event that a tick writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A record of `__consumer_offsets`, with its timestamp if it has one.
    Log { key: Vec<u8>, value: Option<Vec<u8>>, at: Option<Millis> },
    /// `count` records of a data topic.
    Data { topic: String, partition: i32, count: u32, bytes: usize },
}

impl Event {
    fn write(self, kafka: &MockKafka) -> Result<(), DemoError> {
        match self {
            Self::Log { key, value, at } => kafka.log(&key, value.as_deref(), at),
            Self::Data { topic, partition, count, bytes } => kafka.produce(&topic, partition, count, bytes),
        }
    }
}

/// A data topic and its log ends.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) spec: TopicSpec,
    pub(super) ends: Vec<i64>,
}

impl Topic {
    fn grow(&mut self, events: &mut Vec<Event>, mut count: impl FnMut() -> u32) {
        for (end, partition) in self.ends.iter_mut().zip(0..) {
            let count = count();
            events.push(Event::Data { topic: self.spec.name.clone(), partition, count, bytes: self.spec.bytes });
            *end += i64::from(count);
        }
    }
}

/// Input of a group in a tick, and the list that it appends its events to.
pub(super) struct Tick<'a> {
    pub(super) number: u64,
    /// Time to write into records.
    pub(super) at: Millis,
    pub(super) topics: &'a [Topic],
    pub(super) random: &'a mut Random,
    events: &'a mut Vec<Event>,
}

impl Tick<'_> {
    /// Appends a record of `__consumer_offsets`.
    pub(super) fn log<'k>(&mut self, kind: i16, key: &impl Wire<'k>, value: Option<Vec<u8>>, at: Option<Millis>) {
        let mut bytes = vec![];
        write_key(kind, key, &mut bytes);
        self.events.push(Event::Log { key: bytes, value, at });
    }
}

#[derive(Debug)]
pub(super) struct Workload {
    tick: u64,
    last: Millis,
    random: Random,
    topics: Vec<Topic>,
    groups: Vec<Group>,
}

impl Workload {
    pub(super) fn new(spec: ClusterSpec) -> Self {
        let topic = |spec: TopicSpec| Topic { ends: (0..spec.partitions).map(|_| 0).collect(), spec };
        let topics: Vec<Topic> = spec.topics.into_iter().map(topic).collect();
        let groups = spec.groups.into_iter().zip(0..).map(|(spec, number)| Group::new(spec, number, &topics)).collect();
        Self { tick: 0, last: 0, random: Random(1), topics, groups }
    }

    /// Writes the records of the history, up to `now`.
    pub(super) fn write_history(&mut self, now: Millis, kafka: &MockKafka) -> Result<(), DemoError> {
        for tick in 0..HISTORY {
            self.write_tick(now - i64::try_from((HISTORY - tick) * TICK_MS).unwrap_or(0), kafka)?;
        }
        kafka.flush()
    }

    /// Runs the next tick and writes its records.
    pub(super) fn write_tick(&mut self, at: Millis, kafka: &MockKafka) -> Result<(), DemoError> {
        self.tick(at)?.into_iter().try_for_each(|event| event.write(kafka))
    }

    /// Runs the next tick and returns the records that it writes, in order. Times never decrease, even if the clock
    /// does.
    pub(super) fn tick(&mut self, at: Millis) -> Result<Vec<Event>, DemoError> {
        let Self { tick, last, random, topics, groups } = self;
        let mut events = vec![];
        if *tick == 0 {
            topics.iter_mut().for_each(|topic| topic.grow(&mut events, || BACKLOG));
        }
        *last = at.max(*last);
        // Groups run first and commit the log ends of the previous tick, so that a commit is never visible before the
        // records that it covers.
        let mut now = Tick { number: *tick, at: *last, topics, random, events: &mut events };
        groups.iter_mut().try_for_each(|group| group.step(&mut now))?;
        // The shift spreads the growth of the topics over different ticks.
        for (topic, shift) in topics.iter_mut().zip(0..) {
            if (*tick + shift).is_multiple_of(topic.spec.every.0) {
                let mean = topic.spec.records;
                topic.grow(&mut events, || random.around(mean));
            }
        }
        *tick += 1;
        Ok(events)
    }
}

/// A small seeded generator (SplitMix64: Steele, Lea, Flood 2014), so that every run of the demo is the same.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from 0 to `bound` − 1; 0 for a bound of 0.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() >> 32).unwrap_or(0).checked_rem(bound).unwrap_or(0)
    }

    /// Returns a number between a half and one and a half times `mean`.
    fn around(&mut self, mean: u32) -> u32 {
        mean - mean / 2 + self.below(mean / 2 * 2 + 1)
    }

    /// Returns a random UUID in Kafka's text form.
    pub(super) fn id(&mut self) -> String {
        Uuid((u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes()).to_string()
    }
}
