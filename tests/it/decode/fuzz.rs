//! Fuzzes the decoder of every record type on stable Rust, with tampered records of real brokers and with random bytes.
//! A failure is shrunk and printed.
//!
//! `cargo test` runs a few thousand cases of each; a debug build takes minutes for 200,000. For a long run:
//! `PROPTEST_CASES=100000000 cargo test --release --test it decode::fuzz`

use std::sync::LazyLock;

use offsetd::decode::{
    Record,
    consumer_protocol::{Assignment, Embedded, Payload as _, Subscription},
    decode,
};
use proptest::{prelude::*, sample::Index};

use super::allocation::{decode_frugally, json_frugally};
use crate::recorded::{Record as Recorded, records};

static SEEDS: LazyLock<Vec<Recorded>> = LazyLock::new(records);

/// A change of a value's bytes.
#[derive(Clone, Debug)]
enum Tamper {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, u8),
    Cut(Index),
    /// Replaces the rest by a part of another record.
    Splice(Index, Index, Index),
}

fn tamper() -> impl Strategy<Value = Tamper> {
    // Bytes that often occur in lengths and counts.
    let telling = prop::sample::select(vec![0, 1, 2, 0x7f, 0x80, 0x81, 0xfe, 0xff]);
    let at = any::<Index>;
    prop_oneof![
        (at(), prop_oneof![telling, any::<u8>()]).prop_map(|(at, byte)| Tamper::Set(at, byte)),
        (at(), 0..8_u8).prop_map(|(at, bit)| Tamper::Flip(at, bit)),
        (at(), prop::collection::vec(any::<u8>(), 1..5)).prop_map(|(at, bytes)| Tamper::Insert(at, bytes)),
        (at(), 1..9_u8).prop_map(|(at, count)| Tamper::Remove(at, count)),
        at().prop_map(Tamper::Cut),
        (at(), at(), at()).prop_map(|(at, seed, from)| Tamper::Splice(at, seed, from)),
    ]
}

impl Tamper {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: &Index| at.index(bytes.len() + 1);
        match self {
            Self::Set(at, byte) => {
                let at = place(at);
                bytes.get_mut(at).into_iter().for_each(|old| *old = *byte);
            }
            Self::Flip(at, bit) => {
                let at = place(at);
                bytes.get_mut(at).into_iter().for_each(|old| *old ^= 1 << bit);
            }
            Self::Insert(at, more) => {
                let at = place(at);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Remove(at, count) => {
                let at = place(at);
                bytes.drain(at..(at + usize::from(*count)).min(bytes.len()));
            }
            Self::Cut(at) => bytes.truncate(place(at)),
            Self::Splice(at, seed, from) => {
                let other = SEEDS[seed.index(SEEDS.len())].1.as_deref().unwrap_or_default();
                bytes.truncate(place(at));
                bytes.extend_from_slice(&other[from.index(other.len() + 1)..]);
            }
        }
    }
}

/// Asserts the rules that hold for any bytes.
fn check(key: &[u8], value: Option<&[u8]>) {
    let Some(record) = decode_frugally(key, value) else { return };
    json_frugally(&record, key.len() + value.map_or(0, <[u8]>::len));
    if let Record::Unknown { .. } = record {
        return;
    }
    let (new_key, new_value) = record.to_bytes().unwrap();
    assert!(new_key.len() <= key.len());
    assert!(new_value.as_ref().map_or(0, Vec::len) <= value.map_or(0, <[u8]>::len));
    assert_eq!(decode(Some(&new_key), new_value.as_deref()).unwrap(), record);
    embedded(&record);
}

/// Checks the payloads that clients wrote into the brokers' records.
fn embedded(record: &Record<'_>) {
    let Record::GroupMetadata { value: Some(group), .. } = record else { return };
    for member in group.value.members.iter() {
        let _ = member.subscription.payload().map(|payload| format!("{payload:?}"));
        let _ = member.assignment.payload().map(|payload| format!("{payload:?}"));
    }
}

fn cases() -> ProptestConfig {
    let default = ProptestConfig::default();
    match std::env::var_os("PROPTEST_CASES") {
        None => ProptestConfig { cases: 4096, ..default },
        Some(_) => default,
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn records_that_were_tampered_with(
        seed in any::<Index>(),
        tampers in prop::collection::vec(tamper(), 1..6),
        in_key in prop::option::weighted(0.1, tamper()),
        other_kind in prop::option::weighted(0.1, 0..25_u8),
    ) {
        let (mut key, value) = SEEDS[seed.index(SEEDS.len())].clone();
        let mut value = value.unwrap_or_default();
        tampers.iter().for_each(|tamper| tamper.apply(&mut value));
        if let Some(kind) = other_kind {
            key[1] = kind;
        }
        in_key.iter().for_each(|tamper| tamper.apply(&mut key));
        check(&key, Some(&value));
        check(&key, None);
    }

    #[test]
    fn bytes_that_are_made_up(
        kind in 0..24_u8,
        version in 0..5_u8,
        key in prop::collection::vec(prop_oneof![Just(0), any::<u8>()], 0..24),
        value in prop::collection::vec(prop_oneof![Just(0), Just(1), Just(2), any::<u8>()], 0..200),
    ) {
        let made_up = [&[0, kind], &key[..]].concat();
        let value = [&[0, version], &value[..]].concat();
        check(&made_up, Some(&value));
        // With a valid key, so that the value is decoded.
        for (key, _) in SEEDS.iter().filter(|(key, _)| offsetd::decode::kind(Some(key)) == Ok(i16::from(kind))).take(1) {
            check(key, Some(&value));
        }
        check(&value, Some(&made_up));
    }

    #[test]
    fn embedded_payloads_that_are_made_up(version in -1..5_i8, bytes in prop::collection::vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..100)) {
        let payload = [&i16::from(version).to_be_bytes()[..], &bytes].concat();
        macro_rules! again {
            ($payload:ty) => {
                if let Ok(Some(read)) = Embedded::<$payload>::new(&payload).payload() {
                    let mut written = vec![];
                    read.write(&mut written);
                    // Longer by omitted fields, shorter by trailing bytes.
                    prop_assert_eq!(Embedded::<$payload>::new(&written).payload(), Ok(Some(read)));
                }
            };
        }
        again!(Subscription<'_>);
        again!(Assignment<'_>);
    }
}
