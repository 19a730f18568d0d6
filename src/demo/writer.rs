//! Writes what a group coordinator and producers would.
//!
//! Calls return when a record is queued, in order per partition; [`Writer::flush`] waits until the
//! cluster has all. A record that was not delivered fails the next call.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use rdkafka::{
    ClientContext,
    error::KafkaError,
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext},
    types::RDKafkaErrorCode,
};

use super::{
    DemoError,
    cluster::Shared,
    records::{Commit, GroupDescription},
};
use crate::decode::{Record, group};
use crate::model::{Millis, OFFSETS_TOPIC, log_partition_for};

/// How long [`Writer::flush`] waits at most.
const FLUSH_WITHIN: Duration = Duration::from_secs(60);

/// Remembers the first record that was not delivered.
#[derive(Debug, Default)]
pub struct Deliveries {
    failed: Mutex<Option<KafkaError>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.failed.lock().get_or_insert_with(|| error.clone());
        }
    }
}

/// Writes to a [`MockKafka`](super::cluster::MockKafka), and keeps it alive. Cheap to clone.
#[derive(Clone)]
pub struct Writer(Arc<Shared>);

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Commits an offset.
    ///
    /// # Errors
    /// [`DemoError`].
    pub fn commit(&self, commit: &Commit<'_>) -> Result<(), DemoError> {
        self.send_to(commit.group, &commit.key(), Some(&commit.value()?), Some(commit.committed_at))
    }

    /// Deletes a committed offset: a tombstone of type 1.
    ///
    /// # Errors
    /// [`DemoError`].
    pub fn delete_offset(&self, group: &str, topic: &str, partition: i32) -> Result<(), DemoError> {
        self.send_to(group, &Commit::new(group, topic, partition, 0, 0).key(), None, None)
    }

    /// Describes a classic group, in a version of 0 to 4 (brokers write 3).
    ///
    /// # Errors
    /// [`DemoError`].
    pub fn group(&self, group: &GroupDescription, version: i16) -> Result<(), DemoError> {
        self.send_to(&group.group, &GroupDescription::key(&group.group), Some(&group.value(version)?), None)
    }

    /// Deletes a group's membership: a tombstone of type 2. Its offsets stay.
    ///
    /// # Errors
    /// [`DemoError`].
    pub fn delete_group(&self, group: &str) -> Result<(), DemoError> {
        self.send_to(group, &GroupDescription::key(group), None, None)
    }

    /// Writes a record of any type.
    ///
    /// # Errors
    /// [`DemoError`].
    pub fn record(&self, record: &Record<'_>) -> Result<(), DemoError> {
        let (key, value) = record.to_bytes()?;
        self.send_to(group(Some(&key)).unwrap_or_default(), &key, value.as_deref(), None)
    }

    /// Any record of `__consumer_offsets`, good or bad.
    ///
    /// # Errors
    /// [`DemoError`].
    pub fn raw(&self, log_partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), DemoError> {
        self.send(OFFSETS_TOPIC, log_partition, key, value, None)
    }

    /// Appends so many tiny records to a data topic.
    ///
    /// # Errors
    /// [`DemoError`].
    pub fn produce(&self, topic: &str, partition: i32, count: u32) -> Result<(), DemoError> {
        (0..count).try_for_each(|_| self.send(topic, partition, None, Some(&[]), None))
    }

    /// Waits until the cluster has everything.
    ///
    /// # Errors
    /// A record that was not delivered, or a cluster that does not answer for a minute.
    pub fn flush(&self) -> Result<(), DemoError> {
        self.0.producer.flush(FLUSH_WITHIN).map_err(DemoError::kafka("take all records"))?;
        self.check()
    }

    /// Where Kafka puts the group's records.
    ///
    /// # Errors
    /// [`DemoError::NoOffsetsTopic`].
    pub fn log_partition(&self, group: &str) -> Result<i32, DemoError> {
        log_partition_for(group, self.0.log_partitions.load(Ordering::Acquire)).ok_or(DemoError::NoOffsetsTopic)
    }

    fn send_to(&self, group: &str, key: &[u8], value: Option<&[u8]>, at: Option<Millis>) -> Result<(), DemoError> {
        self.send(OFFSETS_TOPIC, self.log_partition(group)?, Some(key), value, at)
    }

    fn send(
        &self,
        topic: &str,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        at: Option<Millis>,
    ) -> Result<(), DemoError> {
        self.check()?;
        let mut record =
            BaseRecord { key, payload: value, timestamp: at, ..BaseRecord::to(topic).partition(partition) };
        loop {
            match self.0.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), unsent)) => {
                    record = unsent;
                    self.0.producer.poll(Duration::from_millis(5));
                }
                Err((source, _)) => return Err(DemoError::Kafka { action: "take a record", source }),
            }
        }
    }

    fn check(&self) -> Result<(), DemoError> {
        let failed = self.0.producer.client().context().failed.lock().take();
        failed.map_or(Ok(()), |source| Err(DemoError::Kafka { action: "take a record", source }))
    }
}
