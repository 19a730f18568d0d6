use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    config::{Config, Flags, Layers, LoadContext},
    source,
};

fn source(settings: &str) -> config::Source {
    let flags = Flags { config: Some("offsetd.toml".into()), ..Flags::default() };
    let file = format!("[clusters.a]\nbootstrap_servers = 'h:1'\n[sources.import]\nfile = 'x'\n{settings}");
    let context = LoadContext { kinds: &source::kinds(), file: Some(&file), ..LoadContext::default() };
    let layers = Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
    Config::load_with(layers, context).unwrap().config.sources.remove(0)
}

#[test]
fn a_line_with_all_fields_is_parsed() {
    let source = source("");
    let line = br#" {"group_id":"g","topic":"t.1","partition":3,"committed_offset":7,"committed_at":"2026-01-01T00:00:00.5Z","metadata":"m","more":[1,{}]} "#;
    let commit = Commit { committed_offset: 7, committed_at: Some(1_767_225_600_500), metadata: "m".into() };
    let expected = Line { group: "g".into(), topic: "t.1".into(), partition: 3, commit: Some(commit) };
    assert_eq!(parse(line, &source), Ok(Some(expected)));
    let at = |text: &str| {
        let line = format!(r#"{{"group_id":"g","topic":"t","partition":0,"committed_offset":0{text}}}"#);
        parse(line.as_bytes(), &source).unwrap().unwrap().commit.unwrap().committed_at
    };
    assert_eq!((at(""), at(r#","committed_at":null"#), at(r#","committed_at":5"#)), (None, None, Some(5)));
    let deleted = br#"{"group_id":"g","topic":"t","partition":0,"deleted":true}"#;
    assert_eq!(parse(deleted, &source).unwrap().unwrap().commit, None);
    assert_eq!((parse(b"", &source), parse(b" \r", &source)), (Ok(None), Ok(None)));
}

#[test]
fn missing_group_and_topic_come_from_the_settings() {
    let source = source("group = 'etl'\ntopic = 'orders'\noffset_is = 'last'\n");
    let line = parse(br#"{"partition":0,"committed_offset":6}"#, &source).unwrap().unwrap();
    assert_eq!((&*line.group, &*line.topic), ("etl", "orders"));
    assert_eq!(line.commit.map(|commit| commit.committed_offset), Some(7), "the next after the last");
    let line = parse(br#"{"group_id":"g","topic":"t","partition":0,"committed_offset":6}"#, &source).unwrap().unwrap();
    assert_eq!((&*line.group, &*line.topic), ("g", "t"));
}

#[test]
fn the_error_of_a_bad_line_names_the_reason_and_not_the_content() {
    let source = source("");
    let of = |fields: &str| format!(r#"{{"group_id":"g","topic":"t","partition":0,{fields}}}"#);
    let (syntax, kind) = ("not a JSON object", "a field occurs twice, or has a value of another type");
    let of_offset = "committed_offset is out of range";
    for (line, error) in [
        ("[\"g\",\"t\",0,1]".to_owned(), syntax),
        ("secret".to_owned(), syntax),
        ("{".to_owned(), syntax),
        (format!("{{\"x\":{}", "[".repeat(60_000)), syntax),
        (of("\"committed_offset\":5,"), syntax),
        (of("\"committed_offset\":\"secret\""), kind),
        (of("\"committed_offset\":1.5e3"), kind),
        (of("\"committed_offset\":9223372036854775808"), kind),
        (of("\"committed_offset\":1,\"partition\":1"), kind),
        (of("\"committed_offset\":9223372036854775807"), of_offset),
        (of("\"committed_offset\":-1"), of_offset),
        (of("\"committed_offset\":null"), "committed_offset is missing"),
        (of("\"committed_offset\":1,\"committed_at\":\"secret\""), "committed_at is out of range"),
        (of("\"committed_offset\":1,\"committed_at\":-1"), "committed_at is out of range"),
        (r#"{"topic":"t","partition":0}"#.to_owned(), "group_id is missing"),
        (r#"{"group_id":"","topic":"t","partition":0}"#.to_owned(), "group_id is missing"),
        (r#"{"group_id":"g","partition":0}"#.to_owned(), "topic is missing"),
        (r#"{"group_id":"g","topic":"a b","partition":0}"#.to_owned(), "topic is out of range"),
        (r#"{"group_id":"g","topic":"t"}"#.to_owned(), "partition is missing"),
        (r#"{"group_id":"g","topic":"t","partition":-1}"#.to_owned(), "partition is out of range"),
    ] {
        let found = parse(line.as_bytes(), &source).expect_err(&line).to_string();
        assert!(found.starts_with(error) && !found.contains("secret"), "{line}: {found}");
    }
    let not_text = parse(b"{\"group_id\":\"\xff\xfe\"}", &source).unwrap_err().to_string();
    assert!(not_text.starts_with(syntax), "{not_text}");
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(21), ..ProptestConfig::default() })]

    #[test]
    fn parsing_arbitrary_bytes_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let source = source("");
        let mut of_object = bytes.clone();
        of_object.insert(0, b'{');
        for bytes in [bytes, of_object] {
            let _ = parse(&bytes, &source);
        }
    }

    #[test]
    fn accepted_values_are_in_kafkas_ranges(
        group in "[a-z\n]{0,5}", topic in "[a-z. ]{0,5}", partition in -2..i64::MAX, offset in any::<i64>(),
    ) {
        let line = serde_json::json!({ "group_id": group, "topic": topic, "partition": partition, "committed_offset": offset });
        if let Ok(Some(line)) = parse(line.to_string().as_bytes(), &source("")) {
            prop_assert!(line.partition >= 0 && is_topic_name(&line.topic) && !line.group.is_empty());
            prop_assert!(line.commit.is_some_and(|commit| commit.committed_offset >= 0));
        }
    }
}
