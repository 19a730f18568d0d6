//! The source of a Kafka cluster's own offsets: reads `__consumer_offsets` into shards, and polls log ends and topic
//! ids.
//!
//! The source consists of several [`tasks`], each with its own threads:
//!
//! - `poller` polls the topics and log ends, and finds out whether the cluster is reachable.
//! - `listener` reads `__consumer_offsets` with several poll threads, each with its own client and log partitions.
//! - `homes` polls coordinators to find the current copy of a group if several log partitions have records of the
//!   group.
//! - `overlay` shows commits ahead of an open transaction.
//! - `markers` finds transaction markers at the ends of data topics.
//!
//! `live` answers requests for the current state of the cluster. If the log is not readable, `admin` reads committed
//! offsets by the Admin API instead of listener, homes and overlay. `readers` starts the tasks of one of the two modes,
//! and `switch` decides between the modes. `oauth` obtains the tokens with which clients log in. [`examine`] tests a
//! cluster step by step for `offsetd doctor`. If another Kafka cluster answers at the configured addresses, all tasks
//! are replaced. The source never commits and never joins a group.

mod admin;
mod live_source;
mod client;
mod coordinator;
mod counters;
pub mod examine;
mod ffi;
mod homes;
mod identity;
mod listener;
mod latest;
mod live;
pub mod log;
mod oauth;
mod overlay;
pub mod tasks;
mod poller;
mod readers;
mod records;
mod requests;
mod rights;
mod switch;
mod markers;
mod threads;
mod verdicts;

pub use client::{CLIENT_DEFAULTS, check_property};
pub use latest::Log;
pub use live_source::RequestError;
pub(crate) use live_source::{Committed, CommittedKey};
#[cfg(test)]
pub(crate) use live_source::{LiveSource, PartitionEnds};
#[cfg(test)]
pub(crate) use verdicts::{Verdict, Verdicts};

#[expect(clippy::disallowed_methods, reason = "the schedule of requests is not part of any response")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
