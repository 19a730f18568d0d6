//! The health of a source: what works and what fails in reading it.

use std::collections::BTreeMap;

use super::Source;
use crate::{
    clock::{Clock, Ticks},
    model::Millis,
};

/// A kind of failure. Each task of a source sets and clears its own kinds. The first in this order is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A task of the source exited and is restarted.
    Restart,
    /// Nothing was read from the cluster yet.
    Unread,
    /// The poller reaches no broker.
    Unreachable,
    /// The offset store outside of Kafka cannot be read.
    Store,
    /// The user lacks DESCRIBE on `__consumer_offsets`, so brokers refuse it or hide the topic.
    Describe,
    /// The user lacks READ on `__consumer_offsets`.
    Read,
    /// The listener cannot start to read.
    Start,
    /// A load makes no progress.
    Stalled,
    /// Brokers do not answer a request of the Admin API.
    Unanswered,
}

impl Fault {
    /// Returns the text for operators. It starts with the name of the task or source, unless the reason names it.
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

/// Health of a source. Each cut has a copy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Whether the last attempt to reach the source succeeded.
    pub reachable: bool,
    /// Whether the source is loaded: every shard reached its target once, and log ends were fetched. False while a
    /// right is missing.
    pub ready: bool,
    /// The first of [`Health::faults`], with the name of its task. [`Source::set_health`] updates it.
    pub last_error: Option<String>,
    /// Time since which a fault exists, so that the data may be outdated.
    pub stale_since: Option<Millis>,
    /// The same time on the steady clock.
    pub failing_since: Option<Ticks>,
    /// Expected number of shards; `None` before it is known.
    pub shards: Option<i32>,
    /// Why the source is not read in the preferred mode, if so.
    pub mode_reason: Option<String>,
    /// The current faults.
    pub faults: BTreeMap<Fault, String>,
    /// Whether the source can be read in another mode if a right is missing. Its data then stays visible, as stale,
    /// until that mode is loaded or also refused.
    pub has_other_mode: bool,
}

impl Health {
    /// Returns the health of a source of which nothing was read.
    pub(super) fn unread(reason: String, clock: &Clock) -> Self {
        let faults = BTreeMap::from([(Fault::Unread, reason)]);
        Self { faults, failing_since: Some(clock.ticks()), ..Self::default() }
    }

    /// Returns whether a right is missing. Nothing is then known of what the log contains now.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.faults.keys().any(|fault| fault.is_refusal())
    }

    pub(super) fn describe_faults(&mut self, source: &str) {
        let worst = self.faults.first_key_value();
        self.last_error = worst.map(|(fault, reason)| fault.describe(source, reason));
    }

    /// Takes over the health of a source that was loaded aside in another mode.
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
        self.ready &= !self.is_refused() || self.has_other_mode;
        if self.faults.is_empty() {
            (self.stale_since, self.failing_since) = (None, None);
        } else {
            self.stale_since = self.stale_since.or(Some(clock.now()));
            self.failing_since = self.failing_since.or(Some(clock.ticks()));
        }
    }
}

impl Source {
    /// Records that a broker, or the offset store, answered.
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

    /// Records that no broker, or not the offset store, could be reached. The data is stale from the first failure on.
    pub fn failed(&self, fault: Fault, error: String, clock: &Clock) {
        self.set_health(|health| {
            health.reachable = false;
            health.set_fault(Fault::Unread, None, clock);
            health.set_fault(fault, Some(error), clock);
        });
    }

    /// Sets a fault, or clears it with `None`. The data is stale meanwhile. If a right is missing, the source is also
    /// not ready, unless it can be read in another mode.
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
