//! The GetConsumer call: groups, searched, ordered and paged.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Walk, entry,
    paging::{self, GroupKey, PageSize, Rankings, Tokens, Walks},
    proto,
};
use crate::{
    error::Error,
    facts::{GroupFact, Sums, bare_group, group_fact, group_sums, sorted_groups},
    model::Name,
    store::{
        cut::{Cut, GroupCut, SourceCut},
        group::ReadAhead,
    },
    work::Ended,
};

mod order;
mod search;

use order::Order;
pub(super) use search::Search;

/// The start of the next page: a key that it follows, or an index in a retained order.
#[derive(serde::Serialize, serde::Deserialize)]
enum Next {
    After(String, String, String),
    Walk(u64, usize),
}

/// The group filter of a request.
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

    /// Returns whether the filter accepts all groups.
    fn is_all(&self) -> bool {
        let proto::GetConsumerRequest { statuses, kinds, active, sources, .. } = self.request;
        self.ids.is_empty()
            && self.search.is_empty()
            && [statuses, kinds, sources].iter().all(|among| among.is_empty())
            && active.is_none()
    }

    /// Returns whether the filter needs more than [`Asked::takes`].
    fn needs_facts(&self) -> bool {
        self.needs_status() || self.request.active.is_some()
    }

    fn needs_status(&self) -> bool {
        !self.request.statuses.is_empty()
    }

    /// Returns whether the filter accepts the status and activity of a group, which may change with every commit.
    fn takes_fact(&self, fact: &GroupFact<'_>) -> bool {
        is_among(&self.request.statuses, fact.status.as_str())
            && self.request.active.is_none_or(|active| active == fact.active)
    }

    /// Returns whether the filter accepts the properties of a group that rarely change.
    fn takes(&self, cut: &Cut, group: GroupCut<'_>) -> bool {
        is_among(&self.request.sources, &group.cluster.source.id.name)
            && (self.ids.is_empty() || self.ids.contains(&*group.group.id))
            && (self.request.kinds.is_empty() || is_among(&self.request.kinds, bare_group(cut, group).kind))
            && self.search.matches(group)
    }
}

fn is_among(some: &[String], one: &str) -> bool {
    some.is_empty() || some.iter().any(|some| some == one)
}

/// Orders of groups that are retained between calls.
#[derive(Debug, Default)]
pub(super) struct Kept {
    walks: Walks,
    rankings: Rankings,
}

pub(super) fn page(walk: &Walk, request: &proto::GetConsumerRequest) -> Result<proto::GetConsumerResponse, Error> {
    let (kept, clock) = (&walk.shared.consumers, &walk.shared.store().clock);
    let size = paging::size(request.page_size)?;
    let order = Order::new(&request.order_by)?;
    let whole = proto::GetConsumerRequest { page_size: 0, page_token: String::new(), ..request.clone() };
    let tokens = Tokens::new(&whole);
    let next: Option<Next> = tokens.read(&request.page_token)?;
    let asked = Asked::new(request)?;
    let all = walk.clusters.iter().map(SourceCut::group_count).sum();
    let ranking = || kept.rankings.get(clock, walk, whole, || rank(walk, &asked, &order));
    let (consumers, next, total) = match next {
        Some(Next::Walk(id, from)) => {
            let keys = kept.walks.find(clock, id)?;
            let Page { facts, end } = ranked(walk, &keys, from, size)?;
            (consumers(&facts), keys.get(end).map(|_| Next::Walk(id, end)), keys.len())
        }
        None if !order.is_default() => {
            let keys = ranking()?;
            let Page { facts, end } = ranked(walk, &keys, 0, size)?;
            let next = keys.get(end).map(|_| Next::Walk(kept.walks.keep(clock, Arc::clone(&keys)), end));
            // The ranking may be up to a second old, but the values shown are current, so sort the page again.
            let facts = order.sort(facts.into_iter().map(|fact| (order.value(&fact), fact)).collect());
            (consumers(&facts), next, keys.len())
        }
        // In the default order, the last key is enough to find the next page.
        after => {
            let after = match &after {
                Some(Next::After(cluster, group, source)) => (&**cluster, &**group, &**source),
                _ => ("", "", ""),
            };
            if asked.is_all() {
                let (consumers, next) = by_id(walk, after, size)?;
                (consumers, next, all)
            } else {
                let keys = ranking()?;
                let from = keys.partition_point(|key| (&*key.0, &*key.1, &*key.2) <= after);
                let Page { facts, end } = ranked(walk, &keys, from, size)?;
                let last = keys.get(end).and_then(|_| keys.get(end.checked_sub(1)?));
                let next = last.map(|last| Next::After(last.0.to_string(), last.1.to_string(), last.2.to_string()));
                (consumers(&facts), next, keys.len())
            }
        }
    };
    let snapshot = walk.snapshot();
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

/// Returns a page of all groups, ordered by cluster and id, and the start of the next page. Reads only the groups of
/// the page.
fn by_id(walk: &Walk, after: (&str, &str, &str), size: usize) -> Result<(Vec<proto::Consumer>, Option<Next>), Ended> {
    let (mut consumers, mut room) = (vec![], PageSize::new(size));
    let due = |group: &GroupCut<'_>| {
        let source = &*group.cluster.source.id.name;
        (&*group.cluster.cluster.name, &*group.group.id, source) > after
    };
    let mut last = None;
    for group in sorted_groups(walk, (after.0, after.1)).filter(due) {
        walk.cancel().check()?;
        if room.is_full() {
            let next = last.map(|(cluster, group, source): GroupKey| {
                Next::After(cluster.to_string(), group.to_string(), source.to_string())
            });
            return Ok((consumers, next));
        }
        let consumer = entry::consumer(&group_fact(walk, group));
        room.add(&consumer);
        last = Some(key(&group));
        consumers.push(consumer);
    }
    Ok((consumers, None))
}

fn key(group: &GroupCut<'_>) -> GroupKey {
    (Name::clone(&group.cluster.cluster.name), Name::clone(&group.group.id), Name::clone(&group.cluster.source.id.name))
}

/// Returns the keys of all groups that the filter accepts, in order.
fn rank(walk: &Walk, asked: &Asked<'_>, order: &Order) -> Result<Vec<GroupKey>, Ended> {
    let sums = Sums { seconds: order.needs_seconds(), status: order.needs_status() || asked.needs_status() };
    let needs_facts = asked.needs_facts() || !order.is_default();
    let mut found = vec![];
    for cluster in &walk.clusters {
        for group in cluster.unordered_groups(ReadAhead::Offsets) {
            walk.cancel().check()?;
            if !asked.takes(walk, group) {
                continue;
            }
            let fact = if needs_facts { group_sums(walk, group, sums) } else { bare_group(walk, group) };
            if asked.takes_fact(&fact) {
                found.push((order.value(&fact), group));
            }
        }
    }
    Ok(order.sort(found).iter().map(key).collect())
}

/// A page of a retained order.
struct Page<'a> {
    facts: Vec<GroupFact<'a>>,
    /// Index at which the next page starts.
    end: usize,
}

fn ranked<'a>(walk: &'a Walk, keys: &[GroupKey], from: usize, size: usize) -> Result<Page<'a>, Ended> {
    let (mut facts, mut room, mut end) = (vec![], PageSize::new(size), from);
    for (cluster, group, source) in keys.get(from..).unwrap_or_default() {
        if room.is_full() {
            break;
        }
        walk.cancel().check()?;
        end += 1;
        // A group of a retained order may have been deleted meanwhile.
        if let Some(group) = walk.source(cluster, source).and_then(|cluster| cluster.group(group)) {
            let fact = group_fact(walk, group);
            room.add(&entry::consumer(&fact));
            facts.push(fact);
        }
    }
    Ok(Page { facts, end })
}
