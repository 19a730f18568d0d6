//! A tick of the workload: the state that groups read, and the events that they write.

use super::scenario::TopicSpec;
use crate::{
    decode::{wire::Wire, write_key},
    model::Millis,
};

/// An event that a tick writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A record of `__consumer_offsets`, with its timestamp if it has one.
    Log { key: Vec<u8>, value: Option<Vec<u8>>, at: Option<Millis> },
    /// `count` records of a data topic.
    Data { topic: String, partition: i32, count: u32, bytes: usize },
}

/// The present of the workload, and the events of the current tick.
#[derive(Debug)]
pub(super) struct Tick {
    pub(super) number: u64,
    /// Time to write into records.
    pub(super) at: Millis,
    pub(super) topics: Vec<TopicSpec>,
    pub(super) events: Vec<Event>,
}

impl Tick {
    /// Appends a record of `__consumer_offsets`. A value of `None` is a tombstone.
    pub(super) fn log<'k>(&mut self, kind: i16, key: &impl Wire<'k>, value: Option<Vec<u8>>, at: Option<Millis>) {
        let mut bytes = vec![];
        write_key(kind, key, &mut bytes);
        self.events.push(Event::Log { key: bytes, value, at });
    }
}
