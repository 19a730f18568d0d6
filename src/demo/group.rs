//! A group of the demo workload: its commits and its members, tick by tick.

use super::{
    cluster::DemoError,
    records::{self, Commit, GroupDescription, assignment, subscription},
    scenario::{
        ABANDONED_MS, BACKLOG, BEHIND, Behaviour, CONSOLE, GroupSpec, Membership, Protocol, REBALANCE,
        REBALANCED_MEMBERS, REWIND, REWIND_EVERY, REWRITE, STOPPED, STUCK, TRAIL,
    },
    tick::{Random, Tick, Topic},
};

mod broker;

/// Versions of group records and subscriptions that current brokers and clients write.
const GROUP_VERSION: i16 = 3;
const SUBSCRIPTION_VERSION: i16 = 3;

/// The position of the group in a partition.
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
    /// Member epoch reached, and the one before; used by groups of the protocols that the broker runs.
    epoch: i32,
    previous: i32,
    /// Share of the partitions that the member owns; used by the same groups.
    fraction: Option<Fraction>,
}

/// A share of all partitions: its index and the number of shares.
type Fraction = (usize, usize);

/// Partitions by topic.
type OwnedPartitions = Vec<(&'static str, Vec<i32>)>;

#[derive(Debug)]
pub(super) struct Group {
    spec: &'static GroupSpec,
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
    pub(super) fn new(spec: &'static GroupSpec, number: u64) -> Self {
        let id = spec.id.to_owned();
        Self { spec, id, number, positions: vec![], commits: 0, members: vec![], joined: 0, epoch: 0 }
    }

    pub(super) fn step(&mut self, tick: &mut Tick<'_>) -> Result<(), DemoError> {
        if tick.number == 0 {
            self.positions = self.at_start(tick.topics);
        }
        match (self.spec.behaviour, self.spec.membership) {
            (Behaviour::Abandoned, _) if tick.number > 0 => return Ok(()),
            (Behaviour::Abandoned, _) => return self.abandon(tick),
            (_, Membership::Broker(protocol, fewest)) => self.rebalance(protocol, fewest, tick),
            _ => self.rejoin(tick)?,
        }
        let commits = !matches!(self.spec.membership, Membership::Broker(Protocol::Share, _));
        let is_due = (tick.number + self.number).is_multiple_of(self.spec.every);
        if commits && is_due && self.is_running(tick.number) {
            self.commits += 1;
            for position in &mut self.positions {
                position.advance(self.spec.behaviour, self.commits, tick);
            }
            self.commit(tick, tick.at)?;
        }
        Ok(())
    }

    fn is_running(&self, tick: u64) -> bool {
        match self.spec.behaviour {
            Behaviour::Stops => STOPPED.is_normal(tick),
            Behaviour::Console => CONSOLE.is_normal(tick),
            _ => true,
        }
    }

    fn at_start(&self, topics: &[Topic]) -> Vec<Position> {
        let end = i64::from(BACKLOG);
        let offset = if self.spec.behaviour == Behaviour::Rewinds { end - TRAIL } else { end };
        let own = topics.iter().enumerate().filter(|(_, of)| self.spec.topics.contains(&of.spec.name));
        let positions = |topic, of: &Topic| {
            (0..of.spec.partitions).map(move |partition| Position { topic, partition, offset, end })
        };
        own.flat_map(|(topic, of)| positions(topic, of)).collect()
    }

    /// Commits all partitions, moved or not, as consumers with a commit timer do.
    fn commit(&self, tick: &mut Tick<'_>, at: i64) -> Result<(), DemoError> {
        for position in &self.positions {
            let Some(topic) = tick.topics.get(position.topic) else { continue };
            tick.commit(&Commit {
                // Only version 1 has a retention time.
                version: if self.spec.retention_ms.is_some() { 1 } else { 4 },
                leader_epoch: if self.spec.membership == Membership::Simple { -1 } else { 0 },
                expires_at: self.spec.retention_ms.map(|retention| at + retention),
                metadata: self.spec.metadata,
                ..Commit::new(&self.id, topic.spec.name, position.partition, position.offset, at)
            })?;
        }
        Ok(())
    }

    /// Writes the last commits of a group that was abandoned days ago, and its empty group record.
    fn abandon(&mut self, tick: &mut Tick<'_>) -> Result<(), DemoError> {
        let left = tick.at - ABANDONED_MS;
        for ago in [10, 5, 0] {
            self.positions.iter_mut().for_each(|position| position.offset = position.end - 20 - ago);
            self.commit(tick, left - 1000 * ago)?;
        }
        self.write_group_record(tick, left)
    }

    /// Adds and removes members of a classic group. Writes the group if its members changed, or if the mock may soon
    /// drop its record.
    fn rejoin(&mut self, tick: &mut Tick<'_>) -> Result<(), DemoError> {
        let wanted = self.target_members(tick.number);
        let is_changed = wanted != self.members.len();
        if !is_changed && (wanted == 0 || !tick.number.is_multiple_of(REWRITE)) {
            return Ok(());
        }
        let is_console = self.spec.behaviour == Behaviour::Console;
        if is_console && self.members.is_empty() {
            self.id = format!("{}-{:05}", self.spec.id, tick.random.below(100_000));
        }
        if is_changed {
            self.replace_members(wanted, tick.random);
        }
        self.write_group_record(tick, tick.at)?;
        if is_console && wanted == 0 {
            // The broker deletes the offsets and the group.
            for position in &self.positions {
                let Some(topic) = tick.topics.get(position.topic) else { continue };
                tick.log(Commit::new(&self.id, topic.spec.name, position.partition, 0, 0).key(), None, None);
            }
            tick.log(GroupDescription::key(&self.id), None, None);
        }
        Ok(())
    }

    /// Returns the number of members that a classic group should have.
    fn target_members(&self, tick: u64) -> usize {
        let turn = usize::try_from(tick / REBALANCE).unwrap_or(0) % REBALANCED_MEMBERS.len();
        match (self.spec.behaviour, self.spec.membership) {
            _ if !self.is_running(tick) => 0,
            (Behaviour::Rebalances, _) => REBALANCED_MEMBERS.get(turn).copied().unwrap_or(0),
            (_, Membership::Classic(members, _) | Membership::Static(members, _) | Membership::Connect(members)) => {
                members
            }
            (_, Membership::Simple | Membership::Broker(..)) => 0,
        }
    }

    /// Removes the oldest members and adds new ones until there are `wanted`, which begins a new epoch. Returns the
    /// removed members.
    fn replace_members(&mut self, wanted: usize, random: &mut Random) -> Vec<Member> {
        self.epoch += 1;
        let left = self.members.drain(..self.members.len().saturating_sub(wanted)).collect();
        while self.members.len() < wanted {
            self.joined += 1;
            let id = match self.spec.membership {
                Membership::Broker(..) => random.id(),
                _ => format!("{}-{}", self.client_id(self.joined), random.uuid()),
            };
            self.members.push(Member { number: self.joined, id, epoch: 0, previous: -1, fraction: None });
        }
        left
    }

    /// Writes the record of a classic group.
    fn write_group_record(&self, tick: &mut Tick<'_>, at: i64) -> Result<(), DemoError> {
        let (protocol_type, protocol) = match self.spec.membership {
            Membership::Simple | Membership::Broker(..) => ("", ""),
            Membership::Classic(_, assignor) | Membership::Static(_, assignor) => ("consumer", assignor),
            Membership::Connect(_) => ("connect", "sessioned"),
        };
        let members = self.members.iter().enumerate();
        let group = GroupDescription {
            group: self.id.clone(),
            protocol_type: protocol_type.to_owned(),
            generation: self.epoch,
            protocol: (!self.members.is_empty()).then(|| protocol.to_owned()),
            leader: self.members.first().map(|leader| leader.id.clone()),
            at,
            members: members.map(|(index, member)| self.describe_member(index, member, tick.topics)).collect(),
        };
        tick.log(GroupDescription::key(&self.id), Some(group.value(GROUP_VERSION)?), None);
        Ok(())
    }

    fn describe_member(&self, index: usize, member: &Member, topics: &[Topic]) -> records::Member {
        let owned = self.partitions_of(topics, Some((index, self.members.len())));
        let owned: Vec<(&str, &[i32])> = owned.iter().map(|(topic, partitions)| (*topic, &**partitions)).collect();
        let instance = || format!("{}-{index}", self.id);
        let (subscription, assignment) = match self.spec.membership {
            Membership::Connect(_) => (connect_metadata(member.number), connect_metadata(member.number)),
            _ => (subscription(SUBSCRIPTION_VERSION, self.spec.topics), assignment(SUBSCRIPTION_VERSION, &owned)),
        };
        records::Member {
            id: member.id.clone(),
            instance_id: matches!(self.spec.membership, Membership::Static(..)).then(instance),
            client_id: self.client_id(member.number),
            client_host: self.client_host(member.number),
            rebalance_timeout_ms: 300_000,
            session_timeout_ms: 45_000,
            subscription,
            assignment,
        }
    }

    fn client_id(&self, number: usize) -> String {
        match (self.spec.membership, self.spec.behaviour) {
            (Membership::Connect(_), _) => format!("connect-{number}"),
            (Membership::Broker(..), _) => format!("{}-{number}", self.id),
            (_, Behaviour::Console) => self.spec.id.to_owned(),
            _ => format!("consumer-{}-{number}", self.id),
        }
    }

    fn client_host(&self, number: usize) -> String {
        format!("/10.0.{}.{}", self.number, number % 250 + 1)
    }

    /// Returns the partitions of a share: consecutive ones in each topic, as the range assignor assigns them.
    fn partitions_of(&self, topics: &[Topic], fraction: Option<Fraction>) -> OwnedPartitions {
        let Some((index, parts)) = fraction else { return vec![] };
        let own = topics.iter().filter(|topic| self.spec.topics.contains(&topic.spec.name));
        let portions = own.map(|topic| {
            let count = topic.ends.len();
            let is_mine = |(at, _): &(usize, i32)| at * parts / count == index;
            (topic.spec.name, (0..count).zip(0..).filter(is_mine).map(|(_, partition)| partition).collect())
        });
        portions.filter(|(_, partitions): &(_, Vec<i32>)| !partitions.is_empty()).collect()
    }
}

/// Returns the metadata of a Connect worker, which is opaque to Kafka: a version and the worker's URL.
fn connect_metadata(number: usize) -> Vec<u8> {
    [&[0, 2], format!("http://10.0.11.{number}:8083/").as_bytes()].concat()
}

impl Position {
    /// Moves to the next offset to commit.
    fn advance(&mut self, behaviour: Behaviour, commits: u64, tick: &mut Tick<'_>) {
        let Some(topic) = tick.topics.get(self.topic) else { return };
        let Some(&end) = usize::try_from(self.partition).ok().and_then(|partition| topic.ends.get(partition)) else {
            return;
        };
        // Maximum number of records that the group stays behind. In a slow topic even one record would take long to be
        // consumed.
        let slack = match behaviour {
            Behaviour::KeepsUp(slack) => slack.min(topic.spec.records / 2),
            Behaviour::Rebalances => 3,
            _ => 0,
        };
        let target = end - i64::from(tick.random.below(slack + 1));
        let (offset, produced) = (self.offset, target - self.end);
        self.offset = match behaviour {
            Behaviour::FallsBehind if BEHIND.is_normal(tick.number) => target - (self.end - offset) * 7 / 8,
            Behaviour::FallsBehind => offset + produced / 10,
            Behaviour::GetsStuck if !STUCK.is_normal(tick.number) => offset,
            Behaviour::Rewinds if commits.is_multiple_of(REWIND_EVERY) => (offset - REWIND).max(0),
            Behaviour::Rewinds => (offset + produced + 50).min(target - TRAIL).max(offset),
            _ => target.max(offset),
        };
        self.end = end;
    }
}
