//! One record of a group, of any type above 2, in a form of its own: names interned, nothing
//! borrowed.

use std::sync::Arc;

use crate::model::{Name, Uuid};

/// What a record says. `None` is a tombstone.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Types 3, 11, 17: the group.
    Group(Option<Head>),
    /// Types 6, 12, 20: epoch of the target assignment.
    AssignmentEpoch(Option<i32>),
    /// Types 5, 10, 19: a member.
    Member(Name, Option<Arc<About>>),
    /// Types 7, 13, 21: what a member should own.
    Target(Name, Option<Arc<[Holding]>>),
    /// Types 8, 14, 22: what a member owns.
    Current(Name, Option<Arc<Current>>),
    /// Type 16: the topics that a regular expression found.
    Regex(Name, Option<Arc<[Name]>>),
    /// Types 4, 9, 15: topics with their ids.
    TopicNames(Option<Arc<[(Uuid, Name)]>>),
    /// Type 23: the topology of a streams group.
    Topology(Option<Arc<Topology>>),
}

/// The group-level record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The group epoch.
    pub epoch: i32,
    /// Streams groups, from Kafka 4.2 on.
    pub validated_topology_epoch: Option<i32>,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// group.instance.id of a static member.
    pub instance_id: Option<Name>,
    /// client.rack.
    pub rack_id: Option<Name>,
    /// client.id.
    pub client_id: Name,
    /// Java's text of the address.
    pub client_host: Name,
    /// Topics by name.
    pub subscribed_topics: Vec<Name>,
    /// Topics by regular expression.
    pub subscribed_topic_regex: Option<Name>,
    /// The assignor that the member asks for.
    pub server_assignor: Option<Name>,
    /// Of a member that speaks the classic protocol.
    pub session_timeout_ms: Option<i32>,
    /// How long it may take to rejoin.
    pub rebalance_timeout_ms: Option<i32>,
}

/// What a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// Epoch that it has reached.
    pub epoch: i32,
    /// `MemberState`, by number.
    pub state: i8,
    /// What it owns.
    pub assigned: Vec<Holding>,
    /// What it gives up, and still holds.
    pub revoking: Vec<Holding>,
}

/// Partitions of a topic, or tasks of a subtopology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holding {
    /// KIP-848 and share groups.
    Topic(Uuid, Vec<i32>),
    /// Streams groups.
    Subtopology(Name, Vec<i32>),
}

/// What a streams group reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Its epoch.
    pub epoch: i32,
    /// Id of each subtopology, with the topics that it reads.
    pub subtopologies: Vec<(Name, Vec<Name>)>,
}

impl Piece {
    /// Whether it removes something.
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
