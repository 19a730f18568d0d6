//! The GetConsumer call: groups, searched, ordered and paged.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Scan, entry,
    paging::{self, GroupKey, ListingOrders, PageSize, Rankings, Tokens},
    proto,
};
use crate::{
    error::Error,
    facts::{GroupFact, SlowSums, bare_group, group_fact, group_sums, sorted_groups},
    model::Name,
    store::{
        cut::{Cut, GroupCut, SourceCut},
        group::ReadAhead,
    },
    work::EndReason,
};

mod order;
mod search;

use order::GroupOrder;
pub(super) use search::Search;

/// The start of the next page: a key that it follows, or an index in a retained order.
#[derive(serde::Serialize, serde::Deserialize)]
enum PageStart {
    After(String, String, String),
    Order(u64, usize),
}

/// The group filter of a request.
struct GroupFilter<'r> {
    request: &'r proto::GetConsumerRequest,
    search: Search,
    ids: BTreeSet<&'r str>,
}

impl<'r> GroupFilter<'r> {
    fn new(request: &'r proto::GetConsumerRequest) -> Result<Self, Error> {
        let ids = request.group_ids.iter().map(String::as_str).collect();
        Ok(Self { request, search: Search::new(&request.search)?, ids })
    }

    /// Returns whether the filter accepts all groups.
    fn accepts_all(&self) -> bool {
        let proto::GetConsumerRequest { statuses, kinds, active, sources, .. } = self.request;
        self.ids.is_empty()
            && self.search.is_empty()
            && [statuses, kinds, sources].iter().all(|among| among.is_empty())
            && active.is_none()
    }

    /// Returns whether the filter needs more than [`GroupFilter::accepts`].
    fn needs_facts(&self) -> bool {
        self.needs_status() || self.request.active.is_some()
    }

    fn needs_status(&self) -> bool {
        !self.request.statuses.is_empty()
    }

    /// Returns whether the filter accepts the status and activity of a group, which may change with every commit.
    fn accepts_fact(&self, fact: &GroupFact<'_>) -> bool {
        is_among(&self.request.statuses, fact.status.as_str())
            && self.request.active.is_none_or(|active| active == fact.active)
    }

    /// Returns whether the filter accepts the properties of a group that rarely change.
    fn accepts(&self, cut: &Cut, group: GroupCut<'_>) -> bool {
        is_among(&self.request.sources, &group.source.source.id.name)
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
pub(super) struct RetainedOrders {
    orders: ListingOrders,
    rankings: Rankings,
}

pub(super) fn page(scan: &Scan, request: &proto::GetConsumerRequest) -> Result<proto::GetConsumerResponse, Error> {
    let (retained, clock) = (&scan.shared.consumers, &scan.shared.store().clock);
    let size = paging::size(request.page_size)?;
    let order = GroupOrder::new(&request.order_by)?;
    let whole = proto::GetConsumerRequest { page_size: 0, page_token: String::new(), ..request.clone() };
    let tokens = Tokens::new(&whole);
    let next: Option<PageStart> = tokens.read(&request.page_token)?;
    let filter = GroupFilter::new(request)?;
    let all = scan.sources.iter().map(SourceCut::group_count).sum();
    let ranking = || retained.rankings.get(clock, scan, whole, || rank(scan, &filter, &order));
    let (consumers, next, total) = match next {
        Some(PageStart::Order(id, from)) => {
            let keys = retained.orders.find(clock, id)?;
            let RankedPage { facts, end } = ranked(scan, &keys, from, size)?;
            (consumers(&facts), keys.get(end).map(|_| PageStart::Order(id, end)), keys.len())
        }
        None if !order.is_default() => {
            let keys = ranking()?;
            let RankedPage { facts, end } = ranked(scan, &keys, 0, size)?;
            let next = keys.get(end).map(|_| PageStart::Order(retained.orders.retain(clock, Arc::clone(&keys)), end));
            // The ranking may be up to a second old, but the values shown are current, so sort the page again.
            let facts = order.sort(facts.into_iter().map(|fact| (order.value(&fact), fact)).collect());
            (consumers(&facts), next, keys.len())
        }
        // In the default order, the last key is enough to find the next page.
        after => {
            let after = match &after {
                Some(PageStart::After(cluster, group, source)) => (&**cluster, &**group, &**source),
                _ => ("", "", ""),
            };
            if filter.accepts_all() {
                let (consumers, next) = by_id(scan, after, size)?;
                (consumers, next, all)
            } else {
                let keys = ranking()?;
                let from = keys.partition_point(|key| (&*key.0, &*key.1, &*key.2) <= after);
                let RankedPage { facts, end } = ranked(scan, &keys, from, size)?;
                let last = keys.get(end).and_then(|_| keys.get(end.checked_sub(1)?));
                let next =
                    last.map(|last| PageStart::After(last.0.to_string(), last.1.to_string(), last.2.to_string()));
                (consumers(&facts), next, keys.len())
            }
        }
    };
    let snapshot = scan.snapshot();
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
fn by_id(
    scan: &Scan,
    after: (&str, &str, &str),
    size: usize,
) -> Result<(Vec<proto::Consumer>, Option<PageStart>), EndReason> {
    let (mut consumers, mut room) = (vec![], PageSize::new(size));
    let due = |group: &GroupCut<'_>| {
        let source = &*group.source.source.id.name;
        (&*group.source.cluster.name, &*group.group.id, source) > after
    };
    let mut last = None;
    for group in sorted_groups(scan, (after.0, after.1)).filter(due) {
        scan.cancel().check()?;
        if room.is_full() {
            let next = last.map(|(cluster, group, source): GroupKey| {
                PageStart::After(cluster.to_string(), group.to_string(), source.to_string())
            });
            return Ok((consumers, next));
        }
        let consumer = entry::consumer(&group_fact(scan, group));
        room.add(&consumer);
        last = Some(key(&group));
        consumers.push(consumer);
    }
    Ok((consumers, None))
}

fn key(group: &GroupCut<'_>) -> GroupKey {
    (Name::clone(&group.source.cluster.name), Name::clone(&group.group.id), Name::clone(&group.source.source.id.name))
}

/// Returns the keys of all groups that the filter accepts, in order.
fn rank(scan: &Scan, filter: &GroupFilter<'_>, order: &GroupOrder) -> Result<Vec<GroupKey>, EndReason> {
    let sums = SlowSums { seconds: order.needs_seconds(), status: order.needs_status() || filter.needs_status() };
    let needs_facts = filter.needs_facts() || !order.is_default();
    let mut found = vec![];
    for cluster in &scan.sources {
        for group in cluster.unordered_groups(ReadAhead::Offsets) {
            scan.cancel().check()?;
            if !filter.accepts(scan, group) {
                continue;
            }
            let fact = if needs_facts { group_sums(scan, group, sums) } else { bare_group(scan, group) };
            if filter.accepts_fact(&fact) {
                found.push((order.value(&fact), group));
            }
        }
    }
    Ok(order.sort(found).iter().map(key).collect())
}

/// A page of a retained order.
struct RankedPage<'a> {
    facts: Vec<GroupFact<'a>>,
    /// Index at which the next page starts.
    end: usize,
}

fn ranked<'a>(scan: &'a Scan, keys: &[GroupKey], from: usize, size: usize) -> Result<RankedPage<'a>, EndReason> {
    let (mut facts, mut room, mut end) = (vec![], PageSize::new(size), from);
    for (cluster, group, source) in keys.get(from..).unwrap_or_default() {
        if room.is_full() {
            break;
        }
        scan.cancel().check()?;
        end += 1;
        // A group of a retained order may have been deleted meanwhile.
        if let Some(group) = scan.source(cluster, source).and_then(|cluster| cluster.group(group)) {
            let fact = group_fact(scan, group);
            room.add(&entry::consumer(&fact));
            facts.push(fact);
        }
    }
    Ok(RankedPage { facts, end })
}
