//! Tests of record types 3 to 23: rejected layouts, and layouts that share a version number.

use super::{record::generate, wire::tests::generate::Randomness, *};

fn group_key(kind: u8) -> Vec<u8> {
    [&[0, kind], &bytes("00026731")[..]].concat()
}

fn member_key(kind: u8) -> Vec<u8> {
    [&group_key(kind)[..], &bytes("00026d31")[..]].concat()
}

fn error(key: &[u8], value: &str) -> DecodeError {
    decode(Some(key), Some(&bytes(value))).unwrap_err()
}

fn value(key: &[u8], value: &str) -> Value {
    let value = bytes(value);
    let record = decode(Some(key), Some(&value)).unwrap();
    serde_json::to_value(record).unwrap()["value"].clone()
}

#[test]
fn early_access_layouts_are_rejected() {
    error(&group_key(4), "0000000000050200112233445566778899aabbccddeeff027400000002010000");
    error(&member_key(8), "00000000000500000004000000050200112233445566778899aabbccddeeff02000000000001010000000100");
}

#[test]
fn version_0_is_the_only_version_of_types_from_3() {
    for kind in 3..=23 {
        // Only keys of groups have one string; those of members and patterns have two. One of the two keys fits.
        for key in [group_key(kind), member_key(kind)] {
            let Err(error) = decode(Some(&key), Some(&[0, 1])) else { panic!("{kind}") };
            if error.field() == "value.version" {
                assert_eq!((error.fault(), error.at()), (Fault::UnknownVersion(1), 0));
            } else {
                assert!(error.field().starts_with("key"), "{error}");
            }
        }
    }
}

#[test]
fn trailing_bytes_are_rejected_in_types_from_3_and_counted_in_earlier_types() {
    let error = error(&group_key(3), "00000000000500ff");
    assert_eq!((error.fault(), error.field(), error.at()), (Fault::Trailing(1), "value", 7));
    let key = [&group_key(3)[..], &[7]].concat();
    let error = decode(Some(&key), None).unwrap_err();
    assert_eq!((error.fault(), error.field(), error.at()), (Fault::Trailing(1), "key", 6));

    let (key, value) = (format!("{COMMIT_KEY}aa"), format!("{}bbcc", COMMITS[4]));
    let (record, left) = decode_counted(Some(&bytes(&key)), Some(&bytes(&value))).map(|(r, n)| (r.kind(), n)).unwrap();
    assert_eq!((record, left), (1, 3));
    assert_eq!(decode_counted(Some(&bytes(COMMIT_KEY)), None).unwrap().1, 0);
}

#[test]
fn a_share_group_of_kafka_4_0_has_no_hash() {
    assert_eq!(value(&group_key(11), "00000000000500"), json!({"epoch": 5}));
    assert_eq!(value(&group_key(11), "000000000005000000000000000000"), json!({"epoch": 5, "metadataHash": 0}));
    let error = error(&group_key(11), "0000000000050000");
    assert_eq!((error.field(), error.at()), ("value.metadataHash", 6));
}

#[test]
fn a_null_struct_is_null_and_not_omitted() {
    let endpoint = |hex: &str| value(&member_key(19), hex)["userEndpoint"].clone();
    assert_eq!(endpoint("000000000263032f68000493e0000000020270ff0100"), Value::Null);
    assert_eq!(endpoint("000000000263032f68000493e0000000020270010268ffff000100"), json!({"host": "h", "port": 65535}));
    // Any negative byte means null, not only -1.
    assert_eq!(endpoint("000000000263032f68000493e0000000020270800100"), Value::Null);
}

#[test]
fn a_classic_member_of_a_consumer_group_shows_its_subscription() {
    let member = |metadata: &str| {
        let len = metadata.len() / 2;
        let struct_len = 15 + len;
        let hex = format!(
            "0000000372310263032f6802027401000493e008756e69666f726d0100{struct_len:02x}010000afc8020672616e6765{:02x}{metadata}0000",
            len + 1
        );
        value(&member_key(5), &hex)["classicMemberMetadata"].clone()
    };
    let expected = |metadata: Value| json!({"sessionTimeoutMs": 45_000, "supportedProtocols": [{"name": "range", "metadata": metadata}]});
    let subscription = json!({"version": 0, "topics": ["t"], "userData": null});
    assert_eq!(member("000000000001000174ffffffff"), expected(subscription));
    assert_eq!(member(""), expected(Value::Null));
    assert_eq!(member("0000ff"), expected(json!("0000ff")));
}

#[test]
fn unknown_tags_are_skipped_at_every_level_and_known_ones_read_whole() {
    // Type 8 with an unknown tag 5 in the element and at the end; type 3 with an unknown tag 9 before the hash.
    let topic = "00112233445566778899aabbccddeeff0200000000";
    let hex = format!("000000000005000000040002{topic}010502abcd01010503abcdef");
    assert_eq!(value(&member_key(8), &hex)["assignedPartitions"][0]["partitions"], json!([0]));
    let hex = "000000000005020900000800000000000000ff";
    assert_eq!(value(&group_key(3), hex), json!({"epoch": 5, "metadataHash": 255}));
    // The payload of a tag is longer or shorter than its field.
    let error_of = |hex: &str| {
        let error = error(&group_key(3), hex);
        (error.fault().name(), error.field().to_owned(), error.at())
    };
    let path = "value.metadataHash".to_owned();
    assert_eq!(error_of("00000000000501000900000000000000ff00"), ("trailing", path.clone(), 17));
    assert_eq!(error_of("000000000005010007000000000000ff"), ("end_of_buffer", path, 9));
    assert_eq!(error_of("0000000000050900").0, "end_of_buffer");
}

#[test]
fn a_tagged_array_may_be_null() {
    let epochs = |payload: &str| {
        let size = payload.len() / 2;
        let hex =
            format!("00000000000500000004000200112233445566778899aabbccddeeff02000000000100{size:02x}{payload}0100");
        value(&member_key(8), &hex)["assignedPartitions"][0]["assignmentEpochs"].clone()
    };
    assert_eq!(epochs("0200000004"), json!([4]));
    // Null is the default, so it is omitted.
    assert_eq!(epochs("00"), Value::Null);
    assert_eq!(epochs("01"), json!([]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn records_of_every_type_round_trip(kind in 0..24_i16, randomness in prop::collection::vec(any::<u8>(), 0..200)) {
        let (key, value) = generate(kind, &mut Randomness::new(&randomness)).unwrap();
        let record = decode(Some(&key), Some(&value)).unwrap();
        let (same_key, shorter) = record.to_bytes().unwrap();
        // The encoded value can be shorter only by tagged fields that hold their default.
        prop_assert_eq!(same_key, key.clone());
        let shorter = shorter.unwrap();
        prop_assert!(shorter.len() <= value.len());
        let again = decode(Some(&key), Some(&shorter)).unwrap();
        prop_assert_eq!(again, record);
        prop_assert_eq!(again.to_bytes().unwrap().1.unwrap(), shorter.clone());
        let json = serde_json::to_value(record).unwrap();
        prop_assert_eq!(&json["type"], &json!(kind));
        // A value that is cut anywhere is rejected, except type 11, which has a shorter older form.
        for end in (0..shorter.len()).filter(|end| (kind, *end) != (11, 7)) {
            prop_assert!(decode(Some(&key), Some(&shorter[..end])).is_err(), "cut at {}", end);
        }
    }
}
