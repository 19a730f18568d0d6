//! A group of the demo: its commits, and the members of a classic group.

use super::{
    cluster::DemoError,
    scenario::{GroupSpec, Protocol, Trouble},
    workload::{BACKLOG, Tick, Topic},
};
use crate::{
    decode::{
        consumer_protocol::{Assignment, Embedded, Payload as _, Subscription, TopicPartitions},
        schema::{GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetCommitKey, OffsetCommitValue},
        wire::Array,
        write_value,
    },
    model::Millis,
};

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
    topic: usize,
    partition: i32,
    offset: i64,
    /// Log end at the last commit.
    end: i64,
}

#[derive(Debug)]
struct Member {
    number: usize,
    id: String,
    client_id: String,
    host: String,
    /// Member epoch reached, and the one before, as in groups that the broker runs.
    epoch: i32,
    previous: i32,
    /// Partitions that the member owns, in the same groups.
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
    /// Group epoch, or generation of a classic group.
    epoch: i32,
}

impl Group {
    pub(super) fn new(spec: GroupSpec, number: u64, topics: &[Topic]) -> Self {
        let end = i64::from(BACKLOG);
        let offset = if spec.trouble == Trouble::Rewinds { end - TRAIL } else { end };
        let own = topics.iter().enumerate().filter(|(_, of)| spec.topics.contains(&of.spec.name));
        let positions = own.flat_map(|(topic, of)| {
            (0..of.spec.partitions).map(move |partition| Position { topic, partition, offset, end })
        });
        let (positions, id) = (positions.collect(), spec.id.clone());
        Self { spec, id, number, positions, commits: 0, members: vec![], joined: 0, epoch: 0 }
    }

    pub(super) fn step(&mut self, tick: &mut Tick<'_>) -> Result<(), DemoError> {
        match self.spec.trouble {
            Trouble::Abandoned if tick.number > 0 => return Ok(()),
            Trouble::Abandoned => return self.abandon(tick),
            _ if self.is_run_by_broker() => self.reassign(tick),
            _ => self.rejoin(tick)?,
        }
        let is_running = !self.members.is_empty() || self.spec.protocol == Protocol::Simple;
        let is_due = (tick.number + self.number).is_multiple_of(self.spec.every.0);
        if is_due && is_running && self.spec.protocol != Protocol::Share {
            self.commits += 1;
            self.positions.iter_mut().for_each(|position| position.advance(&self.spec, self.commits, tick));
            self.commit(tick, tick.at)?;
        }
        Ok(())
    }

    /// Commits all partitions, moved or not, as consumers with a commit timer do.
    fn commit(&self, tick: &mut Tick<'_>, at: Millis) -> Result<(), DemoError> {
        let expires_at = self.spec.retention_hours.map(|hours| at + hours * 3_600_000);
        // Only version 1 has a retention time.
        let version = if expires_at.is_some() { 1 } else { 4 };
        for position in &self.positions {
            let value = OffsetCommitValue {
                offset: position.offset,
                leader_epoch: if self.spec.protocol == Protocol::Simple { -1 } else { 0 },
                metadata: &self.spec.metadata,
                commit_timestamp: at,
                expire_timestamp: expires_at.unwrap_or(-1),
                ..OffsetCommitValue::default()
            };
            let mut bytes = vec![];
            write_value(&value, version, &mut bytes)?;
            self.log_offset(tick, position, Some(bytes), Some(at));
        }
        Ok(())
    }

    fn log_offset(&self, tick: &mut Tick<'_>, position: &Position, value: Option<Vec<u8>>, at: Option<Millis>) {
        let Some(topic) = tick.topics.get(position.topic).map(|topic| &*topic.spec.name) else { return };
        tick.log(1, &OffsetCommitKey { group: &self.id, topic, partition: position.partition }, value, at);
    }

    /// Writes the last commits of a group that was abandoned days ago, and its empty group record.
    fn abandon(&mut self, tick: &mut Tick<'_>) -> Result<(), DemoError> {
        let left = tick.at - ABANDONED_MS;
        for ago in [10, 5, 0] {
            self.positions.iter_mut().for_each(|position| position.offset = position.end - 20 - ago);
            self.commit(tick, left - 1000 * ago)?;
        }
        self.log_group(tick, left)
    }

    /// Adds and removes members of a classic group. Writes the group if its members changed, or if the mock may soon
    /// drop its record.
    fn rejoin(&mut self, tick: &mut Tick<'_>) -> Result<(), DemoError> {
        let wanted = if self.spec.protocol == Protocol::Simple { 0 } else { self.spec.members_at(tick.number) };
        let is_changed = wanted != self.members.len();
        if !is_changed && (wanted == 0 || !tick.number.is_multiple_of(REWRITE)) {
            return Ok(());
        }
        let is_console = self.spec.trouble == Trouble::Console;
        if is_console && self.members.is_empty() {
            self.id = format!("{}-{:05}", self.spec.id, tick.random.below(100_000));
        }
        if is_changed {
            self.replace_members(wanted, tick);
        }
        self.log_group(tick, tick.at)?;
        if is_console && wanted == 0 {
            // The broker deletes the offsets and the group.
            self.positions.iter().for_each(|position| self.log_offset(tick, position, None, None));
            tick.log(2, &GroupMetadataKey { group: &self.id }, None, None);
        }
        Ok(())
    }

    /// Removes the oldest members and adds new ones until there are `wanted`, which begins a new epoch. Returns the
    /// removed members.
    fn replace_members(&mut self, wanted: usize, tick: &mut Tick<'_>) -> Vec<Member> {
        self.epoch += 1;
        let left = self.members.drain(..self.members.len().saturating_sub(wanted)).collect();
        while self.members.len() < wanted {
            self.joined += 1;
            let number = self.joined;
            let client_id = match self.spec.protocol {
                Protocol::Connect => format!("connect-{number}"),
                _ if self.spec.trouble == Trouble::Console => self.spec.id.clone(),
                _ if self.is_run_by_broker() => format!("{}-{number}", self.id),
                _ => format!("consumer-{}-{number}", self.id),
            };
            let id = tick.random.id();
            let id = if self.is_run_by_broker() { id } else { format!("{client_id}-{id}") };
            let host = format!("/10.0.{}.{}", self.number, number % 250 + 1);
            self.members.push(Member { number, id, client_id, host, epoch: 0, previous: -1, owned: vec![] });
        }
        left
    }

    /// Writes the record of a classic group.
    fn log_group(&self, tick: &mut Tick<'_>, at: Millis) -> Result<(), DemoError> {
        let (protocol_type, protocol) = match self.spec.protocol {
            Protocol::Connect => ("connect", "sessioned"),
            _ => ("consumer", &*self.spec.assignor),
        };
        let members = self.members.iter().enumerate().map(|(index, member)| {
            let instance = (self.spec.protocol == Protocol::Static).then(|| format!("{}-{index}", self.id));
            (member, instance, self.payloads(index, member, tick.topics))
        });
        let members: Vec<_> = members.collect();
        let described = members.iter().map(|(member, instance, (subscription, assignment))| MemberMetadata {
            member_id: &member.id,
            group_instance_id: instance.as_deref(),
            client_id: &member.client_id,
            client_host: &member.host,
            rebalance_timeout: 300_000,
            session_timeout: 45_000,
            subscription: Embedded::new(subscription),
            assignment: Embedded::new(assignment),
        });
        let described: Vec<_> = described.collect();
        let value = GroupMetadataValue {
            protocol_type,
            generation: self.epoch,
            protocol: (!members.is_empty()).then_some(protocol),
            leader: members.first().map(|(leader, ..)| &*leader.id),
            current_state_timestamp: at,
            members: Array::of(&described),
        };
        let mut bytes = vec![];
        write_value(&value, 3, &mut bytes)?;
        tick.log(2, &GroupMetadataKey { group: &self.id }, Some(bytes), None);
        Ok(())
    }

    /// Returns the subscription and the assignment of a member of a classic group.
    fn payloads(&self, index: usize, member: &Member, topics: &[Topic]) -> (Vec<u8>, Vec<u8>) {
        if self.spec.protocol == Protocol::Connect {
            // Opaque to Kafka: a version and the worker's URL.
            let url = [&[0, 2], format!("http://10.0.11.{}:8083/", member.number).as_bytes()].concat();
            return (url.clone(), url);
        }
        let (names, owned) = (self.topic_names(), self.partitions_of(topics, index, self.members.len()));
        let topics = Array::of(&names);
        let owned = owned.iter().map(|(topic, of)| TopicPartitions { topic, partitions: Array::of(of) });
        let owned: Vec<_> = owned.collect();
        let (mut subscription, mut assignment) = (vec![], vec![]);
        Subscription { version: 3, topics, generation_id: -1, ..Default::default() }.write(&mut subscription);
        Assignment { version: 3, assigned_partitions: Array::of(&owned), user_data: None }.write(&mut assignment);
        (subscription, assignment)
    }

    fn topic_names(&self) -> Vec<&str> {
        self.spec.topics.iter().map(String::as_str).collect()
    }

    /// Returns one of `parts` shares of the partitions: consecutive ones, as the range assignor assigns them.
    fn partitions_of(&self, topics: &[Topic], index: usize, parts: usize) -> Owned {
        let own = topics.iter().filter(|topic| self.spec.topics.contains(&topic.spec.name));
        let portions = own.map(|topic| {
            let count = topic.ends.len();
            let is_mine = |(at, _): &(usize, i32)| at * parts / count == index;
            (topic.spec.name.clone(), (0..count).zip(0..).filter(is_mine).map(|(_, partition)| partition).collect())
        });
        portions.filter(|(_, partitions): &(_, Vec<i32>)| !partitions.is_empty()).collect()
    }
}

impl Position {
    /// Moves to the next offset to commit.
    fn advance(&mut self, spec: &GroupSpec, commits: u64, tick: &mut Tick<'_>) {
        let Some(topic) = tick.topics.get(self.topic) else { return };
        let Some(&end) = usize::try_from(self.partition).ok().and_then(|partition| topic.ends.get(partition)) else {
            return;
        };
        // In a slow topic, even one record behind the log end would take long to be consumed.
        let behind = spec.behind.min(topic.spec.records / 2);
        let target = end - i64::from(tick.random.below(behind + 1));
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
