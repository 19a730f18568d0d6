//! Types 0 and 1: committed offsets.

use crate::model::Uuid;

schema! {
    /// Key of types 0 and 1 (`OffsetCommitKey.json`, `LegacyOffsetCommitKey.json`).
    OffsetCommitKey<'a> {
        /// Group id; may be empty.
        "group" group: &'a str, 0..;
        /// Topic name.
        "topic" topic: &'a str, 0..;
        /// Partition of the topic.
        "partition" partition: i32, 0..;
    }
}

schema! {
    /// Value of types 0 and 1 (`OffsetCommitValue.json`; earlier layouts from the schemas in
    /// `GroupMetadataManager.scala`).
    OffsetCommitValue<'a> {
        /// The next offset that the group will read.
        "offset" offset: i64, 0..;
        /// Epoch of the last consumed record; -1 is unknown.
        "leaderEpoch" leader_epoch: i32, 3.., or -1;
        /// Text of the client.
        "metadata" metadata: &'a str, 0..;
        /// When the coordinator handled the commit, in ms.
        "commitTimestamp" commit_timestamp: i64, 0..;
        /// When the commit expires, in ms; -1 is by the retention rules.
        "expireTimestamp" expire_timestamp: i64, 1..=1, or -1;
        tags {
            /// Topic incarnation; zero is unknown.
            "topicId" 0 topic_id: Uuid, 4.., or Uuid::ZERO;
        }
    }
    versions 0..=4, flexible 4;
}
