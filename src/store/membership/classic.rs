//! Membership of classic groups, which is in one record per group.

use std::sync::OnceLock;

use super::{Assigned, GroupKind, GroupState, Member, MemberExtras, Membership, NO_EXTRAS, TopicRef};
use crate::{
    decode::schema::{GroupMetadataValue, MemberMetadata},
    model::{Name, Revision},
};

/// Derives the membership from a record of type 2. If an embedded assignment does not decode, the assignment of that
/// member is unknown; the group is kept.
pub fn membership(value: &GroupMetadataValue<'_>, revision: Revision, intern: &impl Fn(&str) -> Name) -> Membership {
    let mut members: Vec<Member> = value.members.map(|each| member(&each, value, intern));
    members.sort_by(|left, right| left.member_id.cmp(&right.member_id));
    Membership {
        kind: GroupKind::Classic,
        // The broker loads a group with members as Stable: `GroupMetadataManager.replay`.
        state: if members.is_empty() { GroupState::Empty } else { GroupState::Stable },
        protocol_type: (!value.protocol_type.is_empty()).then(|| intern(value.protocol_type)),
        protocol: value.protocol.map(intern),
        epoch: Some(value.generation),
        leader_member_id: value.leader.map(|leader| {
            let id = members.iter().map(|member| &member.member_id).find(|id| &***id == leader);
            id.map_or_else(|| Name::from(leader), Name::clone)
        }),
        state_at: (value.current_state_timestamp >= 0).then_some(value.current_state_timestamp),
        members: members.into(),
        are_members_known: true,
        topic_names: None,
        revision,
        owners: OnceLock::new(),
    }
}

fn member(member: &MemberMetadata<'_>, value: &GroupMetadataValue<'_>, intern: &impl Fn(&str) -> Name) -> Member {
    let consumer = value.protocol_type == "consumer";
    let subscription = consumer.then(|| member.subscription.payload().ok().flatten()).flatten();
    let assigned = if !consumer {
        None
    } else {
        match member.assignment.payload() {
            Ok(None) => Some(vec![]),
            Ok(Some(assignment)) => Some(assignment.assigned_partitions.map(|assigned| Assigned {
                topic: TopicRef::Name(intern(assigned.topic)),
                partitions: assigned.partitions.to_vec().into(),
            })),
            Err(_) => None,
        }
    };
    // v0 has no rebalance timeout and decodes it as -1; the session timeout applies.
    let rebalance_timeout =
        if member.rebalance_timeout < 0 { member.session_timeout } else { member.rebalance_timeout };
    let extras = MemberExtras {
        instance_id: member.group_instance_id.map(intern),
        rack_id: subscription.and_then(|subscription| subscription.rack_id).map(intern),
        ..NO_EXTRAS.clone()
    };
    Member {
        member_id: Name::from(member.member_id),
        client_id: intern(member.client_id),
        client_host: intern(member.client_host),
        session_timeout_ms: Some(member.session_timeout),
        rebalance_timeout_ms: Some(rebalance_timeout),
        epoch: None,
        subscribed_topics: subscription.map(|subscription| subscription.topics.map(intern).into()),
        assigned: assigned.map(Into::into),
        extras: extras.boxed(),
    }
}
