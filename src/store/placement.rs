//! What the last metadata tells of a Kafka cluster: its id, its brokers, and the replicas of each partition.

use hashbrown::HashMap;

use crate::model::Name;

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// Host that it advertises.
    pub host: String,
    /// Port that it advertises.
    pub port: i32,
}

/// The replicas of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    /// How many there are to be.
    pub count: u16,
    /// How many are in sync.
    pub in_sync: u16,
    /// The first of them leads.
    pub is_preferred_leader: bool,
}

/// Of one cluster.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// Kafka's own id of the cluster.
    pub cluster_id: Option<String>,
    /// Broker id of the controller.
    pub controller: Option<i32>,
    /// By id.
    pub brokers: Vec<Broker>,
    /// By topic and number of the partition.
    pub topics: HashMap<Name, Vec<Replicas>>,
}

impl Placement {
    /// How many brokers there are; `None` before any metadata came.
    #[must_use]
    pub fn broker_count(&self) -> Option<i32> {
        i32::try_from(self.brokers.len()).ok().filter(|count| *count > 0)
    }

    /// The replicas of a partition, if known.
    #[must_use]
    pub fn replicas(&self, topic: &str, partition: i32) -> Option<Replicas> {
        self.topics.get(topic)?.get(usize::try_from(partition).ok()?).copied().filter(|replicas| replicas.count > 0)
    }
}
