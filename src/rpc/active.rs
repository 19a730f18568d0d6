//! GetActiveConsumer: active groups, and the edges of their graph.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    consumers::Search,
    entry,
    paging::{self, PageSize, Tokens},
    proto,
};
use crate::{
    error::Error,
    facts::{facts, group_fact, is_active, sorted_groups},
    model::Millis,
    store::{
        Store,
        cut::{Cut, GroupCut},
    },
};

const DEFAULT_WITHIN: Millis = 5 * 60 * 1000;

pub(super) fn get_active_consumer(
    store: &Arc<Store>,
    request: proto::GetActiveConsumerRequest,
) -> Result<proto::GetActiveConsumerResponse, Error> {
    let size = paging::size(request.page_size)?;
    let within = within(request.within)?;
    let tokens =
        Tokens::new(&proto::GetActiveConsumerRequest { page_size: 0, page_token: String::new(), ..request.clone() });
    let after: Option<(String, String)> = tokens.read(&request.page_token)?;
    let cut = store.cut(&request.cluster, request.allow_partial)?.require_loaded()?;
    let after = after.as_ref().map_or(("", ""), |after| (after.0.as_str(), after.1.as_str()));
    let search = Search::new(&request.search)?;
    let active = sorted_groups(&cut, after)
        .filter(|group| (&*group.cluster.cluster.name, &*group.group.id) > after)
        .filter(|group| search.matches(*group))
        .map(|group| group_fact(&cut, group))
        .filter(|fact| is_active(fact.members, fact.last_committed_at, &cut, within));
    let (mut page, mut consumers, mut edges, mut room) = (vec![], vec![], vec![], PageSize::new(size));
    let mut more = false;
    for fact in active {
        if room.is_full() {
            more = true;
            break;
        }
        let consumer = entry::consumer(&fact);
        room.add(&consumer);
        let of_group = edges_of(&cut, fact.group);
        // Edges take bytes, but are no items of the page.
        of_group.iter().for_each(|edge| room.add_bytes(edge));
        consumers.push(consumer);
        edges.extend(of_group);
        page.push(fact.group);
    }
    let next = page
        .last()
        .filter(|_| more)
        .map(|last| tokens.write((last.cluster.cluster.name.to_string(), last.group.id.to_string())));
    let snapshot = cut.snapshot();
    Ok(proto::GetActiveConsumerResponse {
        edges,
        consumers,
        next_page_token: next.unwrap_or_default(),
        incomplete_clusters: entry::incomplete(&snapshot),
        snapshot: Some(entry::snapshot(&snapshot)),
    })
}

fn within(within: Option<prost_types::Duration>) -> Result<Millis, Error> {
    match within {
        None => Ok(DEFAULT_WITHIN),
        Some(within) if within.seconds < 0 || within.nanos < 0 => Err(Error::Invalid("within is negative".to_owned())),
        Some(within) => Ok(within.seconds.saturating_mul(1000).saturating_add(i64::from(within.nanos / 1_000_000))),
    }
}

/// Edges of a group: its partitions by topic and owner, committed or only owned.
fn edges_of(cut: &Cut, group: GroupCut<'_>) -> Vec<proto::ConsumerEdge> {
    let mut edges: BTreeMap<(String, String), proto::ConsumerEdge> = BTreeMap::new();
    let new = |topic: &str, owner: Option<proto::Owner>| proto::ConsumerEdge {
        cluster: group.cluster.cluster.name.to_string(),
        group_id: group.group.id.to_string(),
        topic: topic.to_owned(),
        owner,
        ..proto::ConsumerEdge::default()
    };
    for fact in facts(cut, group) {
        let owner = fact.owner();
        let member = owner.map(|owner| owner.member_id.to_string()).unwrap_or_default();
        let edge = edges
            .entry((fact.entry.topic.to_string(), member))
            .or_insert_with(|| new(fact.entry.topic, owner.map(entry::owner)));
        edge.partitions.push(fact.entry.row.partition);
        if let Ok(lag) = fact.lag().lag {
            edge.lag = Some(edge.lag.unwrap_or(0).saturating_add(lag));
        }
        let newest = edge.last_committed_at.as_ref().map(|at| (at.seconds, at.nanos));
        let at = entry::timestamp(fact.entry.row.committed_at);
        if newest.is_none_or(|newest| newest < (at.seconds, at.nanos)) {
            edge.last_committed_at = Some(at);
        }
    }
    for member in group.group.membership().iter().flat_map(|membership| &membership.members) {
        for (topic, partitions) in group.assigned(member.assigned.as_deref().unwrap_or_default()) {
            let key = (topic.to_string(), member.member_id.to_string());
            let edge = edges.entry(key).or_insert_with(|| new(&topic, Some(entry::owner(member))));
            edge.partitions.extend(&partitions);
        }
    }
    let mut edges: Vec<proto::ConsumerEdge> = edges.into_values().collect();
    for edge in &mut edges {
        edge.partitions.sort_unstable();
        edge.partitions.dedup();
    }
    edges
}
