//! The records that a group coordinator writes to `__consumer_offsets`, as values that are encoded to bytes.
//!
//! Defaults are those of a 4.1 broker: commits in version 4, classic groups in version 3.

use crate::{
    decode::{
        Fault,
        consumer_protocol::{Assignment, Embedded, Payload as _, Subscription, TopicPartitions},
        schema::{GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetCommitKey, OffsetCommitValue},
        wire::Array,
        write_key, write_value,
    },
    model::{Millis, Uuid},
};

/// A committed offset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Commit<'a> {
    /// Group id.
    pub group: &'a str,
    /// Topic name.
    pub topic: &'a str,
    /// Partition of the topic.
    pub partition: i32,
    /// Committed offset: the next one that the group will read.
    pub offset: i64,
    /// Epoch of the last consumed record; -1 is unknown. Partitions of the mock have epoch 0.
    pub leader_epoch: i32,
    /// Text that the client committed with the offset.
    pub metadata: &'a str,
    /// Time at which the coordinator received the commit.
    pub committed_at: Millis,
    /// Expiry time, written in version 1 only.
    pub expires_at: Option<Millis>,
    /// Record type: 1, or 0 as before Kafka 0.9.
    pub kind: i16,
    /// Version of the value, 0 to 4.
    pub version: i16,
}

impl<'a> Commit<'a> {
    /// Creates a commit as a 4.1 broker writes it for a current client.
    #[must_use]
    pub fn new(group: &'a str, topic: &'a str, partition: i32, offset: i64, committed_at: Millis) -> Self {
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
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        let mut bytes = vec![];
        let key = OffsetCommitKey { group: self.group, topic: self.topic, partition: self.partition };
        write_key(self.kind, &key, &mut bytes);
        bytes
    }

    /// Returns the bytes of the value.
    ///
    /// # Errors
    /// [`Fault::UnknownVersion`] for a version that does not exist.
    pub fn value(&self) -> Result<Vec<u8>, Fault> {
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
pub struct GroupDescription {
    /// Group id.
    pub group: String,
    /// Protocol type: `consumer`, `connect`, …
    pub protocol_type: String,
    /// Generation, which rises with each rebalance.
    pub generation: i32,
    /// Chosen assignor; `None` for an empty group.
    pub protocol: Option<String>,
    /// Member id of the leader; `None` for an empty group.
    pub leader: Option<String>,
    /// Time of the last state transition.
    pub at: Millis,
    /// Members; an empty group has none.
    pub members: Vec<Member>,
}

impl GroupDescription {
    /// Returns the bytes of the key.
    #[must_use]
    pub fn key(group: &str) -> Vec<u8> {
        let mut bytes = vec![];
        write_key(2, &GroupMetadataKey { group }, &mut bytes);
        bytes
    }

    /// Returns the bytes of the value in a version of 0 to 4; brokers write 3 since Kafka 2.3.
    ///
    /// # Errors
    /// [`Fault::UnknownVersion`] for a version that does not exist.
    pub fn value(&self, version: i16) -> Result<Vec<u8>, Fault> {
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
pub struct Member {
    /// Member id.
    pub id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// Address of the client, formatted as by Java: `/10.0.0.7`.
    pub client_host: String,
    /// Rebalance timeout in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// Session timeout in milliseconds.
    pub session_timeout_ms: i32,
    /// Bytes that the member sent: [`subscription`] if the protocol type is `consumer`.
    pub subscription: Vec<u8>,
    /// Bytes that the leader assigned: [`assignment`] if the protocol type is `consumer`.
    pub assignment: Vec<u8>,
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
#[must_use]
pub fn subscription(version: i16, topics: &[&str]) -> Vec<u8> {
    let mut bytes = vec![];
    let payload = Subscription { version, topics: Array::of(topics), generation_id: -1, ..Subscription::default() };
    payload.write(&mut bytes);
    bytes
}

/// Returns an assignment of the embedded consumer protocol, version 0 to 3.
#[must_use]
pub fn assignment(version: i16, assigned: &[(&str, &[i32])]) -> Vec<u8> {
    let topics: Vec<_> = assigned
        .iter()
        .map(|&(topic, partitions)| TopicPartitions { topic, partitions: Array::of(partitions) })
        .collect();
    let mut bytes = vec![];
    Assignment { version, assigned_partitions: Array::of(&topics), user_data: None }.write(&mut bytes);
    bytes
}
