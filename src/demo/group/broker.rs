//! The members of groups whose protocol the broker runs (KIP-848, share, streams).
//!
//! A change of members passes the states that the records of a 4.1 broker show: the group's epoch rises (Assigning), a
//! target is computed (Reconciling), the members reach it (Stable). The values are fields in the order of Kafka's
//! schemas; tests decode them.

use super::{
    super::{scenario::Protocol, tick::Tick},
    Group, Member, Owned,
};
use crate::{
    decode::{
        schema::*,
        wire::{Array, Context, Wire},
    },
    model::Uuid,
};

/// Ticks from a change of members to the target assignment, and to the end of the change.
const ASSIGNED_AFTER: u64 = 4;
const SETTLED_AFTER: u64 = 16;
/// Hash of the topics. Its value does not matter, because no reader can verify it.
const METADATA_HASH: i64 = 6_467_042_814_127_918_425;
/// The only subtopology of a streams group.
const SUBTOPOLOGY: &str = "0";

/// The record types of a group, its topics, a member, the epoch of the target assignment, the target assignment and the
/// current assignment of a member. `None` for a protocol that clients run.
const fn kinds(protocol: Protocol) -> Option<[i16; 6]> {
    match protocol {
        Protocol::Consumer => Some([3, 4, 5, 6, 7, 8]),
        Protocol::Share => Some([11, 15, 10, 12, 13, 14]),
        Protocol::Streams => Some([17, 23, 19, 20, 21, 22]),
        Protocol::Simple | Protocol::Classic | Protocol::Static | Protocol::Connect => None,
    }
}

impl Group {
    pub(super) fn is_run_by_broker(&self) -> bool {
        kinds(self.spec.protocol).is_some()
    }

    /// Writes a change of members: those that left, and the whole group, because the mock drops old records.
    pub(super) fn log_change(&self, left: &[Member], tick: &mut Tick) {
        let Some([group, topics, member, _, target, current]) = kinds(self.spec.protocol) else { return };
        for kind in [current, target, member] {
            left.iter().for_each(|left| self.log(tick, kind, Some(left), None));
        }
        self.members.iter().for_each(|of| self.log(tick, member, Some(of), self.member(of)));
        self.log(tick, topics, None, self.topic_ids(tick));
        if !self.spec.pattern.is_empty() {
            let key = RegexKey { group: &self.id, regular_expression: &self.spec.pattern };
            tick.log(16, &key, value!(0, Array::of(&self.topic_names()), 58_i64, tick.at), None);
        }
        let is_consumer = self.spec.protocol == Protocol::Consumer;
        let value = if is_consumer { value!(0, self.epoch) } else { value!(0, self.epoch, METADATA_HASH) };
        self.log(tick, group, None, value);
    }

    /// Writes the steps by which the members reach their target assignment after a change.
    pub(super) fn reassign(&mut self, tick: &mut Tick) {
        let Some([.., target_epoch, target, current]) = kinds(self.spec.protocol) else { return };
        let (count, none) = (self.members.len(), Owned::new());
        match tick.number - self.changed_at {
            ASSIGNED_AFTER => {
                for (index, of) in self.members.iter().enumerate() {
                    let owned = self.partitions_of(tick, index, count);
                    self.log(tick, target, Some(of), self.target(&owned));
                }
                self.log(tick, target_epoch, None, value!(0, self.epoch));
                // A member gives a partition up before another member receives it.
                self.log_revoking(tick, current, 1);
            }
            SETTLED_AFTER => {
                self.log_revoking(tick, current, 2);
                for index in 0..count {
                    let owned = self.partitions_of(tick, index, count);
                    let Some(of) = self.members.get_mut(index) else { continue };
                    (of.previous, of.epoch, of.owned) = (of.epoch, self.epoch, owned);
                }
                for of in &self.members {
                    self.log(tick, current, Some(of), self.current(of, 0, &of.owned, &none));
                }
            }
            _ => {}
        }
    }

    /// Writes members that give partitions up: those that must (state 1), or have done so and wait for others (2).
    fn log_revoking(&self, tick: &mut Tick, current: i16, state: i8) {
        let none = Owned::new();
        // Members of a share group may own the same partitions, so they need not give any up.
        let revokes = |of: &&Member| !of.owned.is_empty() && self.spec.protocol != Protocol::Share;
        for of in self.members.iter().filter(revokes) {
            let revoked = if state == 1 { &of.owned } else { &none };
            self.log(tick, current, Some(of), self.current(of, state, &none, revoked));
        }
    }

    /// Writes a record of a member, or of the group. A value of `None` deletes it.
    fn log(&self, tick: &mut Tick, kind: i16, member: Option<&Member>, value: Option<Vec<u8>>) {
        let group = &*self.id;
        match member {
            Some(member) => tick.log(kind, &MemberKey { group, member_id: &member.id }, value, None),
            None => tick.log(kind, &GroupKey { group }, value, None),
        }
    }

    /// Returns the topics: their ids, or the topology that reads them. Brokers wrote the topics of consumer groups until
    /// Kafka 4.0; the demo still does, because the mock returns no topic ids.
    fn topic_ids(&self, tick: &Tick) -> Option<Vec<u8>> {
        let (owned, names, none) = (self.partitions_of(tick, 0, 1), self.topic_names(), Array::<i32>::of(&[]));
        let (mut initialized, mut metadata) = (vec![], vec![]);
        for (topic_name, of) in &owned {
            let (topic_id, num_partitions) = (topic_id(topic_name), i32::try_from(of.len()).unwrap_or(0));
            initialized.push(TopicPartitionsInfo { topic_id, topic_name, partitions: Array::of(of) });
            metadata.push(TopicMetadata { topic_id, topic_name, num_partitions, ..TopicMetadata::default() });
        }
        let source_topics = Array::of(&names);
        let topology = Subtopology { subtopology_id: SUBTOPOLOGY, source_topics, ..Subtopology::default() };
        match self.spec.protocol {
            Protocol::Streams => value!(0, 0_i32, Array::of(&[topology])),
            // The three arrays of the schema: initializing, initialized and deleting topics.
            Protocol::Share => value!(0, none, Array::of(&initialized), none),
            _ => value!(0, Array::of(&metadata)),
        }
    }

    fn member(&self, Member { number, client_id, host, .. }: &Member) -> Option<Vec<u8>> {
        let (client_id, host, names, none) = (&**client_id, &**host, self.topic_names(), None::<&str>);
        let rack = ["rack-a", "rack-b", "rack-c"].get(number % 3).copied();
        match self.spec.protocol {
            Protocol::Share => value!(0, rack, client_id, host, Array::of(&names)),
            Protocol::Streams => {
                let endpoint = Some(Endpoint { host: host.trim_start_matches('/'), port: 7070 });
                let tags = Array::<i32>::of(&[]);
                value!(0, none, rack, client_id, host, 300_000_i32, 0_i32, client_id, endpoint, tags)
            }
            _ => {
                let names = if self.spec.pattern.is_empty() { names } else { vec![] };
                let pattern = Some(&*self.spec.pattern);
                value!(0, none, rack, client_id, host, Array::of(&names), pattern, 300_000_i32, Some("uniform"))
            }
        }
    }

    /// Returns the target assignment of a member.
    fn target(&self, owned: &Owned) -> Option<Vec<u8>> {
        let none = Array::<i32>::of(&[]);
        match self.spec.protocol {
            Protocol::Streams => value!(0, Array::of(&tasks(owned)), none, none),
            _ => value!(0, Array::of(&partitions(owned))),
        }
    }

    /// Returns the current assignment of a member: its state as in record type 8 (0 stable, 1 must give up partitions, 2
    /// waits for partitions of others), the partitions it owns, and those it must give up.
    fn current(&self, of: &Member, state: i8, owned: &Owned, revoked: &Owned) -> Option<Vec<u8>> {
        let none = Array::<i32>::of(&[]);
        let (epoch, previous, topics, tasks) = (of.epoch, of.previous, partitions(owned), tasks(owned));
        let (topics, tasks) = (Array::of(&topics), Array::of(&tasks));
        match self.spec.protocol {
            Protocol::Share => value!(0, epoch, previous, 0_i8, topics),
            // States of streams members start at 1. Of active, standby and warm-up tasks, only active ones exist.
            Protocol::Streams => {
                let revoked = self::tasks(revoked);
                value!(0, epoch, previous, (state + 1), tasks, none, none, Array::of(&revoked), none, none)
            }
            _ => value!(0, epoch, previous, state, topics, Array::of(&partitions(revoked))),
        }
    }
}

fn partitions(owned: &Owned) -> Vec<TopicPartition<'_>> {
    owned.iter().map(|(name, of)| TopicPartition { topic_id: topic_id(name), partitions: Array::of(of) }).collect()
}

fn tasks(owned: &Owned) -> Vec<TaskIds<'_>> {
    let all = owned.iter().map(|(_, of)| Array::of(of));
    all.map(|partitions| TaskIds { subtopology_id: SUBTOPOLOGY, partitions, ..TaskIds::default() }).collect()
}

/// Returns a topic id that is derived from the name (FNV-1a), so that it is the same in every run.
fn topic_id(name: &str) -> Uuid {
    let basis = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    let step = |hash: u128, byte: u8| (hash ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b);
    Uuid(name.bytes().fold(basis, step).to_be_bytes())
}

#[cfg(test)]
mod tests;
