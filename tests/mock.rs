//! A mock cluster with the records that a group coordinator would write to it, as values that are encoded to bytes.
//!
//! Defaults are those of a 4.1 broker: commits in version 4, classic groups in version 3.

#![allow(dead_code, clippy::unwrap_used, reason = "each crate of tests uses a part of it, with versions that exist")]

use std::ops::Deref;

use offsetd::{
    decode::{
        Fault,
        consumer_protocol::{Assignment, Embedded, Payload as _, Subscription, TopicPartitions},
        schema::{GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetCommitKey, OffsetCommitValue},
        wire::Array,
        write_key, write_value,
    },
    demo::{DemoError, cluster},
    model::{Millis, OFFSETS_TOPIC, Uuid},
};
use rdkafka::producer::BaseRecord;

/// A mock cluster, which exists as long as one of its clones.
#[derive(Clone, Debug)]
pub(crate) struct MockKafka(cluster::MockKafka);

impl Deref for MockKafka {
    type Target = cluster::MockKafka;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl MockKafka {
    /// Starts a cluster with this number of brokers and without topics.
    pub(crate) fn start(brokers: i32) -> Result<Self, DemoError> {
        cluster::MockKafka::start(brokers).map(Self)
    }

    /// Returns another handle to write with.
    pub(crate) fn writer(&self) -> Self {
        self.clone()
    }

    /// Writes a committed offset.
    pub(crate) fn commit(&self, commit: &Commit<'_>) -> Result<(), DemoError> {
        self.log(&commit.key(), Some(&commit.value().unwrap()), Some(commit.committed_at))
    }

    /// Deletes a committed offset with a tombstone of type 1.
    pub(crate) fn delete_offset(&self, group: &str, topic: &str, partition: i32) -> Result<(), DemoError> {
        self.log(&Commit::new(group, topic, partition, 0, 0).key(), None, None)
    }

    /// Writes the record of a classic group, in a value version of 0 to 4 (brokers write 3).
    pub(crate) fn write_group(&self, group: &GroupDescription, version: i16) -> Result<(), DemoError> {
        self.log(&GroupDescription::key(&group.group), Some(&group.value(version).unwrap()), None)
    }

    /// Deletes a group's membership with a tombstone of type 2. Its offsets stay.
    pub(crate) fn delete_group(&self, group: &str) -> Result<(), DemoError> {
        self.log(&GroupDescription::key(group), None, None)
    }

    /// Writes any record, valid or not, to a given partition of `__consumer_offsets`.
    pub(crate) fn write_raw(
        &self,
        log_partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), DemoError> {
        let record = BaseRecord { key, payload: value, ..BaseRecord::to(OFFSETS_TOPIC).partition(log_partition) };
        self.send(record)
    }

    /// Appends `count` tiny records to a partition of a data topic.
    pub(crate) fn produce(&self, topic: &str, partition: i32, count: u32) -> Result<(), DemoError> {
        self.0.produce(topic, partition, count, 0)
    }
}

/// A committed offset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Commit<'a> {
    /// Group id.
    pub(crate) group: &'a str,
    /// Topic name.
    pub(crate) topic: &'a str,
    /// Partition of the topic.
    pub(crate) partition: i32,
    /// Committed offset: the next one that the group will read.
    pub(crate) offset: i64,
    /// Epoch of the last consumed record; -1 is unknown. Partitions of the mock have epoch 0.
    pub(crate) leader_epoch: i32,
    /// Text that the client committed with the offset.
    pub(crate) metadata: &'a str,
    /// Time at which the coordinator received the commit.
    pub(crate) committed_at: Millis,
    /// Expiry time, written in version 1 only.
    pub(crate) expires_at: Option<Millis>,
    /// Record type: 1, or 0 as before Kafka 0.9.
    pub(crate) kind: i16,
    /// Version of the value, 0 to 4.
    pub(crate) version: i16,
}

impl<'a> Commit<'a> {
    /// Creates a commit as a 4.1 broker writes it for a current client.
    pub(crate) fn new(group: &'a str, topic: &'a str, partition: i32, offset: i64, committed_at: Millis) -> Self {
        Self {
            group,
            topic,
            partition,
            offset,
            leader_epoch: 0,
            metadata: "",
            committed_at,
            expires_at: None,
            kind: 1,
            version: 4,
        }
    }

    /// Returns the bytes of the key.
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut bytes = vec![];
        let key = OffsetCommitKey { group: self.group, topic: self.topic, partition: self.partition };
        write_key(self.kind, &key, &mut bytes);
        bytes
    }

    /// Returns the bytes of the value.
    ///
    /// # Errors
    /// [`Fault::UnknownVersion`] for a version that does not exist.
    pub(crate) fn value(&self) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![];
        let value = OffsetCommitValue {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: self.metadata,
            commit_timestamp: self.committed_at,
            expire_timestamp: self.expires_at.unwrap_or(-1),
            // A 4.1 broker does not write it.
            topic_id: Uuid::ZERO,
        };
        write_value(&value, self.version, &mut bytes)?;
        Ok(bytes)
    }
}

/// A classic group with its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupDescription {
    /// Group id.
    pub(crate) group: String,
    /// Protocol type: `consumer`, `connect`, …
    pub(crate) protocol_type: String,
    /// Generation, which rises with each rebalance.
    pub(crate) generation: i32,
    /// Chosen assignor; `None` for an empty group.
    pub(crate) protocol: Option<String>,
    /// Member id of the leader; `None` for an empty group.
    pub(crate) leader: Option<String>,
    /// Time of the last state transition.
    pub(crate) at: Millis,
    /// Members; an empty group has none.
    pub(crate) members: Vec<Member>,
}

impl GroupDescription {
    /// Returns the bytes of the key.
    pub(crate) fn key(group: &str) -> Vec<u8> {
        let mut bytes = vec![];
        write_key(2, &GroupMetadataKey { group }, &mut bytes);
        bytes
    }

    /// Returns the bytes of the value in a version of 0 to 4; brokers write 3 since Kafka 2.3.
    ///
    /// # Errors
    /// [`Fault::UnknownVersion`] for a version that does not exist.
    pub(crate) fn value(&self, version: i16) -> Result<Vec<u8>, Fault> {
        let members: Vec<_> = self.members.iter().map(Member::metadata).collect();
        let value = GroupMetadataValue {
            protocol_type: &self.protocol_type,
            generation: self.generation,
            protocol: self.protocol.as_deref(),
            leader: self.leader.as_deref(),
            current_state_timestamp: self.at,
            members: Array::of(&members),
        };
        let mut bytes = vec![];
        write_value(&value, version, &mut bytes)?;
        Ok(bytes)
    }
}

/// A member of a classic group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// Member id.
    pub(crate) id: String,
    /// `group.instance.id` of a static member.
    pub(crate) instance_id: Option<String>,
    /// `client.id`.
    pub(crate) client_id: String,
    /// Address of the client, formatted as by Java: `/10.0.0.7`.
    pub(crate) client_host: String,
    /// Rebalance timeout in milliseconds.
    pub(crate) rebalance_timeout_ms: i32,
    /// Session timeout in milliseconds.
    pub(crate) session_timeout_ms: i32,
    /// Bytes that the member sent: [`subscription`] if the protocol type is `consumer`.
    pub(crate) subscription: Vec<u8>,
    /// Bytes that the leader assigned: [`assignment`] if the protocol type is `consumer`.
    pub(crate) assignment: Vec<u8>,
}

impl Member {
    fn metadata(&self) -> MemberMetadata<'_> {
        MemberMetadata {
            member_id: &self.id,
            group_instance_id: self.instance_id.as_deref(),
            client_id: &self.client_id,
            client_host: &self.client_host,
            rebalance_timeout: self.rebalance_timeout_ms,
            session_timeout: self.session_timeout_ms,
            subscription: Embedded::new(&self.subscription),
            assignment: Embedded::new(&self.assignment),
        }
    }
}

/// Returns a subscription of the embedded consumer protocol, version 0 to 3, without owned partitions.
pub(crate) fn subscription(version: i16, topics: &[&str]) -> Vec<u8> {
    let mut bytes = vec![];
    let payload = Subscription { version, topics: Array::of(topics), generation_id: -1, ..Subscription::default() };
    payload.write(&mut bytes);
    bytes
}

/// Returns an assignment of the embedded consumer protocol, version 0 to 3.
pub(crate) fn assignment(version: i16, assigned: &[(&str, &[i32])]) -> Vec<u8> {
    let topics: Vec<_> = assigned
        .iter()
        .map(|&(topic, partitions)| TopicPartitions { topic, partitions: Array::of(partitions) })
        .collect();
    let mut bytes = vec![];
    Assignment { version, assigned_partitions: Array::of(&topics), user_data: None }.write(&mut bytes);
    bytes
}
