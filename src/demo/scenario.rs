//! The scenario of the demo: its topics and groups, and how much they write.
//!
//! The mock compacts nothing and keeps 5 MiB per partition. The amounts below are chosen so that no needed record is
//! dropped, even if the demo runs for days. A batch takes 61 bytes, a commit about 75, a data record 8:
//!
//! * A group commits all its partitions at the same time, as consumers with a commit timer do. The busiest log
//!   partition gets 0.5 KB/s, so a record stays for at least 3 hours. Live keys are rewritten within 30 s, members
//!   within 15 minutes ([`REWRITE`]).
//! * The group that stops for hours ([`STOPPED`]) and the abandoned group each have a log partition of their own,
//!   except for an occasional console consumer.
//! * A data partition gets at most 0.4 KB/s, so it keeps hours of records: far more than the largest lag, which
//!   [`BEHIND`], [`STUCK`] and [`STOPPED`] bound, because each of them ends. The abandoned group's topic gets 7
//!   bytes/s, so it keeps a week.
//!
//! In total these are about 45 commits/s and 8 KB/s. The mock's memory grows by about 40 MB per hour and stays below
//! 0.5 GB. A test runs a day of the scenario and checks the bounds.

/// Length of a tick in milliseconds.
pub(super) const TICK_MS: u64 = 250;

const fn seconds(count: u64) -> u64 {
    count * 1000 / TICK_MS
}

const fn minutes(count: u64) -> u64 {
    seconds(60 * count)
}

/// Number of ticks that are run without pauses at the start.
pub(super) const HISTORY: u64 = minutes(5);
/// Number of records in each data partition at the start.
pub(super) const BACKLOG: u32 = 1000;
/// Ticks after which the record of a classic group is rewritten.
pub(super) const REWRITE: u64 = minutes(15);
/// Ticks between changes of members in [`Behaviour::Rebalances`].
pub(super) const REBALANCE: u64 = seconds(6);
/// Number of members of [`Behaviour::Rebalances`], in turn.
pub(super) const REBALANCED_MEMBERS: [usize; 4] = [2, 3, 4, 3];
/// Ticks between changes of members in next-generation groups, from a change to its target assignment, and from a
/// change to its end.
pub(super) const CHANGES: u64 = seconds(45);
pub(super) const ASSIGNED_AFTER: u64 = seconds(1);
pub(super) const SETTLED_AFTER: u64 = seconds(4);
/// Distance to the log end of [`Behaviour::Rewinds`], records of a rewind, and commits between two rewinds: short
/// enough that every status window contains a rewind, so that the status is stable.
pub(super) const TRAIL: i64 = 250;
pub(super) const REWIND: i64 = 200;
pub(super) const REWIND_EVERY: u64 = 12;
/// Age of the abandoned group's commits at the start, in milliseconds.
pub(super) const ABANDONED_MS: i64 = 3 * 24 * 3_600_000;

/// A condition that holds during a part of each period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cycle {
    pub(super) period: u64,
    /// Ticks at the start of each period in which the group works normally.
    pub(super) normal: u64,
}

impl Cycle {
    pub(super) const fn is_normal(self, tick: u64) -> bool {
        tick % self.period < self.normal
    }
}

/// Cycle of [`Behaviour::FallsBehind`]: falls behind until it gets more capacity.
pub(super) const BEHIND: Cycle = Cycle { period: minutes(20), normal: minutes(2) };
/// Cycle of [`Behaviour::GetsStuck`]: stuck at a record until an operator skips it.
pub(super) const STUCK: Cycle = Cycle { period: minutes(40), normal: minutes(1) };
/// Cycle of [`Behaviour::Stops`]: stops a few seconds after the history, until an operator restarts it.
pub(super) const STOPPED: Cycle = Cycle { period: minutes(4 * 60), normal: HISTORY + seconds(12) };
/// Cycle of [`Behaviour::Console`]: runs for a minute and is deleted.
pub(super) const CONSOLE: Cycle = Cycle { period: seconds(80), normal: seconds(60) };

/// A data topic.
#[derive(Debug)]
pub(super) struct TopicSpec {
    pub(super) name: &'static str,
    pub(super) partitions: i32,
    /// Mean number of records that are produced to each partition per growth.
    pub(super) records: u32,
    /// Ticks between two growths.
    pub(super) every: u64,
}

const fn topic(name: &'static str, partitions: i32, records: u32, every: u64) -> TopicSpec {
    TopicSpec { name, partitions, records, every }
}

pub(super) const TOPICS: &[TopicSpec] = &[
    topic("orders", 6, 10, seconds(2)),
    topic("payments", 6, 6, seconds(2)),
    topic("shipments", 4, 2, seconds(2)),
    // Grows at every tick, so that no sample shows the group that falls behind gaining on the log end.
    topic("clickstream", 4, 5, 1),
    topic("inventory", 3, 4, seconds(2)),
    topic("emails", 3, 1, seconds(2)),
    topic("audit-log", 3, 10, seconds(3)),
    topic("user-profiles", 4, 1, seconds(10)),
];

/// How a group consumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Commits the log end, or an offset up to this many records before it. In slow topics it commits the log end.
    KeepsUp(u32),
    /// Consumes a tenth of the records ([`BEHIND`]).
    FallsBehind,
    /// Repeats the same offset in every commit ([`STUCK`]).
    GetsStuck,
    /// Stops committing and loses its members ([`STOPPED`]).
    Stops,
    /// Trails the log end, and rewinds at every [`REWIND_EVERY`]th commit.
    Rewinds,
    /// Gains and loses members ([`REBALANCE`]).
    Rebalances,
    /// Committed for the last time days ago.
    Abandoned,
    /// A `kafka-console-consumer`, with a new group id in each run ([`CONSOLE`]).
    Console,
}

/// The protocol of a group and its number of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    /// Offsets without a group record.
    Simple,
    /// The classic consumer protocol with this assignor.
    Classic(usize, &'static str),
    /// The same with static members (`group.instance.id`).
    Static(usize, &'static str),
    /// Connect workers, with metadata that is opaque to Kafka.
    Connect(usize),
    /// A protocol that the broker runs, with this number of members or one more.
    Broker(Protocol, usize),
}

/// Protocols that the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// KIP-848, subscribed by names. Every third member still uses the classic protocol.
    TopicNames,
    /// KIP-848, subscribed by a regular expression.
    Pattern(&'static str),
    /// KIP-932: partitions are shared, and the group commits no offsets.
    Share,
    /// KIP-1071: tasks of one subtopology.
    Streams,
}

/// A group.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupSpec {
    pub(super) id: &'static str,
    pub(super) topics: &'static [&'static str],
    pub(super) behaviour: Behaviour,
    pub(super) membership: Membership,
    /// Ticks between two commits.
    pub(super) every: u64,
    /// Retention time of the group's commits in milliseconds, as older clients send it.
    pub(super) retention_ms: Option<i64>,
    pub(super) metadata: &'static str,
}

use Behaviour::{Abandoned, Console, FallsBehind, GetsStuck, KeepsUp, Rebalances, Rewinds, Stops};
use Membership::{Broker, Classic, Connect, Simple, Static};

const fn group(id: &'static str, topics: &'static [&'static str], membership: Membership) -> GroupSpec {
    let behaviour = KeepsUp(2);
    GroupSpec { id, topics, behaviour, membership, every: seconds(5), retention_ms: None, metadata: "" }
}

impl GroupSpec {
    const fn with_behaviour(self, behaviour: Behaviour, every: u64) -> Self {
        Self { behaviour, every, ..self }
    }
}

pub(super) const GROUPS: &[GroupSpec] = &[
    group("billing", &["orders", "payments"], Classic(3, "cooperative-sticky")),
    group("fulfilment", &["orders"], Classic(2, "range")),
    group("fraud-detection", &["payments"], Classic(3, "cooperative-sticky")).with_behaviour(KeepsUp(0), seconds(3)),
    group("tax-calculator", &["orders"], Classic(1, "range")).with_behaviour(KeepsUp(0), seconds(5)),
    group("email-notifications", &["emails"], Classic(1, "range")).with_behaviour(KeepsUp(0), seconds(5)),
    group("push-notifications", &["emails", "shipments"], Classic(2, "sticky")),
    group("search-indexer", &["inventory", "user-profiles"], Classic(2, "range")),
    group("price-updater", &["inventory"], Classic(1, "range")).with_behaviour(KeepsUp(0), seconds(5)),
    group("returns-service", &["shipments"], Classic(2, "range")),
    group("recommendation-engine", &["clickstream", "user-profiles"], Classic(3, "cooperative-sticky")),
    group("ab-testing", &["clickstream"], Classic(2, "roundrobin")),
    group("audit-archiver", &["audit-log"], Classic(1, "range")).with_behaviour(KeepsUp(0), seconds(5)),
    group("profile-cache", &["user-profiles"], Classic(1, "range")).with_behaviour(KeepsUp(0), seconds(5)),
    group("zürich-store-sync", &["inventory", "orders"], Classic(1, "range")),
    group("clickstream-enricher", &["clickstream"], Classic(2, "range")).with_behaviour(FallsBehind, seconds(3)),
    group("warehouse-sync", &["shipments"], Classic(2, "range")).with_behaviour(Stops, seconds(2)),
    group("payment-reconciler", &["payments"], Classic(2, "range")).with_behaviour(GetsStuck, seconds(2)),
    group("inventory-projector", &["inventory"], Classic(1, "range")).with_behaviour(Rewinds, seconds(1)),
    group("session-aggregator", &["clickstream"], Classic(0, "cooperative-sticky"))
        .with_behaviour(Rebalances, seconds(2)),
    group("spark-orders-export", &["orders"], Simple),
    group("ledger-writer", &["payments", "orders"], Static(3, "cooperative-sticky")),
    group("connect-cluster", &[], Connect(2)),
    group("connect-s3-sink", &["orders", "payments", "audit-log"], Classic(3, "range")),
    group("warehouse-loader", &["orders", "inventory"], Classic(1, "range")).with_behaviour(KeepsUp(0), seconds(30)),
    group("shipping-labels", &["shipments"], Classic(1, "range")),
    GroupSpec {
        retention_ms: Some(24 * 3_600_000),
        ..group("legacy-crm-bridge", &["user-profiles", "emails"], Classic(1, "range"))
    },
    GroupSpec {
        metadata: r#"{"host":"etl-2","checkpoint":"s3://lake/customer-360"}"#,
        ..group("customer-360", &["orders", "user-profiles"], Classic(2, "range"))
    },
    group("order-events", &["orders", "payments"], Broker(Protocol::TopicNames, 2)),
    group("log-shipper", &["clickstream", "audit-log"], Broker(Protocol::Pattern("clickstream|audit-.*"), 2)),
    group("parcel-tracking", &["shipments"], Broker(Protocol::Share, 2)),
    // Exactly once: commits all partitions at the end of each transaction, with the metadata that Kafka Streams adds.
    GroupSpec { metadata: "AgAAAaH9OJsm", ..group("stock-levels", &["inventory"], Broker(Protocol::Streams, 1)) },
    group("loyalty-migration", &["user-profiles"], Classic(0, "range")).with_behaviour(Abandoned, seconds(5)),
    group("console-consumer", &["emails"], Classic(1, "range")).with_behaviour(Console, seconds(5)),
];
