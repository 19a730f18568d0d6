//! From metadata to where partitions lie.

use std::sync::Arc;

use hashbrown::HashMap;
use rdkafka::metadata::{Metadata, MetadataPartition, MetadataTopic};

use crate::{
    model::Name,
    store::{
        ends::TopicMetadata,
        placement::{Broker, Placement, Replicas},
    },
};

/// The brokers, and the replicas of the topics that are taken in.
pub(super) fn of(metadata: &Metadata, topics: &[TopicMetadata]) -> Arc<Placement> {
    let broker = |broker: &rdkafka::metadata::MetadataBroker| Broker {
        id: broker.id(),
        host: broker.host().to_owned(),
        port: broker.port(),
    };
    let mut brokers: Vec<Broker> = metadata.brokers().iter().map(broker).collect();
    brokers.sort_by_key(|broker| broker.id);
    let names: HashMap<&str, &Name> = topics.iter().map(|topic| (&*topic.name, &topic.name)).collect();
    let topics = metadata.topics().iter().filter_map(|topic| {
        let mut all = vec![Replicas::default(); topic.partitions().len()];
        for partition in topic.partitions() {
            if let Some(place) = usize::try_from(partition.id()).ok().and_then(|id| all.get_mut(id)) {
                *place = replicas(partition);
            }
        }
        Some((Name::clone(names.get(topic.name())?), all))
    });
    Arc::new(Placement { topics: topics.collect(), brokers })
}

fn replicas(partition: &MetadataPartition) -> Replicas {
    let count = |list: &[i32]| u16::try_from(list.len()).unwrap_or(u16::MAX);
    Replicas {
        count: count(partition.replicas()),
        in_sync: count(partition.isr()),
        is_preferred_leader: partition.replicas().first() == Some(&partition.leader()),
    }
}

/// Leader of each partition, by number.
pub(super) fn leaders(topic: &MetadataTopic) -> Vec<Option<i32>> {
    let mut leaders = vec![None; topic.partitions().len()];
    for partition in topic.partitions() {
        let place = usize::try_from(partition.id()).ok().and_then(|id| leaders.get_mut(id));
        if let Some(place) = place {
            *place = Some(partition.leader()).filter(|leader| *leader >= 0);
        }
    }
    leaders
}
