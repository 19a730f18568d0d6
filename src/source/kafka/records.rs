//! What a decoded record means to a shard.

use crate::{
    decode::schema::{OffsetCommitKey, OffsetCommitValue},
    store::{event::EventKind, group::Commit},
};

/// Returns the event of an offset record: a commit, or the removal of the offset. A committed offset below 0 removes the
/// offset too, because Kafka's clients and tools take it for none (`ListConsumerGroupOffsetsHandler`).
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
    };
    EventKind::Commit { topic, partition, commit }
}

#[cfg(test)]
mod tests;
