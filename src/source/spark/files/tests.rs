use proptest::prelude::*;

use super::*;

const METADATA: &str = r#"{"batchWatermarkMs":0,"batchTimestampMs":1796077733965,"conf":{}}"#;

fn file<'a>(started_at: Option<Millis>, sources: &[&'a str]) -> OffsetFile<'a> {
    OffsetFile { started_at, sources: sources.to_vec() }
}

#[test]
fn both_versions_of_the_offset_log_are_read() {
    let kafka = r#"{"orders":{"0":9,"1":3}}"#;
    let text = format!("v1\n{METADATA}\n{kafka}\n-\n5");
    assert_eq!(OffsetFile::parse(text.as_bytes()), Ok(file(Some(1_796_077_733_965), &[kafka, "5"])));
    let text = format!("v2\n{METADATA}\nordered:{kafka}\n1:-\n");
    assert_eq!(OffsetFile::parse(text.as_bytes()), Ok(file(Some(1_796_077_733_965), &[kafka])));
}

#[test]
fn the_metadata_of_a_batch_may_be_missing() {
    assert_eq!(OffsetFile::parse(b"v1\n\n{}"), Ok(file(None, &["{}"])));
    assert_eq!(OffsetFile::parse(b"v1\n{\"batchTimestampMs\":0}\n{}"), Ok(file(None, &["{}"])));
    assert_eq!(OffsetFile::parse(b"v1"), Ok(file(None, &[])));
}

#[test]
fn an_unknown_version_is_refused_with_its_number() {
    assert_eq!(OffsetFile::parse(b"v3\n{}\n{}").unwrap_err().to_string(), "version 3 is unknown");
    for text in ["", "{}", "v0\n{}", "v\n{}", "vx\n{}", "v-1\n{}", "v99999999999999999999\n{}"] {
        assert_eq!(OffsetFile::parse(text.as_bytes()), Err(FileError::NoVersion), "{text}");
    }
    assert_eq!(OffsetFile::parse(b"v1\n\xff\xfe"), Err(FileError::NotText));
    assert_eq!(OffsetFile::parse(b"v2\n{}\n5"), Err(FileError::NoSourceId));
    let many = format!("v1\n\n{}", "5\n".repeat(MAX_SOURCES + 1));
    assert_eq!(OffsetFile::parse(many.as_bytes()), Err(FileError::TooManySources));
}

#[test]
fn initial_offsets_are_read_with_and_without_version() {
    assert_eq!(parse_initial(b"\0v1\n{\"orders\":{\"0\":0}}"), Ok(r#"{"orders":{"0":0}}"#));
    assert_eq!(parse_initial(b"\0{\"orders\":{\"0\":0}}"), Ok(r#"{"orders":{"0":0}}"#));
    assert_eq!(parse_initial(b"v1\n1796077084952"), Ok("1796077084952"));
    assert_eq!(parse_initial(b"\0v7\n{}"), Err(FileError::Version(7)));
}

#[test]
fn only_an_id_of_a_query_is_accepted() {
    assert_eq!(parse_id(br#"{"id":"8469483b-2b09","more":1}"#), Ok("8469483b-2b09".to_owned()));
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(MAX_ID_BYTES + 1));
    for text in ["", "{}", r#"{"id":""}"#, r#"{"id":5}"#, r#"{"id":"a\nb"}"#, "\u{0}", &long] {
        assert_eq!(parse_id(text.as_bytes()), Err(FileError::NoId), "{text}");
    }
}

#[test]
fn only_names_of_batches_have_a_number() {
    assert_eq!(parse_number("0"), Some(0));
    assert_eq!(parse_number("18446744073709551615"), Some(u64::MAX));
    for name in ["", "00", "01", "+1", "-1", "1.5", ".1.crc", ".1.8d3c.tmp", "1.compact", "18446744073709551616"] {
        assert_eq!(parse_number(name), None, "{name}");
    }
    assert!(is_dstream_file("checkpoint-1700000000000") && is_dstream_file("checkpoint-1700000000000.bk"));
    assert!(!is_dstream_file("checkpoint-") && !is_dstream_file("checkpoint-x") && !is_dstream_file("temp"));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "v[0-9]{0,3}\n?.*\n?.*") {
        for bytes in [&bytes[..], text.as_bytes()] {
            let _ = OffsetFile::parse(bytes);
            let _ = parse_initial(bytes);
            let _ = parse_id(bytes);
        }
    }
}
