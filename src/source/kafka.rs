//! A Kafka cluster: `__consumer_offsets` into the shards, log ends and topic ids beside them.
//!
//! The [`parts`] of a cluster, each with a thread: the [`ends`] poller, which knows the topics and whether the cluster
//! can be reached; the poll threads of [`listener`], each with its own consumer and slice of the log partitions; the
//! [`overlay`], which looks behind open transactions; and [`tail`], which looks for markers of transactions at the ends
//! of data topics. When another Kafka cluster answers, all of them are replaced. Nothing is committed, no group is joined.

mod client;
mod coordinator;
pub mod ends;
mod ffi;
mod homes;
mod identity;
pub mod listener;
pub mod log;
pub mod overlay;
pub mod parts;
mod rights;
pub mod tail;

pub use client::{CLIENT_DEFAULTS, check_property};

#[expect(clippy::disallowed_methods, reason = "when to ask is not part of any answer")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
