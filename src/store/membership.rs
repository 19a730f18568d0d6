//! Who is in a group and owns what, in one form for all kinds of group.
//!
//! The log tells it in pieces: [`log`] keeps them as they come, and makes the [`Membership`] of
//! them when it is read, since a group may look half-migrated in the middle of a batch.

use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;

use crate::model::{Millis, Name, Revision, Uuid};

pub mod classic;
pub mod decoded;
pub mod log;
pub mod modern;
pub mod piece;
mod told;

pub use told::{Told, ToldMember};

/// The protocol of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupKind {
    /// JoinGroup and SyncGroup.
    Classic,
    /// KIP-848.
    Consumer,
    /// KIP-932.
    Share,
    /// KIP-1071.
    Streams,
}

impl GroupKind {
    /// The name in SQL and JSON.
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

/// The `kind` of a group that only has offsets.
pub const SIMPLE: &str = "simple";

/// State of a group, as Kafka's tools spell it, as far as the log proves it or its coordinator tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// No members.
    Empty,
    /// A streams group whose topology the broker has not validated.
    NotReady,
    /// The target assignment is older than the group.
    Assigning,
    /// Some member is not at its target yet.
    Reconciling,
    /// Members with assignments.
    Stable,
    /// Members are joining; a log does not tell it.
    PreparingRebalance,
    /// Members wait for their assignments; a log does not tell it.
    CompletingRebalance,
    /// The coordinator has removed it.
    Dead,
    /// Nobody tells.
    Unknown,
}

impl GroupState {
    /// Kafka's spelling (`GroupState.toString`).
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

    /// The state that Kafka spells so.
    #[must_use]
    pub fn told(name: &str) -> Self {
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

/// A topic as the log names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicRef {
    /// By name.
    Name(Name),
    /// By id: its name is for metadata to tell.
    Id(Uuid),
}

/// Partitions of a topic.
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
    /// As the broker recorded it, usually with a leading `/`.
    pub client_host: Name,
    /// Members that speak the classic protocol only.
    pub session_timeout_ms: Option<i32>,
    /// How long the member may take to rejoin.
    pub rebalance_timeout_ms: Option<i32>,
    /// The epoch that the member has reached: 0 when it has just joined, -2 for a static member that is
    /// away for a while. Members of classic groups have none but their group's generation.
    pub epoch: Option<i32>,
    /// Topics asked for, those that a regular expression found among them; `None` when the
    /// subscription does not decode or is not the consumer protocol.
    pub subscribed_topics: Option<Box<[Name]>>,
    /// What the member owns; `None` when unknown.
    pub assigned: Option<Box<[Assigned]>>,
    more: Option<Box<More>>,
}

/// What most members of classic groups, which are most groups, do not have.
#[derive(Clone, Debug, PartialEq)]
pub struct More {
    /// group.instance.id of a static member.
    pub instance_id: Option<Name>,
    /// client.rack, if the member told.
    pub rack_id: Option<Name>,
    /// State of the member, of KIP-848 and streams groups (`MemberState`).
    pub state: Option<&'static str>,
    /// Regular expression of a KIP-848 subscription.
    pub subscribed_topic_regex: Option<Name>,
    /// What it still holds and has to give up.
    pub revoking: Vec<Assigned>,
    /// What it should own; `None` where that is not told apart.
    pub target: Option<Vec<Assigned>>,
}

/// Nothing of it.
static NO_MORE: More = More {
    instance_id: None,
    rack_id: None,
    state: None,
    subscribed_topic_regex: None,
    revoking: Vec::new(),
    target: None,
};

impl Member {
    /// What few members have.
    #[must_use]
    pub fn more(&self) -> &More {
        self.more.as_deref().unwrap_or(&NO_MORE)
    }
}

impl More {
    fn boxed(self) -> Option<Box<Self>> {
        (self != NO_MORE).then(|| Box::new(self))
    }
}

/// The members of a group at one generation.
#[derive(Debug)]
pub struct Membership {
    /// Protocol of the group.
    pub kind: GroupKind,
    /// State that the log proves.
    pub state: GroupState,
    /// `consumer`, `connect`, `share`, …
    pub protocol_type: Option<Name>,
    /// The assignor.
    pub protocol: Option<Name>,
    /// Generation of a classic group, else the group epoch; `None` when the log lost it.
    pub epoch: Option<i32>,
    /// Member id of the leader.
    pub leader_member_id: Option<Name>,
    /// Time of the last state transition.
    pub state_at: Option<Millis>,
    /// Members, ordered by member id.
    pub members: Box<[Member]>,
    /// Whether anybody tells who the members are.
    pub are_members_known: bool,
    /// Topic names that the group's own records tell.
    pub topic_names: Option<Arc<[(Uuid, Name)]>>,
    /// Offset of the group's record in `__consumer_offsets`; -1 without one.
    pub revision: Revision,
    owners: OnceLock<Box<Owners>>,
}

/// Members by what they own: numbers in [`Membership::members`].
type Owners = HashMap<TopicRef, HashMap<i32, usize>>;

impl Membership {
    /// What the group's own records call a topic.
    #[must_use]
    pub fn topic_name(&self, id: Uuid) -> Option<&Name> {
        self.topic_names.as_ref()?.iter().find(|(known, _)| *known == id).map(|(_, name)| name)
    }

    /// The member that owns a partition, if known. `id` is what metadata calls the topic.
    #[must_use]
    pub fn owner(&self, topic: &Name, id: Option<Uuid>, partition: i32) -> Option<&Member> {
        if self.members.is_empty() {
            return None;
        }
        let owners = self.owners.get_or_init(|| Box::new(self.index_owners()));
        let by = |topic: &TopicRef| owners.get(topic)?.get(&partition).copied();
        let told = || {
            self.topic_names
                .iter()
                .flat_map(|names| &**names)
                .filter(|(_, name)| name == topic)
                .map(|(id, _)| TopicRef::Id(*id))
        };
        let index = by(&TopicRef::Name(Name::clone(topic)))
            .or_else(|| by(&TopicRef::Id(id?)))
            .or_else(|| if id.is_none() { told().find_map(|topic| by(&topic)) } else { None })?;
        self.members.get(index)
    }

    /// A partition that is being given up is still its old owner's.
    fn index_owners(&self) -> Owners {
        let mut owners = Owners::new();
        for (index, member) in self.members.iter().enumerate() {
            for assigned in member.assigned.iter().flatten().chain(&member.more().revoking) {
                let topic = owners.entry_ref(&assigned.topic).or_default();
                topic.extend(assigned.partitions.iter().map(|partition| (*partition, index)));
            }
        }
        owners
    }
}
