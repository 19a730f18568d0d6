//! Cluster metadata: the cluster id, the brokers, and the replicas of each partition.

use hashbrown::HashMap;

use crate::model::Name;

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Broker id.
    pub id: i32,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: i32,
}

/// The replicas of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    /// Number of replicas.
    pub count: u16,
    /// Number of in-sync replicas.
    pub in_sync: u16,
    /// Whether the leader is the first replica.
    pub is_preferred_leader: bool,
}

/// The newest metadata of one cluster.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// Cluster id that Kafka generated.
    pub cluster_id: Option<String>,
    /// Broker id of the controller.
    pub controller: Option<i32>,
    /// Brokers, by id.
    pub brokers: Vec<Broker>,
    /// Replicas, by topic and partition number.
    pub topics: HashMap<Name, Vec<Replicas>>,
}

impl Placement {
    /// Returns the number of brokers; `None` before the first metadata response.
    #[must_use]
    pub fn broker_count(&self) -> Option<i32> {
        i32::try_from(self.brokers.len()).ok().filter(|count| *count > 0)
    }

    /// Returns the replicas of a partition, if known.
    #[must_use]
    pub fn replicas(&self, topic: &str, partition: i32) -> Option<Replicas> {
        self.topics.get(topic)?.get(usize::try_from(partition).ok()?).copied().filter(|replicas| replicas.count > 0)
    }
}
