//! GetConsumer.

use std::{cmp::Ordering, sync::Arc};

use super::{
    entry,
    paging::{self, GroupKey, Tokens, Walks},
    proto,
};
use crate::{
    error::Error,
    facts::{GroupFact, group_fact, sorted_groups},
    model::Name,
    store::{
        Store,
        cut::{Cut, GroupCut},
        group::GroupView,
    },
};

/// Whether the group's id or one of its topics contains the text.
pub(super) fn matches(group: &GroupView, search: &str) -> bool {
    search.is_empty()
        || group.id.contains(search)
        || group.topic_counts().any(|(topic, _)| topic.contains(search))
        || group
            .membership
            .iter()
            .flat_map(|membership| &membership.members)
            .any(|member| member.assigned.iter().flatten().any(|assigned| assigned.topic.contains(search)))
}

/// Where the next page starts: after a key, or at a place of a walk whose order is kept.
#[derive(serde::Serialize, serde::Deserialize)]
enum Next {
    After(String, String),
    Walk(u64, usize),
}

pub(super) fn get_consumer(
    store: &Arc<Store>,
    walks: &Walks,
    request: proto::GetConsumerRequest,
) -> Result<proto::GetConsumerResponse, Error> {
    let size = paging::size(request.page_size)?;
    let order = Order::new(&request.order_by)?;
    let tokens = Tokens::new(&proto::GetConsumerRequest { page_size: 0, page_token: String::new(), ..request.clone() });
    let next: Option<Next> = tokens.read(&request.page_token)?;
    let cut = store.cut(&request.cluster, request.allow_partial)?.require_loaded()?;
    let found = sorted_groups(&cut, |_, _| true);
    let found: Vec<GroupCut<'_>> = found.into_iter().filter(|group| matches(group.group, &request.search)).collect();
    let total = i64::try_from(found.len()).unwrap_or(i64::MAX);
    let (page, next) = if order.is_default() {
        page_by_key(&found, next.as_ref(), size)
    } else {
        page_of_walk(&cut, &found, &order, next.as_ref(), size, (store, walks))?
    };
    let snapshot = cut.snapshot();
    Ok(proto::GetConsumerResponse {
        consumers: page.into_iter().map(|group| entry::consumer(&group_fact(&cut, group))).collect(),
        next_page_token: next.map(|next| tokens.write(next)).unwrap_or_default(),
        incomplete_clusters: entry::incomplete(&snapshot),
        snapshot: Some(entry::snapshot(&snapshot)),
        total,
    })
}

fn key(group: &GroupCut<'_>) -> GroupKey {
    (Name::clone(&group.cluster.cluster.name), Name::clone(&group.group.id))
}

type Page<'a> = (Vec<GroupCut<'a>>, Option<Next>);

fn page_by_key<'a>(found: &[GroupCut<'a>], next: Option<&Next>, size: usize) -> Page<'a> {
    let from = match next {
        Some(Next::After(cluster, group)) => {
            found.partition_point(|at| (&*at.cluster.cluster.name, &*at.group.id) <= (cluster.as_str(), group.as_str()))
        }
        Some(Next::Walk(..)) | None => 0,
    };
    let page: Vec<GroupCut<'a>> = found.iter().skip(from).take(size).copied().collect();
    let more = from + page.len() < found.len();
    let last = page.last().filter(|_| more).map(key);
    (page, last.map(|(cluster, group)| Next::After(cluster.to_string(), group.to_string())))
}

/// Pages of an order that is kept: a group that is gone is left out, one that came later is not in.
fn page_of_walk<'a>(
    cut: &'a Cut,
    found: &[GroupCut<'a>],
    order: &Order,
    next: Option<&Next>,
    size: usize,
    (store, walks): (&Store, &Walks),
) -> Result<Page<'a>, Error> {
    let (id, from, keys) = match next {
        Some(Next::Walk(id, from)) => (*id, *from, walks.find(&store.clock, *id)?),
        Some(Next::After(..)) | None => {
            let mut facts: Vec<GroupFact<'_>> = found.iter().map(|group| group_fact(cut, *group)).collect();
            facts.sort_by(|left, right| order.compare(left, right));
            let keys: Vec<GroupKey> = facts.iter().map(|fact| key(&fact.group)).collect();
            if keys.len() <= size {
                let page = facts.into_iter().map(|fact| fact.group).collect();
                return Ok((page, None));
            }
            let id = walks.keep(&store.clock, keys);
            (id, 0, walks.find(&store.clock, id)?)
        }
    };
    let page = keys.iter().skip(from).take(size);
    let page = page.filter_map(|(cluster, group)| cut.cluster(cluster)?.group(group)).collect();
    let to = from + size;
    Ok((page, (to < keys.len()).then_some(Next::Walk(id, to))))
}

/// A column of the SQL table `groups`, and a direction.
struct Order {
    column: String,
    descending: bool,
}

impl Order {
    /// Columns that this knows; the same as the table's, which a test checks.
    const COLUMNS: &[&str] = &[
        "cluster",
        "group_id",
        "kind",
        "state",
        "protocol_type",
        "protocol",
        "epoch",
        "leader_member_id",
        "members",
        "topics",
        "partitions",
        "lag",
        "max_lag",
        "max_lag_seconds",
        "unknown_lag_partitions",
        "last_committed_at",
        "active",
        "status",
    ];

    fn new(text: &str) -> Result<Self, Error> {
        let (column, descending) = match text.trim() {
            "" => ("group_id", false),
            text => match text.split_once(char::is_whitespace) {
                None => (text, false),
                Some((column, direction)) if direction.trim().eq_ignore_ascii_case("desc") => (column, true),
                Some((column, direction)) if direction.trim().eq_ignore_ascii_case("asc") => (column, false),
                Some((_, direction)) => {
                    return Err(Error::Invalid(format!("order_by: {direction:?} is neither asc nor desc")));
                }
            },
        };
        if !Self::COLUMNS.contains(&column) {
            let known = Self::COLUMNS.join(", ");
            return Err(Error::Invalid(format!("order_by: no column {column:?} in groups; there are {known}")));
        }
        Ok(Self { column: column.to_owned(), descending })
    }

    fn is_default(&self) -> bool {
        self.column == "group_id" && !self.descending
    }

    /// Unknown comes last, whatever the direction; equal ones by key.
    fn compare(&self, left: &GroupFact<'_>, right: &GroupFact<'_>) -> Ordering {
        fn by<'a, T: PartialOrd>(
            pair: (&'a GroupFact<'a>, &'a GroupFact<'a>),
            descending: bool,
            get: impl Fn(&'a GroupFact<'a>) -> Option<T>,
        ) -> Ordering {
            match (get(pair.0), get(pair.1)) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(left), Some(right)) => {
                    let order = left.partial_cmp(&right).unwrap_or(Ordering::Equal);
                    if descending { order.reverse() } else { order }
                }
            }
        }
        let (pair, down) = ((left, right), self.descending);
        let order = match self.column.as_str() {
            "kind" => by(pair, down, |fact| Some(fact.kind)),
            "state" => by(pair, down, |fact| Some(fact.state)),
            "protocol_type" => by(pair, down, |fact| fact.group.group.membership.as_deref()?.protocol_type.as_deref()),
            "protocol" => by(pair, down, |fact| fact.group.group.membership.as_deref()?.protocol.as_deref()),
            "epoch" => by(pair, down, |fact| Some(fact.group.group.membership.as_deref()?.epoch)),
            "leader_member_id" => {
                by(pair, down, |fact| fact.group.group.membership.as_deref()?.leader_member_id.as_deref())
            }
            "members" => by(pair, down, |fact| Some(fact.members)),
            "topics" => by(pair, down, |fact| Some(fact.topics)),
            "partitions" => by(pair, down, |fact| Some(fact.partitions)),
            "lag" => by(pair, down, |fact| fact.lag),
            "max_lag" => by(pair, down, |fact| fact.max_lag),
            "max_lag_seconds" => by(pair, down, |fact| fact.max_lag_seconds),
            "unknown_lag_partitions" => by(pair, down, |fact| Some(fact.unknown_lag_partitions)),
            "last_committed_at" => by(pair, down, |fact| fact.last_committed_at),
            "active" => by(pair, down, |fact| Some(fact.active)),
            "status" => by(pair, down, |fact| Some(fact.status)),
            "group_id" => by(pair, down, |fact| Some(&fact.group.group.id)),
            _ => by(pair, down, |fact| Some(&fact.group.cluster.cluster.name)),
        };
        order.then_with(|| key(&left.group).cmp(&key(&right.group)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_names_a_column_and_a_direction() {
        assert!(Order::new("").unwrap().is_default());
        assert!(Order::new("lag desc").unwrap().descending);
        assert!(!Order::new("lag ASC").unwrap().descending);
        assert!(Order::new("lag; drop").is_err());
        assert!(Order::new("nonsense").is_err());
    }
}
