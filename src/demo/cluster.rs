//! librdkafka's in-process mock cluster, and the records that a group coordinator and producers would write to it.
//!
//! The mock speaks Kafka's protocol on local ports, so any client can use it. Its limits (`rdkafka_mock.c`): topics are
//! created here, not by clients; topic ids are unknown; nothing is compacted, but each partition keeps its last 5 MiB
//! ([`KEPT_BYTES`]) or 100,000 batches and drops older ones. A fetch scans all batches of a partition and returns one,
//! and without new records it returns only after the client's `fetch.wait.max.ms`; so a few large batches are cheap,
//! and many small ones are not.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, ClientContext,
    error::KafkaError,
    mocking::MockCluster,
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode,
};

use crate::{
    config::Config,
    decode::group,
    model::{Millis, OFFSETS_TOPIC, log_partition_for},
};

/// Maximum bytes of batches that the mock keeps per partition.
pub const KEPT_BYTES: usize = 5 << 20;

/// Adapts a configuration to the mock: turns off the requests that it cannot answer. A commit becomes visible at most
/// `fetch_wait_ms` milliseconds later.
pub fn adapt_config(config: &mut Config, fetch_wait_ms: &str) {
    config.audit.enabled = false;
    config.audit.off_reason = Some("the coordinators of a mock cluster know no committed offsets");
    config.transactions.enabled = false;
    for cluster in &mut config.clusters {
        cluster.topic_ids = false;
        cluster.kafka.insert("fetch.wait.max.ms".to_owned(), fetch_wait_ms.to_owned());
    }
}

/// A failure of the embedded Kafka cluster or of its workload.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// librdkafka returned an error, or a record was not delivered.
    #[error("the embedded Kafka cannot {action}")]
    Kafka {
        /// Action that failed.
        action: &'static str,
        /// Error of librdkafka.
        #[source]
        source: KafkaError,
    },
    /// A record was written before [`create_offsets_topic`](MockKafka::create_offsets_topic) was called.
    #[error("the embedded Kafka has no topic {OFFSETS_TOPIC} yet")]
    NoOffsetsTopic,
    /// The scenario is malformed.
    #[error("cannot read the scenario")]
    Scenario(#[from] toml::de::Error),
    /// The workload panicked.
    #[error("the demo's workload panicked")]
    Panicked,
}

impl DemoError {
    fn kafka(action: &'static str) -> impl FnOnce(KafkaError) -> Self {
        move |source| Self::Kafka { action, source }
    }
}

/// A mock cluster, which exists as long as one of its clones.
///
/// A write returns when the record is queued, in order per partition; [`MockKafka::flush`] waits until the cluster has
/// received all records. A record that was not delivered fails the next call. Every method that fails returns
/// [`DemoError::Kafka`], or [`DemoError::NoOffsetsTopic`] for a write to `__consumer_offsets` before it is created.
#[derive(Clone)]
pub struct MockKafka(Arc<Shared>);

/// State shared by all clones. The producer owns the mock cluster and also writes to it.
struct Shared {
    producer: ThreadedProducer<Deliveries>,
    bootstrap_servers: String,
    /// Number of partitions of `__consumer_offsets`; 0 before it is created.
    log_partitions: AtomicI32,
    brokers: i32,
}

/// Callback that stores the error of the first record that was not delivered.
#[derive(Debug, Default)]
pub struct Deliveries(Mutex<Option<KafkaError>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().get_or_insert_with(|| error.clone());
        }
    }
}

impl fmt::Debug for MockKafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MockKafka").field(&self.0.bootstrap_servers).finish()
    }
}

impl MockKafka {
    /// Starts a cluster with this number of brokers and without topics.
    pub fn start(brokers: i32) -> Result<Self, DemoError> {
        let producer: ThreadedProducer<Deliveries> = ClientConfig::new()
            .set("client.id", "offsetd-demo")
            .set("test.mock.num.brokers", brokers.to_string())
            // Keeps the order of a key's records when one of them is retried.
            .set("max.in.flight.requests.per.connection", "1")
            .set("queue.buffering.max.messages", "500000")
            .set("enable.metrics.push", "false")
            .create_with_context(Deliveries::default())
            .map_err(DemoError::kafka("start"))?;
        let bootstrap_servers =
            producer.client().mock_cluster().map(|mock| mock.bootstrap_servers()).unwrap_or_default();
        Ok(Self(Arc::new(Shared { producer, bootstrap_servers, log_partitions: 0.into(), brokers })))
    }

    /// Returns the bootstrap servers: `host:port,…`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        &self.0.bootstrap_servers
    }

    /// Returns librdkafka's own controls: stop brokers, move leaders, inject errors. Does not fail after the start.
    pub fn mock(&self) -> Result<MockCluster<'_, Deliveries>, DemoError> {
        let none = KafkaError::MockCluster(RDKafkaErrorCode::Fail);
        self.0.producer.client().mock_cluster().ok_or(none).map_err(DemoError::kafka("start"))
    }

    /// Creates a topic, which must not exist yet, with a replication factor of 3, or of the number of brokers if
    /// smaller.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), DemoError> {
        self.mock()?.create_topic(name, partitions, self.0.brokers.min(3)).map_err(DemoError::kafka("create a topic"))
    }

    /// Creates `__consumer_offsets`, which must not exist yet.
    pub fn create_offsets_topic(&self, partitions: i32) -> Result<(), DemoError> {
        self.create_topic(OFFSETS_TOPIC, partitions)?;
        self.0.log_partitions.store(partitions, Ordering::Release);
        Ok(())
    }

    /// Returns the partition of `__consumer_offsets` to which Kafka writes the group's records.
    pub fn log_partition(&self, group: &str) -> Result<i32, DemoError> {
        log_partition_for(group, self.0.log_partitions.load(Ordering::Acquire)).ok_or(DemoError::NoOffsetsTopic)
    }

    /// Writes a record to the partition of `__consumer_offsets` of the group that is named in its key.
    pub fn log(&self, key: &[u8], value: Option<&[u8]>, at: Option<Millis>) -> Result<(), DemoError> {
        let log_partition = self.log_partition(group(Some(key)).unwrap_or_default())?;
        self.send(BaseRecord {
            payload: value,
            timestamp: at,
            ..BaseRecord::to(OFFSETS_TOPIC).key(key).partition(log_partition)
        })
    }

    /// Appends `count` records of `bytes` bytes to a partition of a data topic.
    pub fn produce(&self, topic: &str, partition: i32, count: u32, bytes: usize) -> Result<(), DemoError> {
        let payload = vec![0; bytes];
        (0..count).try_for_each(|_| self.send(BaseRecord::to(topic).partition(partition).payload(&payload)))
    }

    /// Writes a record, valid or not.
    pub fn send(&self, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<(), DemoError> {
        self.check()?;
        while let Err((source, unsent)) = self.0.producer.send(record) {
            if source.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(DemoError::Kafka { action: "take a record", source });
            }
            record = unsent;
            self.0.producer.poll(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits until the cluster has received all records. Fails after a minute without an answer.
    pub fn flush(&self) -> Result<(), DemoError> {
        self.0.producer.flush(Duration::from_secs(60)).map_err(DemoError::kafka("take all records"))?;
        self.check()
    }

    fn check(&self) -> Result<(), DemoError> {
        let failed = self.0.producer.client().context().0.lock().take();
        failed.map_or(Ok(()), |source| Err(DemoError::Kafka { action: "take a record", source }))
    }
}
