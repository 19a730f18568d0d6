//! A Kafka cluster: `__consumer_offsets` into the shards, log ends and topic ids beside them.
//!
//! The [`parts`] of a cluster, each with threads of its own: the `poller`, which knows the topics and log ends and
//! whether the cluster can be reached; the `listener` with its poll threads, each with its own client and slice of the
//! log partitions; `homes`, which asks which copies of groups count; the `overlay`, which shows commits ahead of open
//! transactions; and the `tail` reader, which finds markers of transactions at the ends of data topics. `live`
//! answers callers that want the present state. If the log is not readable, `admin` reads committed offsets by the Admin
//! API instead of listener, homes and overlay; the `readers` are the ones or the other, and `switch` decides between them. `oauth` obtains the tokens that clients log in with. [`examine`] tries a
//! cluster step by step, for `offsetd doctor`. When another Kafka cluster answers, all of them are replaced. Nothing is
//! committed, no group is joined.

mod admin;
mod ask;
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
mod pace;
pub mod parts;
mod poller;
mod readers;
mod records;
mod requests;
mod rights;
mod switch;
mod tail;
mod threads;
mod verdicts;

pub use ask::AskError;
pub(crate) use ask::{Committed, CommittedKey};
#[cfg(test)]
pub(crate) use ask::{LiveSource, LogEnds};
pub use client::{CLIENT_DEFAULTS, check_property};
pub use latest::Log;
#[cfg(test)]
pub(crate) use verdicts::{Told, Verdicts};

#[expect(clippy::disallowed_methods, reason = "when to ask is not part of any answer")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
