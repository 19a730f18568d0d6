//! A group of the demo: its commits and its members.

use super::{
    scenario::{BACKLOG, GroupSpec, Protocol, TopicSpec, Trouble, random},
    tick::Tick,
};
use crate::{
    decode::{
        consumer_protocol::{Assignment, Embedded, Payload as _, Subscription, TopicPartitions},
        schema::{GroupMetadataKey, MemberMetadata, OffsetCommitKey},
        wire::{Array, Context, Wire as _},
    },
    model::{Millis, Uuid},
};

/// Returns the bytes of a record value: its version, its fields in the order of Kafka's schema, and no tagged fields. The
/// versions 0 (here of the protocols that the broker runs) and 4 are flexible.
macro_rules! value {
    ($version:literal, $($field:expr),*) => {{
        let mut bytes = i16::to_be_bytes($version).to_vec();
        let context = Context { version: $version, flexible: matches!($version, 0 | 4), embedded: false };
        $( $field.write(&mut bytes, context); )*
        bytes.extend(context.flexible.then_some(0));
        Some(bytes)
    }};
}

mod broker;

/// Ticks after which the record of a classic group is rewritten, before the mock may drop it: 15 minutes.
const REWRITE: u64 = 3600;
/// Distance to the log end of a group that rewinds, records of a rewind, and commits between two rewinds: few enough
/// that every status window contains a rewind, so that the status is stable.
const TRAIL: i64 = 250;
const REWIND: i64 = 200;
const REWIND_EVERY: u64 = 12;
/// Age of an abandoned group's commits at the start, in milliseconds.
const ABANDONED_MS: i64 = 3 * 24 * 3_600_000;

#[derive(Debug)]
struct Member {
    number: usize,
    id: String,
    instance: Option<String>,
    client_id: String,
    host: String,
    /// Member epoch reached, the one before, and the partitions owned, in groups that the broker runs.
    epoch: i32,
    previous: i32,
    owned: Owned,
}

/// Partitions by topic.
type Owned = Vec<(String, Vec<i32>)>;

#[derive(Debug)]
pub(super) struct Group {
    spec: GroupSpec,
    id: String,
    /// Index of the group, which shifts its commits in time and gives it a host of its own.
    number: u64,
    members: Vec<Member>,
    joined: usize,
    /// Group epoch, or generation of a classic group, and the tick in which it began.
    epoch: i32,
    changed_at: u64,
}

impl Group {
    pub(super) fn new(spec: GroupSpec, number: u64) -> Self {
        Self { id: spec.id.clone(), spec, number, members: vec![], joined: 0, epoch: 0, changed_at: 0 }
    }

    pub(super) fn step(&mut self, tick: &mut Tick) {
        if self.spec.trouble == Trouble::Abandoned {
            if tick.number == 1 {
                self.commit(tick, tick.at - ABANDONED_MS);
                self.log_group(tick, tick.at - ABANDONED_MS);
            }
            return;
        }
        self.change_members(tick);
        let is_running = !self.members.is_empty() || self.spec.protocol == Protocol::Simple;
        let is_due = (tick.number + self.number).is_multiple_of(self.spec.every.0);
        if is_due && is_running && self.spec.protocol != Protocol::Share {
            self.commit(tick, tick.at);
        }
    }

    /// Commits all partitions, moved or not, as consumers with a commit timer do.
    fn commit(&self, tick: &mut Tick, at: Millis) {
        let leader_epoch = if self.spec.protocol == Protocol::Simple { -1 } else { 0_i32 };
        for (topic, partition, offset) in self.offsets(tick) {
            let (topic, metadata) = (&*topic, &*self.spec.metadata);
            // Only version 1 has a retention time.
            let value = match self.spec.retention_hours {
                Some(hours) => value!(1, offset, metadata, at, (at + hours * 3_600_000)),
                None => value!(4, offset, leader_epoch, metadata, at),
            };
            tick.log(1, &OffsetCommitKey { group: &self.id, topic, partition }, value, Some(at));
        }
    }

    /// Returns the offsets of all partitions, by topic and partition.
    fn offsets(&self, tick: &Tick) -> Vec<(String, i32, i64)> {
        let partitions = self.topics(tick).flat_map(|topic| (0..topic.partitions).map(move |number| (topic, number)));
        let offset =
            |(topic, number): (&TopicSpec, i32)| (topic.name.clone(), number, self.offset(topic, number, tick));
        partitions.map(offset).collect()
    }

    /// Returns the offset that the group commits in a tick: at most the log end of the previous one.
    fn offset(&self, topic: &TopicSpec, partition: i32, tick: &Tick) -> i64 {
        let now = tick.number - 1;
        let end = |ago: u64| topic.end(partition, now.saturating_sub(ago));
        match (self.spec.trouble, self.spec.phase(now)) {
            (Trouble::Abandoned, _) => BACKLOG - 20,
            (Trouble::Slow, Err(since)) => end(since) + (end(0) - end(since)) / 10,
            // Catches up with what it has not read in the last period.
            (Trouble::Slow, Ok(since)) => {
                let left = (end(since) - end(since + self.spec.of.0 - self.spec.well.0)) * 9 / 10;
                let (well, since) = (self.spec.well.0.cast_signed(), since.cast_signed());
                end(0) - left * (well - since) / well.max(1)
            }
            (Trouble::Stuck, Err(since)) => end(since),
            (Trouble::Rewinds, _) => {
                let commits = (now / self.spec.every.0.max(1) % REWIND_EVERY).cast_signed();
                end(0) - TRAIL - (REWIND - 50 * commits).max(0)
            }
            _ => {
                // In a slow topic, even one record behind the log end would take long to be consumed.
                let most = self.spec.behind.min(topic.records / 2);
                end(0) - (random((&self.id, partition, now)) % (most + 1)).cast_signed()
            }
        }
    }

    /// Adds and removes members, and writes the records of the change.
    fn change_members(&mut self, tick: &mut Tick) {
        // The shift spreads the changes of the groups over time.
        let shift = if self.is_run_by_broker() { 20 * self.number } else { 0 };
        let wanted = self.spec.members_at(tick.number + shift);
        if wanted == self.members.len() {
            if self.is_run_by_broker() {
                self.reassign(tick);
            } else if wanted > 0 && tick.number.is_multiple_of(REWRITE) {
                self.log_group(tick, tick.at);
            }
            return;
        }
        let is_console = self.spec.trouble == Trouble::Console;
        if is_console && self.members.is_empty() {
            self.id = format!("{}-{:05}", self.spec.id, random(tick.number) % 100_000);
        }
        (self.epoch, self.changed_at) = (self.epoch + 1, tick.number);
        let left: Vec<Member> = self.members.drain(..self.members.len().saturating_sub(wanted)).collect();
        while self.members.len() < wanted {
            self.joined += 1;
            self.members.push(self.new_member(self.joined));
        }
        if self.is_run_by_broker() {
            return self.log_change(&left, tick);
        }
        self.log_group(tick, tick.at);
        if is_console && wanted == 0 {
            // The broker deletes the offsets and the group.
            for (topic, partition, _) in self.offsets(tick) {
                tick.log(1, &OffsetCommitKey { group: &self.id, topic: &topic, partition }, None, None);
            }
            tick.log(2, &GroupMetadataKey { group: &self.id }, None, None);
        }
    }

    fn new_member(&self, number: usize) -> Member {
        let client_id = match self.spec.protocol {
            Protocol::Connect => format!("connect-{number}"),
            _ if self.spec.trouble == Trouble::Console => self.spec.id.clone(),
            _ if self.is_run_by_broker() => format!("{}-{number}", self.id),
            _ => format!("consumer-{}-{number}", self.id),
        };
        let halves = [0, 1].map(|half| random((&self.id, number, half)).to_be_bytes());
        let id = Uuid(halves.concat().try_into().unwrap_or_default()).to_string();
        let id = if self.is_run_by_broker() { id } else { format!("{client_id}-{id}") };
        let host = format!("/10.0.{}.{}", self.number, number % 250 + 1);
        let instance = (self.spec.protocol == Protocol::Static).then(|| format!("{}-{}", self.id, number - 1));
        Member { number, id, instance, client_id, host, epoch: 0, previous: -1, owned: vec![] }
    }

    /// Writes the record of a classic group.
    fn log_group(&self, tick: &mut Tick, at: Millis) {
        let (protocol_type, protocol) = match self.spec.protocol {
            Protocol::Connect => ("connect", "sessioned"),
            _ => ("consumer", &*self.spec.assignor),
        };
        let payloads: Vec<_> = self.members.iter().enumerate().map(|(at, of)| self.payloads(at, of, tick)).collect();
        let members = self.members.iter().zip(&payloads).map(|(member, (subscription, assignment))| MemberMetadata {
            member_id: &member.id,
            group_instance_id: member.instance.as_deref(),
            client_id: &member.client_id,
            client_host: &member.host,
            rebalance_timeout: 300_000,
            session_timeout: 45_000,
            subscription: Embedded::new(subscription),
            assignment: Embedded::new(assignment),
        });
        let members: Vec<_> = members.collect();
        let leader = members.first().map(|leader| leader.member_id);
        let protocol = leader.and(Some(protocol));
        let value = value!(3, protocol_type, self.epoch, protocol, leader, at, Array::of(&members));
        tick.log(2, &GroupMetadataKey { group: &self.id }, value, None);
    }

    /// Returns the subscription and the assignment of a member of a classic group.
    fn payloads(&self, at: usize, member: &Member, tick: &Tick) -> (Vec<u8>, Vec<u8>) {
        if self.spec.protocol == Protocol::Connect {
            // Opaque to Kafka: a version and the worker's URL.
            let url = [&[0, 2], format!("http://10.0.11.{}:8083/", member.number).as_bytes()].concat();
            return (url.clone(), url);
        }
        let (names, owned) = (self.topic_names(), self.partitions_of(tick, at, self.members.len()));
        let owned = owned.iter().map(|(topic, of)| TopicPartitions { topic, partitions: Array::of(of) });
        let owned: Vec<_> = owned.collect();
        let (topics, assigned_partitions) = (Array::of(&names), Array::of(&owned));
        let (mut subscription, mut assignment) = (vec![], vec![]);
        Subscription { version: 3, topics, generation_id: -1, ..Default::default() }.write(&mut subscription);
        Assignment { version: 3, assigned_partitions, user_data: None }.write(&mut assignment);
        (subscription, assignment)
    }

    fn topic_names(&self) -> Vec<&str> {
        self.spec.topics.iter().map(String::as_str).collect()
    }

    fn topics<'a>(&self, tick: &'a Tick) -> impl Iterator<Item = &'a TopicSpec> {
        tick.topics.iter().filter(|topic| self.spec.topics.contains(&topic.name))
    }

    /// Returns one of `parts` shares of the partitions: consecutive ones, as the range assignor assigns them.
    fn partitions_of(&self, tick: &Tick, index: usize, parts: usize) -> Owned {
        let portions = self.topics(tick).map(|topic| {
            let count = usize::try_from(topic.partitions).unwrap_or(0);
            let mine = (0..count).zip(0..).filter(|(at, _)| at * parts / count == index);
            (topic.name.clone(), mine.map(|(_, partition)| partition).collect())
        });
        portions.filter(|(_, partitions): &(_, Vec<i32>)| !partitions.is_empty()).collect()
    }
}
