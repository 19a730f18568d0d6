//! What keeps `__consumer_offsets` from being read although brokers answer.

use super::cluster::{Cluster, Health};
use crate::clock::Clock;

/// A kind of impediment. Of several, the first is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Impediment {
    /// The user may not describe the topic, or it is hidden from the user.
    Describe,
    /// The user may not read the topic.
    Read,
    /// A load makes no progress.
    Stalled,
}

impl Health {
    /// The reason that is shown.
    #[must_use]
    pub fn impediment(&self) -> Option<&str> {
        self.impediments.values().next().map(String::as_str)
    }

    /// Whether a right is missing: then nothing is known of what the log holds now.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        [Impediment::Describe, Impediment::Read].iter().any(|kind| self.impediments.contains_key(kind))
    }
}

impl Cluster {
    /// Notes that something keeps the log from being read, or with `None` that it does no longer. What was read before
    /// is stale; where a right is missing, the cluster is not ready, too.
    pub fn impede(&self, kind: Impediment, reason: Option<String>, clock: &Clock) {
        if self.health().impediments.get(&kind) == reason.as_ref() {
            return;
        }
        match &reason {
            Some(reason) => tracing::warn!(cluster = &*self.name, reason, "cannot read the log of commits"),
            None => tracing::info!(cluster = &*self.name, "can read the log of commits again"),
        }
        self.set_health(|health| {
            match reason {
                Some(reason) => drop(health.impediments.insert(kind, reason)),
                None => drop(health.impediments.remove(&kind)),
            }
            health.ready &= !health.is_refused();
            if !health.impediments.is_empty() {
                health.stale_since = health.stale_since.or(Some(clock.now()));
                health.failing_since = health.failing_since.or(Some(clock.ticks()));
            }
            if health.reachable {
                health.settle();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Config, Flags, Sources};

    #[test]
    fn a_missing_right_makes_a_cluster_stale_and_not_ready_whatever_brokers_answer() {
        let flags = Flags { bootstrap_servers: Some("h:1".to_owned()), ..Flags::default() };
        let sources = Sources { flags: &flags, env: &BTreeMap::new(), check_property: None };
        let clock = Clock::manual(5);
        let cluster = Cluster::new(Config::load(sources).unwrap().config.clusters.remove(0), &clock);
        cluster.succeeded();
        cluster.set_health(|health| health.ready = true);
        cluster.impede(Impediment::Read, Some("may not read".to_owned()), &clock);
        cluster.impede(Impediment::Describe, Some("may not describe".to_owned()), &clock);
        cluster.succeeded();
        let health = cluster.health();
        assert!(!health.ready && health.reachable && health.is_refused());
        assert_eq!((health.last_error.as_deref(), health.stale_since), (Some("may not describe"), Some(clock.now())));

        cluster.failed("away".to_owned(), &clock);
        cluster.impede(Impediment::Describe, None, &clock);
        assert_eq!(cluster.health().last_error.as_deref(), Some("away"), "out of reach: that comes first");
        cluster.succeeded();
        assert_eq!(cluster.health().last_error.as_deref(), Some("may not read"));

        cluster.impede(Impediment::Read, None, &clock);
        let health = cluster.health();
        assert_eq!((health.last_error.as_deref(), health.stale_since, health.failing_since), (None, None, None));
        assert!(!health.ready, "until the readers have caught up");
    }
}
