//! Tests of the decoder with vectors that the generated serializers of Kafka 4.2.0-rc1 produced.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    consumer_protocol::{Assignment, Embedded, Subscription},
    schema::{GroupMetadataValue, MemberMetadata, OffsetCommitKey, OffsetCommitValue},
    wire::Array,
    *,
};
use crate::model::Uuid;

mod fixtures;
mod groups;

const COMMIT_KEY: &str = "00010002673100017400000003";
const GROUP_KEY: &str = "000200026731";
const COMMITS: [&str; 8] = [
    "0000000000000000002a00026d640000018bcfe56800",
    "0001000000000000002a00026d640000018bcfe568000000018bcfee8fc0",
    "0002000000000000002a00026d640000018bcfe56800",
    "0003000000000000002a0000000700026d640000018bcfe56800",
    "0004000000000000002a00000007036d640000018bcfe5680000",
    "0004000000000000002a00000007036d640000018bcfe5680001001000112233445566778899aabbccddeeff",
    "0004000000000000002affffffff010000018bcfe5680000",
    "0004000000000021d4a8ffffffff010000019964f2d83600",
];
const GROUPS: [&str; 6] = [
    "00000008636f6e73756d657200000001000572616e676500026d310000000100026d3100016300022f680000afc80000000d000000000001000174ffffffff00000019000000000001000174000000020000000000000001ffffffff",
    "00010008636f6e73756d657200000001000572616e676500026d310000000100026d3100016300022f68000493e00000afc80000000d000000000001000174ffffffff00000019000000000001000174000000020000000000000001ffffffff",
    "00020008636f6e73756d657200000001000572616e676500026d310000018bcfe568000000000100026d3100016300022f68000493e00000afc80000000d000000000001000174ffffffff00000019000000000001000174000000020000000000000001ffffffff",
    "00030008636f6e73756d657200000001000572616e676500026d310000018bcfe568000000000100026d31ffff00016300022f68000493e00000afc80000000d000000000001000174ffffffff00000019000000000001000174000000020000000000000001ffffffff",
    "000409636f6e73756d6572000000010672616e6765036d310000018bcfe5680002036d31000263032f68000493e00000afc80e000000000001000174ffffffff1a000000000001000174000000020000000000000001ffffffff0000",
    "00030008636f6e73756d657200000002ffffffff0000018bcfe5680000000000",
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    hex.as_bytes().chunks(2).map(digits).collect()
}

fn json_of(key: &str, value: Option<&str>) -> Value {
    let (key, value) = (bytes(key), value.map(bytes));
    serde_json::to_value(decode(Some(&key), value.as_deref()).unwrap()).unwrap()
}

/// Decodes a record and encodes it again: the bytes must be the same.
fn round_trip(key: &[u8], value: &[u8]) {
    let again = decode(Some(key), Some(value)).unwrap().to_bytes().unwrap();
    assert_eq!(again, (key.to_vec(), Some(value.to_vec())));
}

#[test]
fn keys_of_all_vectors_decode() {
    let key = json!({"group": "g1", "topic": "t", "partition": 3});
    assert_eq!(
        json_of("00000002673100017400000003", None),
        json!({"type": 0, "name": "OffsetCommit", "key": key, "value": null})
    );
    assert_eq!(json_of(COMMIT_KEY, None), json!({"type": 1, "name": "OffsetCommit", "key": key, "value": null}));
    assert_eq!(json_of("0001000000017400000000", None)["key"]["group"], "");
    assert_eq!(
        json_of(GROUP_KEY, None),
        json!({"type": 2, "name": "GroupMetadata", "key": {"group": "g1"}, "value": null})
    );
}

#[test]
fn offset_commits_of_every_version_decode() {
    let at = 1_700_000_000_000_i64;
    let old = json!({"offset": 42, "metadata": "md", "commitTimestamp": at});
    let epoch = json!({"offset": 42, "leaderEpoch": 7, "metadata": "md", "commitTimestamp": at});
    let expected = [
        old.clone(),
        json!({"offset": 42, "metadata": "md", "commitTimestamp": at, "expireTimestamp": 1_700_000_600_000_i64}),
        old,
        epoch.clone(),
        epoch,
        json!({"offset": 42, "leaderEpoch": 7, "metadata": "md", "commitTimestamp": at, "topicId": "ABEiM0RVZneImaq7zN3u_w"}),
        json!({"offset": 42, "leaderEpoch": -1, "metadata": "", "commitTimestamp": at}),
        json!({"offset": 2_217_128, "leaderEpoch": -1, "metadata": "", "commitTimestamp": 1_758_335_260_726_i64}),
    ];
    for (hex, expected) in COMMITS.iter().zip(expected) {
        let record = json_of(COMMIT_KEY, Some(hex));
        assert_eq!(record["value"], expected, "{hex}");
        assert_eq!(record["version"], i64::from(bytes(hex)[1]), "{hex}");
    }
}

#[test]
fn a_compact_string_of_127_bytes_or_more_decodes() {
    let hex = format!("0004000000000000002a00000007c901{}0000018bcfe5680000", "78".repeat(200));
    assert_eq!(json_of(COMMIT_KEY, Some(&hex))["value"]["metadata"], "x".repeat(200));
}

#[test]
fn classic_groups_of_every_version_decode() {
    for (version, hex) in GROUPS.iter().take(5).enumerate() {
        let record = json_of(GROUP_KEY, Some(hex));
        let mut member = json!({
            "memberId": "m1", "clientId": "c", "clientHost": "/h", "sessionTimeout": 45_000,
            "subscription": {"version": 0, "topics": ["t"], "userData": null},
            "assignment": {"version": 0, "assignedPartitions": [{"topic": "t", "partitions": [0, 1]}], "userData": null},
        });
        let mut group = json!({"protocolType": "consumer", "generation": 1, "protocol": "range", "leader": "m1"});
        if version >= 1 {
            member["rebalanceTimeout"] = json!(300_000);
        }
        if version >= 2 {
            group["currentStateTimestamp"] = json!(1_700_000_000_000_i64);
        }
        if version >= 3 {
            member["groupInstanceId"] = Value::Null;
        }
        group["members"] = json!([member]);
        assert_eq!(
            record,
            json!({"type": 2, "name": "GroupMetadata", "key": {"group": "g1"}, "version": version, "value": group})
        );
    }
    let empty = json_of(GROUP_KEY, Some(GROUPS[5]));
    assert_eq!((&empty["value"]["generation"], &empty["value"]["members"]), (&json!(2), &json!([])));
}

#[test]
fn every_vector_round_trips() {
    for hex in COMMITS {
        round_trip(&bytes(COMMIT_KEY), &bytes(hex));
    }
    for hex in GROUPS {
        round_trip(&bytes(GROUP_KEY), &bytes(hex));
    }
}

#[test]
fn embedded_payloads_of_every_version_decode() {
    let vectors = [
        ("000000000001000174ffffffff", 0, -1, None),
        ("000100000001000174ffffffff000000010001740000000100000000", 1, -1, None),
        ("000200000001000174ffffffff00000001000174000000010000000000000005", 2, 5, None),
        ("000300000001000174ffffffff0000000100017400000001000000000000000500027231", 3, 5, Some("r1")),
        // A payload that declares version 1 without its fields, as some clients write it; then a future version.
        ("000100000001000174ffffffff", 1, -1, None),
        ("000900000001000174ffffffff0000000100017400000001000000000000000500027231abcdef", 9, 5, Some("r1")),
    ];
    for (hex, version, generation, rack) in vectors {
        let bytes = bytes(hex);
        let payload = Embedded::<Subscription<'_>>::new(&bytes).payload().unwrap().unwrap();
        assert_eq!((payload.version, payload.generation_id, payload.rack_id), (version, generation, rack), "{hex}");
        assert_eq!(payload.topics.iter().collect::<Vec<_>>(), ["t"]);
    }
    let assignment = bytes("000000000001000174000000020000000000000001ffffffff");
    let payload = Embedded::<Assignment<'_>>::new(&assignment).payload().unwrap().unwrap();
    let first = payload.assigned_partitions.iter().next().unwrap();
    assert_eq!((first.topic, first.partitions.iter().collect::<Vec<_>>()), ("t", vec![0, 1]));
}

#[test]
fn a_malformed_payload_is_shown_as_hex_and_the_record_decodes() {
    let members = [MemberMetadata {
        member_id: "m",
        subscription: Embedded::new(&[0, 0, 0x7f]),
        assignment: Embedded::new(&[]),
        ..MemberMetadata::default()
    }];
    let value = GroupMetadataValue { protocol_type: "consumer", members: Array::of(&members), ..Default::default() };
    let mut wire = vec![];
    write_value(&value, 3, &mut wire).unwrap();
    let key = bytes(GROUP_KEY);
    let record = serde_json::to_value(decode(Some(&key), Some(&wire)).unwrap()).unwrap();
    assert_eq!(record["value"]["members"][0]["subscription"], "00007f");
    assert_eq!(record["value"]["members"][0]["assignment"], Value::Null);
}

#[test]
fn other_protocol_types_keep_their_bytes() {
    let members = [MemberMetadata {
        subscription: Embedded::new(&bytes("000000000001000174ffffffff").leak()[..]),
        ..Default::default()
    }];
    let value = GroupMetadataValue { protocol_type: "connect", members: Array::of(&members), ..Default::default() };
    let mut wire = vec![];
    write_value(&value, 4, &mut wire).unwrap();
    let key = bytes(GROUP_KEY);
    let record = serde_json::to_value(decode(Some(&key), Some(&wire)).unwrap()).unwrap();
    assert_eq!(record["value"]["members"][0]["subscription"], "000000000001000174ffffffff");
}

#[test]
fn unknown_types_are_named_and_unknown_versions_rejected() {
    assert_eq!(json_of("0063", None), json!({"type": 99, "unknown": true}));
    let error = decode(Some(&bytes(COMMIT_KEY)), Some(&[0, 5])).unwrap_err();
    assert_eq!((error.fault(), error.field(), error.at()), (Fault::UnknownVersion(5), "value.version", 0));
    let error = decode(Some(&bytes(COMMIT_KEY)), Some(&[])).unwrap_err();
    assert_eq!(error.field(), "value.version");
    assert_eq!(decode(None, None).unwrap_err().fault(), Fault::NoKey);
    assert_eq!(decode(Some(&[1]), None).unwrap_err().field(), "key");
}

#[test]
fn an_error_names_its_field_and_byte() {
    let mut value = bytes(GROUPS[3]);
    // Make the length of the member's client id negative.
    let at = value.windows(3).position(|window| window == [0, 1, b'c']).unwrap();
    value[at] = 0x80;
    let error = decode(Some(&bytes(GROUP_KEY)), Some(&value)).unwrap_err();
    assert_eq!((error.field(), error.at()), ("value.members[0].clientId", at));
}

#[test]
fn unknown_tags_are_skipped() {
    // An unknown tag 9 of three bytes at the end of a commit of version 4.
    let hex = "0004000000000000002a00000007036d640000018bcfe56800010903aabbcc";
    assert_eq!(json_of(COMMIT_KEY, Some(hex))["value"]["offset"], 42);
}

#[test]
fn every_truncation_is_an_error_and_never_a_panic() {
    let vectors = COMMITS.iter().map(|hex| (COMMIT_KEY, hex)).chain(GROUPS.iter().map(|hex| (GROUP_KEY, hex)));
    for (key, hex) in vectors {
        let (key, value) = (bytes(key), bytes(hex));
        for end in 0..value.len() {
            assert!(decode(Some(&key), Some(&value[..end])).is_err(), "{hex} cut at {end}");
        }
        for end in 0..key.len() {
            assert!(decode(Some(&key[..end]), Some(&value)).is_err());
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(key in prop::collection::vec(any::<u8>(), 0..64), value in prop::collection::vec(any::<u8>(), 0..256)) {
        for kind in 0..3 {
            let key = [vec![0, kind], key.clone()].concat();
            if let Ok(record) = decode(Some(&key), Some(&value)) {
                serde_json::to_string(&record).unwrap();
            }
        }
    }

    #[test]
    fn a_flipped_bit_never_panics(which in 0..GROUPS.len(), bit in any::<prop::sample::Index>()) {
        let mut value = bytes(GROUPS[which]);
        let bit = bit.index(value.len() * 8);
        value[bit / 8] ^= 1 << (bit % 8);
        if let Ok(record) = decode(Some(&bytes(GROUP_KEY)), Some(&value)) {
            serde_json::to_string(&record).unwrap();
        }
    }

    #[test]
    fn commits_round_trip(group in ".{0,20}", topic in ".{0,20}", partition: i32, offset: i64, epoch: i32, metadata in ".{0,300}", at: i64, expires: i64, id: u128, version in 0_i16..=4) {
        let value = OffsetCommitValue {
            offset,
            leader_epoch: if version >= 3 { epoch } else { -1 },
            metadata: &metadata,
            commit_timestamp: at,
            expire_timestamp: if version == 1 { expires } else { -1 },
            topic_id: if version >= 4 { Uuid(id.to_be_bytes()) } else { Uuid::ZERO },
        };
        let (mut key_bytes, mut value_bytes) = (vec![], vec![]);
        let key = OffsetCommitKey { group: &group, topic: &topic, partition };
        write_key(1, &key, &mut key_bytes);
        write_value(&value, version, &mut value_bytes).unwrap();
        let Record::OffsetCommit { key: key_again, value: Some(again), .. } = decode(Some(&key_bytes), Some(&value_bytes)).unwrap() else { panic!() };
        prop_assert_eq!((key_again, again.value), (key, value));
    }
}

#[test]
fn a_subscription_that_ends_before_its_user_data_has_none() {
    use super::consumer_protocol::{Embedded, Payload as _, Subscription};
    for version in [0, 1, 3] {
        let cut = bytes(&format!("000{version}00000001000174"));
        let read = Embedded::<Subscription<'_>>::new(&cut).payload().unwrap().unwrap();
        assert_eq!((read.topics.iter().collect::<Vec<_>>(), read.user_data, read.generation_id), (vec!["t"], None, -1));
        let mut whole = vec![];
        read.write(&mut whole);
        assert_eq!(Embedded::new(&whole).payload(), Ok(Some(read)));
        // A payload that ends within a field is an error.
        let cut = [&cut[..], &[0, 0]].concat();
        assert!(Embedded::<Subscription<'_>>::new(&cut).payload().is_err());
    }
}
