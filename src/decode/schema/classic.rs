//! Schemas of record types 0 to 2: committed offsets and classic groups.

use crate::{
    decode::{
        consumer_protocol::{Assignment, Embedded, Subscription},
        wire::Array,
    },
    model::Uuid,
};

schema! {
    /// Key of types 0 and 1 (`OffsetCommitKey.json`, `LegacyOffsetCommitKey.json`).
    OffsetCommitKey<'a> {
        /// Group id. It may be empty.
        "group" group: &'a str, 0..;
        /// Topic name.
        "topic" topic: &'a str, 0..;
        /// Partition of the topic.
        "partition" partition: i32, 0..;
    }
}

schema! {
    /// Value of types 0 and 1 (`OffsetCommitValue.json`; the layouts of earlier versions are those of the schemas in
    /// `GroupMetadataManager.scala`).
    OffsetCommitValue<'a> {
        /// The next offset that the group will read.
        "offset" offset: i64, 0..;
        /// Leader epoch of the last consumed record; -1 means unknown.
        "leaderEpoch" leader_epoch: i32, 3.., or -1;
        /// Free text that the client attached to the commit.
        "metadata" metadata: &'a str, 0..;
        /// Time at which the coordinator handled the commit, in ms since the epoch.
        "commitTimestamp" commit_timestamp: i64, 0..;
        /// Time at which the commit expires, in ms since the epoch; -1 means that the broker's retention applies.
        "expireTimestamp" expire_timestamp: i64, 1..=1, or -1;
        tags {
            /// Id of the topic; zero means unknown.
            "topicId" 0 topic_id: Uuid, 4.., or Uuid::ZERO;
        }
    }
    versions 0..=4, flexible 4;
}

schema! {
    /// Key of type 2 (`GroupMetadataKey.json`).
    GroupMetadataKey<'a> {
        /// Group id.
        "group" group: &'a str, 0..;
    }
}

schema! {
    /// Value of type 2: a classic group (`GroupMetadataValue.json`).
    GroupMetadataValue<'a> {
        /// Protocol type, such as `consumer` or `connect`; empty means none.
        "protocolType" protocol_type: &'a str, 0..;
        /// Generation of the group, incremented by each completed rebalance.
        "generation" generation: i32, 0..;
        /// The selected assignor; null if the group is empty.
        "protocol" protocol: Option<&'a str>, 0..;
        /// Member id of the leader; null if the group is empty.
        "leader" leader: Option<&'a str>, 0..;
        /// Time of the last state transition, in ms since the epoch; -1 means unknown (KIP-211).
        "currentStateTimestamp" current_state_timestamp: i64, 2.., or -1;
        /// Members of the group.
        "members" members: Array<'a, MemberMetadata<'a>>, 0..;
    }
    versions 0..=4, flexible 4, embeds |value| value.protocol_type == "consumer";
}

schema! {
    /// A member of a classic group.
    MemberMetadata<'a> {
        /// Member id.
        "memberId" member_id: &'a str, 0..;
        /// group.instance.id of a static member (KIP-345).
        "groupInstanceId" group_instance_id: Option<&'a str>, 3..;
        /// client.id.
        "clientId" client_id: &'a str, 0..;
        /// Address of the client as Java prints it, usually with a leading `/`.
        "clientHost" client_host: &'a str, 0..;
        /// Rebalance timeout in ms; -1 means that the session timeout applies (KIP-62).
        "rebalanceTimeout" rebalance_timeout: i32, 1.., or -1;
        /// Session timeout in ms.
        "sessionTimeout" session_timeout: i32, 0..;
        /// Metadata that the member sent for the selected protocol.
        "subscription" subscription: Embedded<'a, Subscription<'a>>, 0..;
        /// Assignment that the leader computed for the member. It may have zero length.
        "assignment" assignment: Embedded<'a, Assignment<'a>>, 0..;
    }
}
