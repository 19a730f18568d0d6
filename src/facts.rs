//! Derived values of a cut: lag, owner and status of a committed offset, and the sums of a group. SQL, RPCs and metrics
//! all use these functions.

use std::{cell::OnceCell, ops::ControlFlow, sync::Arc};

use itertools::Itertools as _;

use crate::{
    clock::Ticks,
    lag::{self, Lag, RATE_OVER, StatusContext},
    model::{Millis, Name, OFFSETS_TOPIC, SourceKind, Status, shown},
    store::{
        cut::{Cut, GroupCut, SourceCut},
        ends::{Topic, to_f64},
        event::ShardKey,
        group::{Entry, Row},
        membership::{GroupState, Member, SIMPLE},
        windows::{GroupWindows, KeyWindow},
    },
};

/// The consume rate must exceed the produce rate by this fraction of it, so that an estimate of the catch-up time is
/// more than chance.
const LEAST_GAIN: f64 = 0.01;

/// A committed offset, with the values that are derived from it on demand.
#[derive(Clone, Debug)]
pub struct Fact<'a> {
    /// The commit, with its topic name and extras.
    pub entry: Entry<'a>,
    cut: &'a Cut,
    group: GroupCut<'a>,
    /// The group of the members that own the partitions, see [`Cut::consuming_group_of`].
    consumers: GroupCut<'a>,
    topic: Option<&'a Topic>,
    windows: Option<&'a GroupWindows>,
    position: usize,
    lag: OnceCell<Lag>,
}

impl<'a> Fact<'a> {
    /// Returns the group of the offset.
    #[must_use]
    pub fn group(&self) -> GroupCut<'a> {
        self.group
    }

    fn window(&self) -> Option<&'a KeyWindow> {
        self.windows.and_then(|windows| windows.get(self.position, &self.entry))
    }

    /// Returns the lag, computed on first use.
    #[must_use]
    pub fn lag(&self) -> &Lag {
        self.lag.get_or_init(|| self.find_lag())
    }

    #[inline]
    fn find_lag(&self) -> Lag {
        let Entry { row, extras, .. } = self.entry;
        lag::lag(row, extras, &self.group.shard.key, self.topic, &self.group.source.ends, self.cut.taken)
    }

    /// Returns the estimated age of the oldest unread record, in seconds.
    #[must_use]
    pub fn lag_seconds(&self) -> Option<f64> {
        self.lag().seconds(&self.group.source.ends, self.cut.taken)
    }

    /// Returns the status of the partition.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status_of(self.lag())
    }

    fn status_of(&self, lag: &Lag) -> Status {
        let Cut { taken, taken_at, settings, .. } = self.cut;
        let ends = &self.group.source.ends;
        let context = StatusContext {
            ends,
            window: settings.window,
            now: *taken,
            now_at: *taken_at,
            load_began: self.group.shard.load_began,
        };
        lag::status(self.entry.row, lag, self.window(), context)
    }

    /// Returns the milliseconds since the commit, see [`lag::ms_since_commit`].
    #[must_use]
    pub fn ms_since_commit(&self) -> Millis {
        ms_since_commit(self.cut, self.group, &self.entry)
    }

    /// Returns when the value was first seen, see [`observed_at`].
    #[must_use]
    pub fn observed_at(&self) -> Option<Millis> {
        observed_at(self.cut, self.group, &self.entry)
    }

    /// Returns whether the partition has an owner, or a commit within `active_within`.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.ms_since_commit() <= self.cut.settings.active_within || self.owner().is_some()
    }

    /// Returns the records per second by which commits advance, if known.
    #[must_use]
    pub fn consume_rate(&self) -> Option<f64> {
        let window = self.window().filter(|window| window.is_of_log(self.lag().log_since));
        window?.consume_rate(self.cut.taken, self.cut.settings.window)
    }

    /// Returns the records per second by which the partition grows, if known.
    #[must_use]
    pub fn produce_rate(&self) -> Option<f64> {
        let partition = *self.topic?.partitions.get(usize::try_from(self.entry.row.partition).ok()?)?;
        self.group.source.ends.produce_rate(partition, RATE_OVER)
    }

    /// Returns the seconds until the lag is 0, at the current rates. `None` if a rate is unknown, or the lag does not
    /// shrink; nearly equal rates differ only by chance.
    #[must_use]
    pub fn catch_up_seconds(&self) -> Option<f64> {
        match self.lag().lag.ok()? {
            0 => Some(0.0),
            lag => {
                let produced = self.produce_rate()?;
                let gain = self.consume_rate()? - produced;
                (gain > produced * LEAST_GAIN).then(|| to_f64(lag) / gain)
            }
        }
    }

    /// Returns the member that owns the partition.
    #[must_use]
    pub fn owner(&self) -> Option<&'a Member> {
        let id = self.topic.and_then(|topic| topic.id);
        self.consumers.group.membership()?.owner(self.entry.topic, id, self.entry.row.partition)
    }

    /// Returns the source that knows the owner, if it is not the source of the offset.
    #[must_use]
    pub fn owner_source(&self) -> Option<&'a Name> {
        let is_lent = !std::ptr::eq(self.consumers.source, self.group.source);
        (is_lent && self.owner().is_some()).then(|| &self.consumers.source.source.id.name)
    }
}

/// Returns the milliseconds since a commit, see [`lag::ms_since_commit`].
#[must_use]
pub fn ms_since_commit(cut: &Cut, group: GroupCut<'_>, entry: &Entry<'_>) -> Millis {
    lag::ms_since_commit(entry.row, group.shard.load_began, cut.taken, cut.taken_at)
}

/// Returns when a value was first seen, for sources that are polled. A log has the commit time instead.
#[must_use]
pub fn observed_at(cut: &Cut, group: GroupCut<'_>, entry: &Entry<'_>) -> Option<Millis> {
    first_seen(entry.row, (&group.shard.key, group.shard.load_began), (cut.taken, cut.taken_at))
}

/// Returns when the value of a row was first seen. `shard` is the shard's key and the start of its load; `now` is on
/// both clocks.
#[must_use]
pub fn first_seen(row: &Row, shard: (&ShardKey, Ticks), now: (Ticks, Millis)) -> Option<Millis> {
    let ago = Millis::from(now.0.saturating_sub(row.applied.max(shard.1))).saturating_mul(100);
    (shard.0.kind == SourceKind::Table).then(|| now.1.saturating_sub(ago))
}

/// Derives the facts of a group's entries. Looks up once what all entries share.
#[derive(Debug)]
pub struct Deriver<'a> {
    cut: &'a Cut,
    group: GroupCut<'a>,
    consumers: GroupCut<'a>,
    topics: Vec<Option<&'a Topic>>,
    windows: Option<&'a GroupWindows>,
}

impl<'a> Deriver<'a> {
    /// Creates the deriver of a group.
    #[must_use]
    pub fn new(cut: &'a Cut, group: GroupCut<'a>) -> Self {
        let names = group.group.topic_names();
        let topics = names.map(|name| group.source.ends.topic(name).map(|topic| &**topic)).collect();
        let (consumers, windows) = (cut.consuming_group_of(group), group.source.windows.group(&group.group.id));
        Self { cut, group, consumers, topics, windows }
    }

    /// Returns the fact of the entry at a position.
    #[must_use]
    #[inline]
    pub fn fact(&self, position: usize, entry: Entry<'a>) -> Fact<'a> {
        let Self { cut, group, consumers, windows, .. } = *self;
        let topic = self.topics.get(entry.topic_index).copied().flatten();
        Fact { entry, cut, group, consumers, topic, windows, position, lag: OnceCell::new() }
    }
}

/// Returns the facts of a group, unordered.
pub fn facts<'a>(cut: &'a Cut, group: GroupCut<'a>) -> impl Iterator<Item = Fact<'a>> {
    let deriver = Deriver::new(cut, group);
    group.group.entries().enumerate().map(move |(position, entry)| deriver.fact(position, entry))
}

/// Returns the facts of a group, ordered by topic and partition.
#[must_use]
pub fn sorted_facts<'a>(cut: &'a Cut, group: GroupCut<'a>) -> Vec<Fact<'a>> {
    let mut facts: Vec<Fact<'a>> = facts(cut, group).collect();
    facts.sort_by(|left, right| {
        (left.entry.topic, left.entry.row.partition).cmp(&(right.entry.topic, right.entry.row.partition))
    });
    facts
}

/// Returns the broker id of a group's coordinator: the leader of the group's partition of `__consumer_offsets`.
#[must_use]
pub fn coordinator(group: GroupCut<'_>) -> Option<i32> {
    let log = group.source.ends.topic(OFFSETS_TOPIC)?;
    log.partitions.get(usize::try_from(group.shard.key.partition()?).ok()?)?.leader
}

/// A group with the sums over its offsets.
#[derive(Clone, Debug)]
pub struct GroupFact<'a> {
    cut: &'a Cut,
    /// The group.
    pub group: GroupCut<'a>,
    /// Protocol: `classic`, …, or `simple` for a group that has only offsets.
    pub kind: &'static str,
    /// State, as Kafka's tools spell it.
    pub state: &'static str,
    /// Number of members; `None` if unknown.
    pub members: Option<i32>,
    /// Number of topics with a committed offset.
    pub topics: i32,
    /// Number of partitions with a committed offset.
    pub partitions: i32,
    /// Sum of the known lags; `None` if none is known.
    pub lag: Option<i64>,
    /// Greatest known lag.
    pub max_lag: Option<i64>,
    /// Greatest known time lag, in seconds.
    pub max_lag_seconds: Option<f64>,
    /// Number of partitions with an unknown lag.
    pub unknown_lag_partitions: i32,
    /// Time of the newest commit, among the times that can be shown (see [`shown`]).
    pub last_committed_at: Option<Millis>,
    /// Milliseconds since the newest commit, see [`lag::ms_since_commit`].
    pub ms_since_commit: Option<Millis>,
    /// Whether the group has a commit within `active_within`, or members: its own, or those of the group of the same id
    /// in the Kafka cluster.
    pub active: bool,
    /// Worst status of its partitions; `unknown` without any.
    pub status: Status,
}

impl<'a> GroupFact<'a> {
    /// Returns whether members consume for this group, see [`Cut::consuming_group_of`].
    #[must_use]
    pub fn has_consumers(&self) -> bool {
        self.cut.consuming_group_of(self.group).group.has_members()
    }

    /// Returns the sources that keep the offsets of this group, see [`Cut::sources_with_offsets_of`].
    pub fn offset_sources(&self) -> impl Iterator<Item = &'a Name> + use<'a> {
        self.cut.sources_with_offsets_of(self.group)
    }

    /// Returns the names of these sources, separated by commas.
    #[must_use]
    pub fn offsets_kept_in(&self) -> Option<String> {
        let names = self.offset_sources().join(", ");
        (!names.is_empty()).then_some(names)
    }
}

/// Returns a group without the sums over its offsets, which are those of a group without offsets.
#[must_use]
pub fn bare_group<'a>(cut: &'a Cut, group: GroupCut<'a>) -> GroupFact<'a> {
    let membership = group.group.membership();
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    GroupFact {
        cut,
        group,
        kind: membership.map_or(SIMPLE, |membership| membership.kind.as_str()),
        state: membership.map_or(GroupState::Empty, |membership| membership.state).as_str(),
        members: match membership {
            Some(membership) if !membership.are_members_known => None,
            Some(membership) => Some(count(membership.members.len())),
            // A store that keeps only offsets may not know members.
            None => group.source.is_own().then_some(0),
        },
        topics: count(group.group.topic_counts().count()),
        partitions: count(group.group.len()),
        lag: None,
        max_lag: None,
        max_lag_seconds: None,
        unknown_lag_partitions: 0,
        last_committed_at: None,
        ms_since_commit: None,
        active: false,
        status: lag::status_before_offsets(group.group),
    }
}

/// Which of the slow sums to compute. Each takes several times as long as all others together.
#[derive(Clone, Copy, Debug)]
pub struct SlowSums {
    /// Whether to compute [`GroupFact::max_lag_seconds`].
    pub seconds: bool,
    /// Whether to compute [`GroupFact::status`].
    pub status: bool,
}

/// Returns a group with all sums.
#[must_use]
pub fn group_fact<'a>(cut: &'a Cut, group: GroupCut<'a>) -> GroupFact<'a> {
    group_sums(cut, group, SlowSums { seconds: true, status: true })
}

/// Returns a group with the requested sums; the others are as in [`bare_group`].
#[must_use]
pub fn group_sums<'a>(cut: &'a Cut, group: GroupCut<'a>, sums: SlowSums) -> GroupFact<'a> {
    let mut fact = bare_group(cut, group);
    let mut unknown_seconds = false;
    let deriver = Deriver::new(cut, group);
    let add = |position, entry: Entry<'a>| {
        let each = deriver.fact(position, entry);
        let lag = each.find_lag();
        let seconds = sums.seconds.then(|| lag.seconds(&group.source.ends, cut.taken)).flatten();
        match lag.lag {
            Ok(lag) => {
                unknown_seconds |= lag > 0 && seconds.is_none();
                fact.lag = Some(fact.lag.unwrap_or(0).saturating_add(lag));
                fact.max_lag = fact.max_lag.max(Some(lag));
            }
            Err(_) => fact.unknown_lag_partitions += 1,
        }
        if let Some(seconds) = seconds {
            fact.max_lag_seconds = Some(fact.max_lag_seconds.map_or(seconds, |max| max.max(seconds)));
        }
        fact.last_committed_at = fact.last_committed_at.max(shown(entry.row.committed_at));
        let ms_since_commit = each.ms_since_commit();
        fact.ms_since_commit = Some(fact.ms_since_commit.map_or(ms_since_commit, |least| least.min(ms_since_commit)));
        if sums.status {
            fact.status = fact.status.max(each.status_of(&lag));
        }
        ControlFlow::<()>::Continue(())
    };
    // The callback never breaks.
    let _ = group.group.each_entry(0..usize::MAX, add);
    // If only partitions without lag are known, the greatest time lag is unknown.
    fact.max_lag_seconds = fact.max_lag_seconds.filter(|max| *max > 0.0 || !unknown_seconds);
    fact.active = is_active(fact.has_consumers(), fact.ms_since_commit, cut.settings.active_within);
    fact
}

/// Returns whether a group has members, or a commit within `within`. `ms_since_commit` is the time since its newest
/// commit.
#[must_use]
pub fn is_active(has_members: bool, ms_since_commit: Option<Millis>, within: Millis) -> bool {
    has_members || ms_since_commit.is_some_and(|ms_since_commit| ms_since_commit <= within)
}

/// Returns the groups of a cut from a cluster and id on, ordered by cluster, id and source. Boxed, because the concrete
/// type would take minutes to compile.
pub fn sorted_groups<'a>(cut: &'a Cut, from: (&str, &str)) -> Box<dyn Iterator<Item = GroupCut<'a>> + 'a> {
    let mut clusters: Vec<&'a SourceCut> =
        cut.each_cluster().filter(|cluster| &*cluster.cluster.name >= from.0).collect();
    clusters.sort_by_key(|cluster| &cluster.cluster.name);
    let first = from.1.to_owned();
    let begun = from.0.to_owned();
    let groups = move |cluster: &'a SourceCut| -> Box<dyn Iterator<Item = GroupCut<'a>> + 'a> {
        let first = if *begun == *cluster.cluster.name { first.as_str() } else { "" };
        let of_cluster = |other: &&SourceCut| Arc::ptr_eq(&other.cluster, &cluster.cluster);
        let mut sources: Vec<&SourceCut> = cut.sources.iter().filter(of_cluster).collect();
        if let [only] = *sources {
            return only.groups_from(first);
        }
        sources.sort_by_key(|source| &source.source.id.name);
        // Of groups with equal ids, the one of the first source comes first.
        let groups = sources.into_iter().map(|source| source.groups_from(first));
        Box::new(groups.kmerge_by(|left, right| left.group.id < right.group.id))
    };
    Box::new(clusters.into_iter().flat_map(groups))
}

#[cfg(test)]
mod tests;
