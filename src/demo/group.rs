//! A group of the demo: what it commits and who its members are, tick by tick.

use super::{
    DemoError,
    cast::{ABANDONED_MS, BACKLOG, BEHIND, Behaviour, GroupSpec, Membership, REBALANCE, ROLLING, STOPPED, STUCK},
    newer::{Newer, Protocol},
    random::Random,
    records::{Commit, GroupDescription, Member, assignment, subscription},
    workload::{Moment, Sink, Topic},
};

/// How far [`Behaviour::Rewinds`] trails the end, how far it goes back, and each how many commits: more often than the
/// window of a status is long, so that it is known for that all the time.
const TRAIL: i64 = 250;
const REWIND: i64 = 200;
const REWIND_EVERY: u64 = 12;

/// How many members [`Behaviour::Rebalances`] has, in turn.
const TURNOUT: [usize; 4] = [2, 3, 4, 3];

/// How far the group is in a partition.
#[derive(Debug)]
struct Position {
    topic: usize,
    partition: i32,
    offset: i64,
    /// The log end at the last commit.
    end: i64,
}

/// A member, by what changes about it.
#[derive(Debug)]
struct Joined {
    number: usize,
    id: String,
}

#[derive(Debug)]
pub(super) struct Group {
    spec: &'static GroupSpec,
    /// Groups do not all commit at the same tick, nor live on the same host.
    number: u64,
    positions: Vec<Position>,
    commits: u64,
    members: Vec<Joined>,
    joined: usize,
    generation: i32,
    /// Instead of the members here.
    newer: Option<Newer>,
}

impl Group {
    pub(super) fn new(spec: &'static GroupSpec, number: u64) -> Self {
        let newer = match spec.membership {
            Membership::Newer(protocol, _) => Some(Newer::new(protocol)),
            _ => None,
        };
        Self { spec, number, positions: vec![], commits: 0, members: vec![], joined: 0, generation: 0, newer }
    }

    pub(super) fn step(
        &mut self,
        now: Moment,
        topics: &[Topic],
        random: &mut Random,
        sink: &mut impl Sink,
    ) -> Result<(), DemoError> {
        if now.tick == 0 {
            self.positions = self.at_start(topics);
        }
        if self.spec.behaviour == Behaviour::Abandoned {
            return if now.tick == 0 { self.abandon(now, topics, sink) } else { Ok(()) };
        }
        match (&mut self.newer, self.spec.membership) {
            (Some(newer), Membership::Newer(_, fewest)) => {
                newer.step((self.spec, self.number, fewest), now, topics, random, sink)?;
            }
            _ => self.rejoin(now, topics, random, sink)?,
        }
        if matches!(self.spec.membership, Membership::Newer(Protocol::Share, _)) {
            return Ok(());
        }
        let is_running = self.spec.behaviour != Behaviour::Stops || STOPPED.is_well(now.tick);
        if !is_running || !(now.tick + self.number).is_multiple_of(self.spec.every) {
            return Ok(());
        }
        self.commits += 1;
        for position in &mut self.positions {
            let Some((end, slack)) = self.spec.behaviour.sees(position, topics) else { continue };
            let target = end - i64::from(random.below(slack + 1));
            position.offset = self.spec.behaviour.advance(position, target, now.tick, self.commits);
            position.end = end;
        }
        self.commit(now, topics, sink)
    }

    fn at_start(&self, topics: &[Topic]) -> Vec<Position> {
        let behind = if self.spec.behaviour == Behaviour::Rewinds { TRAIL } else { 0 };
        let of_topic = |name: &&str| {
            let topic = topics.iter().position(|topic| topic.spec.name == *name)?;
            let partitions = 0..topics.get(topic)?.spec.partitions;
            let end = i64::from(BACKLOG);
            Some(partitions.map(move |partition| Position { topic, partition, offset: end - behind, end }))
        };
        self.spec.topics.iter().filter_map(of_topic).flatten().collect()
    }

    /// Commits everything, as consumers do by timer, moved or not.
    fn commit(&self, now: Moment, topics: &[Topic], sink: &mut impl Sink) -> Result<(), DemoError> {
        for position in &self.positions {
            let Some(topic) = topics.get(position.topic) else { continue };
            sink.commit(&Commit {
                version: self.spec.version,
                leader_epoch: if self.spec.membership == Membership::Simple { -1 } else { 0 },
                expires_at: self.spec.retention_ms.map(|retention| now.at + retention),
                metadata: self.spec.metadata,
                ..Commit::new(self.spec.id, topic.spec.name, position.partition, position.offset, now.at)
            })?;
        }
        Ok(())
    }

    /// The last commits of a group that was left days ago, and that it is empty.
    fn abandon(&mut self, now: Moment, topics: &[Topic], sink: &mut impl Sink) -> Result<(), DemoError> {
        for ago in [10, 5, 0] {
            for position in &mut self.positions {
                position.offset = position.end - 20 - ago;
            }
            self.commit(Moment { at: now.at - ABANDONED_MS - 1000 * ago, ..now }, topics, sink)?;
        }
        self.generation = 7;
        sink.group(&self.describe(Moment { at: now.at - ABANDONED_MS, ..now }, topics))
    }

    /// Lets members come and go, and writes the group if any did.
    fn rejoin(
        &mut self,
        now: Moment,
        topics: &[Topic],
        random: &mut Random,
        sink: &mut impl Sink,
    ) -> Result<(), DemoError> {
        let wanted = self.wanted(now.tick);
        let is_rolling = (now.tick + 40 * self.number).is_multiple_of(ROLLING);
        if wanted == self.members.len() && !(is_rolling && wanted > 0) {
            return Ok(());
        }
        if let (true, Membership::Static(..), Some(first)) =
            (is_rolling, self.spec.membership, self.members.first_mut())
        {
            // A static member comes back under a new id, and nothing else changes (KIP-345).
            first.id = member_id(self.spec, first.number, random);
            return sink.group(&self.describe(now, topics));
        }
        // The oldest go.
        let staying = wanted.saturating_sub(usize::from(is_rolling));
        self.members.drain(..self.members.len().saturating_sub(staying));
        while self.members.len() < wanted {
            self.joined += 1;
            self.members.push(Joined { number: self.joined, id: member_id(self.spec, self.joined, random) });
        }
        self.generation += 1;
        sink.group(&self.describe(now, topics))
    }

    /// How many members there should be.
    fn wanted(&self, tick: u64) -> usize {
        let members = match self.spec.membership {
            Membership::Simple | Membership::Newer(..) => 0,
            Membership::Consumer(members, _) | Membership::Static(members, _) | Membership::Connect(members) => members,
        };
        match self.spec.behaviour {
            Behaviour::Stops if !STOPPED.is_well(tick) => 0,
            Behaviour::Rebalances => {
                let turn = usize::try_from(tick / REBALANCE).unwrap_or(0) % TURNOUT.len();
                TURNOUT.get(turn).copied().unwrap_or(members)
            }
            _ => members,
        }
    }

    fn describe(&self, now: Moment, topics: &[Topic]) -> GroupDescription {
        let (protocol_type, protocol) = match self.spec.membership {
            Membership::Simple | Membership::Newer(..) => ("", ""),
            Membership::Consumer(_, assignor) | Membership::Static(_, assignor) => ("consumer", assignor),
            Membership::Connect(_) => ("connect", "sessioned"),
        };
        GroupDescription {
            group: self.spec.id.to_owned(),
            protocol_type: protocol_type.to_owned(),
            generation: self.generation,
            protocol: (!self.members.is_empty()).then(|| protocol.to_owned()),
            leader: self.members.first().map(|leader| leader.id.clone()),
            at: now.at,
            members: self
                .members
                .iter()
                .enumerate()
                .map(|(index, member)| self.member(index, member, topics))
                .collect(),
        }
    }

    fn member(&self, index: usize, member: &Joined, topics: &[Topic]) -> Member {
        let (subscription, assignment) = match self.spec.membership {
            Membership::Connect(_) => connect(member.number),
            _ => (subscription(self.spec.subscription, self.spec.topics), self.assigned(index, topics)),
        };
        let instance = || format!("{}-{index}", self.spec.id);
        Member {
            id: member.id.clone(),
            instance_id: matches!(self.spec.membership, Membership::Static(..)).then(instance),
            client_id: client_id(self.spec, member.number),
            client_host: format!("/10.0.{}.{}", self.number, member.number % 250 + 1),
            rebalance_timeout_ms: 300_000,
            session_timeout_ms: 45_000,
            subscription,
            assignment,
        }
    }

    /// Range-like: neighbouring partitions of each topic, for all assignors.
    fn assigned(&self, index: usize, topics: &[Topic]) -> Vec<u8> {
        let members = self.members.len();
        let assigned: Vec<(&str, Vec<i32>)> = topics
            .iter()
            .filter(|topic| self.spec.topics.contains(&topic.spec.name))
            .map(|topic| {
                let count = topic.ends.len();
                let is_mine = |(at, _): &(usize, i32)| at * members / count == index;
                (topic.spec.name, (0..count).zip(0..).filter(is_mine).map(|(_, partition)| partition).collect())
            })
            .filter(|(_, partitions): &(_, Vec<i32>)| !partitions.is_empty())
            .collect();
        let borrowed: Vec<(&str, &[i32])> =
            assigned.iter().map(|(topic, partitions)| (*topic, &**partitions)).collect();
        assignment(self.spec.subscription, &borrowed)
    }
}

impl Behaviour {
    /// The log end, and how far before it the group may stay. At the end of a slow topic, where a
    /// record behind would be one for long.
    fn sees(self, position: &Position, topics: &[Topic]) -> Option<(i64, u32)> {
        let topic = topics.get(position.topic)?;
        let slack = match self {
            Self::KeepsUp(slack) => slack.min(topic.spec.records / 2),
            Self::Rebalances => 3,
            _ => 0,
        };
        Some((*topic.ends.get(usize::try_from(position.partition).ok()?)?, slack))
    }

    /// The next offset to commit, of a group that could commit `target`.
    fn advance(self, from: &Position, target: i64, tick: u64, commits: u64) -> i64 {
        let (offset, produced) = (from.offset, target - from.end);
        match self {
            Self::FallsBehind if BEHIND.is_well(tick) => target - (from.end - offset) * 7 / 8,
            Self::FallsBehind => offset + produced / 10,
            Self::GetsStuck if !STUCK.is_well(tick) => offset,
            Self::Rewinds if commits.is_multiple_of(REWIND_EVERY) => (offset - REWIND).max(0),
            Self::Rewinds => (offset + produced + 50).min(target - TRAIL).max(offset),
            _ => target.max(offset),
        }
    }
}

fn client_id(spec: &GroupSpec, number: usize) -> String {
    match spec.membership {
        Membership::Connect(_) => format!("connect-{number}"),
        _ => format!("consumer-{}-{number}", spec.id),
    }
}

fn member_id(spec: &GroupSpec, number: usize, random: &mut Random) -> String {
    format!("{}-{}", client_id(spec, number), random.uuid())
}

/// Not quite the bytes of a Connect worker, and opaque to everybody else: version 2, its URL,
/// the offset of the configuration; and the assignment likewise, with nothing revoked.
fn connect(number: usize) -> (Vec<u8>, Vec<u8>) {
    let url = format!("http://10.0.11.{number}:8083/");
    let mut worker = vec![0, 2, 0];
    worker.push(u8::try_from(url.len()).unwrap_or(u8::MAX));
    worker.extend_from_slice(url.as_bytes());
    let mut assignment = worker.clone();
    worker.extend_from_slice(&42_i64.to_be_bytes());
    assignment.extend_from_slice(&[0; 10]);
    (worker, assignment)
}
