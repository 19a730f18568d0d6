//! One record of a next-generation group (types above 2), in owned form with interned names.

use std::sync::Arc;

use crate::model::{Name, Uuid};

/// Content of a record. `None` is a tombstone.
#[derive(Clone, Debug)]
pub enum GroupRecord {
    /// Types 3, 11, 17: the group.
    Group(Option<GroupEpochs>),
    /// Types 6, 12, 20: epoch of the target assignment.
    AssignmentEpoch(Option<i32>),
    /// Types 5, 10, 19: a member.
    Member(Name, Option<Arc<MemberInfo>>),
    /// Types 7, 13, 21: target assignment of a member.
    Target(Name, Option<Arc<[AssignmentEntry]>>),
    /// Types 8, 14, 22: current assignment of a member.
    Current(Name, Option<Arc<CurrentAssignment>>),
    /// Type 16: the topics that match a regular expression.
    Regex(Name, Option<Arc<[Name]>>),
    /// Types 4, 9, 15: topic names by id.
    TopicNames(Option<Arc<[(Uuid, Name)]>>),
    /// Type 23: the topology of a streams group.
    Topology(Option<Arc<Topology>>),
}

/// The group-level record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupEpochs {
    /// The group epoch.
    pub epoch: i32,
    /// Epoch of the validated topology; of streams groups, since Kafka 4.2.
    pub validated_topology_epoch: Option<i32>,
}

/// Metadata of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// group.instance.id of a static member.
    pub instance_id: Option<Name>,
    /// client.rack.
    pub rack_id: Option<Name>,
    /// client.id.
    pub client_id: Name,
    /// Host, as Java prints the address.
    pub client_host: Name,
    /// Topics subscribed by name.
    pub subscribed_topics: Vec<Name>,
    /// Regular expression of the subscription.
    pub subscribed_topic_regex: Option<Name>,
    /// The assignor that the member requests.
    pub server_assignor: Option<Name>,
    /// Session timeout; only of members that use the classic protocol.
    pub session_timeout_ms: Option<i32>,
    /// Maximum time in which the member must rejoin.
    pub rebalance_timeout_ms: Option<i32>,
}

/// Current assignment of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentAssignment {
    /// Epoch that the member has reached.
    pub epoch: i32,
    /// Number of the `MemberState`.
    pub state: i8,
    /// Assigned partitions.
    pub assigned: Vec<AssignmentEntry>,
    /// Partitions that the member still owns and must revoke.
    pub revoking: Vec<AssignmentEntry>,
}

/// Assigned partitions of a topic, or tasks of a subtopology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssignmentEntry {
    /// Partitions, in KIP-848 and share groups.
    Topic(Uuid, Vec<i32>),
    /// Tasks, in streams groups.
    Subtopology(Name, Vec<i32>),
}

/// The topology of a streams group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Epoch of the topology.
    pub epoch: i32,
    /// Ids of the subtopologies, with their source topics.
    pub subtopologies: Vec<(Name, Vec<Name>)>,
}

impl GroupRecord {
    /// Returns whether this is a tombstone.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        match self {
            Self::Group(value) => value.is_none(),
            Self::AssignmentEpoch(value) => value.is_none(),
            Self::Member(_, value) => value.is_none(),
            Self::Target(_, value) => value.is_none(),
            Self::Current(_, value) => value.is_none(),
            Self::Regex(_, value) => value.is_none(),
            Self::TopicNames(value) => value.is_none(),
            Self::Topology(value) => value.is_none(),
        }
    }
}
