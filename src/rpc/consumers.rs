//! GetConsumer.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    entry,
    paging::{self, GroupKey, PageSize, Rankings, Tokens, Walks},
    proto,
};
use crate::{
    error::Error,
    facts::{GroupFact, Sums, bare_group, group_fact, group_sums, sorted_groups},
    model::Name,
    store::{
        Store,
        cut::{ClusterCut, Cut, GroupCut},
        group::ReadAhead,
    },
};

mod order;
mod search;

use order::Order;
pub(super) use search::Search;

/// Where the next page starts: after a key, or at a place of a walk whose order is kept.
#[derive(serde::Serialize, serde::Deserialize)]
enum Next {
    After(String, String),
    Walk(u64, usize),
}

/// Which groups a request asks for.
struct Asked<'r> {
    request: &'r proto::GetConsumerRequest,
    search: Search,
    ids: BTreeSet<&'r str>,
}

impl<'r> Asked<'r> {
    fn new(request: &'r proto::GetConsumerRequest) -> Result<Self, Error> {
        let ids = request.group_ids.iter().map(String::as_str).collect();
        Ok(Self { request, search: Search::new(&request.search)?, ids })
    }

    /// Whether it takes all groups.
    fn is_all(&self) -> bool {
        let proto::GetConsumerRequest { statuses, kinds, active, .. } = self.request;
        self.ids.is_empty() && self.search.is_empty() && statuses.is_empty() && kinds.is_empty() && active.is_none()
    }

    /// Whether [`Asked::takes`] does not say all.
    fn needs_facts(&self) -> bool {
        self.needs_status() || self.request.active.is_some()
    }

    fn needs_status(&self) -> bool {
        !self.request.statuses.is_empty()
    }

    /// By what moves with every commit.
    fn takes_fact(&self, fact: &GroupFact<'_>) -> bool {
        is_among(&self.request.statuses, fact.status.as_str())
            && self.request.active.is_none_or(|active| active == fact.active)
    }

    /// By what stays as it is, mostly.
    fn takes(&self, group: GroupCut<'_>) -> bool {
        (self.ids.is_empty() || self.ids.contains(&*group.group.id))
            && (self.request.kinds.is_empty() || is_among(&self.request.kinds, bare_group(group).kind))
            && self.search.matches(group)
    }
}

fn is_among(some: &[String], one: &str) -> bool {
    some.is_empty() || some.iter().any(|some| some == one)
}

/// Orders that outlive a call.
#[derive(Debug, Default)]
pub(super) struct Kept {
    walks: Walks,
    rankings: Rankings,
}

pub(super) fn get_consumer(
    store: &Arc<Store>,
    kept: &Kept,
    request: proto::GetConsumerRequest,
) -> Result<proto::GetConsumerResponse, Error> {
    let size = paging::size(request.page_size)?;
    let order = Order::new(&request.order_by)?;
    let whole = proto::GetConsumerRequest { page_size: 0, page_token: String::new(), ..request.clone() };
    let tokens = Tokens::new(&whole);
    let next: Option<Next> = tokens.read(&request.page_token)?;
    let cut = store.cut(&request.cluster, request.allow_partial)?.require_loaded()?;
    let asked = Asked::new(&request)?;
    let all = cut.clusters.iter().map(ClusterCut::group_count).sum();
    let (consumers, next, total) = match next {
        Some(Next::Walk(id, from)) => {
            let keys = kept.walks.find(&store.clock, id)?;
            let Page { facts, end } = ranked(&cut, &keys, from, size);
            (consumers(&facts), keys.get(end).map(|_| Next::Walk(id, end)), keys.len())
        }
        None if !order.is_default() => {
            let keys = kept.rankings.get(&store.clock, &cut, whole, || rank(&cut, &asked, &order));
            let Page { facts, end } = ranked(&cut, &keys, 0, size);
            let next = keys.get(end).map(|_| Next::Walk(kept.walks.keep(&store.clock, Arc::clone(&keys)), end));
            // The ranking may be of a moment ago, what is shown is of now.
            let facts = order.sort(facts.into_iter().map(|fact| (order.value(&fact), fact)).collect());
            (consumers(&facts), next, keys.len())
        }
        // The key tells where the next page starts.
        after => {
            let after = if let Some(Next::After(cluster, group)) = &after { (&**cluster, &**group) } else { ("", "") };
            if asked.is_all() {
                let (consumers, next) = by_id(&cut, after, size);
                (consumers, next, all)
            } else {
                let keys = kept.rankings.get(&store.clock, &cut, whole, || rank(&cut, &asked, &order));
                let from = keys.partition_point(|key| (&*key.0, &*key.1) <= after);
                let Page { facts, end } = ranked(&cut, &keys, from, size);
                let last = keys.get(end).and_then(|_| keys.get(end.checked_sub(1)?));
                let next = last.map(|last| Next::After(last.0.to_string(), last.1.to_string()));
                (consumers(&facts), next, keys.len())
            }
        }
    };
    let snapshot = cut.snapshot();
    Ok(proto::GetConsumerResponse {
        consumers,
        next_page_token: next.map(|next| tokens.write(next)).unwrap_or_default(),
        incomplete_clusters: entry::incomplete(&snapshot),
        snapshot: Some(entry::snapshot(&snapshot)),
        total: i64::try_from(total).unwrap_or(i64::MAX),
    })
}

fn consumers(facts: &[GroupFact<'_>]) -> Vec<proto::Consumer> {
    facts.iter().map(entry::consumer).collect()
}

/// A page of all groups, in the order of cluster and id, which needs no more than the groups on it; and what comes next.
fn by_id(cut: &Cut, after: (&str, &str), size: usize) -> (Vec<proto::Consumer>, Option<Next>) {
    let (mut consumers, mut room) = (vec![], PageSize::new(size));
    let due = |group: &GroupCut<'_>| (&*group.cluster.cluster.name, &*group.group.id) > after;
    for group in sorted_groups(cut, after).filter(due) {
        if room.is_full() {
            let next =
                consumers.last().map(|last: &proto::Consumer| Next::After(last.cluster.clone(), last.group_id.clone()));
            return (consumers, next);
        }
        let consumer = entry::consumer(&group_fact(cut, group));
        room.add(&consumer);
        consumers.push(consumer);
    }
    (consumers, None)
}

fn key(group: &GroupCut<'_>) -> GroupKey {
    (Name::clone(&group.cluster.cluster.name), Name::clone(&group.group.id))
}

/// All groups that are asked for, in the order.
fn rank(cut: &Cut, asked: &Asked<'_>, order: &Order) -> Vec<GroupKey> {
    let groups = |cluster| ClusterCut::unordered_groups(cluster, ReadAhead::Offsets);
    let found = cut.clusters.iter().flat_map(groups).filter(|group| asked.takes(*group));
    let sums = Sums { seconds: order.needs_seconds(), status: order.needs_status() || asked.needs_status() };
    let needs_facts = asked.needs_facts() || !order.is_default();
    let fact = |group| if needs_facts { group_sums(cut, group, sums) } else { bare_group(group) };
    let facts = found.map(fact).filter(|fact| asked.takes_fact(fact));
    order.sort(facts.map(|fact| (order.value(&fact), fact.group)).collect()).iter().map(key).collect()
}

/// A page of a kept order.
struct Page<'a> {
    facts: Vec<GroupFact<'a>>,
    /// Where the next one starts.
    end: usize,
}

fn ranked<'a>(cut: &'a Cut, keys: &[GroupKey], from: usize, size: usize) -> Page<'a> {
    let (mut facts, mut room, mut end) = (vec![], PageSize::new(size), from);
    for (cluster, group) in keys.get(from..).unwrap_or_default() {
        if room.is_full() {
            break;
        }
        end += 1;
        // A group of a kept order may be gone by now.
        if let Some(group) = cut.cluster(cluster).and_then(|cluster| cluster.group(group)) {
            let fact = group_fact(cut, group);
            room.add(&entry::consumer(&fact));
            facts.push(fact);
        }
    }
    Page { facts, end }
}
