//! The order of the groups that GetConsumer returns.

use std::cmp::Ordering;

use crate::{
    error::Error,
    facts::{GroupFact, coordinator},
    store::cut::GroupCut,
};

/// A value by which groups are ordered.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) enum OrderValue<'a> {
    Number(i64),
    /// Ordered by the first number, then by the second.
    Pair(i64, i64),
    Seconds(f64),
    Text(&'a str),
}

/// A group to sort.
pub(super) trait Ranked {
    /// Returns cluster and group id.
    fn key(&self) -> (&str, &str);
}

impl<T> Ranked for (GroupCut<'_>, T) {
    fn key(&self) -> (&str, &str) {
        (&self.0.source.cluster.name, &self.0.group.id)
    }
}

impl<T> Ranked for (GroupFact<'_>, T) {
    fn key(&self) -> (&str, &str) {
        (&self.0.group.source.cluster.name, &self.0.group.group.id)
    }
}

type GetValue = for<'f, 'a> fn(&'f GroupFact<'a>) -> Option<OrderValue<'a>>;

fn number(number: impl Into<i64>) -> Option<OrderValue<'static>> {
    Some(OrderValue::Number(number.into()))
}

/// The columns of the SQL table `groups`. A test checks that the list is complete.
const COLUMNS: [(&str, GetValue); 22] = [
    ("cluster", |fact| Some(OrderValue::Text(&fact.group.source.cluster.name))),
    ("source", |fact| Some(OrderValue::Text(&fact.group.source.source.id.name))),
    ("group_id", |fact| Some(OrderValue::Text(&fact.group.group.id))),
    ("kind", |fact| Some(OrderValue::Text(fact.kind))),
    ("state", |fact| Some(OrderValue::Text(fact.state))),
    ("protocol_type", |fact| fact.group.group.membership()?.protocol_type.as_deref().map(OrderValue::Text)),
    ("protocol", |fact| fact.group.group.membership()?.protocol.as_deref().map(OrderValue::Text)),
    ("epoch", |fact| number(fact.group.group.membership()?.epoch?)),
    ("leader_member_id", |fact| fact.group.group.membership()?.leader_member_id.as_deref().map(OrderValue::Text)),
    ("members", |fact| number(fact.members?)),
    ("topics", |fact| number(fact.topics)),
    ("partitions", |fact| number(fact.partitions)),
    ("lag", |fact| number(fact.lag?)),
    ("max_lag", |fact| number(fact.max_lag?)),
    ("max_lag_seconds", |fact| fact.max_lag_seconds.map(OrderValue::Seconds)),
    ("unknown_lag_partitions", |fact| number(fact.unknown_lag_partitions)),
    ("last_committed_at", |fact| number(fact.last_committed_at?)),
    ("active", |fact| number(fact.active)),
    // From good to bad, and by lag within a status.
    ("status", |fact| Some(OrderValue::Pair(i64::from(fact.status as u8), fact.lag.unwrap_or(-1)))),
    ("members_stale_since", |fact| number(fact.group.group.members_stale_since()?)),
    ("coordinator", |fact| number(coordinator(fact.group)?)),
    ("offsets_kept_in", |fact| fact.offset_sources().next().map(|name| OrderValue::Text(name))),
];

/// A column of the SQL table `groups`, and a direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupOrder {
    column: &'static str,
    get: GetValue,
    descending: bool,
}

impl GroupOrder {
    /// Parses `COLUMN [asc|desc]`. An empty text is the default order, by `group_id`.
    ///
    /// # Errors
    /// The column or the direction does not exist.
    pub(super) fn new(text: &str) -> Result<Self, Error> {
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or("group_id");
        let rest: Vec<&str> = words.collect();
        let descending = match rest.as_slice() {
            [] => false,
            [direction] if direction.eq_ignore_ascii_case("asc") => false,
            [direction] if direction.eq_ignore_ascii_case("desc") => true,
            rest => {
                return Err(Error::Invalid(format!(
                    "order_by: unknown direction {:?}; use asc or desc",
                    rest.join(" ")
                )));
            }
        };
        let Some((column, get)) = COLUMNS.into_iter().find(|(column, _)| *column == name) else {
            let known: Vec<&str> = COLUMNS.iter().map(|(column, _)| *column).collect();
            let known = known.join(", ");
            return Err(Error::Invalid(format!("order_by: no column {name:?} in groups; use one of {known}")));
        };
        Ok(Self { column, get, descending })
    }

    pub(super) fn needs_seconds(&self) -> bool {
        self.column == "max_lag_seconds"
    }

    pub(super) fn needs_status(&self) -> bool {
        self.column == "status"
    }

    pub(super) fn is_default(&self) -> bool {
        self.column == "group_id" && !self.descending
    }

    /// Returns the value by which a group is ordered; `None` if it is unknown, or in the default order.
    pub(super) fn value<'a>(&self, fact: &GroupFact<'a>) -> Option<OrderValue<'a>> {
        if self.is_default() { None } else { (self.get)(fact) }
    }

    /// Sorts by the values. Unknown values are last in both directions; equal values are sorted by cluster and id.
    pub(super) fn sort<'a, T: Ranked>(&self, mut all: Vec<(Option<OrderValue<'a>>, T)>) -> Vec<T> {
        all.sort_unstable_by(|(left, of_left), (right, of_right)| {
            self.compare(left.as_ref(), right.as_ref()).then_with(|| of_left.key().cmp(&of_right.key()))
        });
        all.into_iter().map(|(_, of)| of).collect()
    }

    fn compare(&self, left: Option<&OrderValue<'_>>, right: Option<&OrderValue<'_>>) -> Ordering {
        match (left, right) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(left), Some(right)) => {
                let order = left.partial_cmp(right).unwrap_or(Ordering::Equal);
                if self.descending { order.reverse() } else { order }
            }
        }
    }
}

#[cfg(test)]
mod tests;
