//! Who is in a group and owns what, in one form for all kinds of group.

use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;

use crate::{
    decode::schema::{GroupMetadataValue, MemberMetadata},
    model::{Millis, Name},
};

/// The protocol of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    /// JoinGroup and SyncGroup.
    Classic,
}

impl GroupKind {
    /// The name in SQL and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
        }
    }
}

/// The `kind` of a group that only has offsets.
pub const SIMPLE: &str = "simple";

/// State of a group, as Kafka's tools spell it, as far as the log proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// No members.
    Empty,
    /// Members with assignments.
    Stable,
}

impl GroupState {
    /// Kafka's spelling (`GroupState.toString`).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Stable => "Stable",
        }
    }
}

/// Partitions of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Topic name.
    pub topic: Name,
    /// Partition numbers.
    pub partitions: Vec<i32>,
}

/// A member of a group.
#[derive(Clone, Debug)]
pub struct Member {
    /// Member id.
    pub member_id: Name,
    /// group.instance.id of a static member.
    pub instance_id: Option<Name>,
    /// client.id.
    pub client_id: Name,
    /// As the broker recorded it, usually with a leading `/`.
    pub client_host: Name,
    /// client.rack, if the member told.
    pub rack_id: Option<Name>,
    /// Classic members only.
    pub session_timeout_ms: Option<i32>,
    /// How long the member may take to rejoin.
    pub rebalance_timeout_ms: Option<i32>,
    /// Topics asked for; `None` when the subscription does not decode or is not the consumer protocol.
    pub subscribed_topics: Option<Vec<Name>>,
    /// What the member owns; `None` when unknown.
    pub assigned: Option<Vec<Assigned>>,
}

/// The members of a group at one generation.
#[derive(Debug)]
pub struct Membership {
    /// Protocol of the group.
    pub kind: GroupKind,
    /// State that the log proves.
    pub state: GroupState,
    /// `consumer`, `connect`, …
    pub protocol_type: Option<Name>,
    /// The assignor.
    pub protocol: Option<Name>,
    /// Generation of a classic group.
    pub epoch: i32,
    /// Member id of the leader.
    pub leader_member_id: Option<Name>,
    /// Time of the last state transition.
    pub state_at: Option<Millis>,
    /// Members, ordered by member id.
    pub members: Vec<Member>,
    /// Offset of the record in `__consumer_offsets`.
    pub log_offset: i64,
    owners: OnceLock<HashMap<Name, HashMap<i32, usize>>>,
}

impl Membership {
    /// From a record of type 2. A payload that does not decode leaves a member with an unknown
    /// assignment, never without its group.
    pub fn classic(value: &GroupMetadataValue<'_>, log_offset: i64, intern: &impl Fn(&str) -> Name) -> Self {
        let consumer = value.protocol_type == "consumer";
        let mut members: Vec<Member> =
            value.members.iter().map(|member| classic_member(&member, consumer, intern)).collect();
        members.sort_by(|left, right| left.member_id.cmp(&right.member_id));
        Self {
            kind: GroupKind::Classic,
            // The broker loads a group with members as Stable: `GroupMetadataManager.replay`.
            state: if members.is_empty() { GroupState::Empty } else { GroupState::Stable },
            protocol_type: (!value.protocol_type.is_empty()).then(|| intern(value.protocol_type)),
            protocol: value.protocol.map(intern),
            epoch: value.generation,
            leader_member_id: value.leader.map(intern),
            state_at: (value.current_state_timestamp >= 0).then_some(value.current_state_timestamp),
            members,
            log_offset,
            owners: OnceLock::new(),
        }
    }

    /// The member that owns a partition, if known.
    #[must_use]
    pub fn owner(&self, topic: &str, partition: i32) -> Option<&Member> {
        let index = self.owners.get_or_init(|| self.index_owners()).get(topic)?.get(&partition)?;
        self.members.get(*index)
    }

    fn index_owners(&self) -> HashMap<Name, HashMap<i32, usize>> {
        let mut owners: HashMap<Name, HashMap<i32, usize>> = HashMap::new();
        for (index, member) in self.members.iter().enumerate() {
            for assigned in member.assigned.iter().flatten() {
                let topic = owners.entry(Arc::clone(&assigned.topic)).or_default();
                topic.extend(assigned.partitions.iter().map(|partition| (*partition, index)));
            }
        }
        owners
    }
}

fn classic_member(member: &MemberMetadata<'_>, consumer: bool, intern: &impl Fn(&str) -> Name) -> Member {
    let subscription = consumer.then(|| member.subscription.payload().ok().flatten()).flatten();
    let assigned = if !consumer {
        None
    } else {
        match member.assignment.payload() {
            Ok(None) => Some(vec![]),
            Ok(Some(assignment)) => Some(
                assignment
                    .assigned_partitions
                    .iter()
                    .map(|assigned| Assigned {
                        topic: intern(assigned.topic),
                        partitions: assigned.partitions.iter().collect(),
                    })
                    .collect(),
            ),
            Err(_) => None,
        }
    };
    // v0 lacks the rebalance timeout, and -1 stands for it: the session timeout counts.
    let rebalance_timeout =
        if member.rebalance_timeout < 0 { member.session_timeout } else { member.rebalance_timeout };
    Member {
        member_id: Name::from(member.member_id),
        instance_id: member.group_instance_id.map(intern),
        client_id: intern(member.client_id),
        client_host: intern(member.client_host),
        rack_id: subscription.and_then(|subscription| subscription.rack_id).map(intern),
        session_timeout_ms: Some(member.session_timeout),
        rebalance_timeout_ms: Some(rebalance_timeout),
        subscribed_topics: subscription.map(|subscription| subscription.topics.iter().map(intern).collect()),
        assigned,
    }
}
