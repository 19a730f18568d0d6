//! The GetActiveConsumer call: active groups, and the edges of their graph.

use std::collections::BTreeMap;

use super::{
    Scan,
    consumers::Search,
    entry,
    paging::{self, PageSize, Tokens},
    proto,
};
use crate::{
    error::Error,
    facts::{facts, group_fact, is_active, sorted_groups},
    model::{Millis, SourceId, shown},
    store::cut::{Cut, GroupCut},
};

const DEFAULT_WITHIN: Millis = 5 * 60 * 1000;

pub(super) fn page(
    scan: &Scan,
    request: &proto::GetActiveConsumerRequest,
) -> Result<proto::GetActiveConsumerResponse, Error> {
    let size = paging::size(request.page_size)?;
    let within = within(request.within)?;
    let tokens =
        Tokens::new(&proto::GetActiveConsumerRequest { page_size: 0, page_token: String::new(), ..request.clone() });
    let after: Option<(String, String, String)> = tokens.read(&request.page_token)?;
    let after = after.as_ref().map_or(("", "", ""), |after| (after.0.as_str(), after.1.as_str(), after.2.as_str()));
    let search = Search::new(&request.search)?;
    let due = |group: &GroupCut<'_>| {
        let cut = group.source;
        (&*cut.cluster.name, &*group.group.id, &*cut.source.id.name) > after
    };
    let (mut page, mut consumers, mut edges, mut room) = (vec![], vec![], vec![], PageSize::new(size));
    let mut more = false;
    for group in sorted_groups(scan, (after.0, after.1)).filter(due) {
        scan.cancel().check()?;
        let source = &*group.source.source.id.name;
        let is_wanted = request.sources.is_empty() || request.sources.iter().any(|wanted| wanted == source);
        if !is_wanted || !search.matches(group) {
            continue;
        }
        let fact = group_fact(scan, group);
        if !is_active(fact.has_consumers(), fact.ms_since_commit, within) {
            continue;
        }
        if room.is_full() {
            more = true;
            break;
        }
        let consumer = entry::consumer(&fact);
        room.add(&consumer);
        let of_group = edges_of(scan, fact.group, within);
        // Edges count by bytes, but not as items of the page.
        of_group.iter().for_each(|edge| room.add_bytes(edge));
        consumers.push(consumer);
        edges.extend(of_group);
        page.push(fact.group);
    }
    let next = page.last().filter(|_| more).map(|last| {
        let SourceId { cluster, name } = &last.source.source.id;
        tokens.write((cluster.to_string(), last.group.id.to_string(), name.to_string()))
    });
    let snapshot = scan.snapshot();
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
