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
    /// A store beside the cluster cannot be read.
    Store,
    /// The user may not describe `__consumer_offsets`, or it is hidden from the user.
    Describe,
    /// The user may not read `__consumer_offsets`.
    Read,
    /// The listener cannot start to read.
    Start,
    /// A load makes no progress.
    Stalled,
}

impl Fault {
    /// Returns the text for operators: with the part's name, unless the text names the cause itself.
    fn describe(self, reason: &str) -> String {
        match self {
            Self::Restart | Self::Unread | Self::Store | Self::Describe | Self::Read => reason.to_owned(),
            Self::Unreachable => format!("poller: {reason}"),
            Self::Start | Self::Stalled => format!("listener: {reason}"),
        }
    }

    fn is_refusal(self) -> bool {
        match self {
            Self::Describe | Self::Read => true,
            Self::Restart | Self::Unread | Self::Unreachable | Self::Store | Self::Start | Self::Stalled => false,
        }
    }
}

/// How a source does, and the cluster whose own it is. Copied into every cut.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Kafka's own id of the cluster.
    pub cluster_id: Option<String>,
    /// Brokers in the last metadata.
    pub brokers: Option<i32>,
    /// Broker id of the controller.
    pub controller: Option<i32>,
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

    pub(super) fn describe_faults(&mut self) {
        self.last_error = self.faults.first_key_value().map(|(fault, reason)| fault.describe(reason));
    }

    fn set_fault(&mut self, fault: Fault, reason: Option<String>, clock: &Clock) {
        match reason {
            Some(reason) => drop(self.faults.insert(fault, reason)),
            None => drop(self.faults.remove(&fault)),
        }
        self.ready &= !self.is_refused();
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

    /// Notes that the store beside the cluster cannot be read: the data goes stale from the first failure on.
    pub(in crate::store) fn store_failed(&self, error: &str, clock: &Clock) {
        let reason = format!("{}: {error}", self.id.name);
        if self.health().faults.get(&Fault::Store) == Some(&reason) {
            return;
        }
        tracing::warn!(cluster = &*self.id.cluster, source = &*self.id.name, error, "cannot read committed offsets");
        self.set_health(|health| {
            health.reachable = false;
            health.set_fault(Fault::Unread, None, clock);
            health.set_fault(Fault::Store, Some(reason), clock);
        });
    }

    /// Notes that no broker could be reached: the data goes stale from the first failure on.
    pub fn failed(&self, error: String, clock: &Clock) {
        self.set_health(|health| {
            health.reachable = false;
            health.set_fault(Fault::Unread, None, clock);
            health.set_fault(Fault::Unreachable, Some(error), clock);
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
