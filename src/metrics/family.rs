//! Metric families: their names, labels and values, and how their samples are written.

use std::borrow::Cow;

use super::{
    ScrapeFilter,
    page::{Page, Value, start},
};
use crate::{
    facts::{Fact, GroupFact, bare_group, facts, group_fact},
    store::{
        cut::{Cut, GroupCut, SourceCut},
        ends::{LogOffsets, Partition, Topic},
        membership::Member,
        placement::{Broker, Replicas},
    },
};

/// A metric family.
#[derive(Clone, Copy)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) help: &'static str,
    pub(super) rows: FamilyRows,
}

/// Text of a label value.
pub(super) type Text<'r> = Cow<'r, str>;

/// A broker of a cluster.
pub(super) struct BrokerRow<'a> {
    pub(super) cluster: &'a SourceCut,
    pub(super) broker: &'a Broker,
}

/// A topic of a cluster.
pub(super) struct TopicRow<'a> {
    pub(super) cluster: &'a SourceCut,
    pub(super) topic: &'a Topic,
}

/// A partition of a topic.
pub(super) struct PartitionRow<'a> {
    pub(super) cluster: &'a SourceCut,
    pub(super) topic: &'a Topic,
    pub(super) number: i32,
    pub(super) partition: Partition,
    pub(super) value: LogOffsets,
    pub(super) replicas: Option<Replicas>,
}

/// The committed offsets of a group for one topic.
pub(super) struct GroupTopicRow<'a> {
    pub(super) group: GroupCut<'a>,
    pub(super) topic: &'a str,
    /// Sum of the committed offsets.
    pub(super) offsets: i64,
    /// Sum of the known lags; `None` if none is known.
    pub(super) lag: Option<i64>,
}

impl GroupTopicRow<'_> {
    /// Returns the number of members with partitions of the topic, and the number of these partitions.
    pub(super) fn assigned(&self) -> (i64, i64) {
        let members = self.group.group.membership().map(|membership| &*membership.members).unwrap_or_default();
        let of = |member: &Member| {
            let assigned = self.group.assigned(member.assigned.as_deref().unwrap_or_default());
            assigned.filter(|(name, _)| **name == *self.topic).map(|(_, partitions)| partitions.len()).sum::<usize>()
        };
        let counts = members.iter().map(of).filter(|count| *count > 0);
        let (members, partitions) = counts.fold((0, 0), |sum, count| (sum.0 + 1, sum.1 + count));
        (members, i64::try_from(partitions).unwrap_or(i64::MAX))
    }
}

macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident($row:ty);)+) => {
        $($(#[$doc])* pub(super) mod $name {
            use super::*;
            /// Name of a label, and the function that returns its value.
            pub(in crate::metrics) type Label = (&'static str, for<'r, 'a> fn(&'r $row) -> Text<'r>);
            /// Function that returns the value of a sample, or `None` for no sample.
            pub(in crate::metrics) type Get = for<'r, 'a> fn(&'r $row) -> Option<Value>;
        })+
    };
}

rows! {
    /// Labels and values of a cluster.
    cluster(&'a SourceCut);
    /// Labels and values of a broker.
    broker(BrokerRow<'a>);
    /// Labels and values of a topic.
    topic(TopicRow<'a>);
    /// Labels and values of a partition.
    partition(PartitionRow<'a>);
    /// Labels and values of a group.
    group(GroupFact<'a>);
    /// Labels and values of a group's topic.
    group_topic(GroupTopicRow<'a>);
    /// Labels and values of a committed offset.
    offset(Fact<'a>);
}

/// The rows for which a family has samples, with its labels and its value.
#[derive(Clone, Copy)]
pub(super) enum FamilyRows {
    /// No rows: only the name of the family is written.
    Nothing,
    Cluster(&'static [cluster::Label], cluster::Get),
    Broker(&'static [broker::Label], broker::Get),
    Topic(&'static [topic::Label], topic::Get),
    Partition(&'static [partition::Label], partition::Get),
    /// Groups without their totals.
    BareGroup(&'static [group::Label], group::Get),
    Group(&'static [group::Label], group::Get),
    GroupTopic(&'static [group_topic::Label], group_topic::Get),
    /// Committed offsets: the labels that all offsets of a group and topic share, and the labels of each offset.
    Offset(&'static [offset::Label], &'static [offset::Label], offset::Get),
}

/// Writes a sample for each row.
macro_rules! write_rows {
    ($page:expr, $name:expr, $labels:expr, $get:expr, $rows:expr) => {
        for row in $rows {
            if !$page.is_read() {
                return;
            }
            if let Some(value) = $get(&row) {
                let texts: Vec<(&str, Text<'_>)> = $labels.iter().map(|(name, text)| (*name, text(&row))).collect();
                let labels: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, &**text)).collect();
                $page.value($name, &labels, value);
            }
        }
    };
}

impl Family {
    /// Writes the family for the rows that a scrape selects.
    pub(super) fn write(&self, page: &mut Page<'_>, cut: &Cut, filter: &ScrapeFilter) {
        page.family(self.name, self.kind, self.help);
        let clusters = cut.own();
        match self.rows {
            FamilyRows::Nothing => {}
            FamilyRows::Cluster(labels, get) => write_rows!(page, self.name, labels, get, clusters),
            FamilyRows::Broker(labels, get) => {
                for cluster in clusters {
                    let rows = cluster.placement.brokers.iter().map(|broker| BrokerRow { cluster, broker });
                    write_rows!(page, self.name, labels, get, rows);
                }
            }
            FamilyRows::Topic(labels, get) => {
                write_rows!(page, self.name, labels, get, clusters.flat_map(|cluster| topics(cluster, filter)));
            }
            FamilyRows::Partition(labels, get) => {
                for cluster in clusters {
                    for row in topics(cluster, filter) {
                        let partitions = row.topic.partitions.iter().zip(0..).map(|(partition, number)| PartitionRow {
                            cluster,
                            topic: row.topic,
                            number,
                            partition: *partition,
                            value: cluster.ends.value(*partition),
                            replicas: cluster.placement.replicas(&row.topic.name, number),
                        });
                        write_rows!(page, self.name, labels, get, partitions);
                    }
                }
            }
            FamilyRows::BareGroup(labels, get) => {
                write_rows!(page, self.name, labels, get, groups(cut, filter).map(|group| bare_group(cut, group)));
            }
            FamilyRows::Group(labels, get) => {
                write_rows!(page, self.name, labels, get, groups(cut, filter).map(|group| group_fact(cut, group)));
            }
            FamilyRows::GroupTopic(labels, get) => {
                let rows = groups(cut, filter).flat_map(|group| group_topics(cut, group));
                write_rows!(page, self.name, labels, get, rows.filter(|row| filter.has_topic(row.topic)));
            }
            FamilyRows::Offset(shared, own, get) => offsets(self.name, page, cut, filter, (shared, own, get)),
        }
    }
}

fn topics<'a>(cluster: &'a SourceCut, filter: &ScrapeFilter) -> impl Iterator<Item = TopicRow<'a>> {
    let topics = cluster.ends.topics().filter(|topic| filter.has_topic(&topic.name));
    topics.map(move |topic| TopicRow { cluster, topic })
}

fn groups<'a>(cut: &'a Cut, filter: &'a ScrapeFilter) -> impl Iterator<Item = GroupCut<'a>> {
    let sources = cut.sources.iter().filter(|cut| filter.has_source(&cut.source.id.name));
    let groups = sources.flat_map(SourceCut::groups);
    groups.filter(|group| filter.has_group(&group.group.id))
}

fn group_topics<'a>(cut: &'a Cut, group: GroupCut<'a>) -> Vec<GroupTopicRow<'a>> {
    let mut sums: Vec<Option<GroupTopicRow<'a>>> = group.group.topic_names().map(|_| None).collect();
    for fact in facts(cut, group) {
        let Some(sum) = sums.get_mut(fact.entry.topic_index) else { continue };
        let sum = sum.get_or_insert(GroupTopicRow { group, topic: fact.entry.topic, offsets: 0, lag: None });
        sum.offsets = sum.offsets.saturating_add(fact.entry.row.committed_offset);
        if let Ok(lag) = fact.lag().lag {
            sum.lag = Some(sum.lag.unwrap_or(0).saturating_add(lag));
        }
    }
    sums.into_iter().flatten().collect()
}

/// Shared labels, own labels and value of a committed offset.
type OffsetSeries = (&'static [offset::Label], &'static [offset::Label], offset::Get);

fn offsets(name: &str, page: &mut Page<'_>, cut: &Cut, filter: &ScrapeFilter, (shared, own, get): OffsetSeries) {
    // The start of the samples of each topic of a group; the buffers are reused for the next group.
    let mut begun: Vec<String> = vec![];
    for group in groups(cut, filter) {
        if !page.is_read() {
            return;
        }
        begun.iter_mut().for_each(String::clear);
        for fact in facts(cut, group).filter(|fact| filter.has_topic(fact.entry.topic)) {
            let Some(value) = get(&fact) else { continue };
            if begun.len() <= fact.entry.topic_index {
                begun.resize_with(fact.entry.topic_index + 1, String::new);
            }
            let Some(begun) = begun.get_mut(fact.entry.topic_index) else { continue };
            if begun.is_empty() {
                let texts: Vec<(&str, Text<'_>)> = shared.iter().map(|(name, text)| (*name, text(&fact))).collect();
                let labels: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, &**text)).collect();
                start(name, &labels, begun);
            }
            page.sample_with_start(begun, own.iter().map(|(name, text)| (*name, text(&fact))), value);
        }
    }
}
