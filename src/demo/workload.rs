//! The workload of a cluster: all its topics and groups, advanced tick by tick.
//!
//! Everything depends on the number of the tick, never on a clock: times are only written into the records. So the
//! history is the same scenario without pauses, and tests can run days of it.

use std::{
    hash::{DefaultHasher, Hasher as _},
    mem,
};

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

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) spec: TopicSpec,
    pub(super) ends: Vec<i64>,
}

/// The present of the workload, and the events of the current tick.
#[derive(Debug)]
pub(super) struct Tick {
    pub(super) number: u64,
    /// Time to write into records.
    pub(super) at: Millis,
    pub(super) topics: Vec<Topic>,
    pub(super) random: Random,
    events: Vec<Event>,
}

impl Tick {
    /// Appends a record of `__consumer_offsets`. A value of `None` is a tombstone.
    pub(super) fn log<'k>(&mut self, kind: i16, key: &impl Wire<'k>, value: Option<Vec<u8>>, at: Option<Millis>) {
        let mut bytes = vec![];
        write_key(kind, key, &mut bytes);
        self.events.push(Event::Log { key: bytes, value, at });
    }
}

/// Numbers that look random and are the same in every run.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        self.0 += 1;
        hasher.finish()
    }

    /// Returns a number from 0 to `bound`.
    pub(super) fn up_to(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() % (u64::from(bound) + 1)).unwrap_or(bound)
    }

    /// Returns a UUID in Kafka's text form.
    pub(super) fn uuid(&mut self) -> String {
        Uuid((u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes()).to_string()
    }
}

#[derive(Debug)]
pub(super) struct Workload {
    now: Tick,
    groups: Vec<Group>,
}

impl Workload {
    pub(super) fn new(spec: ClusterSpec) -> Self {
        let topic = |spec: TopicSpec| Topic { ends: (0..spec.partitions).map(|_| BACKLOG.into()).collect(), spec };
        let topics: Vec<Topic> = spec.topics.into_iter().map(topic).collect();
        let backlog = |Topic { spec, .. }: &Topic| {
            let data =
                |partition| Event::Data { topic: spec.name.clone(), partition, count: BACKLOG, bytes: spec.bytes };
            (0..spec.partitions).map(data).collect::<Vec<_>>()
        };
        let events = topics.iter().flat_map(backlog).collect();
        let groups = spec.groups.into_iter().zip(0..).map(|(spec, number)| Group::new(spec, number, &topics)).collect();
        Self { now: Tick { number: 0, at: 0, topics, random: Random(0), events }, groups }
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
        self.tick(at).into_iter().try_for_each(|event| match event {
            Event::Log { key, value, at } => kafka.log(&key, value.as_deref(), at),
            Event::Data { topic, partition, count, bytes } => kafka.produce(&topic, partition, count, bytes),
        })
    }

    /// Runs the next tick and returns the records that it writes, in order. Times never decrease, even if the clock
    /// does.
    pub(super) fn tick(&mut self, at: Millis) -> Vec<Event> {
        let Self { now, groups } = self;
        now.at = at.max(now.at);
        // Groups run first and commit the log ends of the previous tick, so that a commit is never visible before the
        // records that it covers.
        groups.iter_mut().for_each(|group| group.step(now));
        let Tick { number, topics, random, events, .. } = now;
        for (Topic { spec, ends }, shift) in topics.iter_mut().zip(0..) {
            // The shift spreads the growth of the topics over different ticks.
            let is_due = (*number + shift).is_multiple_of(spec.every.0);
            for (end, partition) in ends.iter_mut().zip(0..).filter(|_| is_due) {
                let count = spec.records - spec.records / 2 + random.up_to(spec.records / 2 * 2);
                events.push(Event::Data { topic: spec.name.clone(), partition, count, bytes: spec.bytes });
                *end += i64::from(count);
            }
        }
        *number += 1;
        mem::take(events)
    }
}
