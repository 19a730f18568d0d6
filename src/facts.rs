//! What is derived from a cut: lag, owner and status of an offset, and the sums of a group. The
//! same for SQL, RPCs and metrics.

use std::sync::Arc;

use crate::{
    lag::{self, Lag, StatusContext},
    model::{Millis, Name, Status},
    store::{
        cut::{Cut, GroupCut},
        ends::Topic,
        group::Entry,
        membership::{GroupState, Member, Membership, SIMPLE},
    },
};

/// A committed offset with everything that is derived from it.
#[derive(Clone, Debug)]
pub struct Fact<'a> {
    /// Whose.
    pub group: GroupCut<'a>,
    /// The commit.
    pub entry: Entry<'a>,
    /// How far behind.
    pub lag: Lag,
    /// How it does.
    pub status: Status,
    /// Records per second that commits advance, if that is known.
    pub consume_rate: Option<f64>,
    /// The member that owns the partition.
    pub owner: Option<&'a Member>,
}

/// Topics and windows of a group, looked up once for all its offsets.
struct Deriver<'a> {
    cut: &'a Cut,
    group: GroupCut<'a>,
    topics: Vec<Option<&'a Arc<Topic>>>,
    membership: Option<&'a Membership>,
}

impl<'a> Deriver<'a> {
    fn new(cut: &'a Cut, group: GroupCut<'a>) -> Self {
        let topics = group.group.topic_names().map(|name| group.cluster.ends.topic(name)).collect();
        Self { cut, group, topics, membership: group.group.membership() }
    }

    fn derive(&self, position: usize, entry: Entry<'a>) -> Fact<'a> {
        let cluster = self.group.cluster;
        let topic = self.topics.get(entry.topic_index).copied().flatten().map(|topic| &**topic);
        let log_partition = self.group.shard.key.log_partition;
        let lag = lag::lag(entry.row, entry.rare, log_partition, topic, &cluster.ends, self.cut.taken);
        let window = cluster.windows.group(&self.group.group.id).and_then(|windows| windows.get(position, &entry));
        let context =
            StatusContext { window: self.cut.settings.window, now: self.cut.taken, now_at: self.cut.taken_at };
        let status = lag::status(entry.row, &lag, window, context);
        let owner = self
            .membership
            .and_then(|members| members.owner(entry.topic, topic.and_then(|topic| topic.id), entry.row.partition));
        let consume_rate = window.and_then(|window| window.consume_rate(context.now, context.window));
        Fact { group: self.group, entry, lag, status, consume_rate, owner }
    }
}

/// The facts of a group, in no order.
pub fn facts<'a>(cut: &'a Cut, group: GroupCut<'a>) -> impl Iterator<Item = Fact<'a>> {
    let deriver = Deriver::new(cut, group);
    group.group.entries().enumerate().map(move |(position, entry)| deriver.derive(position, entry))
}

/// The facts of a group, ordered by topic and partition.
#[must_use]
pub fn sorted_facts<'a>(cut: &'a Cut, group: GroupCut<'a>) -> Vec<Fact<'a>> {
    let mut facts: Vec<Fact<'a>> = facts(cut, group).collect();
    facts.sort_by(|left, right| {
        (left.entry.topic, left.entry.row.partition).cmp(&(right.entry.topic, right.entry.row.partition))
    });
    facts
}

/// A group with its sums.
#[derive(Clone, Debug)]
pub struct GroupFact<'a> {
    /// The group.
    pub group: GroupCut<'a>,
    /// `classic`, …, or `simple` for a group that only has offsets.
    pub kind: &'static str,
    /// As Kafka's tools spell it.
    pub state: &'static str,
    /// Members.
    pub members: i32,
    /// Topics with a committed offset.
    pub topics: i32,
    /// Partitions with a committed offset.
    pub partitions: i32,
    /// Sum of the known lags; `None` when none is known.
    pub lag: Option<i64>,
    /// Greatest known lag.
    pub max_lag: Option<i64>,
    /// Greatest known time lag.
    pub max_lag_seconds: Option<f64>,
    /// Partitions whose lag is not known.
    pub unknown_lag_partitions: i32,
    /// The newest commit.
    pub last_committed_at: Option<Millis>,
    /// Committed within the setting, or has members.
    pub active: bool,
    /// The worst of its partitions'; `ok` without any.
    pub status: Status,
}

/// Sums up a group.
#[must_use]
pub fn group_fact<'a>(cut: &'a Cut, group: GroupCut<'a>) -> GroupFact<'a> {
    let membership = group.group.membership();
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let mut fact = GroupFact {
        group,
        kind: membership.map_or(SIMPLE, |membership| membership.kind.as_str()),
        state: membership.map_or(GroupState::Empty, |membership| membership.state).as_str(),
        members: membership.map_or(0, |membership| count(membership.members.len())),
        topics: count(group.group.topic_counts().count()),
        partitions: count(group.group.len()),
        lag: None,
        max_lag: None,
        max_lag_seconds: None,
        unknown_lag_partitions: 0,
        last_committed_at: None,
        active: false,
        status: Status::Ok,
    };
    let mut unknown_seconds = false;
    for each in facts(cut, group) {
        match each.lag.lag {
            Ok(lag) => {
                unknown_seconds |= lag > 0 && each.lag.seconds.is_none();
                fact.lag = Some(fact.lag.unwrap_or(0).saturating_add(lag));
                fact.max_lag = fact.max_lag.max(Some(lag));
            }
            Err(_) => fact.unknown_lag_partitions += 1,
        }
        if let Some(seconds) = each.lag.seconds {
            fact.max_lag_seconds = Some(fact.max_lag_seconds.map_or(seconds, |max| max.max(seconds)));
        }
        fact.last_committed_at = fact.last_committed_at.max(Some(each.entry.row.committed_at));
        fact.status = fact.status.max(each.status);
    }
    // Only the partitions without lag are known: that says nothing of the greatest.
    fact.max_lag_seconds = fact.max_lag_seconds.filter(|max| *max > 0.0 || !unknown_seconds);
    fact.active = is_active(fact.members, fact.last_committed_at, cut, cut.settings.active_within);
    fact
}

/// Whether a group committed within `within`, or has members.
#[must_use]
pub fn is_active(members: i32, last_committed_at: Option<Millis>, cut: &Cut, within: Millis) -> bool {
    members > 0 || last_committed_at.is_some_and(|at| at >= cut.taken_at.saturating_sub(within))
}

/// The groups of a cut, ordered by cluster and id, that `wanted` accepts.
pub fn sorted_groups<'a>(cut: &'a Cut, mut wanted: impl FnMut(&Name, &Name) -> bool) -> Vec<GroupCut<'a>> {
    let mut groups: Vec<GroupCut<'a>> = cut
        .clusters
        .iter()
        .flat_map(|cluster| cluster.groups().map(move |group| (cluster, group)))
        .filter(|(cluster, group)| wanted(&cluster.cluster.name, &group.group.id))
        .map(|(_, group)| group)
        .collect();
    groups.sort_by(|left, right| {
        (&left.cluster.cluster.name, &left.group.id).cmp(&(&right.cluster.cluster.name, &right.group.id))
    });
    groups
}
