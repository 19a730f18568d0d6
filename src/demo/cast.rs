//! Who plays in the demo: topics and groups, and how much they write.
//!
//! The mock compacts nothing and keeps 5 MiB of a partition, so all of this is bounded, for a demo
//! that runs for days. A batch takes 61 bytes, a commit about 75, a data record 8:
//!
//! * A group commits all its partitions at once, as consumers do by timer. The busiest log
//!   partition gets 0.5 KB/s, so a record stays for 3 hours at least. Live keys are written again
//!   within 30 s, members within 15 minutes ([`ROLLING`]).
//! * The group that stops ([`STOPPED`]: hours) and the one that was abandoned have a log partition
//!   to themselves, but for a console consumer now and then.
//! * A data partition gets at most 0.4 KB/s, so that it keeps hours of records: far more than the
//!   largest lag, which [`BEHIND`], [`STUCK`] and [`STOPPED`] bound by ending. The abandoned
//!   group's topic gets 7 bytes/s, which is a week.
//!
//! In all that is some 45 commits/s and 8 KB/s. The mock's memory grows by some 40 MB an hour and ends
//! below 0.5 GB. A test plays a day and checks the bounds.

use super::newer::Protocol;

/// Length of a tick.
pub(super) const TICK_MS: u64 = 250;

const fn seconds(count: u64) -> u64 {
    count * 1000 / TICK_MS
}

const fn minutes(count: u64) -> u64 {
    seconds(60 * count)
}

/// Ticks that are played in fast motion at the start.
pub(super) const HISTORY: u64 = minutes(5);

/// Records of each data partition at the start.
pub(super) const BACKLOG: u32 = 1000;

/// In a group of members, one is replaced so often.
pub(super) const ROLLING: u64 = minutes(15);

/// Something that holds for a part of each period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cycle {
    pub(super) period: u64,
    /// Ticks at the start of each period in which the group does well.
    pub(super) well: u64,
}

impl Cycle {
    pub(super) const fn is_well(self, tick: u64) -> bool {
        tick % self.period < self.well
    }
}

/// Falls behind, until somebody gives it more power.
pub(super) const BEHIND: Cycle = Cycle { period: minutes(20), well: minutes(2) };
/// Stuck at a record, until somebody skips it.
pub(super) const STUCK: Cycle = Cycle { period: minutes(40), well: minutes(1) };
/// Stops a few seconds after the history, until somebody starts it again.
pub(super) const STOPPED: Cycle = Cycle { period: minutes(4 * 60), well: HISTORY + seconds(12) };
/// Members come or go so often in [`Behaviour::Rebalances`].
pub(super) const REBALANCE: u64 = seconds(6);
/// Groups of the newer protocols gain or lose a member so often.
pub(super) const NEWER_CHANGES: u64 = seconds(45);
/// Such a change takes so long to be assigned, and then to be settled.
pub(super) const NEWER_ASSIGNS: u64 = seconds(1);
pub(super) const NEWER_SETTLES: u64 = seconds(3);
/// A console consumer starts so often.
pub(super) const CONSOLE: Cycle = Cycle { period: seconds(80), well: seconds(60) };
/// What the console consumer reads.
pub(super) const CONSOLE_TOPIC: &str = "emails";
/// Ticks between its commits.
pub(super) const CONSOLE_COMMITS: u64 = seconds(5);
/// Age of the abandoned group's commits at the start.
pub(super) const ABANDONED_MS: i64 = 3 * 24 * 3_600_000;

/// A data topic.
#[derive(Debug)]
pub(super) struct TopicSpec {
    pub(super) name: &'static str,
    pub(super) partitions: i32,
    /// Mean of the records that are produced to each partition at a time.
    pub(super) records: u32,
    /// Ticks between.
    pub(super) every: u64,
}

const fn topic(name: &'static str, partitions: i32, records: u32, every: u64) -> TopicSpec {
    TopicSpec { name, partitions, records, every }
}

pub(super) const TOPICS: &[TopicSpec] = &[
    topic("orders", 6, 10, seconds(2)),
    topic("payments", 6, 6, seconds(2)),
    topic("shipments", 4, 2, seconds(2)),
    // Evenly, so that no sample sees the group that falls behind gain on it.
    topic("clickstream", 4, 5, 1),
    topic("inventory", 3, 4, seconds(2)),
    topic("emails", 3, 1, seconds(2)),
    topic("audit-log", 3, 10, seconds(3)),
    topic("user-profiles", 4, 1, seconds(10)),
];

/// What a group does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Commits the end, or up to so many records before it; the end of slow topics.
    KeepsUp(u32),
    /// Takes a tenth of what comes ([`BEHIND`]).
    FallsBehind,
    /// Commits the same offset again and again ([`STUCK`]).
    GetsStuck,
    /// Commits no more and loses its members ([`STOPPED`]).
    Stops,
    /// Trails the end, and goes back every 12th commit.
    Rewinds,
    /// Members come and go ([`REBALANCE`]).
    Rebalances,
    /// Has not been seen for days.
    Abandoned,
}

/// How the members of a group stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    /// Assigns itself: offsets without a group.
    Simple,
    /// The consumer protocol, with so many members and that assignor.
    Consumer(usize, &'static str),
    /// The same, with `group.instance.id`.
    Static(usize, &'static str),
    /// Of a newer protocol, with so many members or one more.
    Newer(Protocol, usize),
    /// Connect workers: their bytes are their own.
    Connect(usize),
}

/// A group.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupSpec {
    pub(super) id: &'static str,
    pub(super) topics: &'static [&'static str],
    pub(super) behaviour: Behaviour,
    pub(super) membership: Membership,
    /// Ticks between commits.
    pub(super) every: u64,
    /// Version of the commits.
    pub(super) version: i16,
    /// Version of the subscriptions.
    pub(super) subscription: i16,
    /// With a retention of its own.
    pub(super) retention_ms: Option<i64>,
    pub(super) metadata: &'static str,
}

use Behaviour::{Abandoned, FallsBehind, GetsStuck, KeepsUp, Rebalances, Rewinds, Stops};
use Membership::{Connect, Consumer, Newer, Simple, Static};

const fn group(id: &'static str, topics: &'static [&'static str], membership: Membership) -> GroupSpec {
    GroupSpec {
        id,
        topics,
        behaviour: KeepsUp(2),
        membership,
        every: seconds(5),
        version: 4,
        subscription: 3,
        retention_ms: None,
        metadata: "",
    }
}

impl GroupSpec {
    const fn behaving(self, behaviour: Behaviour) -> Self {
        Self { behaviour, ..self }
    }

    const fn committing(self, every: u64) -> Self {
        Self { every, ..self }
    }

    /// As an older client, through an older broker.
    const fn old(self, version: i16, subscription: i16) -> Self {
        Self { version, subscription, ..self }
    }
}

/// Besides these, a `console-consumer-NNNNN` comes and goes.
pub(super) const GROUPS: &[GroupSpec] = &[
    group("billing", &["orders", "payments"], Consumer(3, "cooperative-sticky")),
    group("fulfilment", &["orders"], Consumer(2, "range")),
    group("fraud-detection", &["payments"], Consumer(3, "cooperative-sticky"))
        .behaving(KeepsUp(0))
        .committing(seconds(3)),
    group("tax-calculator", &["orders"], Consumer(1, "range")).behaving(KeepsUp(0)),
    group("email-notifications", &["emails"], Consumer(1, "range")).behaving(KeepsUp(0)),
    group("push-notifications", &["emails", "shipments"], Consumer(2, "sticky")),
    group("search-indexer", &["inventory", "user-profiles"], Consumer(2, "range")),
    group("price-updater", &["inventory"], Consumer(1, "range")).behaving(KeepsUp(0)),
    group("returns-service", &["shipments"], Consumer(2, "range")),
    group("recommendation-engine", &["clickstream", "user-profiles"], Consumer(3, "cooperative-sticky")),
    group("ab-testing", &["clickstream"], Consumer(2, "roundrobin")),
    group("audit-archiver", &["audit-log"], Consumer(1, "range")).behaving(KeepsUp(0)),
    group("profile-cache", &["user-profiles"], Consumer(1, "range")).behaving(KeepsUp(0)),
    group("zürich-store-sync", &["inventory", "orders"], Consumer(1, "range")),
    group("clickstream-enricher", &["clickstream"], Consumer(2, "range")).behaving(FallsBehind).committing(seconds(3)),
    group("warehouse-sync", &["shipments"], Consumer(2, "range")).behaving(Stops).committing(seconds(2)),
    group("payment-reconciler", &["payments"], Consumer(2, "range")).behaving(GetsStuck).committing(seconds(2)),
    group("inventory-projector", &["inventory"], Consumer(1, "range")).behaving(Rewinds).committing(seconds(1)),
    group("session-aggregator", &["clickstream"], Consumer(0, "cooperative-sticky"))
        .behaving(Rebalances)
        .committing(seconds(2)),
    group("spark-orders-export", &["orders"], Simple),
    group("ledger-writer", &["payments", "orders"], Static(3, "cooperative-sticky")),
    group("connect-cluster", &[], Connect(2)),
    group("connect-s3-sink", &["orders", "payments", "audit-log"], Consumer(3, "range")),
    group("warehouse-loader", &["orders", "inventory"], Consumer(1, "range"))
        .behaving(KeepsUp(0))
        .committing(seconds(30)),
    group("shipping-labels", &["shipments"], Consumer(1, "range")).old(3, 1),
    GroupSpec {
        retention_ms: Some(24 * 3_600_000),
        ..group("legacy-crm-bridge", &["user-profiles", "emails"], Consumer(1, "range")).old(1, 1)
    },
    GroupSpec {
        metadata: r#"{"host":"etl-2","checkpoint":"s3://lake/customer-360"}"#,
        ..group("customer-360", &["orders", "user-profiles"], Consumer(2, "range"))
    },
    group("order-events", &["orders", "payments"], Newer(Protocol::Names, 2)),
    group("log-shipper", &["clickstream", "audit-log"], Newer(Protocol::Pattern("clickstream|audit-.*"), 2)),
    group("parcel-tracking", &["shipments"], Newer(Protocol::Share, 2)),
    // Exactly once: all partitions at each transaction's end, with what Kafka Streams notes beside them.
    GroupSpec { metadata: "AgAAAaH9OJsm", ..group("stock-levels", &["inventory"], Newer(Protocol::Streams, 1)) },
    group("loyalty-migration", &["user-profiles"], Consumer(0, "range")).behaving(Abandoned),
];
