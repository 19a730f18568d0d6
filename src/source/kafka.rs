//! A Kafka cluster: `__consumer_offsets` into the shards, log ends and topic ids beside them.
//!
//! Three kinds of thread: one [`ends`] poller, which knows the topics and whether the cluster can be
//! reached; the poll threads of [`listener`], each with its own consumer and slice of the log
//! partitions; and the [`overlay`], which looks behind open transactions; and [`tail`], which looks for markers of transactions at
//! the ends of data topics. Nothing is committed, no group is joined.

mod client;
mod coordinator;
pub mod ends;
mod ffi;
mod homes;
pub mod listener;
pub mod log;
pub mod overlay;
pub mod tail;

pub use client::{CLIENT_DEFAULTS, check_property};

#[expect(clippy::disallowed_methods, reason = "when to ask is not part of any answer")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
