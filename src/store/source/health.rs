//! What works and what fails in reading a source.

use std::collections::BTreeMap;

use super::Source;
use crate::{
    clock::{Clock, Ticks},
    model::Millis,
};

/// A kind of failure. Each part of a source sets and clears its own; of several, the first is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A part of the source ended, and is started again.
    Restart,
    /// Nothing was read of the cluster yet.
    Unread,
    /// The poller reaches no broker.
    Unreachable,
    /// The store that keeps the offsets, outside of Kafka, cannot be read.
    Store,
    /// The user may not describe `__consumer_offsets`, or it is hidden from the user.
    Describe,
    /// The user may not read `__consumer_offsets`.
    Read,
    /// The listener cannot start to read.
    Start,
    /// A load makes no progress.
    Stalled,
    /// Brokers do not answer a request of the Admin API.
    Unanswered,
}

impl Fault {
    /// Returns the text for operators: with the name of the part or source, unless the text names the cause itself.
    fn describe(self, source: &str, reason: &str) -> String {
        match self {
            Self::Restart | Self::Unread | Self::Describe | Self::Read | Self::Unanswered => reason.to_owned(),
            Self::Unreachable => format!("poller: {reason}"),
            Self::Store => format!("{source}: {reason}"),
            Self::Start | Self::Stalled => format!("listener: {reason}"),
        }
    }

    fn is_refusal(self) -> bool {
        match self {
            Self::Describe | Self::Read => true,
            Self::Restart
            | Self::Unread
            | Self::Unreachable
            | Self::Store
            | Self::Start
            | Self::Stalled
            | Self::Unanswered => false,
        }
    }
}

/// How a source does. Copied into every cut.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// The last attempt to reach it succeeded.
    pub reachable: bool,
    /// Loaded once: every shard reached its target, and log ends were fetched. Not while a right is missing.
    pub ready: bool,
    /// The worst of [`Health::faults`], with the name of its part. [`Source::set_health`] keeps it up to date.
    pub last_error: Option<String>,
    /// Since when something fails, and the data may be the last known.
    pub stale_since: Option<Millis>,
    /// The same, on the steady clock.
    pub failing_since: Option<Ticks>,
    /// How many shards there are to be; `None` before that is known.
    pub shards: Option<i32>,
    /// Why it is read in the way that it is, where that was not the first choice.
    pub mode_reason: Option<String>,
    /// What fails now.
    pub faults: BTreeMap<Fault, String>,
    /// Where a right is missing, it is to be read in another way: until that is loaded, or refused as well, what was read
    /// stays shown, as stale.
    pub has_other_way: bool,
}

impl Health {
    /// The health of a cluster of which nothing was read.
    pub(super) fn unread(reason: String, clock: &Clock) -> Self {
        let faults = BTreeMap::from([(Fault::Unread, reason)]);
        Self { faults, failing_since: Some(clock.ticks()), ..Self::default() }
    }

    /// Whether a right is missing: then nothing is known of what the log holds now.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.faults.keys().any(|fault| fault.is_refusal())
    }

    pub(super) fn describe_faults(&mut self, source: &str) {
        let worst = self.faults.first_key_value();
        self.last_error = worst.map(|(fault, reason)| fault.describe(source, reason));
    }

    /// Takes over how a source does that was read in another way, and is loaded.
    pub(super) fn adopt(&mut self, loaded: &Self, reason: String, clock: &Clock) {
        for fault in [Fault::Describe, Fault::Read, Fault::Start, Fault::Stalled, Fault::Unanswered] {
            self.set_fault(fault, None, clock);
        }
        (self.ready, self.shards, self.mode_reason) = (true, loaded.shards, Some(reason));
    }

    fn set_fault(&mut self, fault: Fault, reason: Option<String>, clock: &Clock) {
        match reason {
            Some(reason) => drop(self.faults.insert(fault, reason)),
            None => drop(self.faults.remove(&fault)),
        }
        self.ready &= !self.is_refused() || self.has_other_way;
        if self.faults.is_empty() {
            (self.stale_since, self.failing_since) = (None, None);
        } else {
            self.stale_since = self.stale_since.or(Some(clock.now()));
            self.failing_since = self.failing_since.or(Some(clock.ticks()));
        }
    }
}

impl Source {
    /// Notes that a broker, or the store, answered.
    pub fn succeeded(&self, clock: &Clock) {
        if self.health().reachable {
            return;
        }
        self.set_health(|health| {
            health.reachable = true;
            health.set_fault(Fault::Unread, None, clock);
            health.set_fault(Fault::Unreachable, None, clock);
            health.set_fault(Fault::Store, None, clock);
        });
    }

    /// Notes that no broker, or not the store, could be reached, as `fault` says: the data goes stale from the first
    /// failure on.
    pub fn failed(&self, fault: Fault, error: String, clock: &Clock) {
        self.set_health(|health| {
            health.reachable = false;
            health.set_fault(Fault::Unread, None, clock);
            health.set_fault(fault, Some(error), clock);
        });
    }

    /// Notes that something fails, or with `None` that it does no longer. What was read before is stale meanwhile; where
    /// a right is missing, the cluster is not ready, too.
    pub fn set_fault(&self, fault: Fault, reason: Option<String>, clock: &Clock) {
        if self.health().faults.get(&fault) == reason.as_ref() {
            return;
        }
        match &reason {
            Some(reason) => tracing::warn!(
                cluster = &*self.id.cluster,
                source = &*self.id.name,
                reason,
                "cannot read committed offsets"
            ),
            None => {
                tracing::info!(cluster = &*self.id.cluster, source = &*self.id.name, "can read committed offsets again")
            }
        }
        self.set_health(|health| health.set_fault(fault, reason, clock));
    }
}

#[cfg(test)]
mod tests;
