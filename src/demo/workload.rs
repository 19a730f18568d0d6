//! The demo's workload: topics grow, groups commit, tick by tick.
//!
//! What happens depends on the number of the tick and a seed, never on a clock: the times in the
//! records are only stamped on. So the history is the same play in fast motion, and tests can play
//! days.

use super::{
    DemoError,
    cast::{BACKLOG, GROUPS, TOPICS, TopicSpec},
    console::Console,
    group::Group,
    random::Random,
    records::{Commit, GroupDescription},
    writer::Writer,
};
use crate::{decode::Record, model::Millis};

/// Version of group records: what brokers write since Kafka 2.3.
const GROUP_VERSION: i16 = 3;

/// Where the workload goes: to the cluster, or to a test.
pub(super) trait Sink {
    fn commit(&mut self, commit: &Commit<'_>) -> Result<(), DemoError>;
    fn delete_offset(&mut self, group: &str, topic: &str, partition: i32) -> Result<(), DemoError>;
    fn group(&mut self, group: &GroupDescription) -> Result<(), DemoError>;
    fn delete_group(&mut self, group: &str) -> Result<(), DemoError>;
    fn record(&mut self, record: &Record<'_>) -> Result<(), DemoError>;
    fn produce(&mut self, topic: &str, partition: i32, count: u32) -> Result<(), DemoError>;
}

impl Sink for Writer {
    fn commit(&mut self, commit: &Commit<'_>) -> Result<(), DemoError> {
        Self::commit(self, commit)
    }
    fn delete_offset(&mut self, group: &str, topic: &str, partition: i32) -> Result<(), DemoError> {
        Self::delete_offset(self, group, topic, partition)
    }
    fn group(&mut self, group: &GroupDescription) -> Result<(), DemoError> {
        Self::group(self, group, GROUP_VERSION)
    }
    fn delete_group(&mut self, group: &str) -> Result<(), DemoError> {
        Self::delete_group(self, group)
    }
    fn record(&mut self, record: &Record<'_>) -> Result<(), DemoError> {
        Self::record(self, record)
    }
    fn produce(&mut self, topic: &str, partition: i32, count: u32) -> Result<(), DemoError> {
        Self::produce(self, topic, partition, count)
    }
}

/// A moment of the play.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Number of the tick.
    pub(super) tick: u64,
    /// Time to stamp on records.
    pub(super) at: Millis,
}

/// A data topic and its log ends.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) spec: &'static TopicSpec,
    pub(super) ends: Vec<i64>,
    /// Topics are not produced to all at the same tick.
    shift: u64,
}

impl Topic {
    fn step(&mut self, tick: u64, random: &mut Random, sink: &mut impl Sink) -> Result<(), DemoError> {
        if !(tick + self.shift).is_multiple_of(self.spec.every) {
            return Ok(());
        }
        self.grow(sink, || random.around(self.spec.records))
    }

    fn grow(&mut self, sink: &mut impl Sink, mut count: impl FnMut() -> u32) -> Result<(), DemoError> {
        for (end, partition) in self.ends.iter_mut().zip(0..) {
            let count = count();
            sink.produce(self.spec.name, partition, count)?;
            *end += i64::from(count);
        }
        Ok(())
    }
}

/// All that moves.
#[derive(Debug)]
pub(super) struct Workload {
    tick: u64,
    last: Millis,
    random: Random,
    topics: Vec<Topic>,
    groups: Vec<Group>,
    console: Console,
}

impl Workload {
    pub(super) fn new() -> Self {
        let ends = |spec: &TopicSpec| (0..spec.partitions).map(|_| 0).collect();
        let topics = TOPICS.iter().zip(0..).map(|(spec, shift)| Topic { spec, ends: ends(spec), shift }).collect();
        let groups = GROUPS.iter().zip(0..).map(|(spec, number)| Group::new(spec, number)).collect();
        Self { tick: 0, last: 0, random: Random::new(1), topics, groups, console: Console::default() }
    }

    /// Plays the next tick. Times never go back, also when the clock does.
    pub(super) fn tick(&mut self, at: Millis, sink: &mut impl Sink) -> Result<(), DemoError> {
        let Self { tick, last, random, topics, groups, console } = self;
        if *tick == 0 {
            topics.iter_mut().try_for_each(|topic| topic.grow(sink, || BACKLOG))?;
        }
        *last = at.max(*last);
        let now = Moment { tick: *tick, at: *last };
        // Groups first: they commit what was there a tick ago, so that a commit is never seen
        // before the records that it has read.
        for group in groups {
            group.step(now, topics, random, sink)?;
        }
        console.step(now, topics, random, sink)?;
        topics.iter_mut().try_for_each(|topic| topic.step(now.tick, random, sink))?;
        *tick += 1;
        Ok(())
    }
}
