//! GetConsumer.

use std::sync::Arc;

use super::{
    entry,
    paging::{self, GroupKey, PageSize, Rankings, Tokens, Walks},
    proto,
};
use crate::{
    error::Error,
    facts::{GroupFact, group_fact},
    model::Name,
    store::{
        Store,
        cut::{Cut, GroupCut},
    },
};

mod order;
mod search;
mod wanted;

use order::Order;
pub(super) use search::Search;
use wanted::Wanted;

/// Where the next page starts: after a key, or at a place of a walk whose order is kept.
#[derive(serde::Serialize, serde::Deserialize)]
enum Next {
    After(String, String),
    Walk(u64, usize),
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
    let wanted = Wanted::new(&request);
    let (consumers, next) = match (next, order.is_default()) {
        (Some(Next::Walk(id, from)), _) => {
            let keys = kept.walks.find(&store.clock, id)?;
            let page = ranked(&cut, &keys, from, size);
            let next = keys.get(page.end).map(|_| Next::Walk(id, page.end));
            (consumers(&page.facts), next)
        }
        (Some(Next::After(cluster, group)), _) => by_id(&cut, &wanted, (&cluster, &group), size),
        (None, true) => by_id(&cut, &wanted, ("", ""), size),
        (None, false) => {
            let keys = kept.rankings.get(&store.clock, &cut, whole, || rank(&cut, &wanted, &order));
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
        total: i64::try_from(wanted.count(&cut)).unwrap_or(i64::MAX),
    })
}

fn consumers(facts: &[GroupFact<'_>]) -> Vec<proto::Consumer> {
    facts.iter().map(entry::consumer).collect()
}

/// A page in the order of cluster and id, which needs no more than the groups on it, and what comes next.
fn by_id(cut: &Cut, wanted: &Wanted<'_>, after: (&str, &str), size: usize) -> (Vec<proto::Consumer>, Option<Next>) {
    let (mut consumers, mut room) = (vec![], PageSize::new(size));
    let due = |group: &GroupCut<'_>| (&*group.cluster.cluster.name, &*group.group.id) > after;
    for group in wanted.groups(cut, after).filter(due) {
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
fn rank(cut: &Cut, wanted: &Wanted<'_>, order: &Order) -> Vec<GroupKey> {
    order
        .sort(wanted.groups(cut, ("", "")).map(|group| group_fact(cut, group)).collect())
        .iter()
        .map(|fact| key(&fact.group))
        .collect()
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
