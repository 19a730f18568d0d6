//! The members of a group and the partitions that they own, in one form for all group protocols.
//!
//! The records of a group contain parts of its membership. [`log`] stores these parts and derives the [`Membership`]
//! when it is read, because a group may be half-migrated in the middle of a batch.

use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;

use crate::model::{Millis, Name, Revision, Uuid};

pub mod classic;
pub mod decoded;
pub mod log;
pub mod next_generation;
pub mod record;
mod description;

pub use description::{GroupDescription, MemberDescription};

/// The protocol of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupKind {
    /// The classic protocol (JoinGroup and SyncGroup).
    Classic,
    /// The consumer protocol of KIP-848.
    Consumer,
    /// Share groups (KIP-932).
    Share,
    /// Streams groups (KIP-1071).
    Streams,
}

impl GroupKind {
    /// Returns the name in SQL and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
            Self::Share => "share",
            Self::Streams => "streams",
        }
    }
}

/// The `kind` of a group that has only offsets.
pub const SIMPLE: &str = "simple";

/// State of a group, as the log proves it or its coordinator reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// The group has no members.
    Empty,
    /// The broker has not validated the topology of a streams group.
    NotReady,
    /// The target assignment is older than the group epoch.
    Assigning,
    /// A member has not reached its target assignment.
    Reconciling,
    /// The members have their assignments.
    Stable,
    /// Members are joining. The log does not show this state.
    PreparingRebalance,
    /// Members wait for their assignments. The log does not show this state.
    CompletingRebalance,
    /// The coordinator has removed the group.
    Dead,
    /// The state is not known.
    Unknown,
}

impl GroupState {
    /// Returns Kafka's spelling (`GroupState.toString`).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::NotReady => "NotReady",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Dead => "Dead",
            Self::Unknown => "Unknown",
        }
    }

    /// Returns the state with this spelling, or [`GroupState::Unknown`].
    #[must_use]
    pub fn parse(name: &str) -> Self {
        let states = [
            Self::Empty,
            Self::NotReady,
            Self::Assigning,
            Self::Reconciling,
            Self::Stable,
            Self::PreparingRebalance,
            Self::CompletingRebalance,
            Self::Dead,
        ];
        states.into_iter().find(|state| state.as_str() == name).unwrap_or(Self::Unknown)
    }
}

/// A topic in a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicRef {
    /// By name.
    Name(Name),
    /// By id. Its name comes from metadata.
    Id(Uuid),
}

/// Assigned partitions of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The topic.
    pub topic: TopicRef,
    /// Partition numbers.
    pub partitions: Box<[i32]>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Member id.
    pub member_id: Name,
    /// client.id.
    pub client_id: Name,
    /// Host as the broker recorded it, usually with a leading `/`.
    pub client_host: Name,
    /// Session timeout; only of members that use the classic protocol.
    pub session_timeout_ms: Option<i32>,
    /// Maximum time in which the member must rejoin.
    pub rebalance_timeout_ms: Option<i32>,
    /// Epoch that the member has reached: 0 if it has just joined, -2 for a static member that left temporarily; `None`
    /// for members of classic groups.
    pub epoch: Option<i32>,
    /// Subscribed topics, including those that match a regular expression; `None` if the subscription does not decode
    /// or is not of the consumer protocol.
    pub subscribed_topics: Option<Box<[Name]>>,
    /// Assigned partitions; `None` if unknown.
    pub assigned: Option<Box<[Assigned]>>,
    extras: Option<Box<MemberExtras>>,
}

/// Extras of a member: fields that most members, which are of classic groups, do not have.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberExtras {
    /// group.instance.id of a static member.
    pub instance_id: Option<Name>,
    /// client.rack, if the member sent it.
    pub rack_id: Option<Name>,
    /// `MemberState`, of members of KIP-848 and streams groups.
    pub state: Option<&'static str>,
    /// Regular expression of a KIP-848 subscription.
    pub subscribed_topic_regex: Option<Name>,
    /// Partitions that the member still owns and must revoke.
    pub revoking: Vec<Assigned>,
    /// Target assignment; `None` if it is not reported separately.
    pub target: Option<Vec<Assigned>>,
}

/// The extras of a member that has none.
static NO_EXTRAS: MemberExtras = MemberExtras {
    instance_id: None,
    rack_id: None,
    state: None,
    subscribed_topic_regex: None,
    revoking: Vec::new(),
    target: None,
};

impl Member {
    /// Returns the extras.
    #[must_use]
    pub fn extras(&self) -> &MemberExtras {
        self.extras.as_deref().unwrap_or(&NO_EXTRAS)
    }
}

impl MemberExtras {
    fn boxed(self) -> Option<Box<Self>> {
        (self != NO_EXTRAS).then(|| Box::new(self))
    }
}

/// The membership of a group at one generation or epoch.
#[derive(Debug)]
pub struct Membership {
    /// Protocol of the group.
    pub kind: GroupKind,
    /// State of the group.
    pub state: GroupState,
    /// Protocol type: `consumer`, `connect`, `share`, ….
    pub protocol_type: Option<Name>,
    /// Name of the assignor.
    pub protocol: Option<Name>,
    /// Generation of a classic group, else the group epoch; `None` if the log has no such record.
    pub epoch: Option<i32>,
    /// Member id of the leader.
    pub leader_member_id: Option<Name>,
    /// Time of the last state change.
    pub state_at: Option<Millis>,
    /// Members, ordered by member id.
    pub members: Box<[Member]>,
    /// Whether the members are known.
    pub are_members_known: bool,
    /// Topic names by id, from the group's own records.
    pub topic_names: Option<Arc<[(Uuid, Name)]>>,
    /// Revision of the record of the group; -1 without one.
    pub revision: Revision,
    owners: OnceLock<Box<Owners>>,
}

/// Index of the owning member in [`Membership::members`], by topic and partition.
type Owners = HashMap<TopicRef, HashMap<i32, usize>>;

impl Membership {
    /// Returns the name of a topic in the group's own records.
    #[must_use]
    pub fn topic_name(&self, id: Uuid) -> Option<&Name> {
        self.topic_names.as_ref()?.iter().find(|(known, _)| *known == id).map(|(_, name)| name)
    }

    /// Returns the member that owns a partition, if known. `id` is the topic id in metadata.
    #[must_use]
    pub fn owner(&self, topic: &Name, id: Option<Uuid>, partition: i32) -> Option<&Member> {
        if self.members.is_empty() {
            return None;
        }
        let owners = self.owners.get_or_init(|| Box::new(self.index_owners()));
        let by = |topic: &TopicRef| owners.get(topic)?.get(&partition).copied();
        let named = || {
            self.topic_names
                .iter()
                .flat_map(|names| &**names)
                .filter(|(_, name)| name == topic)
                .map(|(id, _)| TopicRef::Id(*id))
        };
        let index = by(&TopicRef::Name(Name::clone(topic)))
            .or_else(|| by(&TopicRef::Id(id?)))
            .or_else(|| if id.is_none() { named().find_map(|topic| by(&topic)) } else { None })?;
        self.members.get(index)
    }

    /// Maps partitions to members. A partition that is being revoked still belongs to its previous owner.
    fn index_owners(&self) -> Owners {
        let mut owners = Owners::new();
        for (index, member) in self.members.iter().enumerate() {
            for assigned in member.assigned.iter().flatten().chain(&member.extras().revoking) {
                let topic = owners.entry_ref(&assigned.topic).or_default();
                topic.extend(assigned.partitions.iter().map(|partition| (*partition, index)));
            }
        }
        owners
    }
}
