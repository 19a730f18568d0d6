//! Records of `__consumer_offsets` that brokers and Kafka's own serializers wrote, from tests/fixtures/records.

use std::{fs, path::Path};

/// Key and value.
pub(crate) type Record = (Vec<u8>, Option<Vec<u8>>);

/// Returns all recorded records.
pub(crate) fn records() -> Vec<Record> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/records");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "tsv"));
    files.sort();
    let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let record = |line: &str| {
        let (key, value) = line.split_once('\t').unwrap();
        (bytes(key), (value != "-").then(|| bytes(value)))
    };
    let records: Vec<Record> = text.lines().filter(|line| !line.starts_with('#')).map(record).collect();
    assert!(records.len() > 40, "{}", records.len());
    records
}

/// Parses hexadecimal digits.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    hex.as_bytes().chunks(2).map(digits).collect()
}
