//! Demo groups of the protocols that the broker runs (KIP-848, share, streams).
//!
//! A change of members passes the states that the records of a 4.1 broker show: the group's epoch rises (Assigning), a
//! target is computed (Reconciling), the members reach it (Stable). Values are written field by field, in the order of
//! Kafka's schemas, so that the protocols can share code; tests decode them.

use super::{
    super::{
        records::subscription,
        scenario::{ASSIGNED_AFTER, CHANGES, Protocol, SETTLED_AFTER},
        tick::Tick,
    },
    Fraction, Group, Member, OwnedPartitions, SUBSCRIPTION_VERSION,
};
use crate::{
    decode::{
        schema::{GroupKey, MemberKey, RegexKey},
        wire::{Array, Context, Wire, write_uvarint},
        write_key,
    },
    model::Uuid,
};

/// Hash of the topics. Its value does not matter, because no reader can verify it.
const METADATA_HASH: i64 = 6_467_042_814_127_918_425;
/// The only subtopology of a streams group.
const SUBTOPOLOGY: &str = "0";
const NULL: Option<&str> = None;

impl Group {
    /// Runs a tick of a group that alternates between `fewest` and `fewest + 1` members. Each change of members writes
    /// the whole group, because the mock drops old records.
    pub(super) fn rebalance(&mut self, protocol: Protocol, fewest: usize, tick: &mut Tick<'_>) {
        let time = tick.number + 20 * self.number;
        let count = self.members.len();
        // Members of a share group may own the same partitions, so they need not give any up.
        let revokes = |member: &Member| member.fraction.is_some() && protocol != Protocol::Share;
        match time % CHANGES {
            0 => {
                let wanted = fewest + usize::from((time / CHANGES).is_multiple_of(2));
                let left = self.replace_members(wanted, tick.random);
                let mut records = Records { protocol, group: self, tick };
                left.iter().for_each(|member| records.delete_member(member));
                self.members.iter().for_each(|member| records.member(member));
                records.topics();
                records.group();
            }
            ASSIGNED_AFTER if self.epoch > 0 => {
                let mut records = Records { protocol, group: self, tick };
                for (index, member) in self.members.iter().enumerate() {
                    records.target(member, &records.owned(Some((index, count))));
                }
                records.target_epoch();
                // A member gives a partition up before another member receives it.
                for member in self.members.iter().filter(|member| revokes(member)) {
                    records.current(member, 1, &vec![], &records.owned(member.fraction));
                }
            }
            SETTLED_AFTER if self.epoch > 0 => {
                let epoch = self.epoch;
                self.members.iter_mut().for_each(|member| (member.previous, member.epoch) = (member.epoch, epoch));
                let mut records = Records { protocol, group: self, tick };
                for member in self.members.iter().filter(|member| revokes(member)) {
                    records.current(member, 2, &vec![], &vec![]);
                }
                for (index, member) in self.members.iter().enumerate() {
                    records.current(member, 0, &records.owned(Some((index, count))), &vec![]);
                }
                let parts = self.members.iter_mut().enumerate();
                parts.for_each(|(index, member)| member.fraction = Some((index, count)));
            }
            _ => {}
        }
    }
}

/// A record value in version 0 of a flexible schema.
struct Value(Vec<u8>);

const FLEXIBLE: Context = Context { version: 0, flexible: true, embedded: false };

impl Value {
    fn new() -> Self {
        Self(vec![]).field(0_i16)
    }

    fn field<'a>(mut self, field: impl Wire<'a>) -> Self {
        field.write(&mut self.0, FLEXIBLE);
        self
    }

    /// Writes an array of structs.
    fn list<T>(mut self, items: &[T], fields: impl Fn(Self, &T) -> Self) -> Self {
        write_uvarint(u32::try_from(items.len() + 1).unwrap_or(u32::MAX), &mut self.0);
        items.iter().fold(self, |value, item| fields(value, item).end())
    }

    /// Ends a struct without tagged fields.
    fn end(mut self) -> Self {
        self.0.push(0);
        self
    }

    /// Ends a member of a consumer group that uses the classic protocol, which is stored in a tagged field.
    fn with_classic(mut self, topics: &[&str]) -> Self {
        let metadata = subscription(SUBSCRIPTION_VERSION, topics);
        let protocols = ["range"];
        let classic = Self(vec![1]).field(45_000_i32);
        let classic = classic.list(&protocols, |value, name| value.field(*name).field(&*metadata)).end().0;
        self.0.extend([1, 0]);
        write_uvarint(u32::try_from(classic.len()).unwrap_or(u32::MAX), &mut self.0);
        self.0.extend(classic);
        self
    }

    fn topics(self, owned: &OwnedPartitions) -> Self {
        self.list(owned, |value, (topic, of)| value.field(topic_id(topic)).field(Array::of(of)))
    }

    fn tasks(self, owned: &OwnedPartitions) -> Self {
        self.list(owned, |value, (_, of)| value.field(SUBTOPOLOGY).field(Array::of(of)))
    }
}

/// Writes the records of a group as its coordinator would.
struct Records<'a, 't> {
    protocol: Protocol,
    group: &'a Group,
    tick: &'a mut Tick<'t>,
}

impl Records<'_, '_> {
    fn write_record<'k>(&mut self, kind: i16, key: &impl Wire<'k>, value: Option<Value>) {
        let mut bytes = vec![];
        write_key(kind, key, &mut bytes);
        self.tick.log(bytes, value.map(|value| value.0), None);
    }

    /// Writes a record of the group, with the record type of the group's protocol.
    fn of_group(&mut self, [consumer, share, streams]: [i16; 3], value: Value) {
        let kind = self.by_protocol(consumer, share, streams);
        self.write_record(kind, &GroupKey { group: self.group.spec.id }, Some(value.end()));
    }

    /// Writes a record of a member, with the record type of the group's protocol.
    fn of_member(&mut self, [consumer, share, streams]: [i16; 3], member: &Member, value: Option<Value>) {
        let kind = self.by_protocol(consumer, share, streams);
        self.write_record(kind, &MemberKey { group: self.group.spec.id, member_id: &member.id }, value);
    }

    fn by_protocol<T>(&self, consumer: T, share: T, streams: T) -> T {
        match self.protocol {
            Protocol::TopicNames | Protocol::Pattern(_) => consumer,
            Protocol::Share => share,
            Protocol::Streams => streams,
        }
    }

    fn owned(&self, fraction: Option<Fraction>) -> OwnedPartitions {
        self.group.partitions_of(self.tick.topics, fraction)
    }

    fn group(&mut self) {
        let value = Value::new().field(self.group.epoch);
        // In consumer groups, the hash is an optional tagged field.
        let value = if matches!(self.protocol, Protocol::Share | Protocol::Streams) {
            value.field(METADATA_HASH)
        } else {
            value
        };
        self.of_group([3, 11, 17], value);
    }

    /// Writes the topics: their ids, or the topology that reads them. Brokers wrote the topics of consumer groups until
    /// Kafka 4.0; the demo still does, because the mock returns no topic ids.
    fn topics(&mut self) {
        let all = self.owned(Some((0, 1)));
        let names = self.group.spec.topics;
        let none = Array::<i32>::of(&[]);
        let value = match self.protocol {
            Protocol::TopicNames | Protocol::Pattern(_) => Value::new().list(&all, |value, (name, of)| {
                let count = i32::try_from(of.len()).unwrap_or(i32::MAX);
                value.field(topic_id(name)).field(*name).field(count).field(none)
            }),
            Protocol::Share => {
                let topic = |value: Value, (name, of): &(&str, Vec<i32>)| {
                    value.field(topic_id(name)).field(*name).field(Array::of(of))
                };
                // The three arrays of the schema: initializing, initialized and deleting topics.
                Value::new().field(none).list(&all, topic).field(none)
            }
            Protocol::Streams => Value::new().field(0_i32).list(&[SUBTOPOLOGY], |value, id| {
                let value = value.field(*id).field(Array::of(names));
                (0..5).fold(value, |value, _| value.field(none))
            }),
        };
        self.of_group([4, 15, 23], value);
        if let Protocol::Pattern(regular_expression) = self.protocol {
            let value = Value::new().field(Array::of(names)).field(58_i64).field(self.tick.at).end();
            self.write_record(16, &RegexKey { group: self.group.spec.id, regular_expression }, Some(value));
        }
    }

    fn member(&mut self, member: &Member) {
        let (client_id, host) = (&*self.group.client_id(member.number), &*self.group.client_host(member.number));
        let rack = ["rack-a", "rack-b", "rack-c"].get(member.number % 3).copied();
        let names = self.group.spec.topics;
        let client = |value: Value| value.field(rack).field(client_id).field(host);
        let value = match self.protocol {
            Protocol::Share => client(Value::new()).field(Array::of(names)).end(),
            Protocol::Streams => client(Value::new().field(NULL))
                .field(300_000_i32)
                .field(0_i32)
                .field(client_id)
                // The optional endpoint: a marker byte, then host and port.
                .field(1_i8)
                .field(host.trim_start_matches('/'))
                .field(7070_u16)
                .end()
                .field(Array::<i32>::of(&[]))
                .end(),
            Protocol::TopicNames | Protocol::Pattern(_) => {
                let is_classic = self.protocol == Protocol::TopicNames && member.number.is_multiple_of(3);
                let (names, pattern) = match self.protocol {
                    Protocol::Pattern(pattern) => (&[][..], pattern),
                    _ => (names, ""),
                };
                let value = client(Value::new().field(NULL)).field(Array::of(names)).field(Some(pattern));
                let value = value.field(300_000_i32).field((!is_classic).then_some("uniform"));
                if is_classic { value.with_classic(names) } else { value.end() }
            }
        };
        self.of_member([5, 10, 19], member, Some(value));
    }

    /// Writes the target assignment of a member.
    fn target(&mut self, member: &Member, target: &OwnedPartitions) {
        let none = Array::<i32>::of(&[]);
        let value = match self.protocol {
            Protocol::TopicNames | Protocol::Pattern(_) | Protocol::Share => Value::new().topics(target),
            Protocol::Streams => Value::new().tasks(target).field(none).field(none),
        };
        self.of_member([7, 13, 21], member, Some(value.end()));
    }

    /// Writes the epoch of the target assignment.
    fn target_epoch(&mut self) {
        self.of_group([6, 12, 20], Value::new().field(self.group.epoch));
    }

    /// Writes the current assignment of a member: its state as in record type 8 (0 stable, 1 must give up partitions, 2
    /// waits for partitions of others), the partitions it owns, and those it must give up.
    fn current(&mut self, member: &Member, state: i8, owned: &OwnedPartitions, revoked: &OwnedPartitions) {
        let none = Array::<i32>::of(&[]);
        let value = Value::new().field(member.epoch).field(member.previous);
        let value = match self.protocol {
            Protocol::TopicNames | Protocol::Pattern(_) => value.field(state).topics(owned).topics(revoked),
            Protocol::Share => value.field(0_i8).topics(owned),
            // States of streams members start at 1. Of active, standby and warm-up tasks, only active ones exist here.
            Protocol::Streams => {
                let value = value.field(state + 1).tasks(owned).field(none).field(none);
                value.tasks(revoked).field(none).field(none)
            }
        };
        self.of_member([8, 14, 22], member, Some(value.end()));
    }

    /// Deletes the records of a member that left: current assignment, target assignment and metadata.
    fn delete_member(&mut self, member: &Member) {
        [[8, 14, 22], [7, 13, 21], [5, 10, 19]].into_iter().for_each(|kinds| self.of_member(kinds, member, None));
    }
}

/// Returns a topic id that is derived from the name (FNV-1a), so that it is the same in every run.
fn topic_id(name: &str) -> Uuid {
    let basis = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    let step = |hash: u128, byte: u8| (hash ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b);
    Uuid(name.bytes().fold(basis, step).to_be_bytes())
}

#[cfg(test)]
mod tests;
