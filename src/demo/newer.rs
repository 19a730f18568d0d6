//! Groups of the protocols that the broker runs itself (KIP-848, share, streams), tick by tick.
//!
//! A change of members goes through the states that the records of a 4.1 broker show: the group's
//! epoch rises (Assigning), a target is computed (Reconciling), the members reach it (Stable).

use super::{
    DemoError,
    cast::{GroupSpec, NEWER_ASSIGNS, NEWER_CHANGES, NEWER_SETTLES, ROLLING},
    random::Random,
    workload::{Moment, Sink, Topic},
};
use scribe::Scribe;

mod scribe;

/// Who runs the group, and what its members get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// KIP-848, subscribed by names; every third member still speaks the classic protocol.
    Names,
    /// KIP-848, subscribed by a pattern.
    Pattern(&'static str),
    /// KIP-932: partitions are shared, and nothing is committed.
    Share,
    /// KIP-1071: tasks of one subtopology.
    Streams,
}

/// Partitions by index of the topic; of a streams group, tasks, all under 0.
type Owned = Vec<(usize, Vec<i32>)>;

/// A member and how far it is.
#[derive(Debug)]
struct Member {
    number: usize,
    id: String,
    epoch: i32,
    previous_epoch: i32,
    owned: Owned,
    /// What it owns no longer than it must.
    revoking: Owned,
    target: Owned,
}

impl Member {
    /// As in type 8: stable, must give up partitions, waits for those of others.
    fn state(&self) -> i8 {
        match self {
            _ if !self.revoking.is_empty() => 1,
            _ if self.owned != self.target => 2,
            _ => 0,
        }
    }
}

/// Of a change of members, the step that comes next, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    Assign(u64),
    Settle(u64),
}

/// The membership of a group.
#[derive(Debug)]
pub(super) struct Newer {
    protocol: Protocol,
    epoch: i32,
    members: Vec<Member>,
    joined: usize,
    next: Next,
}

impl Newer {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self { protocol, epoch: 0, members: vec![], joined: 0, next: Next::Nothing }
    }

    /// Plays a tick of a group that has `fewest` members at least.
    pub(super) fn step(
        &mut self,
        (spec, number, fewest): (&GroupSpec, u64, usize),
        now: Moment,
        topics: &[Topic],
        random: &mut Random,
        sink: &mut impl Sink,
    ) -> Result<(), DemoError> {
        let mut scribe = Scribe { protocol: self.protocol, spec, number, now, topics, sink };
        let turn = (now.tick + 20 * number) / NEWER_CHANGES;
        let wanted = fewest + usize::from(turn.is_multiple_of(2));
        let is_rolling = (now.tick + 40 * number).is_multiple_of(ROLLING);
        if wanted != self.members.len() || is_rolling {
            let staying = wanted.saturating_sub(usize::from(is_rolling));
            self.change(wanted, staying, is_rolling, random, &mut scribe)?;
            self.next = Next::Assign(now.tick + NEWER_ASSIGNS);
        } else if self.next == Next::Assign(now.tick) {
            self.assign(&mut scribe)?;
            self.next = Next::Settle(now.tick + NEWER_SETTLES);
        } else if self.next == Next::Settle(now.tick) {
            self.settle(&mut scribe)?;
            self.next = Next::Nothing;
        }
        Ok(())
    }

    /// The oldest go, others come, and the group's epoch rises. Everything is written again when
    /// members are `rolling`, since the mock forgets.
    fn change(
        &mut self,
        wanted: usize,
        staying: usize,
        rolling: bool,
        random: &mut Random,
        scribe: &mut Scribe<'_, impl Sink>,
    ) -> Result<(), DemoError> {
        let is_new = self.epoch == 0;
        for member in self.members.drain(..self.members.len().saturating_sub(staying)) {
            scribe.gone(&member)?;
        }
        if rolling {
            self.members.iter().try_for_each(|member| scribe.member(member))?;
        }
        while self.members.len() < wanted {
            self.joined += 1;
            let member = Member {
                number: self.joined,
                id: random.id(),
                epoch: 0,
                previous_epoch: -1,
                owned: vec![],
                revoking: vec![],
                target: vec![],
            };
            scribe.member(&member)?;
            self.members.push(member);
        }
        self.epoch += 1;
        if is_new || rolling {
            scribe.topics()?;
        }
        scribe.group(self.epoch)
    }

    /// Computes who should own what. Who owns more must give it up first.
    fn assign(&mut self, scribe: &mut Scribe<'_, impl Sink>) -> Result<(), DemoError> {
        let count = self.members.len();
        for (index, member) in self.members.iter_mut().enumerate() {
            member.target = scribe.portion(index, count);
            scribe.target(member)?;
        }
        scribe.target_epoch(self.epoch)?;
        for member in &mut self.members {
            let (kept, revoking) = apart(&member.owned, &member.target);
            // Members of share groups may own the same.
            if !revoking.is_empty() && self.protocol != Protocol::Share {
                (member.owned, member.revoking) = (kept, revoking);
                scribe.current(member)?;
            }
        }
        Ok(())
    }

    /// Every member reaches its target. What is given up is free before somebody takes it.
    fn settle(&mut self, scribe: &mut Scribe<'_, impl Sink>) -> Result<(), DemoError> {
        for member in &mut self.members {
            member.previous_epoch = member.epoch;
            member.epoch = self.epoch;
            if !std::mem::take(&mut member.revoking).is_empty() {
                scribe.current(member)?;
            }
        }
        for member in &mut self.members {
            member.owned.clone_from(&member.target);
            scribe.current(member)?;
        }
        Ok(())
    }
}

/// What is in `target`, and what is not.
fn apart(owned: &Owned, target: &Owned) -> (Owned, Owned) {
    let is_kept =
        |topic: usize, partition: i32| target.iter().any(|(of, kept)| *of == topic && kept.contains(&partition));
    let part = |kept: bool| {
        let of = |(topic, partitions): &(usize, Vec<i32>)| {
            (*topic, partitions.iter().copied().filter(|partition| is_kept(*topic, *partition) == kept).collect())
        };
        owned.iter().map(of).filter(|(_, partitions): &(_, Vec<i32>)| !partitions.is_empty()).collect()
    };
    (part(true), part(false))
}

#[cfg(test)]
mod tests;
