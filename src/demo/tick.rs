//! A tick of the workload: what the groups read, and what they write.

use super::{cluster::DemoError, records::Commit, scenario::TopicSpec};
use crate::model::{Millis, Uuid};

/// An event that a tick writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A record of `__consumer_offsets`, with its timestamp if it has one.
    Log { key: Vec<u8>, value: Option<Vec<u8>>, at: Option<Millis> },
    /// `count` records of a data topic.
    Data { topic: &'static str, partition: i32, count: u32 },
}

/// A data topic and its log ends.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) spec: &'static TopicSpec,
    pub(super) ends: Vec<i64>,
}

impl Topic {
    pub(super) fn grow(&mut self, events: &mut Vec<Event>, mut count: impl FnMut() -> u32) {
        for (end, partition) in self.ends.iter_mut().zip(0..) {
            let count = count();
            events.push(Event::Data { topic: self.spec.name, partition, count });
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
    pub(super) events: &'a mut Vec<Event>,
}

impl Tick<'_> {
    pub(super) fn commit(&mut self, commit: &Commit<'_>) -> Result<(), DemoError> {
        self.log(commit.key(), Some(commit.value()?), Some(commit.committed_at));
        Ok(())
    }

    pub(super) fn log(&mut self, key: Vec<u8>, value: Option<Vec<u8>>, at: Option<Millis>) {
        self.events.push(Event::Log { key, value, at });
    }
}

/// A small seeded generator (SplitMix64: Steele, Lea, Flood 2014), so that every run of the demo is the same.
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

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
    pub(super) fn around(&mut self, mean: u32) -> u32 {
        mean - mean / 2 + self.below(mean / 2 * 2 + 1)
    }

    /// Returns a random UUID in Kafka's text form.
    pub(super) fn id(&mut self) -> String {
        Uuid((u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes()).to_string()
    }

    /// Returns a random UUID in Java's text form.
    pub(super) fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        let (b, c) = (b >> 48 & 0x3fff | 0x8000, b & 0xffff_ffff_ffff);
        format!("{:08x}-{:04x}-4{:03x}-{b:04x}-{c:012x}", a >> 32, a >> 16 & 0xffff, a & 0xfff)
    }
}
