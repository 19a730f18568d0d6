//! librdkafka's in-process mock cluster.
//!
//! It speaks Kafka's protocol on local ports, and any client can use it. What it lacks
//! (`rdkafka_mock.c`): topics are made here, not by clients; no topic ids are told; nothing is
//! compacted, but each partition keeps its last 5 MiB ([`KEPT_BYTES`]) or 100,000 batches and drops
//! older ones. A fetch walks all batches of a partition and takes one, and without news it answers
//! only after the client's `fetch.wait.max.ms`: few large batches are cheap, and many small are not.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
};

use rdkafka::{
    ClientConfig,
    mocking::MockCluster,
    producer::{Producer as _, ThreadedProducer},
};

use super::{
    DemoError,
    writer::{Deliveries, Writer},
};
use crate::{config::Config, model::OFFSETS_TOPIC};

/// What the mock keeps of a partition's batches.
pub const KEPT_BYTES: usize = 5 << 20;

/// Has a server not ask for what the mock cannot answer. A commit shows `fetch_wait_ms` later at most.
pub fn suit(config: &mut Config, fetch_wait_ms: &str) {
    // Its coordinators know nothing of what is in the log.
    config.audit.enabled = false;
    config.transactions.enabled = false;
    for cluster in &mut config.clusters {
        cluster.topic_ids = false;
        cluster.kafka.insert("fetch.wait.max.ms".to_owned(), fetch_wait_ms.to_owned());
    }
}

/// A mock cluster. It lives as long as this or one of its writers; clones share it.
#[derive(Clone)]
pub struct MockKafka(Arc<Shared>);

/// A cluster with the client that owns it, which is also the one that writes.
pub(super) struct Shared {
    pub(super) producer: ThreadedProducer<Deliveries>,
    bootstrap_servers: String,
    /// Of `__consumer_offsets`; 0 as long as there is none.
    pub(super) log_partitions: AtomicI32,
    brokers: i32,
}

impl fmt::Debug for MockKafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockKafka").field("bootstrap_servers", &self.0.bootstrap_servers).finish_non_exhaustive()
    }
}

impl MockKafka {
    /// Starts so many brokers, without any topic.
    ///
    /// # Errors
    /// [`DemoError::Kafka`].
    pub fn start(brokers: i32) -> Result<Self, DemoError> {
        let producer: ThreadedProducer<Deliveries> = ClientConfig::new()
            .set("client.id", "offsetd-demo")
            .set("test.mock.num.brokers", brokers.to_string())
            // Records of a key must not overtake each other when one is sent again.
            .set("max.in.flight.requests.per.connection", "1")
            .set("queue.buffering.max.messages", "500000")
            .set("enable.metrics.push", "false")
            .create_with_context(Deliveries::default())
            .map_err(DemoError::kafka("start"))?;
        let bootstrap_servers = mock(&producer)?.bootstrap_servers();
        Ok(Self(Arc::new(Shared { producer, bootstrap_servers, log_partitions: AtomicI32::new(0), brokers })))
    }

    /// Where clients connect: `host:port,…`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        &self.0.bootstrap_servers
    }

    /// Creates a topic. Replicated to three brokers, or as many as there are.
    ///
    /// # Errors
    /// [`DemoError::Kafka`], also if the topic exists.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), DemoError> {
        self.mock()?.create_topic(name, partitions, self.0.brokers.min(3)).map_err(DemoError::kafka("create a topic"))
    }

    /// Creates `__consumer_offsets`. Until then, commits are refused.
    ///
    /// # Errors
    /// [`DemoError::Kafka`], also if it exists.
    pub fn create_offsets_topic(&self, partitions: i32) -> Result<(), DemoError> {
        self.create_topic(OFFSETS_TOPIC, partitions)?;
        self.0.log_partitions.store(partitions, Ordering::Release);
        Ok(())
    }

    /// A new handle to write with.
    #[must_use]
    pub fn writer(&self) -> Writer {
        Writer::new(Arc::clone(&self.0))
    }

    /// librdkafka's own controls: brokers down, leaders moved, errors injected.
    ///
    /// # Errors
    /// [`DemoError::Kafka`] does not happen after the start.
    pub fn mock(&self) -> Result<MockCluster<'_, Deliveries>, DemoError> {
        mock(&self.0.producer)
    }
}

fn mock(producer: &ThreadedProducer<Deliveries>) -> Result<MockCluster<'_, Deliveries>, DemoError> {
    let none = rdkafka::error::KafkaError::MockCluster(rdkafka::types::RDKafkaErrorCode::Fail);
    producer.client().mock_cluster().ok_or(none).map_err(DemoError::kafka("start"))
}
