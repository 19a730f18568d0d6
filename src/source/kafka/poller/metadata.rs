//! Polls metadata: topics, their leaders, brokers and replicas.

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString},
    sync::Arc,
    time::Duration,
};

use hashbrown::HashMap;
use rdkafka::{
    consumer::Consumer as _,
    metadata::{Metadata, MetadataPartition, MetadataTopic},
};

use super::{
    super::{ffi, now},
    CHUNK, DueTimes, EndsRound, PollPlan, Poller, RETRY, TopicPartition,
};
use crate::{
    model::{Name, OFFSETS_TOPIC},
    store::{
        ends::TopicMetadata,
        placement::{Broker, Placement, Replicas},
    },
};

impl Poller {
    /// Refreshes the metadata. Returns the time until the next refresh.
    pub(super) fn refresh_metadata(&mut self) -> Duration {
        let asked = self.writer.clock().ticks();
        let failures = self.client.context().failures();
        // Request all topics, because a request by name could create a topic on old brokers.
        match self.client.metadata(None, self.settings.request_timeout) {
            Ok(metadata) => {
                if !self.identity.is_same_cluster(&self.client) {
                    return RETRY;
                }
                self.failures = failures;
                let listed = metadata.topics().iter().filter(|topic| topic.error().is_none());
                let topics: Vec<TopicMetadata> = listed
                    .filter(|topic| self.includes(topic.name()))
                    .map(|topic| TopicMetadata {
                        name: self.writer.names().intern(topic.name()),
                        leaders: leaders(topic),
                    })
                    .collect();
                self.cluster.placement.store(self.placement(&metadata, &topics));
                let log_partitions = topics.iter().find(|topic| &*topic.name == OFFSETS_TOPIC);
                let log_partitions = log_partitions.map(|topic| topic.leaders.len());
                if self.cluster.ends.set_topics(topics, asked, &self.writer.applied()) {
                    self.due.ids = now();
                }
                let ticks = self.writer.clock().ticks();
                self.missing.check(&self.client, &self.cluster, &self.settings, ticks);
                self.check_log(log_partitions);
                self.update_plan();
                self.succeed();
                self.settings.metadata_interval
            }
            Err(error) => {
                self.fail(&error.to_string());
                // Earlier responses do not show whether the cluster is reachable now.
                self.round = EndsRound { since: self.writer.clock().ticks(), ..EndsRound::default() };
                RETRY
            }
        }
    }

    /// Returns the cluster id, the brokers, and the replicas of the included topics. Keeps the previous cluster id and
    /// controller if they are unknown now.
    fn placement(&self, metadata: &Metadata, topics: &[TopicMetadata]) -> Arc<Placement> {
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
                if let Some(slot) = usize::try_from(partition.id()).ok().and_then(|id| all.get_mut(id)) {
                    *slot = replicas(partition);
                }
            }
            Some((Name::clone(names.get(topic.name())?), all))
        });
        let before = self.cluster.placement.load();
        let cluster_id = self.client.client().fetch_cluster_id(Duration::ZERO).or_else(|| before.cluster_id.clone());
        let controller = ffi::controller(&self.client).or(before.controller);
        Arc::new(Placement { cluster_id, controller, brokers, topics: topics.collect() })
    }

    fn includes(&self, topic: &str) -> bool {
        topic == OFFSETS_TOPIC || self.cluster.config.topics.accepts(topic)
    }

    fn update_plan(&mut self) {
        let ends = self.cluster.ends.current();
        let mut by_leader: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        let before = std::mem::take(&mut self.plan);
        for topic in ends.topics() {
            let Ok(name) = CString::new(topic.name.as_bytes()) else { continue };
            let name: Arc<CStr> = name.into();
            for (partition, number) in topic.partitions.iter().zip(0..) {
                if let Some(leader) = partition.leader {
                    by_leader.entry(leader).or_default().push((Arc::clone(&name), number));
                }
            }
            self.plan.topics.push(name);
        }
        for (leader, partitions) in by_leader {
            self.plan.chunks.extend(partitions.chunks(CHUNK).map(|chunk| (leader, chunk.to_vec())));
        }
        let partitions = |plan: &PollPlan| plan.chunks.iter().map(|(_, chunk)| chunk.len()).sum::<usize>();
        if partitions(&before) != partitions(&self.plan) || before.topics != self.plan.topics {
            // Poll new partitions now instead of after the interval.
            let now = now();
            self.due = DueTimes { metadata: self.due.metadata, high: now, low: now, ids: now };
        }
    }
}

fn replicas(partition: &MetadataPartition) -> Replicas {
    let count = |list: &[i32]| u16::try_from(list.len()).unwrap_or(u16::MAX);
    Replicas {
        count: count(partition.replicas()),
        in_sync: count(partition.isr()),
        is_preferred_leader: partition.replicas().first() == Some(&partition.leader()),
    }
}

/// Returns the leader of each partition, by partition number.
fn leaders(topic: &MetadataTopic) -> Vec<Option<i32>> {
    let mut leaders = vec![None; topic.partitions().len()];
    for partition in topic.partitions() {
        let slot = usize::try_from(partition.id()).ok().and_then(|id| leaders.get_mut(id));
        if let Some(slot) = slot {
            *slot = Some(partition.leader()).filter(|leader| *leader >= 0);
        }
    }
    leaders
}
