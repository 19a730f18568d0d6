//! Memberships from describe responses of coordinators, for sources that do not read the log.

use std::sync::OnceLock;

use super::{Assigned, GroupKind, GroupState, Member, MemberExtras, Membership, NO_EXTRAS};
use crate::model::{Name, Revision};

/// A group as its coordinator describes it.
#[derive(Debug)]
pub struct GroupDescription {
    /// Protocol of the group.
    pub kind: GroupKind,
    /// State of the group.
    pub state: GroupState,
    /// Protocol type: `consumer`, `connect`, ….
    pub protocol_type: Option<Name>,
    /// Name of the assignor.
    pub protocol: Option<Name>,
    /// The members, ordered by member id; `None` if they are not known.
    pub members: Option<Vec<MemberDescription>>,
}

/// A member as the coordinator describes it.
#[derive(Debug)]
pub struct MemberDescription {
    /// Member id.
    pub member_id: Name,
    /// group.instance.id of a static member.
    pub instance_id: Option<Name>,
    /// client.id.
    pub client_id: Name,
    /// Host, as the broker recorded it.
    pub client_host: Name,
    /// Subscribed topics; `None` if they are not reported.
    pub subscribed_topics: Option<Box<[Name]>>,
    /// Assigned partitions.
    pub assigned: Vec<Assigned>,
    /// Target assignment; `None` if it is not reported separately.
    pub target: Option<Vec<Assigned>>,
}

impl GroupDescription {
    /// Returns the membership, found at a revision.
    #[must_use]
    pub fn membership(self, revision: Revision) -> Membership {
        Membership {
            kind: self.kind,
            state: self.state,
            protocol_type: self.protocol_type,
            protocol: self.protocol,
            epoch: None,
            leader_member_id: None,
            state_at: None,
            are_members_known: self.members.is_some(),
            members: self.members.unwrap_or_default().into_iter().map(MemberDescription::member).collect(),
            topic_names: None,
            revision,
            owners: OnceLock::new(),
        }
    }
}

impl MemberDescription {
    fn member(self) -> Member {
        let extras = MemberExtras { instance_id: self.instance_id, target: self.target, ..NO_EXTRAS.clone() };
        Member {
            member_id: self.member_id,
            client_id: self.client_id,
            client_host: self.client_host,
            session_timeout_ms: None,
            rebalance_timeout_ms: None,
            epoch: None,
            subscribed_topics: self.subscribed_topics,
            assigned: Some(self.assigned.into()),
            extras: extras.boxed(),
        }
    }
}

impl Membership {
    /// Returns whether both have the same content, except for the revision.
    #[must_use]
    pub fn is_alike(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.state == other.state
            && self.protocol_type == other.protocol_type
            && self.protocol == other.protocol
            && self.are_members_known == other.are_members_known
            && self.members == other.members
    }
}
