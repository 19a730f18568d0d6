//! GetConsumer.

use std::{cmp::Ordering, collections::BTreeSet, sync::Arc};

use super::{
    entry,
    paging::{self, GroupKey, PageSize, Tokens, Walks},
    proto,
};
use crate::{
    error::Error,
    facts::{GroupFact, group_fact, sorted_groups},
    model::Name,
    store::{
        Store,
        cut::{Cut, GroupCut},
        membership::Member,
    },
};

/// Whether the group's id or one of its topics contains the text.
pub(super) fn matches(group: GroupCut<'_>, search: &str) -> bool {
    let view = group.group;
    let owned = |member: &Member| {
        let assigned = member.assigned.as_deref().unwrap_or_default();
        assigned.iter().any(|assigned| group.topic_name(&assigned.topic).contains(search))
    };
    search.is_empty()
        || view.id.contains(search)
        || view.topic_counts().any(|(topic, _)| topic.contains(search))
        || view.membership().is_some_and(|membership| membership.members.iter().any(owned))
}

/// The groups that the request asks for, by key.
fn found<'a>(cut: &'a Cut, request: &proto::GetConsumerRequest) -> Vec<GroupCut<'a>> {
    let proto::GetConsumerRequest { search, statuses, kinds, active, group_ids, .. } = request;
    let ids: BTreeSet<&str> = group_ids.iter().map(String::as_str).collect();
    let mut found = sorted_groups(cut, |_, id| ids.is_empty() || ids.contains(&**id));
    found.retain(|group| matches(*group, search));
    if !(statuses.is_empty() && kinds.is_empty() && active.is_none()) {
        let takes = |of: &[String], one: &str| of.is_empty() || of.iter().any(|of| of == one);
        found.retain(|group| {
            let fact = group_fact(cut, *group);
            takes(statuses, fact.status.as_str())
                && takes(kinds, fact.kind)
                && active.is_none_or(|active| active == fact.active)
        });
    }
    found
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
    let found = found(&cut, &request);
    let walk = Walk::find(&cut, &found, &order, next.as_ref(), (store, walks))?;
    let (mut consumers, mut room, mut at) = (vec![], PageSize::new(size), walk.from);
    while let Some(group) = walk.group(&cut, at).filter(|_| !room.is_full()) {
        // A group of a kept order may be gone by now.
        if let Some(group) = group {
            let consumer = entry::consumer(&group_fact(&cut, group));
            room.add(&consumer);
            consumers.push(consumer);
        }
        at += 1;
    }
    let snapshot = cut.snapshot();
    Ok(proto::GetConsumerResponse {
        consumers,
        next_page_token: walk.next(at, (store, walks)).map(|next| tokens.write(next)).unwrap_or_default(),
        incomplete_clusters: entry::incomplete(&snapshot),
        snapshot: Some(entry::snapshot(&snapshot)),
        total: i64::try_from(found.len()).unwrap_or(i64::MAX),
    })
}

fn key(group: &GroupCut<'_>) -> GroupKey {
    (Name::clone(&group.cluster.cluster.name), Name::clone(&group.group.id))
}

/// The order of a walk, and where its page starts.
struct Walk {
    keys: Arc<Vec<GroupKey>>,
    /// Of an order that is kept already.
    id: Option<u64>,
    /// By a column that moves: the order must be kept for the next page.
    moves: bool,
    from: usize,
}

impl Walk {
    fn find(
        cut: &Cut,
        found: &[GroupCut<'_>],
        order: &Order,
        next: Option<&Next>,
        (store, walks): (&Store, &Walks),
    ) -> Result<Self, Error> {
        if let Some(Next::Walk(id, from)) = next {
            return Ok(Self { keys: walks.find(&store.clock, *id)?, id: Some(*id), moves: true, from: *from });
        }
        if order.is_default() {
            let keys: Vec<GroupKey> = found.iter().map(key).collect();
            let from = match next {
                Some(Next::After(cluster, group)) => {
                    keys.partition_point(|key| (&*key.0, &*key.1) <= (cluster.as_str(), group.as_str()))
                }
                Some(Next::Walk(..)) | None => 0,
            };
            return Ok(Self { keys: Arc::new(keys), id: None, moves: false, from });
        }
        let mut facts: Vec<GroupFact<'_>> = found.iter().map(|group| group_fact(cut, *group)).collect();
        facts.sort_by(|left, right| order.compare(left, right));
        let keys = Arc::new(facts.iter().map(|fact| key(&fact.group)).collect());
        Ok(Self { keys, id: None, moves: true, from: 0 })
    }

    /// The group at a place; `Some(None)` when it is gone, `None` at the end.
    fn group<'a>(&self, cut: &'a Cut, at: usize) -> Option<Option<GroupCut<'a>>> {
        let (cluster, group) = self.keys.get(at)?;
        Some(cut.cluster(cluster).and_then(|cluster| cluster.group(group)))
    }

    /// The token of the page that starts at `at`; `None` at the end.
    fn next(&self, at: usize, (store, walks): (&Store, &Walks)) -> Option<Next> {
        let last = self.keys.get(at).and_then(|_| self.keys.get(at.checked_sub(1)?))?;
        Some(match self.id {
            Some(id) => Next::Walk(id, at),
            None if self.moves => Next::Walk(walks.keep(&store.clock, Arc::clone(&self.keys)), at),
            None => Next::After(last.0.to_string(), last.1.to_string()),
        })
    }
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
        "members_stale_since",
        "coordinator",
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
            "protocol_type" => by(pair, down, |fact| fact.group.group.membership()?.protocol_type.as_deref()),
            "protocol" => by(pair, down, |fact| fact.group.group.membership()?.protocol.as_deref()),
            "epoch" => by(pair, down, |fact| fact.group.group.membership()?.epoch),
            "leader_member_id" => by(pair, down, |fact| fact.group.group.membership()?.leader_member_id.as_deref()),
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
            "members_stale_since" => by(pair, down, |fact| fact.group.group.members_stale_since),
            "coordinator" => by(pair, down, |fact| fact.group.coordinator()),
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
