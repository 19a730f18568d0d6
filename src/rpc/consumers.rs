//! The GetConsumer call: groups, searched, ordered and paged.

use std::collections::BTreeSet;

use super::{
    Scan,
    counts::StatusCounts,
    entry,
    paging::{self, GroupKey, ListingOrders, ListingRequest, PageSize, RankedGroups, Rankings, Tokens},
    proto,
};
use crate::{
    error::Error,
    facts::{GroupFact, SlowSums, bare_group, group_fact, group_sums, is_active, sorted_groups},
    model::{Millis, Name, Status},
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

impl PageStart {
    fn after((cluster, group, source): &GroupKey) -> Self {
        Self::After(cluster.to_string(), group.to_string(), source.to_string())
    }
}

/// The filter of a listing.
struct GroupFilter<'r> {
    request: &'r proto::GetConsumerRequest,
    /// Time within which the groups must be active.
    within: Option<Millis>,
    search: Search,
    ids: BTreeSet<&'r str>,
}

impl<'r> GroupFilter<'r> {
    fn new((request, within): &'r ListingRequest) -> Result<Self, Error> {
        let ids = request.group_ids.iter().map(String::as_str).collect();
        Ok(Self { request, within: *within, search: Search::new(&request.search)?, ids })
    }

    /// Returns whether the filter accepts all groups.
    fn accepts_all(&self) -> bool {
        let proto::GetConsumerRequest { statuses, kinds, active, sources, .. } = self.request;
        self.ids.is_empty()
            && self.search.is_empty()
            && [statuses, kinds, sources].iter().all(|among| among.is_empty())
            && active.is_none()
            && self.within.is_none()
    }

    /// Returns whether the filter needs more than [`GroupFilter::accepts`].
    fn needs_facts(&self) -> bool {
        self.needs_status() || self.request.active.is_some() || self.within.is_some()
    }

    fn needs_status(&self) -> bool {
        !self.request.statuses.is_empty() || self.request.with_status_counts
    }

    fn accepts_status(&self, status: Status) -> bool {
        is_among(&self.request.statuses, status.as_str())
    }

    /// Returns whether the filter accepts the activity of a group, which may change with every commit.
    fn accepts_activity(&self, fact: &GroupFact<'_>) -> bool {
        let is_within = |within| is_active(fact.has_consumers(), fact.ms_since_commit, within);
        self.request.active.is_none_or(|active| active == fact.active) && self.within.is_none_or(is_within)
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

/// A page of a listing.
#[derive(Debug)]
pub(super) struct GroupPage<T> {
    pub(super) items: Vec<T>,
    pub(super) next_page_token: String,
    /// Number of groups on all pages.
    pub(super) total: i64,
    /// Empty unless requested.
    counts: StatusCounts,
}

pub(super) fn page(scan: &Scan, request: &proto::GetConsumerRequest) -> Result<proto::GetConsumerResponse, Error> {
    let mut room = PageSize::new(paging::size(request.page_size)?);
    let whole = proto::GetConsumerRequest { page_size: 0, page_token: String::new(), ..request.clone() };
    let tokens = Tokens::new(&whole);
    let page = list(scan, (whole, None), (&tokens, &request.page_token), |fact| {
        let consumer = (!room.is_full()).then(|| entry::consumer(fact))?;
        room.add(&consumer);
        Some(consumer)
    })?;
    let has_counts = request.with_status_counts && request.page_token.is_empty();
    let snapshot = scan.snapshot();
    Ok(proto::GetConsumerResponse {
        consumers: page.items,
        next_page_token: page.next_page_token,
        incomplete_clusters: entry::incomplete(&snapshot),
        snapshot: Some(entry::snapshot(&snapshot)),
        total: page.total,
        status_counts: if has_counts { page.counts.into_proto() } else { vec![] },
    })
}

/// Returns a page of a listing. `take` makes an item of a group, or returns `None` if the page is full.
pub(super) fn list<T>(
    scan: &Scan,
    listing: ListingRequest,
    (tokens, token): (&Tokens, &str),
    take: impl FnMut(&GroupFact<'_>) -> Option<T>,
) -> Result<GroupPage<T>, Error> {
    let (retained, clock) = (&scan.shared.consumers, &scan.shared.store().clock);
    let order = GroupOrder::new(&listing.0.order_by)?;
    let start: Option<PageStart> = tokens.read(token)?;
    let filter = GroupFilter::new(&listing)?;
    let ranking = || retained.rankings.get(clock, scan, listing.clone(), || rank(scan, &filter, &order));
    let (page, next) = match start {
        Some(PageStart::Order(id, from)) => {
            let ranked = retained.orders.find(clock, id)?;
            let (page, end) = ranked_page(scan, &filter, (&ranked, from), take)?;
            (page.unsorted(), ranked.keys.get(end).map(|_| PageStart::Order(id, end)))
        }
        None if !order.is_default() => {
            let ranked = ranking()?;
            let (page, end) = ranked_page(scan, &filter, (&ranked, 0), take)?;
            let has_more = end < ranked.keys.len();
            let next = has_more.then(|| PageStart::Order(retained.orders.retain(clock, ranked), end));
            // The ranking may be up to a second old, but the values shown are current, so sort the page again.
            (page.sorted(&order), next)
        }
        // In the default order, the last key is enough to find the next page.
        after => {
            let after = match &after {
                Some(PageStart::After(cluster, group, source)) => (&**cluster, &**group, &**source),
                _ => ("", "", ""),
            };
            if filter.accepts_all() && !filter.needs_facts() {
                by_id(scan, after, take)?
            } else {
                let ranked = ranking()?;
                let from = ranked.keys.partition_point(|key| (&*key.0, &*key.1, &*key.2) <= after);
                let (page, end) = ranked_page(scan, &filter, (&ranked, from), take)?;
                let last = ranked.keys.get(end).and_then(|_| ranked.keys.get(end.checked_sub(1)?));
                (page.unsorted(), last.map(PageStart::after))
            }
        }
    };
    Ok(GroupPage { next_page_token: next.map(|next| tokens.write(next)).unwrap_or_default(), ..page })
}

/// Returns a page of all groups, ordered by cluster and id, and the start of the next page. Reads only the groups of
/// the page.
fn by_id<T>(
    scan: &Scan,
    after: (&str, &str, &str),
    mut take: impl FnMut(&GroupFact<'_>) -> Option<T>,
) -> Result<(GroupPage<T>, Option<PageStart>), EndReason> {
    let due = |group: &GroupCut<'_>| {
        let source = &*group.source.source.id.name;
        (&*group.source.cluster.name, &*group.group.id, source) > after
    };
    let (mut items, mut last, mut next) = (vec![], None, None);
    for group in sorted_groups(scan, (after.0, after.1)).filter(due) {
        scan.cancel().check()?;
        let Some(item) = take(&group_fact(scan, group)) else {
            next = last.as_ref().map(PageStart::after);
            break;
        };
        last = Some(key(&group));
        items.push(item);
    }
    let total = count(scan.sources.iter().map(SourceCut::group_count).sum());
    Ok((GroupPage { items, total, next_page_token: String::new(), counts: StatusCounts::default() }, next))
}

fn key(group: &GroupCut<'_>) -> GroupKey {
    (Name::clone(&group.source.cluster.name), Name::clone(&group.group.id), Name::clone(&group.source.source.id.name))
}

fn count(groups: usize) -> i64 {
    i64::try_from(groups).unwrap_or(i64::MAX)
}

/// Returns all groups that the filter accepts, in order.
fn rank(scan: &Scan, filter: &GroupFilter<'_>, order: &GroupOrder) -> Result<RankedGroups, EndReason> {
    let sums = SlowSums { seconds: order.needs_seconds(), status: order.needs_status() || filter.needs_status() };
    let needs_facts = filter.needs_facts() || !order.is_default();
    let (mut found, mut counts) = (vec![], StatusCounts::default());
    for cluster in &scan.sources {
        for group in cluster.unordered_groups(ReadAhead::Offsets) {
            scan.cancel().check()?;
            if !filter.accepts(scan, group) {
                continue;
            }
            let fact = if needs_facts { group_sums(scan, group, sums) } else { bare_group(scan, group) };
            if !filter.accepts_activity(&fact) {
                continue;
            }
            if sums.status {
                counts.add(fact.status);
            }
            if filter.accepts_status(fact.status) {
                found.push((order.value(&fact), (group, fact.status)));
            }
        }
    }
    let found = order.sort(found);
    let statuses = if sums.status { found.iter().map(|(_, status)| *status).collect() } else { vec![] };
    Ok(RankedGroups { keys: found.iter().map(|(group, _)| key(group)).collect(), statuses, counts })
}

/// A page of a ranking, with the current values of its groups.
struct RankedPage<'a, T> {
    items: Vec<(GroupFact<'a>, T)>,
    total: i64,
    counts: StatusCounts,
}

impl<T> RankedPage<'_, T> {
    fn unsorted(self) -> GroupPage<T> {
        let items = self.items.into_iter().map(|(_, item)| item).collect();
        GroupPage { items, total: self.total, counts: self.counts, next_page_token: String::new() }
    }

    fn sorted(self, order: &GroupOrder) -> GroupPage<T> {
        let values = self.items.into_iter().map(|of| (order.value(&of.0), of)).collect();
        RankedPage { items: order.sort(values), ..self }.unsorted()
    }
}

/// Returns the page of a ranking that starts at an index, and the index at which the next page starts.
///
/// The statuses of the page's groups may have changed since the ranking was made. The counts are corrected by them, and
/// groups whose status is no longer requested are left out, so that counts, total and groups agree.
fn ranked_page<'a, T>(
    scan: &'a Scan,
    filter: &GroupFilter<'_>,
    (ranked, from): (&RankedGroups, usize),
    mut take: impl FnMut(&GroupFact<'_>) -> Option<T>,
) -> Result<(RankedPage<'a, T>, usize), EndReason> {
    let (mut items, mut end) = (vec![], from);
    let (mut total, mut counts) = (count(ranked.keys.len()), ranked.counts.clone());
    for (cluster, group, source) in ranked.keys.get(from..).unwrap_or_default() {
        scan.cancel().check()?;
        // A group of a retained order may have been deleted meanwhile.
        let Some(group) = scan.source(cluster, source).and_then(|cluster| cluster.group(group)) else {
            end += 1;
            continue;
        };
        let fact = group_fact(scan, group);
        let status = fact.status;
        let before = ranked.statuses.get(end).copied().unwrap_or(status);
        let is_wanted = filter.accepts_status(status);
        if is_wanted {
            let Some(item) = take(&fact) else { break };
            items.push((fact, item));
        }
        counts.correct(before, status);
        total -= i64::from(!is_wanted);
        end += 1;
    }
    Ok((RankedPage { items, total, counts }, end))
}
