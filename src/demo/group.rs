//! A group of the demo: its commits and its members.

use super::{
    scenario::{GroupSpec, Protocol, Trouble},
    workload::{BACKLOG, Tick, Topic},
};
use crate::{
    decode::{
        consumer_protocol::{Assignment, Embedded, Payload as _, Subscription, TopicPartitions},
        schema::{GroupMetadataKey, MemberMetadata, OffsetCommitKey},
        wire::{Array, Context, Wire as _},
    },
    model::Millis,
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

/// The position of a group in a partition.
#[derive(Debug)]
struct Position {
    topic: String,
    index: usize,
    partition: i32,
    offset: i64,
    /// Log end at the last commit.
    end: i64,
}

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
    positions: Vec<Position>,
    commits: u64,
    members: Vec<Member>,
    joined: usize,
    /// Group epoch, or generation of a classic group, and the tick in which it began.
    epoch: i32,
    changed_at: u64,
}

impl Group {
    pub(super) fn new(spec: GroupSpec, number: u64, topics: &[Topic]) -> Self {
        let end = i64::from(BACKLOG);
        let offset = if spec.trouble == Trouble::Rewinds { end - TRAIL } else { end };
        let own = topics.iter().enumerate().filter(|(_, of)| spec.topics.contains(&of.spec.name));
        let position =
            |index, of: &Topic, partition| Position { topic: of.spec.name.clone(), index, partition, offset, end };
        let positions = own.flat_map(|(at, of)| (0..of.spec.partitions).map(move |number| position(at, of, number)));
        let (positions, id) = (positions.collect(), spec.id.clone());
        Self { spec, id, number, positions, commits: 0, members: vec![], joined: 0, epoch: 0, changed_at: 0 }
    }

    pub(super) fn step(&mut self, tick: &mut Tick) {
        if self.spec.trouble == Trouble::Abandoned {
            if tick.number == 0 {
                self.abandon(tick);
            }
            return;
        }
        self.change_members(tick);
        let is_running = !self.members.is_empty() || self.spec.protocol == Protocol::Simple;
        let is_due = (tick.number + self.number).is_multiple_of(self.spec.every.0);
        if is_due && is_running && self.spec.protocol != Protocol::Share {
            self.commits += 1;
            self.positions.iter_mut().for_each(|position| position.advance(&self.spec, self.commits, tick));
            self.commit(tick, tick.at);
        }
    }

    /// Commits all partitions, moved or not, as consumers with a commit timer do.
    fn commit(&self, tick: &mut Tick, at: Millis) {
        let leader_epoch = if self.spec.protocol == Protocol::Simple { -1 } else { 0_i32 };
        for position in &self.positions {
            let (offset, metadata) = (position.offset, &*self.spec.metadata);
            // Only version 1 has a retention time.
            let value = match self.spec.retention_hours {
                Some(hours) => value!(1, offset, metadata, at, (at + hours * 3_600_000)),
                None => value!(4, offset, leader_epoch, metadata, at),
            };
            tick.log(1, &self.key(position), value, Some(at));
        }
    }

    fn key<'a>(&'a self, of: &'a Position) -> OffsetCommitKey<'a> {
        OffsetCommitKey { group: &self.id, topic: &of.topic, partition: of.partition }
    }

    /// Writes the last commits of a group that was abandoned days ago, and its empty group record.
    fn abandon(&mut self, tick: &mut Tick) {
        let left = tick.at - ABANDONED_MS;
        for ago in [10, 5, 0] {
            self.positions.iter_mut().for_each(|position| position.offset = position.end - 20 - ago);
            self.commit(tick, left - 1000 * ago);
        }
        self.log_group(tick, left);
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
            self.id = format!("{}-{:05}", self.spec.id, tick.random.up_to(99_999));
        }
        (self.epoch, self.changed_at) = (self.epoch + 1, tick.number);
        let left: Vec<Member> = self.members.drain(..self.members.len().saturating_sub(wanted)).collect();
        while self.members.len() < wanted {
            self.joined += 1;
            let new = self.new_member(self.joined, tick);
            self.members.push(new);
        }
        if self.is_run_by_broker() {
            return self.log_change(&left, tick);
        }
        self.log_group(tick, tick.at);
        if is_console && wanted == 0 {
            // The broker deletes the offsets and the group.
            self.positions.iter().for_each(|position| tick.log(1, &self.key(position), None, None));
            tick.log(2, &GroupMetadataKey { group: &self.id }, None, None);
        }
    }

    fn new_member(&self, number: usize, tick: &mut Tick) -> Member {
        let client_id = match self.spec.protocol {
            Protocol::Connect => format!("connect-{number}"),
            _ if self.spec.trouble == Trouble::Console => self.spec.id.clone(),
            _ if self.is_run_by_broker() => format!("{}-{number}", self.id),
            _ => format!("consumer-{}-{number}", self.id),
        };
        let id = tick.random.uuid();
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

    /// Returns one of `parts` shares of the partitions: consecutive ones, as the range assignor assigns them.
    fn partitions_of(&self, tick: &Tick, index: usize, parts: usize) -> Owned {
        let own = tick.topics.iter().filter(|topic| self.spec.topics.contains(&topic.spec.name));
        let portions = own.map(|topic| {
            let count = topic.ends.len();
            let mine = (0..count).zip(0..).filter(|(at, _)| at * parts / count == index);
            (topic.spec.name.clone(), mine.map(|(_, partition)| partition).collect())
        });
        portions.filter(|(_, partitions): &(_, Vec<i32>)| !partitions.is_empty()).collect()
    }
}

impl Position {
    /// Moves to the next offset to commit.
    fn advance(&mut self, spec: &GroupSpec, commits: u64, tick: &mut Tick) {
        let (topic, partition) = (tick.topics.get(self.index), usize::try_from(self.partition).unwrap_or(0));
        let Some((topic, &end)) = topic.and_then(|topic| Some((topic, topic.ends.get(partition)?))) else { return };
        // In a slow topic, even one record behind the log end would take long to be consumed.
        let target = end - i64::from(tick.random.up_to(spec.behind.min(topic.spec.records / 2)));
        let (offset, produced, is_well) = (self.offset, target - self.end, spec.is_well(tick.number));
        self.offset = match spec.trouble {
            Trouble::Slow if is_well => target - (self.end - offset) * 7 / 8,
            Trouble::Slow => offset + produced / 10,
            Trouble::Stuck if !is_well => offset,
            Trouble::Rewinds if commits.is_multiple_of(REWIND_EVERY) => (offset - REWIND).max(0),
            Trouble::Rewinds => (offset + produced + 50).min(target - TRAIL).max(offset),
            _ => target.max(offset),
        };
        self.end = end;
    }
}
