//! Tests of the decoder with records that Kafka wrote, in tests/fixtures/records. Each file has a header that names the
//! origin, then lines of HEXKEY<TAB>HEXVALUE. A `.jsonl` file next to it holds the output of `offsetd decode` per line.
//!
//! `UPDATE_GOLDEN=1 cargo test --lib decode::` rewrites the `.jsonl` files; review them before you commit them.

use std::{fs, path::PathBuf};

use super::*;

/// The path of a fixture file, and its keys and values.
pub(super) type Fixture = (PathBuf, Vec<(Vec<u8>, Option<Vec<u8>>)>);

pub(super) fn fixtures() -> Vec<Fixture> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/records");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "tsv"));
    files.sort();
    assert!(!files.is_empty());
    files.into_iter().map(|file| (file.clone(), read(&fs::read_to_string(file).unwrap()))).collect()
}

fn read(text: &str) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    assert!(text.starts_with("# "), "a fixture says where it comes from");
    let record = |line: &str| {
        let (key, value) = line.split_once('\t').unwrap();
        (bytes(key), (value != "-").then(|| bytes(value)))
    };
    text.lines().filter(|line| !line.starts_with('#')).map(record).collect()
}

#[test]
fn records_of_kafka_decode_to_the_golden_output() {
    for (file, records) in fixtures() {
        let golden = file.with_extension("jsonl");
        let answers: Vec<String> = records
            .iter()
            .map(|(key, value)| decode(Some(key), value.as_deref()).expect("Kafka wrote it"))
            .map(|record| serde_json::to_string(&record).unwrap())
            .collect();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, answers.join("\n") + "\n").unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap();
        assert_eq!(answers, expected.lines().collect::<Vec<_>>(), "{}", file.display());
    }
}

#[test]
fn records_of_kafka_round_trip() {
    for (file, records) in fixtures() {
        for (key, value) in records {
            let again = decode(Some(&key), value.as_deref()).unwrap().to_bytes().unwrap();
            let value = value.map(|value| without_null_tag(&key, value));
            assert_eq!(again, (key, value), "{}", file.display());
        }
    }
}

/// Removes the tagged field of type 5 if it is null: only Kafka 4.1 writes it then.
fn without_null_tag(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    if key.starts_with(&[0, 5]) && value.ends_with(&[1, 0, 1, 0]) {
        value.truncate(value.len() - 3);
        value.pop();
        value.push(0);
    }
    value
}

#[test]
fn every_truncated_record_of_kafka_is_an_error() {
    for (key, value) in fixtures().into_iter().flat_map(|(_, records)| records) {
        for end in 0..key.len() {
            assert!(decode(Some(&key[..end]), value.as_deref()).is_err(), "{key:?} cut at {end}");
        }
        let value = value.unwrap_or_default();
        let whole = decode(Some(&key), Some(&value));
        for end in 0..value.len() {
            let decoded = decode(Some(&key), Some(&value[..end]));
            // A type 11 record of Kafka 4.1 that is cut within the zeros of its hash is a valid record of Kafka 4.0.
            let is_shorter_form = end == 7 && value[..2] == [0, 0] && key[..2] == [0, 11] && value[6] == 0;
            assert!(decoded.is_err() || (is_shorter_form && decoded != whole), "{key:?} {value:?} cut at {end}");
        }
    }
}

#[test]
fn a_flipped_bit_in_a_record_of_kafka_never_panics() {
    for (key, value) in fixtures().into_iter().flat_map(|(_, records)| records) {
        let mut value = value.unwrap_or_default();
        for bit in 0..value.len() * 8 {
            value[bit / 8] ^= 1 << (bit % 8);
            if let Ok(record) = decode(Some(&key), Some(&value)) {
                serde_json::to_string(&record).unwrap();
                record.to_bytes().unwrap();
            }
            value[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
#[test]
fn every_type_occurs_in_the_fixtures() {
    let mut kinds: Vec<i16> = fixtures()
        .iter()
        .flat_map(|(_, records)| records)
        .filter(|(_, value)| value.is_some())
        .map(|(key, _)| kind(Some(key)).unwrap())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    // No Kafka release writes type 18.
    assert_eq!(kinds, (0..=23).filter(|kind| *kind != 18).collect::<Vec<_>>());
}
