//! Topics that groups committed to and no listing shows: gone, or hidden by an ACL.
//!
//! A listing of all topics leaves out those that may not be described. Asked by name, the broker
//! says which it is: UNKNOWN_TOPIC_OR_PARTITION or TOPIC_AUTHORIZATION_FAILED.

use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use rdkafka::{consumer::Consumer as _, types::RDKafkaRespErr};

use super::super::client::Client;
use crate::{clock::Ticks, config, model::Name, store::cluster::Cluster};

/// Topics asked for after one listing: each is a request of its own.
const AT_ONCE: usize = 20;
/// How long an answer holds.
const HOLDS: Duration = Duration::from_secs(300);

/// When each missing topic was last asked for.
#[derive(Debug, Default)]
pub(super) struct Missing(HashMap<Name, Instant>);

impl Missing {
    /// Asks for some of the topics that are missing.
    #[expect(clippy::disallowed_methods, reason = "when to ask again is not part of any answer")]
    pub(super) fn check(&mut self, client: &Client, cluster: &Cluster, settings: &config::Lag, ticks: Ticks) {
        let missing = missing(cluster);
        let now = Instant::now();
        self.0.retain(|name, asked| missing.contains(name) && now.duration_since(*asked) < HOLDS);
        let due: Vec<Name> = missing.into_iter().filter(|name| !self.0.contains_key(name)).take(AT_ONCE).collect();
        for name in due {
            // Not created by asking: allow.auto.create.topics is false.
            let Ok(metadata) = client.fetch_metadata(Some(&name), settings.request_timeout) else { return };
            let error = metadata.topics().iter().find(|topic| *topic.name() == *name).and_then(|topic| topic.error());
            let refused = error == Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
            cluster.ends.set_refused(&name, refused, ticks);
            self.0.insert(name, now);
        }
    }
}

/// Topics with commits that the last listing did not show.
fn missing(cluster: &Cluster) -> HashSet<Name> {
    let ends = cluster.ends.current();
    let mut missing = HashSet::new();
    for shard in cluster.shards() {
        for group in shard.pin().groups.iter() {
            let names = group.topic_counts().map(|(name, _)| name);
            missing.extend(names.filter(|name| !ends.is_listed(name)).cloned());
        }
    }
    missing
}
