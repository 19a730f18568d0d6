//! What is asked of whoever looks behind open transactions, and what it says of itself.
//!
//! The reader of a log partition stops at the last stable offset. The one that looks behind is a part
//! of the source; readers that want the latest ask it through [`Overlay`].

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;

use crate::model::Name;

/// A committed offset as the group's coordinator tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The offset.
    pub offset: i64,
    /// Epoch of the last consumed record; -1 is unknown.
    pub leader_epoch: i32,
    /// Text of the client.
    pub metadata: String,
}

impl Committed {
    /// Whether the coordinator's answer says the same. Brokers before 2.1 tell no epoch.
    #[must_use]
    pub fn is_what(&self, answer: &Self) -> bool {
        self.offset == answer.offset
            && self.metadata == answer.metadata
            && (self.leader_epoch == answer.leader_epoch || answer.leader_epoch < 0)
    }
}

/// Looks behind open transactions.
pub trait Overlay: Send + Sync + std::fmt::Debug {
    /// Takes a request. Its sender is dropped where nobody works on it any more.
    fn settle(&self, request: Settle);
}

/// To show what a log partition holds below an offset, whatever transaction is open.
#[derive(Debug)]
pub struct Settle {
    /// Partition of `__consumer_offsets`.
    pub log_partition: i32,
    /// High watermark to look up to.
    pub target: i64,
    /// Only this (group, topic, partition).
    pub key: Option<(Name, Name, i32)>,
    /// Told when the shard shows it. A transaction that is not decided is waited for.
    pub done: oneshot::Sender<Result<(), String>>,
}

macro_rules! counters {
    ($( $(#[$doc:meta])* $name:ident, )+) => {
        /// What the look behind transactions cost and did, of one cluster.
        #[derive(Debug, Default)]
        pub struct Counters { $( $(#[$doc])* pub $name: Counter, )+ }
    };
}

counters! {
    /// Questions to coordinators.
    calls,
    /// Of these, failed.
    failures,
    /// Commits and deletions shown before their reader came to them.
    shown,
    /// Records behind transactions that were not kept, for there are too many.
    dropped,
    /// Questions for last stable offsets.
    looks,
}

/// Counts up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The sum.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
