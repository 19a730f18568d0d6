//! The GetActiveConsumer call: active groups, and the edges of their graph.

use std::collections::BTreeMap;

use super::{
    Scan, consumers, entry,
    paging::{self, PageSize, Tokens},
    proto,
};
use crate::{
    error::Error,
    facts::facts,
    model::{Millis, shown},
    store::cut::{Cut, GroupCut},
};

const DEFAULT_WITHIN: Millis = 5 * 60 * 1000;

pub(super) fn page(
    scan: &Scan,
    request: &proto::GetActiveConsumerRequest,
) -> Result<proto::GetActiveConsumerResponse, Error> {
    let mut room = PageSize::new(paging::size(request.page_size)?);
    let (within, max_edges) = (within(request.within)?, max_edges(request.max_edges)?);
    let tokens =
        Tokens::new(&proto::GetActiveConsumerRequest { page_size: 0, page_token: String::new(), ..request.clone() });
    let listing = proto::GetConsumerRequest {
        cluster: request.cluster.clone(),
        search: request.search.clone(),
        order_by: request.order_by.clone(),
        statuses: request.statuses.clone(),
        sources: request.sources.clone(),
        ..proto::GetConsumerRequest::default()
    };
    let mut edges: Vec<proto::ConsumerEdge> = vec![];
    let page = consumers::list(scan, (listing, Some(within)), (&tokens, &request.page_token), |fact| {
        let of_group = (!room.is_full()).then(|| edges_of(scan, fact.group, within))?;
        if !edges.is_empty() && edges.len() + of_group.len() > max_edges {
            return None;
        }
        let consumer = entry::consumer(fact);
        room.add(&consumer);
        // Edges count by bytes, but not as items of the page.
        of_group.iter().for_each(|edge| room.add_bytes(edge));
        edges.extend(of_group);
        Some(consumer)
    })?;
    let snapshot = scan.snapshot();
    Ok(proto::GetActiveConsumerResponse {
        edges,
        consumers: page.items,
        next_page_token: page.next_page_token,
        incomplete_clusters: entry::incomplete(&snapshot),
        snapshot: Some(entry::snapshot(&snapshot)),
        total: page.total,
    })
}

fn max_edges(requested: i32) -> Result<usize, Error> {
    match requested {
        0 => Ok(usize::MAX),
        edges => usize::try_from(edges).map_err(|_| Error::Invalid(format!("max_edges {edges} is negative"))),
    }
}

fn within(within: Option<prost_types::Duration>) -> Result<Millis, Error> {
    match within {
        None => Ok(DEFAULT_WITHIN),
        Some(within) if within.seconds < 0 || within.nanos < 0 => Err(Error::Invalid("within is negative".to_owned())),
        Some(within) => Ok(within.seconds.saturating_mul(1000).saturating_add(i64::from(within.nanos / 1_000_000))),
    }
}

/// Returns the edges of a group: its committed and its assigned partitions, by topic and owner. Omits an edge if no
/// member owns its partitions and none was committed within `within`.
fn edges_of(cut: &Cut, group: GroupCut<'_>, within: Millis) -> Vec<proto::ConsumerEdge> {
    let mut edges: BTreeMap<(String, String), Edge> = BTreeMap::new();
    let new = |topic: &str, owner: Option<proto::Owner>| Edge {
        edge: proto::ConsumerEdge {
            cluster: group.source.cluster.name.to_string(),
            group_id: group.group.id.to_string(),
            source: group.source.source.id.name.to_string(),
            topic: topic.to_owned(),
            owner,
            ..proto::ConsumerEdge::default()
        },
        is_active: false,
        last_committed_at: None,
    };
    for fact in facts(cut, group) {
        let owner = fact.owner();
        let member = owner.map(|owner| owner.member_id.to_string()).unwrap_or_default();
        let Edge { edge, is_active, last_committed_at } = edges
            .entry((fact.entry.topic.to_string(), member))
            .or_insert_with(|| new(fact.entry.topic, entry::owner_of(&fact)));
        *is_active |= owner.is_some() || fact.ms_since_commit() <= within;
        edge.partitions.push(fact.entry.row.partition);
        if let Ok(lag) = fact.lag().lag {
            edge.lag = Some(edge.lag.unwrap_or(0).saturating_add(lag));
        }
        *last_committed_at = (*last_committed_at).max(shown(fact.entry.row.committed_at));
    }
    for member in group.group.membership().iter().flat_map(|membership| &membership.members) {
        for (topic, partitions) in group.assigned(member.assigned.as_deref().unwrap_or_default()) {
            let key = (topic.to_string(), member.member_id.to_string());
            let Edge { edge, is_active, .. } =
                edges.entry(key).or_insert_with(|| new(&topic, Some(entry::owner(member))));
            *is_active = true;
            edge.partitions.extend(&partitions);
        }
    }
    let active = edges.into_values().filter(|edge| edge.is_active);
    let finish = |Edge { mut edge, last_committed_at, .. }: Edge| {
        edge.partitions.sort_unstable();
        edge.partitions.dedup();
        edge.last_committed_at = last_committed_at.and_then(entry::timestamp);
        edge
    };
    active.map(finish).collect()
}

/// An edge under construction.
struct Edge {
    edge: proto::ConsumerEdge,
    is_active: bool,
    last_committed_at: Option<Millis>,
}
