//! GetConsumer.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    entry,
    paging::{self, GroupKey, PageSize, Rankings, Tokens, Walks},
    proto,
};
use crate::{
    error::Error,
    facts::{GroupFact, bare_group, group_fact, sorted_groups},
    model::Name,
    store::{
        Store,
        cut::{ClusterCut, Cut, GroupCut},
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
    search: Search<'r>,
    ids: BTreeSet<&'r str>,
}

impl<'r> Asked<'r> {
    fn new(request: &'r proto::GetConsumerRequest) -> Self {
        let ids = request.group_ids.iter().map(String::as_str).collect();
        Self { request, search: Search::new(&request.search), ids }
    }

    /// Whether [`Asked::takes`] does not say all.
    fn needs_facts(&self) -> bool {
        !self.request.statuses.is_empty() || self.request.active.is_some()
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

    /// How many groups it takes.
    fn count(&self, cut: &Cut) -> usize {
        if self.ids.is_empty() && self.request.kinds.is_empty() && self.request.search.is_empty() {
            return cut.clusters.iter().map(ClusterCut::group_count).sum();
        }
        cut.clusters.iter().flat_map(ClusterCut::groups).filter(|group| self.takes(*group)).count()
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
    let asked = Asked::new(&request);
    // Which groups are on it does not move: their key tells where the next page starts.
    let is_still = order.is_default() && !asked.needs_facts();
    let mut total = None;
    let (consumers, next) = match next {
        Some(Next::Walk(id, from)) => {
            let keys = kept.walks.find(&store.clock, id)?;
            total = Some(keys.len());
            let page = ranked(&cut, &keys, from, size);
            let next = keys.get(page.end).map(|_| Next::Walk(id, page.end));
            (consumers(&page.facts), next)
        }
        Some(Next::After(cluster, group)) => by_id(&cut, &asked, (&cluster, &group), size),
        None if is_still => by_id(&cut, &asked, ("", ""), size),
        None => {
            let keys = kept.rankings.get(&store.clock, &cut, whole, || rank(&cut, &asked, &order));
            total = Some(keys.len());
            let Page { mut facts, end } = ranked(&cut, &keys, 0, size);
            // The ranking may be of a moment ago, what is shown is of now.
            facts.sort_by_key(|fact| (&fact.group.cluster.cluster.name, &fact.group.group.id));
            let next = keys.get(end).map(|_| Next::Walk(kept.walks.keep(&store.clock, Arc::clone(&keys)), end));
            (consumers(&order.sort(facts)), next)
        }
    };
    let snapshot = cut.snapshot();
    Ok(proto::GetConsumerResponse {
        consumers,
        next_page_token: next.map(|next| tokens.write(next)).unwrap_or_default(),
        incomplete_clusters: entry::incomplete(&snapshot),
        snapshot: Some(entry::snapshot(&snapshot)),
        total: i64::try_from(total.unwrap_or_else(|| asked.count(&cut))).unwrap_or(i64::MAX),
    })
}

fn consumers(facts: &[GroupFact<'_>]) -> Vec<proto::Consumer> {
    facts.iter().map(entry::consumer).collect()
}

/// A page in the order of cluster and id, which needs no more than the groups on it, and what comes next.
fn by_id(cut: &Cut, asked: &Asked<'_>, after: (&str, &str), size: usize) -> (Vec<proto::Consumer>, Option<Next>) {
    let (mut consumers, mut room) = (vec![], PageSize::new(size));
    let due = |group: &GroupCut<'_>| (&*group.cluster.cluster.name, &*group.group.id) > after;
    for group in sorted_groups(cut, after).filter(due).filter(|group| asked.takes(*group)) {
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

/// All groups that match, by a column that moves.
fn rank(cut: &Cut, asked: &Asked<'_>, order: &Order) -> Vec<GroupKey> {
    let found = sorted_groups(cut, ("", "")).filter(|group| asked.takes(*group));
    let found = found.map(|group| group_fact(cut, group)).filter(|fact| asked.takes_fact(fact));
    order.sort(found.collect()).iter().map(|fact| key(&fact.group)).collect()
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
