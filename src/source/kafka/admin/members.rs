//! Converts group descriptions of the Admin API to memberships of the store.

use super::super::ffi::{DescribedGroup, DescribedMember, NamedGroup};
use crate::{
    model::{Name, Revision},
    store::membership::{Assigned, GroupDescription, GroupKind, GroupState, MemberDescription, Membership, TopicRef},
};

/// Returns the membership that a coordinator described, or `None` for a group that only has offsets.
pub(super) fn membership(
    group: &DescribedGroup,
    revision: Revision,
    intern: &impl Fn(&str) -> Name,
) -> Option<Membership> {
    if group.is_simple {
        return None;
    }
    let kind = if group.is_next_generation { GroupKind::Consumer } else { GroupKind::Classic };
    let mut members: Vec<MemberDescription> = group.members.iter().map(|each| member(each, intern)).collect();
    members.sort_by(|left, right| left.member_id.cmp(&right.member_id));
    let protocol = (!group.assignor.is_empty()).then(|| intern(&group.assignor));
    let description = GroupDescription {
        kind,
        state: GroupState::parse(&group.state),
        // librdkafka describes only groups of this protocol type.
        protocol_type: Some(intern("consumer")),
        protocol,
        members: Some(members),
    };
    Some(description.membership(revision))
}

/// Returns the membership of a group of another protocol: only its kind and state are known.
pub(super) fn of_other_protocol(group: &NamedGroup, revision: Revision) -> Option<Membership> {
    let kind = match &*group.protocol_type {
        "" => return None,
        "share" => GroupKind::Share,
        "streams" => GroupKind::Streams,
        _ => GroupKind::Classic,
    };
    let description = GroupDescription {
        kind,
        state: GroupState::parse(&group.state),
        protocol_type: Some(Name::from(&*group.protocol_type)),
        protocol: None,
        members: None,
    };
    Some(description.membership(revision))
}

fn member(member: &DescribedMember, intern: &impl Fn(&str) -> Name) -> MemberDescription {
    MemberDescription {
        member_id: Name::from(&*member.member_id),
        instance_id: member.instance_id.as_deref().map(intern),
        client_id: intern(&member.client_id),
        client_host: intern(&member.host),
        subscribed_topics: None,
        assigned: assigned(&member.assigned, intern),
        target: member.target.as_deref().map(|target| assigned(target, intern)),
    }
}

/// Groups partitions by topic, in order.
fn assigned(partitions: &[(String, i32)], intern: &impl Fn(&str) -> Name) -> Vec<Assigned> {
    let mut partitions: Vec<&(String, i32)> = partitions.iter().collect();
    partitions.sort();
    let of_topic = |chunk: &[&(String, i32)]| {
        let topic = chunk.first().map(|(topic, _)| intern(topic))?;
        let partitions = chunk.iter().map(|(_, partition)| *partition).collect();
        Some(Assigned { topic: TopicRef::Name(topic), partitions })
    };
    partitions.chunk_by(|left, right| left.0 == right.0).filter_map(of_topic).collect()
}
