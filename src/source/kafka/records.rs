//! Conversion of decoded offset records into events of the store.

use crate::{
    decode::schema::{OffsetCommitKey, OffsetCommitValue},
    store::{event::EventKind, group::Commit},
};

/// Returns the event of an offset record: a commit, or the deletion of the offset. A committed offset below 0 is a
/// deletion too, because Kafka's clients and tools treat it as no offset (`ListConsumerGroupOffsetsHandler`).
pub(super) fn offset_event<'m>(key: &OffsetCommitKey<'m>, value: Option<&OffsetCommitValue<'m>>) -> EventKind<'m> {
    let (topic, partition) = (key.topic, key.partition);
    let Some(value) = value.filter(|value| value.offset >= 0) else { return EventKind::Delete { topic, partition } };
    let commit = Commit {
        committed_offset: value.offset,
        committed_at: value.commit_timestamp,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata,
        expires_at: (value.expire_timestamp >= 0).then_some(value.expire_timestamp),
        topic_id: value.topic_id.known(),
        first_seen_at: None,
    };
    EventKind::Commit { topic, partition, commit }
}

#[cfg(test)]
mod tests;
